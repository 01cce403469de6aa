"""A job in a process of its own: what is sent there, what runs there, and what comes back.

All of it is data: an `Order` goes there, `Report`s and a `Returned` or `Raised` come back.
"""

import contextvars
import logging
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from app.core import Future, FutureCancelledError, FutureTimeoutError, child
from app.core.forking import part_children
from app.jobs.context import SCOPE, Context, run_inline
from app.jobs.hooks import start_in_child
from app.jobs.model import Failure, Line, Progress
from app.jobs.outcome import failure_of, result_to_json
from app.jobs.output import Output
from app.jobs.registry import find_declared
from app.jobs.retry import ONCE, Verdict, verdict_on

LOGGER = logging.getLogger(__name__)

NICENESS = 10
"""What is added to the niceness of a process that runs jobs, as by the command `nice`.

Jobs that compute on every CPU would otherwise get their turns before the service's threads
do, which sleep most of the time and have little to do when they are woken.
"""


class Order(NamedTuple):
    """A job to be run. module: the home of the task. arguments: as JSON text."""

    context: Context
    token: int
    module: str
    task: str
    arguments: str
    max_result_bytes: int
    log_level: int


class Report(NamedTuple):
    """What the code of a job said while it ran. token: of the claim that it runs under.

    dropped: lines that were not kept since the last one, because there were too many.
    """

    job_id: str
    token: int
    progress: Progress | None
    lines: Sequence[Line]
    dropped: int = 0


class Returned(NamedTuple):
    """The function returned. result: as JSON text."""

    result: str


class Raised(NamedTuple):
    """The function raised. gave_in: by FutureCancelledError or FutureTimeoutError, as it was asked to.

    verdict: what the task's policy says to the exception, which itself stays in its process.
    """

    failure: Failure
    gave_in: bool
    verdict: Verdict


def run_order(order: Order) -> Returned | Raised:
    """Run a job's function on this thread, in a process of a ProcessPoolExecutor."""
    scope = _Scope(order)
    with scope.output:
        context = contextvars.Context()
        context.run(SCOPE.set, scope)
        return context.run(_run, order)


def prepare_process() -> None:
    """Make a process fit for jobs: it lets the service go first, and leaves SIGTERM to the worker."""
    os.nice(NICENESS)
    leave_sigterm_to_the_worker()


def leave_sigterm_to_the_worker() -> None:
    """Survive SIGTERM from now on: systemd, for one, sends it to every process of a service that it stops.

    The service drains then, and it is for the worker to say when a job has had its time.
    By a handler, because what a job starts would inherit that a signal is ignored.
    """
    signal.signal(signal.SIGTERM, lambda *_: None)
    # `multiprocessing` in a job ends its own children by it.
    part_children(lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL), (signal.SIGTERM,))


def _run(order: Order) -> Returned | Raised:
    policy = ONCE
    try:
        definition = find_declared(order.module, order.task)
        policy = definition.retry
        start_in_child(order.module)
        child.checkpoint()
        call = definition.signature.coerce(order.arguments)
        value = definition.fn(*call.args, **call.kwargs)
        return Returned(result_to_json(value, order.max_result_bytes))
    except BaseException as exc:  # noqa: BLE001  (SystemExit too is the job's, not the process's)
        return Raised(failure_of(exc), _is_a_request(exc), verdict_on(policy, exc))


def _is_a_request(exc: BaseException) -> bool:
    """Tell whether the code has ended by what it was asked to raise."""
    return isinstance(exc, FutureCancelledError | FutureTimeoutError) and child.is_asked_to_stop()


class _Scope:
    """The job, as its code sees it in a process."""

    listener = None
    """All that this process says is the job's: `output` takes it in."""

    def __init__(self, order: Order) -> None:
        self.context = order.context
        self.output = Output(order.log_level, self._send)
        self._token = order.token

    def _send(self, progress: Progress | None, lines: Sequence[Line], dropped: int) -> None:
        child.send(Report(self.context.id or "", self._token, progress, lines, dropped))

    def progress(self, progress: Progress) -> None:
        """Have it sent before long."""
        self.output.progress(progress)

    def checkpoint(self) -> None:
        """Raise what the job was asked to raise."""
        child.checkpoint()

    def submit(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Run a call here and now: the process is for this one job, and others have to have the CPUs."""
        return run_inline(fn, args, kwargs)
