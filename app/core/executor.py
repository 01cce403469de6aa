"""Executor: the one interface behind which work runs, and what all of them share."""

import atexit
import concurrent.futures
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar
from weakref import WeakSet

from app.core.errors import FutureCancelledError
from app.core.future import Future

P = ParamSpec("P")
T = TypeVar("T")
LOGGER = logging.getLogger(__name__)


class Executor(concurrent.futures.Executor, ABC):
    """Runs calls somewhere else and hands out their futures.

    As `concurrent.futures.Executor`. `with executor:` shuts it down at the end and
    waits. An executor that is dropped without `shutdown` runs what it was given and
    then ends its threads.
    """

    @abstractmethod
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have `fn(*args, **kwargs)` run, and return its future.

        Raises RuntimeError after `shutdown`, and at the interpreter's exit.
        """

    @abstractmethod
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept nothing more; what was accepted still runs.

        wait: return only when everything has ended and the threads with it.
        cancel_futures: cancel what has not begun. May be called again.
        """

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[T]:
        """Submit a call for each tuple of items at once, and yield the results in order.

        timeout: seconds from this call for all results; None means no limit.
        chunksize: calls that travel together; only a ProcessPoolExecutor uses it.
        A failed call's exception is raised in its turn, FutureTimeoutError when the
        time runs out; calls that have not begun by then are cancelled.
        """
        if chunksize < 1:
            msg = "chunksize must be >= 1."
            raise ValueError(msg)
        deadline = None if timeout is None else time.monotonic() + timeout
        futures = [self.submit(fn, *items) for items in zip(*iterables, strict=False)]
        return _results(futures, deadline)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown(wait=True)


def _results(futures: list[Future[T]], deadline: float | None) -> Iterator[T]:
    futures.reverse()
    try:
        while futures:
            # Popped before the wait: this frame keeps no result that was handed out.
            yield _result_by(futures.pop(), deadline)
    finally:
        for future in futures:
            future.cancel()


def _result_by(future: Future[T], deadline: float | None) -> T:
    try:
        return future.result(None if deadline is None else deadline - time.monotonic())
    except BaseException:
        future.cancel()
        raise
    finally:
        del future


def run_call(future: Future[T], fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Run one call on this thread and complete its future, unless it was cancelled before.

    Whatever the call raises is its outcome, SystemExit and KeyboardInterrupt too: a
    task must not end a worker, and neither must a callback. FutureCancelledError after
    a request makes the future cancelled; without one it is a failure like any other.

    A traceback holds its frames and those that called them, so a caller must not keep
    the future in a variable of its own: they would keep each other alive.
    """
    try:
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = fn(*args, **kwargs)
        except BaseException as exc:  # noqa: BLE001  (see above)
            fail(future, exc)
        else:
            future.set_result(result)
    except BaseException:
        LOGGER.exception("the completion of %r raised", future)
    finally:
        del future, fn, args, kwargs


def fail(future: Future[Any], exception: BaseException) -> None:
    """Complete a running future whose code raised, as `run_call` says."""
    try:
        if isinstance(exception, FutureCancelledError) and future.cancel_requested():
            future._set_cancelled()  # noqa: SLF001  (for the core)
        else:
            # Not the Task's own, which refuses.
            Future.set_exception(future, exception)
    finally:
        # As in Future.set_exception().
        del future, exception


class AtExit:
    """Ends the executors at the interpreter's exit: accepted work is still run.

    The threads are daemons, because a non-daemon thread that waits for work would
    hold up the exit for ever before anybody could tell it to stop.
    """

    def __init__(self) -> None:
        self.exiting = False
        # Reentrant: an object that makes an executor as it is finalized may come in between.
        self._lock = threading.RLock()
        self._backlogs: WeakSet[Backlog] = WeakSet()
        atexit.register(self._finish)

    def add(self, backlog: "Backlog") -> None:
        """Have the backlog worked off at the exit, unless it is gone by then."""
        with self._lock:
            self._backlogs.add(backlog)

    def _finish(self) -> None:
        self.exiting = True
        with self._lock:
            backlogs = list(self._backlogs)
        for backlog in backlogs:
            backlog.close()
        for backlog in backlogs:
            backlog.join()


class Backlog(ABC):
    """An executor's work and threads, apart from the executor, so that it can be dropped."""

    @abstractmethod
    def close(self) -> None:
        """Accept nothing more and let the threads end when the work is done."""

    @abstractmethod
    def join(self) -> None:
        """Wait until the threads have ended."""


AT_EXIT = AtExit()


def refuse_when(*, closed: bool) -> None:
    """Raise the RuntimeError of a submission that comes too late."""
    if AT_EXIT.exiting:
        msg = "cannot schedule new futures after interpreter shutdown"
        raise RuntimeError(msg)
    if closed:
        msg = "cannot schedule new futures after shutdown"
        raise RuntimeError(msg)
