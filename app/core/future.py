"""Future: one result that is not there yet.

The life of a future, `State`, in one table (the Job's life is built on it):

    pending ──> running ──> finished
       │           │
       └───────────┴──────> cancelled

    pending -> finished    a producer may skip `running`
    running -> cancelled   only after a request, and only by an executor or a Task,
                           when the code has ended by FutureCancelledError

Locking. Each future has one plain lock. Completion takes waiters and callbacks out
of the future under the lock, in the same step that makes it done; registration
looks at the state under the same lock. So whoever registers is either told that
the future is done already or is among those that the completion takes: no wake-up
is lost, and none is given twice. Waiters are woken before callbacks run, because a
callback may take long.

While the lock is held nothing is called and nothing is created, only attributes are
moved: the interpreter runs the garbage collector's finalizers and the handlers of
signals at calls, loops and allocations, on the thread that happens to be there. If
one of them used the same future (an abandoned `as_completed` or `map` does, at its
`finally`), the thread would wait for a lock that it holds itself. The same rule
holds wherever `self._lock` is a plain Lock in the core; a test reads the code for it.
"""

import concurrent.futures
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator
from enum import StrEnum
from functools import partial
from threading import TIMEOUT_MAX
from typing import Any, NoReturn, Protocol, TypeVar, cast

from app.core.awaiting import wake_ups
from app.core.courtesy import COURTESY
from app.core.errors import FutureCancelledError, FutureTimeoutError, InvalidStateError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
_Waiters = dict[Callable[[], object], None] | None
_Callbacks = list[Callable[[Any], object]] | None
LOGGER = logging.getLogger(__name__)


class State(StrEnum):
    """The four states of a future, and of a job."""

    PENDING = "pending"
    RUNNING = "running"
    CANCELLED = "cancelled"
    FINISHED = "finished"


# From 3.14 on `with` looks for finalizers and signals when it has taken a lock, before the first
# line under it. A reentrant lock stands that: the line has not begun, so all is in order.
new_lock = threading.Lock if sys.version_info < (3, 14) else threading.RLock

# Looking a member up on the class costs a metaclass call each time.
_PENDING, _RUNNING, _CANCELLED, _FINISHED = State


class FutureLike(Protocol[T_co]):
    """What a Task may yield: ours, `concurrent.futures.Future`, or anything of that shape."""

    def add_done_callback(self, callback: Callable[[Any], object], /) -> object:
        """Call `callback` with the future once it is done."""

    def result(self) -> T_co:
        """Return the result of a done future, or raise its exception."""


class Future(concurrent.futures.Future[T]):
    """The result of a computation that may not have ended yet. Thread-safe.

    It is `concurrent.futures.Future` with these differences: a cancelled future
    is done at once, for `wait` and `as_completed` too; `cancel()` of a running
    one is still False, but counts as a request to stop (see `cancel_requested`);
    `await` works.

    It is derived from it only to be known as one: asyncio's `wrap_future` and
    `run_in_executor` insist on that. All it does is written here, and the base is
    never initialised. The standard library's own `wait` and `as_completed` cannot
    take it, because they reach into a future's inside.
    """

    __slots__ = (
        "_callbacks",
        "_cancel_requested",
        "_exception",
        "_lock",
        "_result",
        "_state",
        "_wakes",
    )

    def __init__(self) -> None:
        self._lock = new_lock()
        self._state: State = _PENDING
        self._result: T | None = None
        self._exception: BaseException | None = None
        self._cancel_requested = False
        # These two stay None until somebody comes: most futures never have both. Waiters
        # are the keys of a dict, because those can be taken out without calling anything.
        self._wakes: _Waiters = None
        self._callbacks: _Callbacks = None

    def __repr__(self) -> str:
        with self._lock:
            state, result, exception = self._state, self._result, self._exception
        ending = ""
        if state is _FINISHED:
            # Not the exception's truth: it may have a length of its own.
            failed = exception is not None
            ending = f" raised {type(exception).__name__}" if failed else f" returned {type(result).__name__}"
        return f"<{type(self).__name__} at {id(self):#x} state={state}{ending}>"

    # -- what a consumer asks ------------------------------------------------

    @property
    def state(self) -> State:
        """The state now; it may be out of date as soon as it is read, unless done."""
        return self._state

    def done(self) -> bool:
        """Tell whether the future was cancelled or has finished."""
        return self._state in (_FINISHED, _CANCELLED)

    def cancelled(self) -> bool:
        """Tell whether the future was cancelled."""
        return self._state is _CANCELLED

    def running(self) -> bool:
        """Tell whether the computation runs now."""
        return self._state is _RUNNING

    def cancel_requested(self) -> bool:
        """Tell whether `cancel()` was called before the future was done."""
        return self._cancel_requested

    def cancel(self) -> bool:
        """Cancel the future if it is pending.

        Returns True when it is cancelled now (or was already), False when it runs
        or has finished. A running one only notes the request: should its code end
        by FutureCancelledError, the executor makes it cancelled instead of failed.
        """
        with self._lock:
            if self._state is _PENDING or self._state is _RUNNING:
                self._cancel_requested = True
        return self._complete(_CANCELLED, unless=_RUNNING) or self._state is _CANCELLED

    def result(self, timeout: float | None = None) -> T:
        """Wait for the result and return it.

        timeout: seconds to wait; None means no limit, 0 or less does not wait.
        Raises FutureTimeoutError when it is not done by then, FutureCancelledError
        when it was cancelled, and the computation's own exception when it failed.
        """
        self._await_done(timeout)
        exception = self._outcome()
        if exception is None:
            return cast("T", self._result)
        try:
            raise exception
        finally:
            # The traceback holds this frame; without this the frame would hold the exception.
            del exception, self

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end and return the exception, or None after a success.

        timeout: seconds to wait; None means no limit, 0 or less does not wait.
        Raises FutureTimeoutError when it is not done by then, FutureCancelledError
        when it was cancelled.
        """
        self._await_done(timeout)
        if self._state is _CANCELLED:
            raise FutureCancelledError
        return self._exception

    def add_done_callback(self, fn: Callable[["Future[T]"], object]) -> None:
        """Call `fn` with this future when it is done, or now if it is done already.

        Callbacks run in the order they were added, on the thread that completes the
        future. One that raises is logged and stops no other.
        """
        added = [fn]
        with self._lock:
            if self._state is _PENDING or self._state is _RUNNING:
                if self._callbacks is None:
                    self._callbacks = added
                else:
                    self._callbacks += added
                return
        try:
            self._announce(None, added)
        finally:
            # As in set_exception(): a callback often leads to whoever keeps the exception.
            del self, fn, added

    def __await__(self) -> Generator[Any, None, T]:
        """Wait in asyncio. Cancelling the awaiter does not cancel this future."""
        # Imported here: asyncio doubles the import time of a library that most use without it.
        import asyncio  # noqa: PLC0415

        if not self.done():
            loop = asyncio.get_running_loop()
            waiter = loop.create_future()
            wake = partial(wake_ups(loop).add, waiter)
            if self._add_waiter(wake):
                try:
                    yield from waiter
                finally:
                    self._remove_waiter(wake)
        try:
            return self.result()
        finally:
            # As in result().
            del self

    # -- what a producer does ------------------------------------------------

    def set_running_or_notify_cancel(self) -> bool:
        """Mark the future as running; False when it was cancelled, so that nothing shall run.

        Raises InvalidStateError when it runs or has finished already.
        """
        with self._lock:
            if self._state is _PENDING:
                self._state = _RUNNING
                return True
            if self._state is _CANCELLED:
                return False
        msg = "Future in unexpected state"
        raise InvalidStateError(msg)

    def set_result(self, result: T) -> None:
        """Finish with a result. Raises InvalidStateError when the future is done already."""
        if not self._complete(_FINISHED, result):
            raise self._done_already()

    def set_exception(self, exception: BaseException) -> None:  # type: ignore[override]
        """Finish with a failure. Raises InvalidStateError when the future is done already."""
        if not isinstance(exception, BaseException):
            # For callers without a type checker: the mistake would surface far from here.
            msg = f"an exception is needed, not {type(exception).__name__}"
            raise TypeError(msg)
        try:
            if not self._complete(_FINISHED, exception=exception):
                raise self._done_already()
        finally:
            # A callback that raises this exception again puts this frame into its traceback.
            del self, exception

    # -- for the standard library --------------------------------------------

    @property
    def _condition(self) -> NoReturn:  # type: ignore[override]
        msg = "concurrent.futures' wait and as_completed cannot take this future; use those of app.core"
        raise TypeError(msg)

    def _get_snapshot(self) -> tuple[bool, bool, T | None, BaseException | None]:
        """Return whether it is done, whether cancelled, result and exception: asyncio asks, from 3.14 on."""
        state = self._state
        return state in (_FINISHED, _CANCELLED), state is _CANCELLED, self._result, self._exception

    # -- for the core only ---------------------------------------------------

    def _set_cancelled(self) -> None:
        """Make a running future cancelled: its code has ended after a request."""
        if not self._complete(_CANCELLED):
            raise self._done_already()

    def _start(self) -> None:
        """Set going what only starts when somebody wants it; a Task does."""

    def _ask_to_stop(self, later: deque[Callable[[], object]]) -> bool:  # noqa: ARG002
        """Cancel as `cancel()` does; what goes deeper, into futures waited for, is put into `later`."""
        return self.cancel()

    def _outcome(self) -> BaseException | None:
        return FutureCancelledError() if self._state is _CANCELLED else self._exception

    def _done_already(self) -> InvalidStateError:
        return InvalidStateError(f"{self._state.upper()}: {self!r}")

    def _complete(
        self,
        state: State,
        result: T | None = None,
        exception: BaseException | None = None,
        *,
        unless: State | None = None,
    ) -> bool:
        """Enter a final state and tell everybody; False when it is done already, or in state `unless`."""
        with self._lock:
            if self._state is _FINISHED or self._state is _CANCELLED or self._state is unless:
                return False
            # The outcome first: `result()` reads the state without the lock.
            self._result = result
            self._exception = exception
            self._state = state
            waiters, callbacks = self._wakes, self._callbacks
            if waiters is None and callbacks is None:
                return True
            self._wakes = self._callbacks = None
        try:
            self._announce(waiters, callbacks)
        finally:
            # As in set_exception().
            del self, exception, callbacks
        return True

    def _announce(self, waiters: _Waiters, callbacks: _Callbacks) -> None:
        callback = interrupt = None
        try:
            for wake in waiters or ():
                wake()
            for callback in callbacks or ():
                try:
                    callback(self)
                except BaseException as exc:
                    LOGGER.exception("exception calling callback for %r", self)
                    # Ctrl-C and SystemExit are not the callback's to end, but the others run first.
                    interrupt = interrupt if isinstance(exc, Exception) else exc
            if interrupt is not None:
                raise interrupt
        finally:
            # As in set_exception().
            del self, callbacks, callback, interrupt

    def _add_waiter(self, wake: Callable[[], object]) -> bool:
        """Have `wake` called once at completion; False when the future is done already."""
        added = {wake: None}
        with self._lock:
            if self._state is _FINISHED or self._state is _CANCELLED:
                return False
            if self._wakes is None:
                self._wakes = added
            else:
                self._wakes[wake] = None
            return True

    def _remove_waiter(self, wake: Callable[[], object]) -> None:
        with self._lock:
            if self._wakes is not None and wake in self._wakes:
                del self._wakes[wake]

    def _await_done(self, timeout: float | None) -> None:
        if self._state is _FINISHED or self._state is _CANCELLED:
            return
        if timeout is None:
            # Not with a limit, which a yield may exceed.
            COURTESY.give_way()
            if self._state is _FINISHED or self._state is _CANCELLED:
                return
        gate = threading.Lock()
        gate.acquire()
        wake = gate.release
        if self._add_waiter(wake):
            try:
                arrived = acquire_within(gate, timeout)
            except BaseException:
                self._remove_waiter(wake)
                raise
            if not arrived:
                self._remove_waiter(wake)
                # Done in the meantime counts: the caller gets what is there.
                if not self.done():
                    raise FutureTimeoutError


def acquire_within(gate: threading.Lock, timeout: float | None) -> bool:
    """Acquire a lock; False when `timeout` seconds (None: no limit) did not suffice."""
    if timeout is None:
        return gate.acquire()
    # Lock.acquire takes no negative timeout but -1, which waits forever, and none above TIMEOUT_MAX.
    return gate.acquire(timeout=min(max(timeout, 0), TIMEOUT_MAX))


def run_all(due: deque[Callable[[], object]]) -> None:
    """Call what is due and what becomes due meanwhile; an exception is raised when all were called."""
    failure = None
    while due:
        try:
            due.popleft()()
        except BaseException as exc:  # noqa: BLE001  (raised below)
            failure = exc
    if failure is not None:
        try:
            raise failure
        finally:
            # As in Future.result().
            del failure
