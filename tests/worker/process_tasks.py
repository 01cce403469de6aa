"""Functions that run in processes, in tests. Named pipes tell the test where they have come to."""

import logging
import os
import posixpath
import signal
import threading
import time
from datetime import date
from functools import partial
from typing import Any

from app import checkpoint, context, progress, submit, task
from app.core import FutureTimeoutError
from app.jobs.registry import load
from app.jobs.retry import Retry

in_process = partial(task, executor="process")


def meet(path):
    """Wait until the test opens the pipe at its other end. What is returned ends with this process."""
    return open(path, "w")  # noqa: PTH123  (kept open on purpose)


@in_process()
def echo(value: Any = None) -> Any:
    return value


@in_process()
def pid() -> int:
    return os.getpid()


@in_process()
def kind_of(day: date) -> dict:
    return {"type": type(day).__name__, "pid": os.getpid()}


@in_process()
def raises(message: str) -> None:
    raise LookupError(message)


@in_process()
def dies(number: int) -> None:
    os.kill(os.getpid(), number)


@in_process(retry=Retry(on=(LookupError,)))
def raises_one(name: str) -> None:
    raise {"lookup": LookupError, "value": ValueError}[name]


@in_process()
def dies_at_first() -> str:
    if context().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


@in_process()
def hangs_at_first(begun: str) -> str:
    if context().attempt == 1:
        meet(begun).close()
        while True:
            signal.pause()
    return "in time"


@in_process()
def looks_at_first(begun: str) -> str:
    if context().attempt == 1:
        meet(begun).close()
        while True:
            checkpoint()
            threading.Event().wait(0.001)
    return "in time"


@in_process()
def ends_its_own_by_sigterm() -> int:
    child = os.fork()
    if child == 0:
        while True:
            signal.pause()
    os.kill(child, signal.SIGTERM)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@in_process()
def tells(begun: str) -> dict:
    progress(1, 2, "half")
    print("printed by the job")
    logging.getLogger("by.the.job").warning("logged by the job")
    meet(begun).close()
    shown = context()
    left = None if shown.deadline is None else shown.deadline - time.monotonic()
    return {"id": shown.id, "attempt": shown.attempt, "left": left, "tags": dict(shown.tags)}


@in_process()
def floods(lines: int) -> None:
    print("\n" * lines, end="")


@in_process()
def gives_in(begun: str) -> None:
    meet(begun)
    while True:
        checkpoint()
        threading.Event().wait(0.001)


@in_process()
def never_ends(begun: str) -> None:
    kept = meet(begun)
    while True:
        signal.pause()
        kept.flush()


@in_process()
def goes_on(begun: str, go: str) -> str:
    """End only when the test says so."""
    meet(begun).close()
    with open(go) as pipe:  # noqa: PTH123
        pipe.read()
    return "result"


@in_process()
def returns_when_asked(begun: str) -> str:
    meet(begun).close()
    try:
        while True:
            checkpoint()
            threading.Event().wait(0.001)
    except FutureTimeoutError:
        return "late"


@in_process()
def submits() -> list:
    def generator():
        return (yield submit(os.getpid))

    async def coroutine():
        return await submit(os.getpid)

    return [submit(call).result() == os.getpid() for call in (os.getpid, generator, coroutine)]


# What its module would not declare if it were imported alone.
borrowed = task(name="borrowed", executor="process")(posixpath.basename)

TASKS = load([__name__])
