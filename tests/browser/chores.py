"""Tasks for the dashboard's tests: each goes on when the test has put a file into the service's folder."""

import logging
import time
from collections.abc import Generator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from app import Future, Retry, RetryLater, checkpoint, context, progress, submit, task

LOGGER = logging.getLogger(__name__)

LOOK = 0.01
"""Seconds between two looks for a file."""


def wait_for(name: str, *, cancellable: bool = True) -> None:
    """Return when the file is there."""
    while not Path(name).exists():
        if cancellable:
            checkpoint()
        time.sleep(LOOK)


@task
def add(a: int, b: int = 1) -> int:
    """Add two numbers.

    The second one is 1 unless given.
    """
    return a + b


@task
def order(
    product: Literal["book", "map", "globe"],
    count: int = 1,
    *,
    gift: bool = False,
    price: float | None = None,
    notes: list[str] | None = None,
) -> dict[str, object]:
    """Order something from the shop."""
    return {"product": product, "count": count, "gift": gift, "price": price, "notes": notes or []}


@task
def steps(gate: str, count: int = 3) -> int:
    """Take steps: the first when the file `<gate>.0` is there, and so on."""
    for number in range(count):
        progress(number, count, f"before step {number}")
        wait_for(f"{gate}.{number}")
        print(f"step {number} is taken")
        LOGGER.warning("after step %d", number)
    progress(count, count, "all steps taken")
    return count


@task
def stubborn(gate: str) -> str:
    """Never look whether it shall stop; end when the file is there."""
    wait_for(gate, cancellable=False)
    return "finished all the same"


@task(retry=Retry(max_attempts=2, backoff=0.01, jitter=False))
def relapse(gate: str) -> None:
    """Come far and fail; then say nothing of how far it is, and end when the file is there."""
    if context().attempt == 1:
        progress(9, 10)
        raise ConnectionError("so near")
    print("once more")
    wait_for(gate)


@task
def break_down(what: str = "the press") -> None:
    """Fail with an exception that another one has caused."""
    try:
        _look_up(what)
    except KeyError as exc:
        raise ValueError(f"{what} is out of order") from exc


@task
def fail_as(name: str) -> None:
    """Fail with an exception of this name."""
    raise type(name, (Exception,), {})("as it was asked to")


def _look_up(what: str) -> None:
    raise KeyError(what)


@task(retry=Retry(max_attempts=3, backoff=0.01, jitter=False))
def third_time(gate: str) -> int:
    """Fail twice, each time when the file `<gate>.<attempt>` is there, and succeed then."""
    attempt = context().attempt
    wait_for(f"{gate}.{attempt}")
    if attempt < 3:
        raise ConnectionError(f"attempt {attempt} was not answered")
    return attempt


@task
def later() -> None:
    """Put itself off for an hour."""
    raise RetryLater(3600)


@task
def bind(words: list[str]) -> str:
    """Bind words together."""
    return " ".join(words)


@task
def side_by_side(numbers: list[int]) -> Generator[list[Future[int]], list[int], int]:
    """Add one to each number, side by side, and sum up."""
    return sum((yield [submit(add, number) for number in numbers]))


class Quotation(BaseModel):
    """What has a member of the name that exact numbers have in the pages' own code."""

    source: str


class Number(BaseModel):
    """What could be taken for it."""

    number: int


@task
def either(value: Quotation | Number | int | str) -> str:
    """Take one of several kinds of values."""
    return repr(value)


class Branch(BaseModel):
    """What contains its like in every way that ends somewhere."""

    left: "Branch | None" = None
    right: "Branch | None"
    top: "Branch | int"
    buds: "list[Branch] | None" = None


@task
def grow(trunk: Branch) -> str:
    """Take what a form would never be done with."""
    return repr(trunk)


@task
def named_oddly(__proto__: str = "a", constructor: int = 1) -> list[str | int]:
    """Have parameters of names that every object of a page has."""
    return [__proto__, constructor]


SCRIPT = "<img src=x onerror=hit()>"
"""What runs a script when it is taken for markup."""

BROKEN_OUT = "\"'><script>hit()</script>"
"""What runs a script when it ends the attribute that it stands in."""

ADDRESS = "javascript:hit()"
"""What runs a script when it is taken for an address and clicked."""


@task(name=SCRIPT, queue=BROKEN_OUT)
def hostile(text: str = BROKEN_OUT, link: str = ADDRESS) -> dict[str, str]:
    """Say <img src=x onerror=hit()> in every way that there is: <script>hit()</script>."""
    progress(1, 2, SCRIPT)
    print(SCRIPT)
    LOGGER.error(BROKEN_OUT)
    return {SCRIPT: text, BROKEN_OUT: link, "link": ADDRESS}


@task
def hostile_failure() -> None:
    """Fail with <b>markup</b>."""
    print(f"{SCRIPT} {ADDRESS}")
    raise type(SCRIPT, (Exception,), {})(BROKEN_OUT)
