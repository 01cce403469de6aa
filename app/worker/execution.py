"""One attempt at a job: runs the function, and knows when all of its code has ended."""

import contextvars
import inspect
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from app.core import Future, FutureCancelledError, FutureTimeoutError, ProcessDied
from app.jobs.context import SCOPE, Context
from app.jobs.lifecycle import Died, Event, Failed, Succeeded
from app.jobs.model import Failure, Job, Progress
from app.jobs.outcome import failure_of, result_to_json
from app.jobs.output import dropped_line
from app.jobs.points import reached
from app.jobs.process import Raised, Report, Returned
from app.jobs.registry import TaskDefinition
from app.jobs.retry import Verdict, verdict_on, wait_before
from app.worker.calls import CallScope, Driver, JobTask, Nested, cancel_on_loop, make_task
from app.worker.coroutines import CoroutineFuture
from app.worker.pools import Pools
from app.worker.processes import JobProcess
from app.worker.record import Record
from app.worker.runs import Terms, begin
from app.worker.said import Messenger, Said

LOGGER = logging.getLogger(__name__)

LOOP_PATIENCE = 1.0
"""Seconds that the coroutines' loop gets to tell a coroutine before what it may wait for is stopped."""

REQUESTS = (FutureCancelledError, FutureTimeoutError)
"""What code that was asked to stop raises if it does as it was asked."""


class Owner(Messenger, Protocol):
    """The worker, as an execution sees it."""

    @property
    def pools(self) -> Pools:
        """Where to run."""

    @property
    def terms(self) -> Terms:
        """What the execution is subject to."""

    def later(self, seconds: float, call: Callable[[], object], /) -> Callable[[], None]:
        """Have something quick called in a while; return what takes that back."""

    def ended(self, execution: "Execution", event: Event) -> None:
        """Settle the job: all of its code has ended, by this event."""


class Execution:
    """The scope of a job's code, from the claim to the end of everything it started.

    A job ends when its function has ended *and* the calls that it submitted: a result
    that is reported while code of the job still runs would be a lie, and so would be a
    cancellation.
    """

    def __init__(self, job: Job, definition: TaskDefinition, owner: Owner) -> None:
        self.job = job
        self.token = job.token or 0
        self._started = time.monotonic()
        deadline = None if job.timeout is None else self._started + job.timeout
        self.context = Context(job.id, job.attempt, deadline, job.tags)
        self.definition = definition
        self._owner = owner
        # Reentrant: sets and lists are made under it, so the garbage collector may run
        # here, and a finalizer of the user's may submit.
        self._lock = threading.RLock()
        self._asked = False
        self._timed_out = False
        """Whether it was asked because its time is up, and by nobody since."""
        self._alarms: list[Callable[[], None]] = []
        """Take back what is to happen if it has not ended by then."""
        self._open = 1
        """What has not ended yet: the function, and the calls. At zero the job has ended."""
        self._calls: set[Future[Any]] = set()
        self._driver: Driver | None = None
        self._process: JobProcess | None = None
        self._ending: Event | None = None
        self._gave_in = False
        self.said = self.listener = Said(job, owner)

    # -- running -------------------------------------------------------------

    def start(self) -> None:
        """Have the function run where its kind runs. Raises RuntimeError when no thread can be had."""
        if self.job.timeout is not None:
            self._alarm(self.job.timeout, self._time_out)
        begin(self, self._owner.pools, self._owner.terms)

    def driven_by(self, driver: Driver) -> None:
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
            self.returned(driver.result())
        else:
            self.raised(exception)

    def runs_in(self, process: JobProcess) -> None:
        """Let the process that runs the job's code end it, and be stopped with it."""
        with self._lock:
            self._process = process
            asked = self._asked
        process.when_ended(self._process_ended)
        if asked:
            # As above.
            self._stop_process(process)

    def _process_ended(self) -> None:
        with self._lock:
            process = self._process
        ending = process.ending() if process is not None else None
        if self.said.dropped:
            self._owner.pools.speaker.say([dropped_line(self.said.dropped)], self.job.id)
        match ending:
            case Returned(result):
                self._end(Succeeded(self.token, result))
            case Raised(failure, is_request, verdict):
                self._failed_with(failure, verdict, is_request=is_request)
            case ProcessDied():
                failure, verdict = self._described(self._request() if self._timed_out else ending)
                self._end(Died(self.token, failure, self._wait_before_next(verdict)))
            case BaseException():
                self.raised(ending)

    # -- ending --------------------------------------------------------------

    def returned(self, value: Any) -> None:
        """Take note that the function has returned."""
        try:
            event: Event = Succeeded(self.token, result_to_json(value, self._owner.terms.max_result_bytes))
        except BaseException as exc:  # noqa: BLE001  (serializers of the user's own may raise anything)
            event = self._failed(*self._described(exc))
        self._end(event)

    def raised(self, exc: BaseException) -> None:
        """Take note that the function has raised, or could not be called."""
        self._failed_with(*self._described(exc), is_request=isinstance(exc, REQUESTS))

    def _failed_with(self, failure: Failure, verdict: Verdict, *, is_request: bool) -> None:
        """End the job by what its code has raised. is_request: which is what a job is asked to stop with."""
        stopped = self._asked and is_request
        self._gave_in = stopped and not self._timed_out
        if stopped and self._timed_out:
            # It does not matter which of the two was raised: a generator gets its Task's.
            failure, verdict = self._described(self._request())
        self._end(self._failed(failure, verdict))

    def _failed(self, failure: Failure, verdict: Verdict) -> Failed:
        return Failed(self.token, failure, self._wait_before_next(verdict))

    def _wait_before_next(self, verdict: Verdict) -> int | None:
        """Return the microseconds before the next attempt; None when there shall be none."""
        if self._asked and not self._timed_out:
            # Whoever wants it cancelled wants no other attempt.
            return None
        return wait_before(self.job.backoff, self.job.attempt, verdict)

    def _described(self, exc: BaseException) -> tuple[Failure, Verdict]:
        try:
            return failure_of(exc), verdict_on(self.definition.retry, exc)
        except BaseException:
            # Its class is as bad as can be. The job must end all the same.
            LOGGER.exception("job %s raised what cannot be described", self.job.id)
            return Failure("Exception", "the exception cannot be described", ""), False

    def _end(self, event: Event) -> None:
        """Take note of how the function has ended."""
        reached("function-ended")
        with self._lock:
            self._ending = event
            # The driver's context leads to this scope: the circle would keep the result alive.
            self._driver = self._process = None
        self._close_one()

    def _call_done(self, call: Future[Any]) -> None:
        with self._lock:
            self._calls.discard(call)
        self._close_one()

    def _close_one(self) -> None:
        with self._lock:
            self._open -= 1
            event = None if self._open else self._ending
            alarms = [] if self._open else self._alarms
        if event is not None:
            for take_back in alarms:
                take_back()
            self._owner.ended(self, event)

    def log(self, event: Event) -> None:
        """Leave one line of the end."""
        Record(self.job, event, self._asked and not self._timed_out, self._gave_in, self._started).log()

    # -- stopping ------------------------------------------------------------
    #
    # Whom a request reaches. The driver and the calls that there are when it comes are
    # told by it. A call submitted after it is not begun, its future is cancelled: it would
    # never be told, and whoever waits for it would wait for ever. That is what checkpoint()
    # does to a plain function, and like checkpoint() it does so every time. But code that has been
    # told, a generator that got the error or a coroutine that was cancelled, cleans up by
    # now: what it submits from then on is left alone, and what those calls submit too, or
    # no cleanup could ever submit. A generator that is asked within a step is told at its
    # next yield, so until then its calls are not cleanup.
    #
    # `_asked` is set, and the calls are taken, in one hold of the lock; a call is entered
    # among them and `_asked` looked at in one hold too. So each call is told by exactly
    # one of the two, or spared.

    def ask_to_stop(self, *, timed_out: bool = False) -> None:
        """Pass a cancellation, or the end of its time, on to the code, in the way of its kind, once.

        Raises RuntimeError when no thread can be had for it.
        """
        with self._lock:
            # Who is cancelled has not timed out, whichever came first.
            self._timed_out = timed_out and not self._asked
            if self._asked:
                return
            self._asked = True
            process = self._process
            running = list(self._calls) if self._driver is None else [self._driver, *self._calls]
            # Under the lock: what they submit from now on is cancelled by the loop too, after them.
            others = cancel_on_loop(running)
        self._stop_soon(others, after_loop=len(others) < len(running))
        if process is not None:
            self._stop_process(process)

    def _time_out(self) -> None:
        self.ask_to_stop(timed_out=True)

    def _stop_process(self, process: JobProcess) -> None:
        # First: a process that takes nothing in may hold up the request, until it is killed.
        self._alarm(self._owner.terms.cancel_grace, process.kill)
        process.stop(self._request())

    def _alarm(self, seconds: float, call: Callable[[], object]) -> None:
        """Have `call` called then, unless the job has ended."""
        take_back = self._owner.later(seconds, call)
        with self._lock:
            self._alarms.append(take_back)
            ended = not self._open
        if ended:
            # It may not have been among those that the end took back.
            take_back()

    def _stop_soon(self, futures: list[Future[Any]], *, after_loop: bool) -> None:
        if futures:
            # Cancelled futures call back, and those callbacks may be the user's: not on this thread.
            self._owner.pools.stops.submit(self._stop, futures, after_loop)

    def kill(self) -> None:
        """Kill the process that the code runs in, if it runs in one."""
        with self._lock:
            process = self._process
        if process is not None:
            process.kill()

    def _stop(self, futures: list[Future[Any]], after_loop: bool) -> None:
        if after_loop:
            # A coroutine that comes to await a call which is cancelled already would get that error
            # first, and its own cancellation in its cleanup. Not for ever: it may block the
            # loop, waiting for one of these.
            self._owner.pools.coroutines.catch_up(LOOP_PATIENCE)
        for future in futures:
            _cancel(future)

    # -- the scope of the job's code -----------------------------------------

    def checkpoint(self) -> None:
        """Raise FutureCancelledError when the job was asked to stop, FutureTimeoutError after its time."""
        if self._asked:
            raise self._request()

    def _request(self) -> BaseException:
        """Return what the code is to raise when it is asked to stop."""
        if self._timed_out:
            return FutureTimeoutError(f"the job has run for longer than its {self.job.timeout:g} s")
        return FutureCancelledError(f"job {self.job.id} was asked to stop")

    def progress(self, progress: Progress) -> None:
        """Keep the latest; the worker collects it. After the job's end nothing comes of it."""
        self.said.progress(progress)

    def take_in(self, report: Report) -> None:
        """Take what the code has said in its process."""
        self.said.take_in(report)
        self._owner.pools.speaker.say(report.lines, self.job.id)

    def submit(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Run a call as part of the job. Raises RuntimeError when the job has ended."""
        return self.submit_from(self._driver, fn, args, kwargs)

    def submit_from(
        self,
        driver: Driver | None,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        spared: bool = False,
    ) -> Future[Any]:
        """Run a call that this driver's code submits. spared: that code is itself part of a cleanup."""
        with self._lock:
            if not self._open:
                # Some thread of the function's own has outlived it, and nobody would wait for the call.
                raise RuntimeError(f"job {self.job.id} has ended")
            refused = self.refuses(driver, spared=spared)
            # What is let in after the request is let in because it belongs to a cleanup.
            spared = self._asked
            self._open += not refused
        if refused:
            return self._refused(driver)
        try:
            call = self._begin(CallScope(self, spared), fn, args, kwargs)
        except BaseException:
            self._close_one()
            raise
        call.add_done_callback(self._call_done)
        return call

    def refuses(self, driver: Driver | None, *, spared: bool) -> bool:
        """Tell whether what this driver's code submits now is not to be begun."""
        return self._asked and not spared and (driver is None or not driver.told)

    def _refused(self, driver: Driver | None) -> Future[Any]:
        """Return a cancelled future; to a coroutine one that the loop cancels, after the coroutine itself.

        It would otherwise get two errors: this one, and its own cancellation in its cleanup.
        """
        on_loop = isinstance(driver, CoroutineFuture)
        future = self._owner.pools.coroutines.future() if on_loop else Future[Any]()
        future.cancel()
        return future

    def _begin(
        self, scope: CallScope, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Future[Any]:
        pools, context = self._owner.pools, contextvars.copy_context()
        if inspect.iscoroutinefunction(fn):
            future = pools.coroutines.future()
            scope.driven_by(future)
            context.run(SCOPE.set, scope)
            # Before it begins: it must not submit before it can be told.
            self._add(future, scope)
            future.start(partial(fn, *args, **kwargs), context)
            return future
        context.run(SCOPE.set, Nested(scope))
        if inspect.isgeneratorfunction(fn):
            call = context.run(make_task, pools.parts.lane(self), fn, args, kwargs)
            if isinstance(call, JobTask):
                scope.driven_by(call)
                self._add(call, scope)
                call.step()
            return call
        run: Callable[[], Any] = partial(context.run, fn, *args, **kwargs)
        call = pools.calls.lane(self).submit(pools.contention.run, self.definition.name, [run])
        self._add(call, scope)
        return call

    def _add(self, call: Future[Any], scope: CallScope) -> None:
        """Enter the call among those that a request reaches, and pass on one that has come meanwhile."""
        with self._lock:
            self._calls.add(call)
            if not self._asked or scope.spared:
                return
            others = cancel_on_loop([call])
        try:
            self._stop_soon(others, after_loop=True)
        except RuntimeError:
            LOGGER.exception("a call of job %s cannot be interrupted", self.job.id)


def _cancel(future: Future[Any]) -> None:
    try:
        future.cancel()
    except BaseException:
        # A callback's SystemExit; the others have to be told all the same.
        LOGGER.exception("a callback raised when %r was cancelled", future)
