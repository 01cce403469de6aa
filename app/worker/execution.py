"""One attempt at a job: runs the function, and knows when all of its code has ended."""

import contextvars
import inspect
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from app.core import Executor, Future, FutureCancelledError, Task
from app.core.executor import run_call
from app.jobs.context import SCOPE, Context, Scope, run_inline
from app.jobs.lifecycle import Event, Failed, Progressed, Succeeded
from app.jobs.model import Failure, Job, Progress
from app.jobs.outcome import failure_of, result_to_json
from app.jobs.registry import Kind, TaskDefinition
from app.worker.pools import Pools

LOGGER = logging.getLogger(__name__)


class Owner(Protocol):
    """The worker, as an execution sees it."""

    @property
    def pools(self) -> Pools:
        """Where to run."""

    @property
    def max_result_bytes(self) -> int:
        """How large a result may be."""

    def ended(self, execution: "Execution", event: Event) -> None:
        """Settle the job: all of its code has ended, by this event."""

    def progressed(self, execution: "Execution") -> None:
        """Report the execution's progress before long."""


class Execution:
    """The scope of a job's code, from the claim to the end of everything it started.

    A job ends when its function has ended *and* the calls that it submitted: a result
    that is reported while code of the job still runs would be a lie, and so would be a
    cancellation.
    """

    def __init__(self, job: Job, definition: TaskDefinition, owner: Owner) -> None:
        self.job = job
        self.token = job.token or 0
        self.context = Context(job.id, job.attempt, None, job.tags)
        self._definition = definition
        self._owner = owner
        # Reentrant: sets and lists are made under it, so the garbage collector may run
        # here, and a finalizer of the user's may submit.
        self._lock = threading.RLock()
        self._asked = False
        self._open = 1
        """What has not ended yet: the function, and the calls. At zero the job has ended."""
        self._calls: set[Future[Any]] = set()
        self._driver: Future[Any] | None = None
        self._ending: Event | None = None
        self._progress: Progress | None = None
        self._reported = True

    # -- running -------------------------------------------------------------

    def start(self) -> None:
        """Have the function run where its kind runs. Raises RuntimeError when no thread can be had."""
        pools = self._owner.pools
        match self._definition.kind:
            case Kind.PLAIN:
                pools.jobs.submit(self._enter, self._run_function)
            case Kind.GENERATOR:
                pools.steps.submit(self._enter, self._start_generator)
            case Kind.COROUTINE:
                driver = pools.coroutines.future()
                # Before it starts: it might end at once, and what follows an end runs
                # serializers of the user's, which must not be on this thread.
                self._drive(driver)
                context = contextvars.Context()
                context.run(SCOPE.set, self)
                driver.start(self._coroutine, context)

    def abort(self, exc: BaseException) -> None:
        """End the job that could not be started."""
        self._raised(exc)

    def _enter(self, run: Callable[[], None]) -> None:
        context = contextvars.Context()
        context.run(SCOPE.set, self)
        context.run(run)

    def _run_function(self) -> None:
        try:
            self.checkpoint()
            call = self._definition.signature.coerce(self.job.arguments)
            value = self._definition.fn(*call.args, **call.kwargs)
        except BaseException as exc:  # noqa: BLE001  (SystemExit too is the job's, not the worker's)
            self._raised(exc)
        else:
            self._returned(value)

    def _start_generator(self) -> None:
        try:
            call = self._definition.signature.coerce(self.job.arguments)
            task: Task[Any] = Task(self._definition.fn(*call.args, **call.kwargs), self._owner.pools.steps)
        except BaseException as exc:  # noqa: BLE001
            self._raised(exc)
        else:
            self._drive(task)
            task.step()

    async def _coroutine(self) -> Any:
        call = self._definition.signature.coerce(self.job.arguments)
        return await self._definition.fn(*call.args, **call.kwargs)

    def _drive(self, driver: Future[Any]) -> None:
        """Let the future that will run the job's code end it, and be cancelled with it."""
        with self._lock:
            self._driver = driver
            asked = self._asked
        driver.add_done_callback(self._driver_done)
        if asked:
            # The request came before there was anything to pass it on to.
            driver.cancel()

    def _driver_done(self, driver: Future[Any]) -> None:
        # Not by `result()`: what it raises would hold this frame, and the frame the driver.
        exception = FutureCancelledError() if driver.cancelled() else driver.exception()
        if exception is None:
            self._returned(driver.result())
        else:
            self._raised(exception)

    # -- ending --------------------------------------------------------------

    def _returned(self, value: Any) -> None:
        try:
            event: Event = Succeeded(self.token, result_to_json(value, self._owner.max_result_bytes))
        except BaseException as exc:  # noqa: BLE001  (serializers of the user's own may raise anything)
            event = self._failed(exc)
        self._end(event)

    def _raised(self, exc: BaseException) -> None:
        self._end(self._failed(exc))

    def _failed(self, exc: BaseException) -> Failed:
        try:
            return Failed(self.token, failure_of(exc))
        except BaseException:
            # Its class is as bad as can be. The job must end all the same.
            LOGGER.exception("job %s raised what cannot be described", self.job.id)
            return Failed(self.token, Failure("Exception", "the exception cannot be described", ""))

    def _end(self, event: Event) -> None:
        """Take note of how the function has ended."""
        with self._lock:
            self._ending = event
            # The driver's context leads to this scope: the circle would keep the result alive.
            self._driver = None
        self._close_one()

    def _call_done(self, call: Future[Any]) -> None:
        with self._lock:
            self._calls.discard(call)
        self._close_one()

    def _close_one(self) -> None:
        with self._lock:
            self._open -= 1
            event = None if self._open else self._ending
        if event is not None:
            self._owner.ended(self, event)

    # -- stopping ------------------------------------------------------------

    def ask_to_stop(self) -> None:
        """Pass a cancellation on to the code, in the way of its kind; once is enough.

        Raises RuntimeError when no thread can be had for it.
        """
        with self._lock:
            if self._asked:
                return
            self._asked = True
        # Cancelled futures call back, and those callbacks may be the user's: not on the caller's thread.
        self._owner.pools.stops.submit(self._stop)

    def _stop(self) -> None:
        with self._lock:
            calls, driver = list(self._calls), self._driver
        if driver is not None:
            _cancel(driver)
        for call in calls:
            # The driver has asked what it waits for. A Task that is asked twice would
            # get the second error into the cleanup that follows the first.
            if not call.cancel_requested():
                _cancel(call)

    # -- the scope of the job's code -----------------------------------------

    def checkpoint(self) -> None:
        """Raise FutureCancelledError when the job was asked to stop."""
        if self._asked:
            raise FutureCancelledError(f"job {self.job.id} was asked to stop")

    def progress(self, progress: Progress) -> None:
        """Keep the latest; the worker collects it. After the job's end nothing comes of it."""
        with self._lock:
            news, self._progress, self._reported = self._reported, progress, False
        if news:
            self._owner.progressed(self)

    def take_progress(self) -> Progressed | None:
        """Return what was reported since the last time, as an event; None when nothing was."""
        with self._lock:
            reported, self._reported = self._reported or not self._open, True
        return None if reported else self.last_progress()

    def last_progress(self) -> Progressed | None:
        """Return the latest progress, even when it was taken before: it may not have been stored."""
        return None if self._progress is None else Progressed(self.token, self._progress)

    def submit(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Run a call as part of the job. Raises RuntimeError when the job has ended."""
        self._open_one()
        try:
            future = self._submit(fn, args, kwargs)
        except BaseException:
            self._close_one()
            raise
        with self._lock:
            self._calls.add(future)
        future.add_done_callback(self._call_done)
        return future

    def _open_one(self) -> None:
        with self._lock:
            if self._open:
                self._open += 1
                return
        # Some thread of the function's own has outlived it, and nobody would wait for the call.
        raise RuntimeError(f"job {self.job.id} has ended")

    def _submit(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        pools, context = self._owner.pools, contextvars.copy_context()
        if inspect.iscoroutinefunction(fn):
            # Not nested: a coroutine occupies no thread, and an inline call would block all the others.
            context.run(SCOPE.set, self)
            future = pools.coroutines.future()
            future.start(partial(fn, *args, **kwargs), context)
            return future
        context.run(SCOPE.set, _Nested(self))
        if inspect.isgeneratorfunction(fn):
            return context.run(_start_task, pools.parts, fn, args, kwargs)
        return pools.calls.submit(context.run, fn, *args, **kwargs)


def _start_task(
    executor: Executor, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Future[Any]:
    made: Future[Any] = Future()
    run_call(made, fn, args, kwargs)
    if made.exception() is not None:
        # Arguments that do not fit are the future's failure, as with any other function.
        return made
    task: Task[Any] = Task(made.result(), executor)
    task.step()
    return task


def _cancel(future: Future[Any]) -> None:
    try:
        future.cancel()
    except BaseException:
        # A callback's SystemExit; the others have to be told all the same.
        LOGGER.exception("a callback raised when %r was cancelled", future)


class _Nested:
    """The scope of a submitted call: the job's own, but what it submits runs inline.

    It could otherwise wait for a thread of the pool that it occupies itself.
    """

    def __init__(self, scope: Scope) -> None:
        self.context = scope.context
        self.checkpoint = scope.checkpoint
        self.progress = scope.progress

    def submit(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Run a call here and now."""
        return run_inline(fn, args, kwargs)
