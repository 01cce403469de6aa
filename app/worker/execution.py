"""One attempt at a job: runs the function, and knows when all of its code has ended."""

import contextvars
import inspect
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from app.core import Future, FutureCancelledError, Task, ThreadPoolExecutor
from app.jobs.context import SCOPE, Context, Scope, run_inline
from app.jobs.lifecycle import Event, Failed, Progressed, Succeeded
from app.jobs.model import Job, Progress
from app.jobs.outcome import failure_of, result_to_json
from app.jobs.registry import Kind, TaskDefinition
from app.worker.coroutines import Coroutines


class Pools:
    """Where user code runs: never on the API's event loop, never on the writer's thread.

    jobs: plain functions, one slot each. steps: generators' steps. calls: what jobs
    `submit`. Three pools, so that a job never waits for a thread that waits for it:
    a job or a step may wait for calls, and a call waits for nothing of ours, because a
    `submit` within it runs inline. stops: the callbacks of what a cancellation cancels.
    """

    def __init__(self, threads: int) -> None:
        self.jobs = ThreadPoolExecutor(threads, "errand-job")
        self.steps = ThreadPoolExecutor(threads, "errand-step")
        self.calls = ThreadPoolExecutor(threads, "errand-call")
        self.stops = ThreadPoolExecutor(1, "errand-stop")
        self.coroutines = Coroutines()

    def close(self) -> None:
        """End the threads that are idle; those that run user code end with it."""
        for pool in (self.jobs, self.steps, self.calls, self.stops):
            pool.shutdown(wait=False, cancel_futures=True)
        self.coroutines.close()


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
        self._lock = threading.Lock()
        self._asked = False
        self._calls: set[Future[Any]] = set()
        self._driver: Future[Any] | None = None
        self._ending: Event | None = None
        self._progress: Progress | None = None

    # -- running -------------------------------------------------------------

    def start(self) -> None:
        """Have the function run where its kind runs."""
        pools = self._owner.pools
        match self._definition.kind:
            case Kind.PLAIN:
                pools.jobs.submit(self._enter, self._run_function)
            case Kind.GENERATOR:
                pools.steps.submit(self._enter, self._start_generator)
            case Kind.COROUTINE:
                context = contextvars.Context()
                context.run(SCOPE.set, self)
                self._drive(pools.coroutines.submit(self._coroutine, context))

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
        """Let the future that runs the job's code end it, and be cancelled with it."""
        driver.add_done_callback(self._driver_done)
        with self._lock:
            self._driver = driver
            asked = self._asked
        if asked:
            # The request came before there was anything to pass it on to.
            driver.cancel()

    def _driver_done(self, driver: Future[Any]) -> None:
        try:
            value = driver.result()
        except BaseException as exc:  # noqa: BLE001
            self._raised(exc)
        else:
            self._returned(value)

    # -- ending --------------------------------------------------------------

    def _returned(self, value: Any) -> None:
        try:
            event: Event = Succeeded(self.token, result_to_json(value, self._owner.max_result_bytes))
        except BaseException as exc:  # noqa: BLE001  (serializers of the user's own may raise anything)
            event = Failed(self.token, failure_of(exc))
        self._end(event)

    def _raised(self, exc: BaseException) -> None:
        self._end(Failed(self.token, failure_of(exc)))

    def _end(self, event: Event) -> None:
        with self._lock:
            self._ending = event
            still_running = bool(self._calls)
        if not still_running:
            self._owner.ended(self, event)

    def _call_done(self, call: Future[Any]) -> None:
        with self._lock:
            self._calls.discard(call)
            event = None if self._calls else self._ending
        if event is not None:
            self._owner.ended(self, event)

    # -- stopping ------------------------------------------------------------

    def ask_to_stop(self) -> None:
        """Pass a cancellation on to the code, in the way of its kind; once is enough."""
        with self._lock:
            if self._asked:
                return
            self._asked = True
        # Cancelled futures call back, and those callbacks may be the user's: not on the caller's thread.
        self._owner.pools.stops.submit(self._stop)

    def _stop(self) -> None:
        with self._lock:
            calls, driver = list(self._calls), self._driver
        # The driver first: it is told once, by its own request, and not again by a call that was cancelled under it.
        if driver is not None:
            driver.cancel()
        for call in calls:
            call.cancel()

    # -- the scope of the job's code -----------------------------------------

    def checkpoint(self) -> None:
        """Raise FutureCancelledError when the job was asked to stop."""
        if self._asked:
            raise FutureCancelledError(f"job {self.job.id} was asked to stop")

    def progress(self, progress: Progress) -> None:
        """Keep the latest; the worker collects it."""
        first, self._progress = self._progress is None, progress
        if first:
            self._owner.progressed(self)

    def take_progress(self) -> Progressed | None:
        """Return what was reported since the last time, as an event; None when nothing was."""
        progress, self._progress = self._progress, None
        return None if progress is None else Progressed(self.token, progress)

    def submit(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Run a call as part of the job."""
        context = contextvars.copy_context()
        context.run(SCOPE.set, _Nested(self))
        future = self._submit(context, fn, args, kwargs)
        with self._lock:
            self._calls.add(future)
        future.add_done_callback(self._call_done)
        return future

    def _submit(
        self, context: contextvars.Context, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Future[Any]:
        pools = self._owner.pools
        if inspect.iscoroutinefunction(fn):
            return pools.coroutines.submit(partial(fn, *args, **kwargs), context)
        if not inspect.isgeneratorfunction(fn):
            return pools.calls.submit(context.run, fn, *args, **kwargs)
        task: Task[Any] = context.run(lambda: Task(fn(*args, **kwargs), pools.steps))
        task.step()
        return task


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
