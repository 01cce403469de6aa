"""A bookshop's chores: the work in the pictures. Each ends as its arguments say, whoever runs it and when."""

import logging
import time
from collections.abc import Generator
from pathlib import Path
from typing import Literal

from app import Future, Retry, checkpoint, context, progress, submit, task

LOGGER = logging.getLogger("shop")


@task(queue="catalogue")
def import_catalogue(source: str, rows: int = 48_000, hold: str | None = None) -> dict[str, int]:
    """Read a publisher's catalogue, and put new titles into the shop.

    Stops three quarters through, until the file `hold` is there.
    """
    LOGGER.info("reading %s", source)
    for part in range(1, 9):
        done = rows * part // 8
        progress(done, rows, f"sheet {part} of 8")
        LOGGER.info("sheet %d: %d titles, %d new", part, rows // 8, rows // 8 % (31 * part))
        if part == 3:  # noqa: PLR2004  (a sheet as good as any)
            LOGGER.warning("row %d has no ISBN and was left out", done - 17)
        if part == 6 and hold is not None:  # noqa: PLR2004  (three quarters)
            print("waiting for the publisher's server ...")
            _until_there(hold)
    return {"titles": rows, "new": rows // 37}


def _until_there(name: str) -> None:
    while not Path(name).exists():
        checkpoint()
        time.sleep(0.05)


@task(queue="mails", retry=Retry(max_attempts=4, backoff=2.0, factor=1.5, jitter=False))
def send_newsletter(issue: str, audience: Literal["readers", "press"] = "readers", fails: int = 0) -> int:
    """Send an issue of the newsletter, to so many readers as there are."""
    attempt = context().attempt
    LOGGER.info("attempt %d: connecting to mail.example.org", attempt)
    time.sleep(0.9 * attempt)
    if attempt <= fails:
        LOGGER.error("no greeting within %.1f s", 0.9 * attempt)
        _give_up(attempt)
    LOGGER.info("issue %s is on its way to 2816 %s", issue, audience)
    return 2816


def _give_up(attempt: int) -> None:
    try:
        _greet()
    except TimeoutError as exc:
        raise ConnectionError(f"mail.example.org did not answer (attempt {attempt})") from exc


def _greet() -> None:
    raise TimeoutError("timed out")


@task(executor="process", queue="covers", timeout=120)
def render_cover(isbn: str, width: int = 1200, *, dark: bool = False) -> str:
    """Render the cover of a book in a process of its own."""
    time.sleep(0.2)
    return f"covers/{isbn}-{width}{'-dark' if dark else ''}.avif"


@task(max_running=1, limit_key="{customer}", queue="billing")
def write_invoice(customer: str, total: float) -> str:
    """Write an invoice: one at a time for each customer."""
    time.sleep(0.1)
    return f"{customer} owes {total:.2f}"


@task(queue="billing", retry=Retry(max_attempts=2, backoff=0.1))
def charge_card(customer: str, amount: float) -> str:
    """Charge a customer's card."""
    raise PermissionError(f"the card of {customer} has expired: {amount:.2f} are due")


@task
def count_sales(shelves: list[str]) -> Generator[list[Future[int]], list[int], int]:
    """Count what was sold, shelf by shelf, side by side."""
    return sum((yield [submit(len, shelf) for shelf in shelves]))


@task
async def follow_parcel(number: str) -> str:
    """Wait for a parcel to arrive; costs no thread."""
    return f"{number} has arrived"
