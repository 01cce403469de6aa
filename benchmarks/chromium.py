"""The system's own Chromium, without a window. The dashboard's tests and pictures use it too."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Playwright, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")

ARGUMENTS = (
    "--no-sandbox",  # in a container one is root, for whom Chromium has no sandbox
    "--disable-gpu",
    # It is to ask nobody for anything but the pages.
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class NoChromiumError(Exception):
    """There is no Chromium. The message says how to get one."""


@contextmanager
def chromium(*more: str) -> Iterator[Browser]:
    """Run a Chromium until the end of the block. more: arguments for it. Raises NoChromiumError."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=_executable(playwright), args=[*ARGUMENTS, *more]
        )
        try:
            yield browser
        finally:
            browser.close()


def _executable(playwright: Playwright) -> str:
    for path in map(shutil.which, NAMES):
        if path:
            return path
    # One that `playwright install` has brought.
    own = playwright.chromium.executable_path
    if Path(own).exists():
        return own
    raise NoChromiumError(
        "no Chromium was found; Debian, Ubuntu: apt-get install chromium; macOS: playwright install chromium"
    )
