"""A real service, and its pages in a real Chromium."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect

from benchmarks.chromium import NoChromiumError
from benchmarks.chromium import chromium as chromium_of_the_system
from tests.acceptance.serving import Running, service

TASKS = "tests.browser.chores"
DESKTOP = {"width": 1280, "height": 800}

# Told where nothing of a page can keep it from being seen.
REPORT_VIOLATIONS = """addEventListener("securitypolicyviolation", event =>
  console.error(`policy: ${event.violatedDirective} of ${event.blockedURI} ${event.sample}`))"""

expect.set_options(timeout=15_000)


# For a module and not for the session: as long as Playwright is open, asyncio takes its loop for running,
# and tests of other folders that this process draws could run none of their own.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with ExitStack() as stack:
        try:
            browser = stack.enter_context(chromium_of_the_system())
        except NoChromiumError as exc:
            pytest.skip(str(exc))
        yield browser


class House:
    """A running service, and the folder in which files tell its tasks to go on."""

    def __init__(self, folder: Path, running: Running) -> None:
        self.folder = folder
        self.running = running
        self.url = running.url
        self.client = running.client
        self.submit = running.submit
        self.job = running.job
        self.until_running = running.until_running

    def allow(self, gate: str) -> None:
        """Let whatever waits for this file go on."""
        (self.folder / gate).touch()


@contextmanager
def housed(folder: Path, port: int = 0, **settings: str) -> Iterator[House]:
    """Run a service with the tasks of these tests."""
    with service(folder, port, ERRAND_TASKS=TASKS, ERRAND_PROCESSES="1", **settings) as running:
        yield House(folder, running)


@pytest.fixture(scope="module")
def house(tmp_path_factory) -> Iterator[House]:
    """A service for all tests of a module: each works in a queue, or by tags, of its own."""
    with housed(tmp_path_factory.mktemp("house")) as running:
        yield running


class Watch:
    """What went wrong in the pages of a test: errors in the console, exceptions, requests to strangers."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._expected: list[str] = []
        self._faults: list[str] = []

    def expect(self, text: str) -> None:
        """Take errors in the console with this text for a part of the test."""
        self._expected.append(text)

    def page(self, page: Page) -> None:
        """Look at a page from now on."""
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self._faults.append(f"exception: {error}"))
        page.on("request", self._see)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self._faults.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    def _see(self, request: Request) -> None:
        if not request.url.startswith((f"{self._url}/", "data:", "blob:")):
            self._faults.append(f"request: {request.url}")

    @property
    def faults(self) -> list[str]:
        """All that nobody has expected."""
        return [fault for fault in self._faults if not any(text in fault for text in self._expected)]


@pytest.fixture
def visit(chromium) -> Iterator[Any]:
    """Return a function that opens a page of a service, in a browser that knows nothing yet.

    Whatever goes wrong in a page fails the test at its end.
    """
    contexts, watches = [], []

    def visit(house: House, path: str = "/", **options: Any) -> tuple[Page, Watch]:
        context = chromium.new_context(base_url=house.url, **{"viewport": DESKTOP, **options})
        contexts.append(context)
        context.add_init_script(REPORT_VIOLATIONS)
        page, watch = context.new_page(), Watch(house.url)
        watches.append(watch)
        watch.page(page)
        page.goto(path)
        return page, watch

    yield visit
    for context in contexts:
        context.close()
    assert [watch.faults for watch in watches if watch.faults] == []
