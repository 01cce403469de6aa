"""Executor: the one interface behind which work runs, and what all of them share."""

import concurrent.futures
import logging
import os
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
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

    An executor belongs to the process that made it. In a forked child the parent's
    executors take nothing more and wait for nothing, and their futures that were not
    done will not be; new ones work.
    """

    @abstractmethod
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have `fn(*args, **kwargs)` run, and return its future.

        Raises RuntimeError after `shutdown`, at the interpreter's exit, and in a forked
        child of the process that made the executor.
        """

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept nothing more; what was accepted still runs.

        wait: return only when everything has ended and the threads with it.
        cancel_futures: cancel what has not begun. May be called again.
        Not abstract, as theirs is not: an executor without threads has nothing to end.
        """

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,  # noqa: ARG002
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Submit a call for each tuple of items at once, and yield the results in order.

        timeout: seconds from this call for all results; None means no limit.
        chunksize: calls that travel together; only a ProcessPoolExecutor looks at it.
        buffersize: calls at most whose results nobody has taken, so that the iterables may
        be endless; None submits all at once. As Python 3.14's, but it is never exceeded,
        and the results do not end early when the executor is dropped or shut down: the
        iterator keeps it until the items are used up, and raises what `submit` raises.
        A failed call's exception is raised in its turn, FutureTimeoutError when the
        time runs out; calls that have not begun by then are cancelled.
        """
        if buffersize is not None:
            _check_buffersize(buffersize)
        deadline = deadline_in(timeout)
        calls = (self.submit(fn, *items) for items in zip(*iterables, strict=False))
        return results_of(deque(islice(calls, buffersize)), calls, deadline)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown(wait=True)


def deadline_in(timeout: float | None) -> float | None:
    """Return the time (monotonic) in so many seconds; None when there is no limit."""
    return None if timeout is None else time.monotonic() + timeout


def _check_buffersize(buffersize: int) -> None:
    if not isinstance(buffersize, int):
        # For callers without a type checker.
        msg = "buffersize must be an integer or None"
        raise TypeError(msg)
    if buffersize < 1:
        msg = "buffersize must be None or > 0"
        raise ValueError(msg)


def results_of(futures: deque[Future[T]], calls: Iterator[Future[T]], deadline: float | None) -> Iterator[T]:
    """Yield the results of `futures`, and for each one taken submit the next of `calls`."""
    try:
        while futures:
            # Popped before the wait: this frame keeps no result that was handed out.
            box = [_result_by(futures.popleft(), deadline)]
            # Before the yield, so that the next call runs while the caller works on this result.
            futures.extend(_next_of(calls))
            yield box.pop()
    finally:
        for future in futures:
            future.cancel()


def _next_of(calls: Iterator[Future[T]]) -> Iterator[Future[T]]:
    """Submit one more call, if there is one; when that fails, it is the last result, in its turn."""
    try:
        yield from islice(calls, 1)
    except Exception as exc:  # noqa: BLE001  (the executor was shut down, or an iterable raised)
        failed: Future[T] = Future()
        failed.set_exception(exc)
        yield failed


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

    Their threads are not daemons: a thread that a call starts would be one too, and be cut
    off at the exit. The interpreter waits for them, and before that they are told to end.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Have nothing to end."""
        self.exiting = False
        # Reentrant: an object that makes an executor as it is finalized may come in between.
        self._lock = threading.RLock()
        self._backlogs: WeakSet[Backlog] = WeakSet()

    def add(self, backlog: "Backlog") -> None:
        """Have the backlog closed at the exit, unless it is gone by then."""
        with self._lock:
            self._backlogs.add(backlog)
        # After the entry: either this sees that the exit has begun, or the exit sees the backlog.
        if self.exiting:
            backlog.close()

    def finish(self) -> None:
        """Accept nothing more, and let the threads end when the work is done."""
        self.exiting = True
        with self._lock:
            backlogs = list(self._backlogs)
        for backlog in backlogs:
            backlog.close()

    def begin_in_child(self) -> None:
        """Start anew in a forked child: what is here is the parent's, and so are its threads.

        No lock is taken, since whoever holds it may not exist here; there is no other
        thread either, and what one was about to do to the set it has done or not.
        """
        parents = list(self._backlogs)
        self.begin()
        for backlog in parents:
            backlog.disown()


class Backlog(ABC):
    """An executor's work and threads, apart from the executor, so that it can be dropped."""

    disowned = False

    @abstractmethod
    def close(self) -> None:
        """Accept nothing more and let the threads end when the work is done."""

    @abstractmethod
    def join(self) -> None:
        """Wait until the threads have ended."""

    def disown(self) -> None:
        """Be closed from now on, with fresh locks, no calls and no threads: they are the parent's.

        Called in a forked child, which has one thread, perhaps one of this backlog. Extend
        it. The parent's locks may be held by threads that do not exist here, so they are
        replaced, not taken; its calls are set aside rather than dropped, for a finalizer
        could take from the parent what it still needs, a temporary folder for example.
        """
        self.disowned = True


AT_EXIT = AtExit()
os.register_at_fork(after_in_child=AT_EXIT.begin_in_child)
# Not public, but the standard library's own executors have lived by it since Python 3.9: only
# this is called before non-daemon threads are waited for, and at the end of every child that
# multiprocessing makes, forked or not.
threading._register_atexit(AT_EXIT.finish)  # type: ignore[attr-defined]  # noqa: SLF001


def refuse_when(*, closed: bool, disowned: bool = False) -> None:
    """Raise the RuntimeError of a submission that comes too late, or in another process."""
    if disowned:
        msg = "cannot schedule new futures in a forked child: the executor belongs to its parent process"
        raise RuntimeError(msg)
    if AT_EXIT.exiting:
        msg = "cannot schedule new futures after interpreter shutdown"
        raise RuntimeError(msg)
    if closed:
        msg = "cannot schedule new futures after shutdown"
        raise RuntimeError(msg)
