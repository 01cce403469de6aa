"""The calls that a job's code submits, and the futures that tell it to stop."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol
from weakref import ref

from app.core import Executor, Future, Task
from app.core.executor import run_call
from app.jobs.context import Scope, run_inline
from app.worker.coroutines import CoroutineFuture


class JobTask(Task[Any]):
    """The Task of a job's generator, which is asked to stop once however often that is passed on.

    It may be asked by its job and by a Task that comes to wait for it. The second error
    would be raised in the cleanup that follows the first.
    """

    __slots__ = ("_asked",)

    def __init__(self, generator: Any, executor: Executor) -> None:
        super().__init__(generator, executor)
        self._asked = False

    @property
    def told(self) -> bool:
        """Whether the error was raised in the generator: from then on it cleans up."""
        with self._lock:
            return self._cancel_requested and self._throw is None

    def _ask_to_stop(self, later: deque[Callable[[], object]]) -> bool:
        with self._lock:
            asked, self._asked = self._asked, True
        if asked:
            return not self.done() or self.cancelled()
        return super()._ask_to_stop(later)


Driver = JobTask | CoroutineFuture
"""The future that runs code which can be told to stop. A plain function has none: it has to ask."""


class Submitting(Scope, Protocol):
    """The execution, as the scope of a call sees it."""

    def submit_from(
        self,
        driver: Driver | None,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        spared: bool = False,
    ) -> Future[Any]:
        """Run a call that this driver's code submits."""

    def refuses(self, driver: Driver | None, *, spared: bool) -> bool:
        """Tell whether what this driver's code submits now is not to be begun."""


def make_task(
    executor: Executor, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Future[Any]:
    """Return the Task of a generator function's call, not begun; a failed future if there is none."""
    made: Future[Any] = Future()
    run_call(made, fn, args, kwargs)
    # Arguments that do not fit are the future's failure, as with any other function.
    return made if made.exception() is not None else JobTask(made.result(), executor)


def cancel_on_loop(futures: Iterable[Future[Any]]) -> list[Future[Any]]:
    """Have the loop cancel the coroutines, without any callback on this thread; return the others."""
    return [
        future for future in futures if not (isinstance(future, CoroutineFuture) and future.cancel_soon())
    ]


class CallScope:
    """The scope of a submitted call: the job's own, but whether it cleans up is its own matter.

    spared: it was submitted by a cleanup. This is the scope of a coroutine. It is not
    nested: it occupies no thread, and an inline call would block all the others.
    """

    def __init__(self, execution: Submitting, spared: bool) -> None:
        self.context = execution.context
        self.checkpoint = execution.checkpoint
        self.progress = execution.progress
        self.listener = execution.listener
        self.spared = spared
        self._execution = execution
        self._driver: Callable[[], Driver | None] = _nobody

    def driven_by(self, driver: Driver) -> None:
        """Say who runs the call."""
        # Weak: the driver's context leads here.
        self._driver = ref(driver)

    def submit(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Run a call as part of the job."""
        return self._execution.submit_from(self._driver(), fn, args, kwargs, spared=self.spared)

    def refuses(self) -> bool:
        """Tell whether what the call submits now is not to be begun."""
        return self._execution.refuses(self._driver(), spared=self.spared)


def _nobody() -> None:
    return None


class Nested:
    """The scope of a submitted function or generator: what it submits runs inline.

    It could otherwise wait for a thread of the pool that it occupies itself.
    """

    def __init__(self, scope: CallScope) -> None:
        self.context = scope.context
        self.checkpoint = scope.checkpoint
        self.progress = scope.progress
        self.listener = scope.listener
        self._refuses = scope.refuses

    def submit(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Run a call here and now, unless the job was asked to stop."""
        if self._refuses():
            refused: Future[Any] = Future()
            refused.cancel()
            return refused
        return run_inline(fn, args, kwargs)
