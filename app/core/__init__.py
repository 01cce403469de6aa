"""The library inside: futures, executors and tasks, of the standard library alone."""

# The errors are those that ours are kinds of, under the names that code written for them imports.
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    BrokenExecutor,
    CancelledError,
    TimeoutError,  # noqa: A004  (it is the built-in one)
)
from typing import TYPE_CHECKING, Any

from app.core.errors import (
    BrokenThreadPool,
    FutureCancelledError,
    FutureTimeoutError,
    InvalidStateError,
    QueueError,
    QueueUnavailableError,
    RemoteError,
)
from app.core.executor import Executor
from app.core.future import Future, FutureLike, State
from app.core.memory_queue import MemoryQueue
from app.core.queuing import QueueWorker, QueuingExecutor
from app.core.task import Task
from app.core.thread import ThreadedExecutor, ThreadPoolExecutor
from app.core.waiting import DoneAndNotDoneFutures, as_completed, gather, wait

if TYPE_CHECKING:
    from app.core.process import BrokenProcessPool, ProcessDied, ProcessFuture, ProcessPoolExecutor

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "BrokenExecutor",
    "BrokenProcessPool",
    "BrokenThreadPool",
    "CancelledError",
    "DoneAndNotDoneFutures",
    "Executor",
    "Future",
    "FutureCancelledError",
    "FutureLike",
    "FutureTimeoutError",
    "InvalidStateError",
    "MemoryQueue",
    "ProcessDied",
    "ProcessFuture",
    "ProcessPoolExecutor",
    "QueueError",
    "QueueUnavailableError",
    "QueueWorker",
    "QueuingExecutor",
    "RemoteError",
    "State",
    "Task",
    "ThreadPoolExecutor",
    "ThreadedExecutor",
    "TimeoutError",
    "as_completed",
    "gather",
    "wait",
]

_OF_PROCESSES = ("BrokenProcessPool", "ProcessDied", "ProcessFuture", "ProcessPoolExecutor")


def __getattr__(name: str) -> Any:
    """Load what needs `multiprocessing` when it is asked for: that takes longer than all the rest."""
    if name in _OF_PROCESSES:
        from app.core import process  # noqa: PLC0415

        return getattr(process, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
