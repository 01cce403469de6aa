"""How a job's function is begun, in the way of its kind."""

import contextvars
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from app.jobs.context import SCOPE, Scope
from app.jobs.model import Job, Slot
from app.jobs.points import reached
from app.jobs.process import Order
from app.jobs.registry import Kind, TaskDefinition
from app.worker.calls import Driver, JobTask
from app.worker.pools import Pools
from app.worker.processes import JobProcess


@dataclass(frozen=True, slots=True)
class Terms:
    """What every execution is subject to.

    max_result_bytes: of a result, as JSON. cancel_grace: seconds that code in a process gets
    to end when it is to stop, before the process is killed.
    """

    max_result_bytes: int = 1024 * 1024
    cancel_grace: float = 5.0


class Running(Scope, Protocol):
    """The execution, as whatever runs its function sees it."""

    @property
    def job(self) -> Job:
        """The job, as claimed."""

    @property
    def definition(self) -> TaskDefinition:
        """Its task."""

    def returned(self, value: Any) -> None:
        """Take note that the function has returned."""

    def raised(self, exc: BaseException) -> None:
        """Take note that the function has raised, or could not be called."""

    def driven_by(self, driver: Driver) -> None:
        """Let a future that runs the function end it, and be cancelled with it."""

    def runs_in(self, process: JobProcess) -> None:
        """Let a process that runs the function end it, and be stopped with it."""


def begin(running: Running, pools: Pools, terms: Terms) -> None:
    """Have the function run. Raises RuntimeError when no thread can be had."""
    match running.definition.kind:
        case Kind.PLAIN if running.definition.slot is Slot.PROCESS:
            reached("function-next")
            running.runs_in(JobProcess(pools, _order(running, terms)))
        case Kind.PLAIN:
            call: Callable[[], None] = partial(_within, running, _run_function, running)
            pools.jobs.submit(pools.contention.run, running.definition.name, [call])
        case Kind.GENERATOR:
            pools.steps.submit(_within, running, _start_generator, running, pools)
        case Kind.COROUTINE:
            _start_coroutine(running, pools)


def _order(running: Running, terms: Terms) -> Order:
    job, definition = running.job, running.definition
    return Order(
        context=running.context,
        token=job.token or 0,
        module=definition.home,
        task=definition.name,
        arguments=job.arguments,
        max_result_bytes=terms.max_result_bytes,
        log_level=logging.root.level,
    )


def _within(scope: Scope, run: Callable[..., None], *args: Any) -> None:
    _context_of(scope).run(run, *args)


def _context_of(scope: Scope) -> contextvars.Context:
    context = contextvars.Context()
    context.run(SCOPE.set, scope)
    return context


def _run_function(running: Running) -> None:
    definition = running.definition
    try:
        running.checkpoint()
        call = definition.signature.coerce(running.job.arguments)
        reached("function-next")
        value = definition.fn(*call.args, **call.kwargs)
    except BaseException as exc:  # noqa: BLE001  (SystemExit too is the job's, not the worker's)
        running.raised(exc)
    else:
        running.returned(value)


def _start_generator(running: Running, pools: Pools) -> None:
    definition = running.definition
    try:
        call = definition.signature.coerce(running.job.arguments)
        reached("function-next")
        task = JobTask(definition.fn(*call.args, **call.kwargs), pools.steps)
    except BaseException as exc:  # noqa: BLE001  (as above)
        running.raised(exc)
    else:
        running.driven_by(task)
        task.step()


def _start_coroutine(running: Running, pools: Pools) -> None:
    definition, arguments = running.definition, running.job.arguments

    async def coroutine() -> Any:
        call = definition.signature.coerce(arguments)
        reached("function-next")
        return await definition.fn(*call.args, **call.kwargs)

    future = pools.coroutines.future()
    # Before it starts: it might end at once, and what follows an end runs serializers of
    # the user's, which must not be on this thread.
    running.driven_by(future)
    future.start(coroutine, _context_of(running))
