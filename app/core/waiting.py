"""Waiting for several futures: `wait`, `as_completed`, `gather`."""

# ruff: noqa: SLF001  (the modules of the core are one library; the underscores keep its users out)

import concurrent.futures
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar

from app.core.errors import FutureCancelledError, FutureTimeoutError
from app.core.future import Future, FutureLike, State, acquire_within, new_lock, run_all

T = TypeVar("T")
F = TypeVar("F", bound=concurrent.futures.Future[Any])
LOGGER = logging.getLogger(__name__)

_CONDITIONS = (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION)


class DoneAndNotDoneFutures(NamedTuple, Generic[F]):
    """What `wait` returns: two sets of futures."""

    done: set[F]
    not_done: set[F]


def wait(
    fs: Iterable[F], timeout: float | None = None, return_when: str = ALL_COMPLETED
) -> DoneAndNotDoneFutures[F]:
    """Wait until the futures are done, or the first of them, or the first failure.

    timeout: seconds to wait; None means no limit. When it runs out, nothing is
    raised: what is not done is in `not_done`. A Task that nobody started is waited
    for, but not started. Futures of the standard library may be among them, asyncio's
    `run_coroutine_threadsafe` returns such. Raises ValueError for an unknown `return_when`.
    """
    if return_when not in _CONDITIONS:
        msg = f"Invalid return condition: {return_when!r}"
        raise ValueError(msg)
    futures = set(fs)
    tally = _Tally(len(futures), return_when)
    wakes = {future: partial(tally.count, future) for future in futures}
    try:
        for future, wake in wakes.items():
            if not _watch(future, wake, tally.count):
                wake()
        acquire_within(tally.gate, timeout)
    finally:
        _unwatch(wakes)
    done = {future for future in futures if future.done()}
    return DoneAndNotDoneFutures(done, futures - done)


class _Tally:
    """Counts completions and opens its gate, once, when the condition holds."""

    def __init__(self, total: int, return_when: str) -> None:
        self.gate = threading.Lock()
        # Held as a Future's lock is: nothing is called or created meanwhile.
        self._lock = new_lock()
        self._missing = total
        self._return_when = return_when
        self._shut = total > 0
        if self._shut:
            self.gate.acquire()

    def count(self, future: concurrent.futures.Future[Any]) -> None:
        suffices = self._suffices(future)
        with self._lock:
            self._missing -= 1
            opens = self._shut and (suffices or self._missing == 0)
            if opens:
                self._shut = False
        if opens:
            self.gate.release()

    def _suffices(self, future: concurrent.futures.Future[Any]) -> bool:
        if self._return_when == FIRST_EXCEPTION:
            return not future.cancelled() and future.exception() is not None
        return self._return_when == FIRST_COMPLETED


def _watch(
    future: concurrent.futures.Future[Any],
    wake: Callable[[], object],
    tell: Callable[[concurrent.futures.Future[Any]], object],
) -> bool:
    """Have `wake()` called when the future is done; False when it is already.

    One of the standard library calls `tell(future)` instead, now if it is done: what is
    given to it stays there, and must not keep it alive.
    """
    if isinstance(future, Future):
        return future._add_waiter(wake)
    future.add_done_callback(tell)
    return True


class _Teller:
    """Puts futures of the standard library into a queue, until it is let go of.

    They keep it for ever: with the queue, and themselves in it, they would make a cycle.
    """

    def __init__(self, put: Callable[[Any], object]) -> None:
        self._put: Callable[[Any], object] | None = put

    def __call__(self, future: concurrent.futures.Future[Any]) -> None:
        put = self._put
        if put is not None:
            put(future)

    def let_go(self) -> None:
        self._put = None


def _unwatch(wakes: Mapping[F, Callable[[], object]]) -> None:
    for future, wake in wakes.items():
        if isinstance(future, Future):
            future._remove_waiter(wake)


def as_completed(fs: Iterable[F], timeout: float | None = None) -> Iterator[F]:
    """Yield each future once, as it gets done; those done already come first. Takes what `wait` takes.

    timeout: seconds, from the first `next()`, for all of them; None means no limit.
    Raises FutureTimeoutError when some are not done by then. No reference to a
    future is kept once it was yielded.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    pending = set(fs)
    del fs
    total = len(pending)
    arrived: SimpleQueue[Any] = SimpleQueue()
    wakes = {future: partial(arrived.put, future) for future in pending}
    tell = _Teller(arrived.put)
    try:
        for future in [future for future, wake in wakes.items() if not _watch(future, wake, tell)]:
            arrived.put(future)
        future = None  # type: ignore[assignment]  # lets go of the last one
        while pending:
            box = [_next_arrival(arrived, deadline, len(pending), total)]
            pending.remove(box[0])
            del wakes[box[0]]
            # Popped in the yield, so that this frame holds no reference while the caller works.
            yield box.pop()
    finally:
        tell.let_go()
        _unwatch(wakes)


def _next_arrival(arrived: "SimpleQueue[F]", deadline: float | None, unfinished: int, total: int) -> F:
    try:
        if deadline is None:
            return arrived.get()
        return arrived.get(timeout=min(max(deadline - time.monotonic(), 0), threading.TIMEOUT_MAX))
    except Empty:
        msg = f"{unfinished} (of {total}) futures unfinished"
        raise FutureTimeoutError(msg) from None


def gather(*futures: FutureLike[T] | Iterable[FutureLike[T]]) -> Future[list[T]]:
    """Return one future of the list of all results, in the order given.

    futures: the futures, or one iterable of them; a Task not started yet is started.
    The first failure (or cancellation) is the whole one's exception, at once; the
    others go on. `cancel()` cancels every one that can be, and is done when the
    Tasks among them have ended. Raises TypeError for what is no future.
    """
    if len(futures) == 1 and not hasattr(futures[0], "add_done_callback"):
        return _Gathering(futures[0])
    return _Gathering(futures)  # type: ignore[arg-type]


class _Gathering(Future[list[T]]):
    """The future that `gather` returns.

    How it ends is decided once, under the lock: by the child that sets `_settled`, or
    by a request that came before. From then on only the request's own end counts, or
    the first child cancelled would make a failure of it.
    """

    __slots__ = ("_children", "_missing", "_results", "_settled")

    def __init__(self, futures: Iterable[FutureLike[T]]) -> None:
        super().__init__()
        self._children = children = tuple(futures)
        for child in children:
            require_future(child)
        self._missing = len(children)
        self._results: list[Any] = [None] * self._missing
        self._settled = False
        if not children:
            self.set_result([])
        for index, child in enumerate(children):
            start(child)
            child.add_done_callback(partial(self._child_done, index, self._results))

    def _child_done(self, index: int, results: list[Any], child: FutureLike[T]) -> None:
        results[index], exception = outcome_of(child)
        self._count(exception)

    def _count(self, exception: BaseException | None) -> None:
        with self._lock:
            self._missing -= 1
            if self._settled or self._cancel_requested or (exception is None and self._missing):
                return
            self._settled = True
        self._end(State.FINISHED, exception)

    def cancel(self) -> bool:
        """Cancel the children that can be; see `gather`. Returns False when it has finished."""
        return cancel_flat(self)

    def _ask_to_stop(self, later: deque[Callable[[], object]]) -> bool:
        with self._lock:
            if self._settled or self._state is not State.PENDING:
                return self._state is State.CANCELLED
            self._cancel_requested = True
            children = self._children
        rest = _Countdown(len(children), partial(self._end, State.CANCELLED))
        later.extend(partial(_stop_child, child, rest, later) for child in children)
        return True

    def _end(self, state: State, exception: BaseException | None = None) -> None:
        """Complete, unless another request has, and let go of the children, who may be large."""
        self._complete(
            state, self._results if state is State.FINISHED and exception is None else None, exception
        )
        self._children = ()
        self._results = []


def _stop_child(child: FutureLike[Any], rest: "_Countdown", later: deque[Callable[[], object]]) -> None:
    """Cancel a child; the gathering waits for those that can be: a Task is done after its cleanup only."""
    stops = False
    try:
        stops = ask_to_stop(child, later)
    finally:
        if stops:
            child.add_done_callback(rest.count)
        else:
            rest.count(child)


class _Countdown:
    """Calls `at_zero` after `total` counts."""

    def __init__(self, total: int, at_zero: Callable[[], object]) -> None:
        # Held as a Future's lock is: nothing is called or created meanwhile.
        self._lock = new_lock()
        self._missing = total
        self._at_zero = at_zero

    def count(self, _: object) -> None:
        with self._lock:
            self._missing -= 1
            last = self._missing == 0
        if last:
            self._at_zero()


def outcome_of(future: FutureLike[T]) -> tuple[T | None, BaseException | None]:
    """Return a done future's result and None, or None and its exception, cancellation as an error of ours.

    Ours are asked for the exception without raising it: that would lengthen its traceback.
    """
    try:
        if isinstance(future, Future):
            failure = FutureCancelledError() if future.cancelled() else future.exception()
            if failure is not None:
                return None, failure
        return future.result(), None
    except FutureCancelledError as exc:
        return None, exc
    except concurrent.futures.CancelledError as exc:
        return None, FutureCancelledError(*exc.args)
    except BaseException as exc:  # noqa: BLE001  (the future's outcome, whatever it is)
        return None, exc
    finally:
        # The exception's traceback holds this frame, and the future the exception.
        del future


def require_future(value: Any) -> None:
    """Raise TypeError unless `value` has what a future of any kind has."""
    if not (callable(getattr(value, "add_done_callback", None)) and callable(getattr(value, "result", None))):
        msg = f"a Future or a list of Futures is needed, not {type(value).__name__}"
        raise TypeError(msg)


def start(future: FutureLike[Any]) -> None:
    """Start a Task that nobody has started; other futures are on their way already."""
    if isinstance(future, Future):
        future._start()


def ask_to_stop(future: FutureLike[Any], later: deque[Callable[[], object]]) -> bool:
    """Cancel a future of any kind; False when it will not end sooner for it.

    What goes deeper is put into `later`, for the caller to call: a Task may wait for a
    Task that waits for a Task, deeper than the stack.
    """
    try:
        if isinstance(future, Future):
            return future._ask_to_stop(later)
        method = getattr(future, "cancel", None)
        return bool(method()) if callable(method) else False
    except Exception:
        # Somebody else's future; whoever waits for this one must not hang for its fault.
        LOGGER.exception("cancelling %r raised", future)
        return False


def cancel_flat(future: Future[Any]) -> bool:
    """Cancel a future and what it waits for, one after the other instead of one inside the other."""
    later: deque[Callable[[], object]] = deque()
    answer = future._ask_to_stop(later)
    run_all(later)
    return answer
