"""Task: a generator that yields futures, and is a Future itself."""

import os
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator
from contextvars import copy_context
from enum import Enum, auto
from functools import partial
from typing import Any, TypeVar, cast

from app.core.errors import FutureCancelledError
from app.core.executor import Executor, fail
from app.core.future import Future, FutureLike, State, run_all
from app.core.waiting import ask_to_stop, cancel_flat, gather, outcome_of, require_future, start

T = TypeVar("T")
_PENDING, _RUNNING, _CANCELLED, _FINISHED = State


class _Phase(Enum):
    """Where the one thing that moves a Task, its driver, stands.

        IDLE ──> QUEUED ──> STEPPING ──> ENDED
                   ^           │
                   └─ WAITING <┘

    Each move is made under the Task's lock, and whoever moves it to QUEUED, and
    nobody else, sees to it that a step runs. So steps never overlap, and a wake-up
    that races with a cancellation makes one step, not two. Waits are numbered, and a
    wake-up bears its wait's number: one that comes late, when the generator may wait
    for the same future again, moves nothing. A Task may be ENDED from IDLE (cancelled
    before it began), from STEPPING, and from QUEUED (its step will never run); whoever
    moves it there owns the generator from then on.
    """

    IDLE = auto()
    QUEUED = auto()
    STEPPING = auto()
    WAITING = auto()
    ENDED = auto()


_IDLE, _QUEUED, _STEPPING, _WAITING, _ENDED = _Phase


class Task(Future[T]):
    """Runs a generator that yields futures; its return value is the Task's result.

    `result = yield future` gets the future's result, or its exception raised at the
    yield. It may yield a Future, a list of Futures (a list of results comes back) or
    anything with `add_done_callback` and `result`; anything else raises TypeError at
    the yield. A yielded Task that has not been started is started.

    It begins with the first `step()`, or when awaited or yielded. With an executor
    every step is submitted to it, one at a time; without, a step runs on the thread
    that completed the future waited for. Each runs in the Task's own contextvars
    Context. A generator must not block on another Task that has no executor: that
    one's steps may be due on the very thread that is blocked.

    Differences from Future: `cancel()` of a running Task returns True. The future
    waited for is cancelled, and FutureCancelledError raised at the yield, once per
    request; the Task is cancelled when the generator ends by it. A generator that
    returns, or raises something else, has finished. `set_result` and `set_exception`
    raise RuntimeError: only the generator ends a Task.

    Raises TypeError for what is no generator.
    """

    __slots__ = ("_awaited", "_context", "_executor", "_generator", "_phase", "_throw", "_wait_number")

    def __init__(self, generator: Generator[Any, Any, T], executor: Executor | None = None) -> None:
        if not isinstance(generator, Generator):
            # For callers without a type checker: a function that forgot to yield is a common slip.
            msg = f"a generator is needed, not {type(generator).__name__}"
            raise TypeError(msg)
        super().__init__()
        self._generator = generator
        self._executor = executor
        self._context = copy_context()
        self._phase = _IDLE
        self._awaited: FutureLike[Any] | None = None
        self._wait_number = 0
        self._throw: BaseException | None = None

    def step(self) -> None:
        """Begin: run the generator to its first yield. A Task that has begun ignores it."""
        if not self._begin():
            return
        try:
            if self._executor is not None:
                self._dispatch()
            else:
                # A step made by hand is taken here and now, also from within another Task's step.
                _RUN_QUEUE.run_nested(self._advance)
        finally:
            # A failure's traceback reaches this frame, through the one that was called.
            del self

    def cancel(self) -> bool:
        """Cancel a pending Task, or have FutureCancelledError raised in a running one.

        Returns False only when it has finished. A request that comes when the
        generator is about to return comes too late, and the result counts.
        """
        return cancel_flat(self)

    def _ask_to_stop(self, later: deque[Callable[[], object]]) -> bool:
        request = FutureCancelledError()
        awaited, unborn, number = None, False, 0
        with self._lock:
            if self._state is _FINISHED or self._state is _CANCELLED:
                return self._state is _CANCELLED
            self._cancel_requested = True
            if self._phase is _IDLE:
                self._phase = _ENDED
                unborn = True
            else:
                self._throw = request
                if self._phase is _WAITING:
                    awaited, number = self._awaited, self._wait_number
        if unborn:
            self._finish(self._set_cancelled)
        elif awaited is not None:
            later.append(partial(self._stop_waiting, later, awaited, number))
        return True

    def set_result(self, result: T) -> None:  # noqa: ARG002
        """Raise RuntimeError."""
        msg = "Task does not support set_result operation"
        raise RuntimeError(msg)

    def set_exception(self, exception: BaseException) -> None:  # type: ignore[override]  # noqa: ARG002
        """Raise RuntimeError."""
        msg = "Task does not support set_exception operation"
        raise RuntimeError(msg)

    def _start(self) -> None:
        """Begin on behalf of whoever waits; not nested, so that a deep chain costs no stack."""
        if self._begin():
            self._dispatch()

    def __await__(self) -> Generator[Any, None, T]:
        self._start()
        return super().__await__()

    # -- the driver ----------------------------------------------------------

    def _begin(self) -> bool:
        with self._lock:
            if self._phase is not _IDLE:
                return False
            self._state = _RUNNING
            self._phase = _QUEUED
            return True

    def _dispatch(self) -> None:
        """Have the queued step run. Only whoever moved the phase to QUEUED comes here."""
        try:
            if self._executor is None:
                _RUN_QUEUE.run(self._advance)
            else:
                self._submit_step(self._executor)
        finally:
            # As in step().
            del self

    def _submit_step(self, executor: Executor) -> None:
        # Read before the step can run: it changes the number.
        number = self._wait_number
        try:
            step = executor.submit(self._advance)
        except BaseException as exc:  # noqa: BLE001  (it becomes the Task's outcome)
            # The executor takes no more, so the generator cannot go on: end it rather than hang.
            # The frames of `submit` hold this Task as an argument, so it would keep itself alive.
            traceback.clear_frames(exc.__traceback__)
            self._end_queued(number, partial(Future.set_exception, self, exc))
        else:
            step.add_done_callback(partial(self._step_done, number))
        finally:
            # As in step().
            del self

    def _step_done(self, number: int, step: Future[None]) -> None:
        """End the Task when its step will never run: the pool was shut down or broke before."""
        if step.cancelled():
            self._end_queued(number, self._set_cancelled)
        elif (exception := step.exception()) is not None:
            self._end_queued(number, partial(Future.set_exception, self, exception))

    def _end_queued(self, number: int, complete: Callable[[], None]) -> None:
        """End the Task unless the step that was queued after wait `number` has begun."""
        with self._lock:
            if self._phase is not _QUEUED or self._wait_number != number:
                return
            self._phase = _ENDED
        self._finish(complete)

    def _advance(self) -> None:
        """Take one step: give the generator what it waits for, and take the next future."""
        with self._lock:
            if self._phase is not _QUEUED:
                return
            self._phase = _STEPPING
            awaited, self._awaited = self._awaited, None
            request, self._throw = self._throw, None
        try:
            yielded = self._context.run(_resume, self._generator, awaited, request)
        except StopIteration as stop:
            self._end(partial(Future.set_result, self, stop.value))
        except BaseException as exc:  # noqa: BLE001  (whatever the generator raises is the outcome)
            self._end(partial(fail, self, exc))
        else:
            self._wait_for(self._accept(yielded))
        finally:
            # The traceback holds this frame: without this they would keep each other alive.
            del self, awaited, request

    def _accept(self, yielded: Any) -> FutureLike[Any]:
        """Return the future to wait for; what is none becomes a failed one, to be raised at the yield."""
        try:
            if isinstance(yielded, list):
                return gather(yielded)
            require_future(yielded)
            if yielded is self:
                return _failed(RuntimeError("a Task cannot wait for itself"))
            start(yielded)
            return cast("FutureLike[Any]", yielded)
        except BaseException as exc:  # noqa: BLE001  (raised at the yield)
            return _failed(exc)
        finally:
            # As in _advance().
            del self, yielded

    def _wait_for(self, awaited: FutureLike[Any]) -> None:
        with self._lock:
            self._awaited = awaited
            asked = self._throw is not None
            self._wait_number = number = self._wait_number + 1
            # WAITING before the callback is registered: it may come at once, from another thread.
            self._phase = _WAITING
        try:
            self._subscribe(awaited, number)
            if asked:
                # Asked to stop while the generator ran, before there was anything to cancel.
                later: deque[Callable[[], object]] = deque()
                later.append(partial(self._stop_waiting, later, awaited, number))
                run_all(later)
        finally:
            # As in step().
            del self

    def _subscribe(self, awaited: FutureLike[Any], number: int) -> None:
        try:
            awaited.add_done_callback(partial(self._wake, number))
        except BaseException as exc:  # noqa: BLE001  (raised at the yield)
            self._wake(number, _failed(exc))
        finally:
            # As in _advance().
            del self

    def _stop_waiting(
        self, later: deque[Callable[[], object]], awaited: FutureLike[Any], number: int
    ) -> None:
        """Cancel what the Task waits for, and step at once when that goes on running all the same.

        Otherwise the step comes when it is done: a Task only after its own cleanup.
        """
        stops = False
        try:
            stops = ask_to_stop(awaited, later)
        finally:
            if not stops:
                self._wake(number, awaited)

    def _wake(self, number: int, awaited: FutureLike[Any]) -> None:
        with self._lock:
            if self._phase is not _WAITING or self._wait_number != number:
                return
            # What was there is not dropped here: a finalizer would run while the lock is held.
            before, self._awaited = self._awaited, awaited
            self._phase = _QUEUED
        try:
            self._dispatch()
        finally:
            # As in step().
            del self, before, awaited

    def _end(self, complete: Callable[[], None]) -> None:
        """End the Task whose generator has just ended."""
        with self._lock:
            self._phase = _ENDED
        self._finish(complete)

    def _finish(self, complete: Callable[[], None]) -> None:
        """Close the generator, then complete, so that its `finally` has run when waiters wake.

        Only whoever moved the phase to ENDED comes here.
        """
        generator, self._generator = self._generator, _EMPTY
        # A Task that is kept for its result must not keep its executor's threads.
        self._awaited = self._throw = self._executor = None
        try:
            self._context.run(generator.close)
        except BaseException as exc:  # noqa: BLE001  (raised while it was closed: that is the outcome)
            complete = partial(Future.set_exception, self, exc)
        try:
            complete()
        finally:
            # As in _advance().
            del self, complete


def _resume(
    generator: Generator[Any, Any, Any], awaited: FutureLike[Any] | None, request: BaseException | None
) -> Any:
    """Let the generator go on with what it waited for, or with the request to stop."""
    try:
        result, failure = None, request
        if request is None and awaited is not None:
            result, failure = outcome_of(awaited)
        return generator.send(result) if failure is None else generator.throw(failure)
    finally:
        # The traceback of what is raised holds this frame, and these would close a circle.
        del generator, awaited, request
        result = failure = None


def _empty() -> Generator[Any, Any, Any]:
    return
    yield


_EMPTY = _empty()


def _failed(exception: BaseException) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(exception)
    return future


class _RunQueue(threading.local):
    """The steps due on this thread, one after the other instead of one inside the other.

    A step that completes a future would otherwise run the next Task's step inside
    itself, and a long chain would run out of stack.
    """

    def __init__(self) -> None:
        self._due: deque[Callable[[], object]] | None = None

    def run(self, step: Callable[[], None]) -> None:
        """Run `step` now, or after the one that runs on this thread."""
        if self._due is not None:
            self._due.append(step)
            return
        try:
            self.run_nested(step)
        finally:
            # As in Task.step().
            del step

    def run_nested(self, step: Callable[[], None]) -> None:
        """Run `step` now, and what becomes due by it."""
        outer, self._due = self._due, deque((step,))
        del step
        try:
            run_all(self._due)
        finally:
            self._due = outer

    def begin_in_child(self) -> None:
        """Start anew in a forked child: the steps that are due are the parent's to take.

        The step that forked may never end there, and what becomes due would wait for it.
        """
        if self._due is not None:
            # Set aside, as in Backlog.disown().
            self._parents_steps = list(self._due)
            self._due.clear()
            self._due = None


_RUN_QUEUE = _RunQueue()
os.register_at_fork(after_in_child=_RUN_QUEUE.begin_in_child)
