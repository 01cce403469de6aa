"""What a task function can ask of the job it runs in: `context`, `checkpoint`, `progress`, `submit`.

The scope travels in `contextvars`, so it is there in generators, coroutines and the
calls that they submit. Outside a job the helpers do no harm: a task function is
tested as the plain function that it is.
"""

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from app.core import Future, Task, ThreadedExecutor
from app.core.executor import run_call
from app.jobs.model import Progress
from app.jobs.outcome import storable

P = ParamSpec("P")
T = TypeVar("T")

LARGEST = 2**53
"""The largest amount of progress: beyond it the numbers of JSON's readers skip integers."""

MESSAGE_LIMIT = 1000
"""Characters of a progress message that are kept."""


@dataclass(frozen=True, slots=True)
class Context:
    """The job that the code runs in.

    id: None outside a job. attempt: from 1; 0 outside a job. deadline: when it times
    out, in seconds of `time.monotonic()`; None means never. tags: as submitted.
    """

    id: str | None = None
    attempt: int = 0
    deadline: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


class Listener(Protocol):
    """Takes in what the code of a job prints and logs; any thread may call it, and it raises nothing."""

    def write(self, level: int, text: str) -> None:
        """Take in what was printed, in any pieces. level: INFO for stdout, WARNING for stderr."""

    def say(self, logger: str, level: int, text: str) -> None:
        """Take in a line. logger: empty for what was printed."""


class Scope(Protocol):
    """What a worker provides to the code of a job."""

    @property
    def context(self) -> Context:
        """The job, as the function may see it."""

    @property
    def listener(self) -> Listener | None:
        """Who is told what the code prints and logs; None when all that is said here is this job's."""

    def submit(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Run a call as part of the job."""

    def progress(self, progress: Progress) -> None:
        """Take note of how far the job has come."""

    def checkpoint(self) -> None:
        """Raise when the job was asked to stop."""


SCOPE: contextvars.ContextVar[Scope | None] = contextvars.ContextVar("errand_scope", default=None)


def context() -> Context:
    """Return the job that this code runs in; one whose `id` is None outside a job."""
    scope = SCOPE.get()
    return Context() if scope is None else scope.context


def checkpoint() -> None:
    """Stop here if the job was asked to stop; outside a job, do nothing.

    Raises FutureCancelledError when it was cancelled, FutureTimeoutError when its
    time is up; on every call, so that code which swallows the first meets the next.
    """
    scope = SCOPE.get()
    if scope is not None:
        scope.checkpoint()


def progress(done: float, total: float | None = None, message: str | None = None) -> None:
    """Say how far the job has come, in units of your choice. Cheap enough for a tight loop.

    total: None when it is not known. message: only its first 1000 characters are kept.
    Outside a job nothing happens, except that what is wrong is found there too: raises
    TypeError for what is no number, ValueError for NaN, infinity and beyond 2**53.
    """
    text = None if message is None else storable(str(message)[:MESSAGE_LIMIT])[:MESSAGE_LIMIT]
    report = Progress(_number(done), None if total is None else _number(total), text)
    scope = SCOPE.get()
    if scope is not None:
        scope.progress(report)


def _number(value: float) -> float:
    """Return the value as a plain int or float: it may be another library's."""
    if not isinstance(value, Real):
        msg = f"progress is counted in numbers, not in {type(value).__name__}"
        raise TypeError(msg)
    # NaN is in no range.
    if not -LARGEST <= value <= LARGEST:
        msg = "progress is counted in finite numbers, at most 2**53"
        raise ValueError(msg)
    return int(value) if isinstance(value, Integral) else float(value)


@overload
def submit(fn: Callable[P, Generator[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...
@overload
def submit(fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...
@overload
def submit(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...
def submit(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
    """Run a call beside the job's own code, and return its future.

    `result = yield submit(f, x)` in a generator, `await submit(f, x)` in a coroutine,
    `submit(f, x).result()` in a plain function. The call is a part of the job: the job
    is not done before it has ended, and `checkpoint()` works in it. Outside a job, and within
    such a call unless that is a coroutine, `submit` runs the call at once, on this thread.
    """
    scope = SCOPE.get()
    return run_inline(fn, args, kwargs) if scope is None else scope.submit(fn, args, kwargs)


def run_inline(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
    """Run a call of any kind on this thread; a coroutine on one of its own, which has no loop yet."""
    if inspect.iscoroutinefunction(fn):
        with ThreadedExecutor() as executor:
            return executor.submit(contextvars.copy_context().run, _run_coroutine, fn, args, kwargs)
    future: Future[Any] = Future()
    run_call(future, fn, args, kwargs)
    if not inspect.isgeneratorfunction(fn) or future.exception() is not None:
        return future
    task: Task[Any] = Task(future.result())
    task.step()
    return task


def _run_coroutine(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    # Called here, not by whoever submits: arguments that do not fit are the future's failure, as everywhere.
    return asyncio.run(fn(*args, **kwargs))
