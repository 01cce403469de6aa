"""The library inside: futures, executors and tasks, of the standard library alone."""

from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION

from app.core.errors import BrokenThreadPool, FutureCancelledError, FutureTimeoutError, InvalidStateError
from app.core.executor import Executor
from app.core.future import Future, FutureLike, State
from app.core.task import Task
from app.core.thread import ThreadedExecutor, ThreadPoolExecutor
from app.core.waiting import DoneAndNotDoneFutures, as_completed, gather, wait

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "BrokenThreadPool",
    "DoneAndNotDoneFutures",
    "Executor",
    "Future",
    "FutureCancelledError",
    "FutureLike",
    "FutureTimeoutError",
    "InvalidStateError",
    "State",
    "Task",
    "ThreadPoolExecutor",
    "ThreadedExecutor",
    "as_completed",
    "gather",
    "wait",
]
