"""Tasks for the tests of the client. What they wait for, a test lets go."""

import logging
import threading
from typing import Any

from app import checkpoint, progress, task

GO_ON = threading.Event()
BEGUN = threading.Semaphore(0)


@task
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@task(name="renamed")
def named_otherwise(word: str) -> str:
    return word


@task
def echo(*args: Any, **kwargs: Any) -> Any:
    return [args, kwargs]


@task
def nothing() -> None:
    pass


@task
def fail(message: str) -> None:
    raise ValueError(message)


class ShelfError(Exception):
    pass


@task
def fail_its_own_way() -> None:
    raise ShelfError("full")


@task
def talk() -> str:
    print("printed")
    logging.getLogger("shelf").warning("logged\u2028on")
    progress(1, 2, "half")
    return "said"


@task
def hold() -> str:
    BEGUN.release()
    assert GO_ON.wait(30)
    return "held"


@task
def stop_when_asked() -> None:
    BEGUN.release()
    while True:
        checkpoint()
        GO_ON.wait(0.01)
