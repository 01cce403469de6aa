"""Tasks for the tests of the command line. What they wait for, a test lets go."""

import logging
import threading
from typing import Any

from app import checkpoint, progress, task

GO_ON = threading.Event()
BEGUN = threading.Semaphore(0)

HOSTILE = "[red]x[/red]\x1b[2J\x9b2J\x07\u202e"
"""What would colour, clear, ring and turn round, if it were obeyed."""


@task
def add(a: int, b: int = 1) -> int:
    """Add two numbers.

    Whole ones.
    """
    return a + b


@task
def say(text: str, times: int = 1) -> str:
    return text * times


@task
def take(a: Any, flag: bool = False, many: list[int] | None = None) -> list[Any]:
    return [a, flag, many]


@task
def break_down(message: str = "broken") -> None:
    raise ValueError(message)


@task
def hold() -> str:
    BEGUN.release()
    progress(1, 4, "a quarter")
    assert GO_ON.wait(30)
    return "held"


@task
def stop_when_asked() -> None:
    BEGUN.release()
    while True:
        checkpoint()
        GO_ON.wait(0.01)


@task
def talk() -> None:
    print("printed")
    logging.getLogger("shelf").warning("logged\nin two lines")


@task(name="[red]hostile")
def hostile(*, fails: bool = False) -> list[str]:
    """Return [bold]what[/bold] no terminal should obey."""
    progress(1, 2, HOSTILE)
    print(HOSTILE)
    if fails:
        raise ValueError(HOSTILE)
    return [HOSTILE]
