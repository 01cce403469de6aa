"""What a task module has run once per process: `on_startup` before its jobs, `on_shutdown` after them."""

import inspect
import logging
import sys
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextvars import Context
from enum import StrEnum
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from app.core import Future
from app.jobs.errors import TaskDefinitionError
from app.jobs.registry import reason_of

LOGGER = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[[], object])
CoroutineFunction = Callable[[], Coroutine[Any, Any, Any]]


class Moment(StrEnum):
    """When a hook runs."""

    STARTUP = "startup"
    SHUTDOWN = "shutdown"


class Hook(NamedTuple):
    """A function and when it runs. module: the one that has declared it."""

    moment: Moment
    module: str
    fn: Callable[[], Any]

    @property
    def is_coroutine(self) -> bool:
        """Whether it needs an event loop."""
        return inspect.iscoroutinefunction(self.fn)

    def __str__(self) -> str:
        return f"the {self.moment} hook {self.fn.__qualname__!r} of {self.module!r}"


class _Declared:
    """The hooks of one execution of a module, in order."""

    def __init__(self, execution: object) -> None:
        self.execution = execution
        self.hooks: list[Hook] = []


_DECLARED: dict[str, _Declared] = {}
"""What the decorators have seen, by the module that used them."""


def on_startup(fn: F, /) -> F:
    """Have a function run once per process before the first job, and return the function itself.

    For what jobs share, connections and models. It takes no arguments. A coroutine function
    runs on the event loop of the `async def` jobs, a plain one on the main thread. They run
    in the order of the task modules and of their declarations. If one raises, the service
    does not start.

    In a process of `executor="process"` the plain functions of the task's own module run
    before its first job there; if one raises, the job fails with that, and the next tries
    again. Raises TaskDefinitionError for what cannot be a hook.
    """
    return _declare(Moment.STARTUP, fn)


def on_shutdown(fn: F, /) -> F:
    """Have a function run once when the service ends, after its jobs, and return the function itself.

    In the reverse order of `on_startup`. One that raises is logged; all of them together get
    five seconds. They do not run in the processes of `executor="process"`, which are
    killed. Raises TaskDefinitionError for what cannot be a hook.
    """
    return _declare(Moment.SHUTDOWN, fn)


def _declare(moment: Moment, fn: F) -> F:
    # Not the function's own module: it may come from a library, and be a hook by this module's wish.
    variables = sys._getframe(2).f_globals  # noqa: SLF001  (of `inspect`, `currentframe` does the same)
    module = str(variables.get("__name__"))
    fault = _fault_in(fn)
    if fault is not None:
        name = getattr(fn, "__qualname__", type(fn).__name__)
        raise TaskDefinitionError(f"{moment} hook {name!r} in {module}: {fault}")
    # Each execution of a module has a spec of its own. One that is reloaded declares its hooks again.
    execution = variables.get("__spec__")
    declared = _DECLARED.get(module)
    if declared is None or declared.execution is not execution:
        declared = _DECLARED[module] = _Declared(execution)
    declared.hooks.append(Hook(moment, module, fn))
    return fn


def _fault_in(fn: object) -> str | None:
    if not inspect.isfunction(fn) or inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        return "only functions and coroutine functions can be hooks"
    try:
        inspect.signature(fn).bind()
    except TypeError as exc:
        return f"a hook is called without arguments: {exc}"
    return None


def find(modules: Iterable[str]) -> Sequence[Hook]:
    """Return the hooks declared in the modules, in what is below them, or imported into them, each once.

    The modules are imported if need be; raises whatever that raises.
    """
    found: dict[tuple[Moment, int], Hook] = {}
    for name in modules:
        for hook in _hooks_of(import_module(name)):
            found.setdefault((hook.moment, id(hook.fn)), hook)
    return list(found.values())


def _hooks_of(module: ModuleType) -> Iterator[Hook]:
    present = {id(value) for value in vars(module).values() if inspect.isfunction(value)}
    for origin, declared in list(_DECLARED.items()):
        inside = origin == module.__name__ or origin.startswith(f"{module.__name__}.")
        yield from (hook for hook in declared.hooks if inside or id(hook.fn) in present)


class Hooks:
    """The hooks of a service, for one start and one stop.

    begin: has a coroutine function run on the loop of the jobs' coroutines, and returns
    its future.
    """

    def __init__(self, hooks: Sequence[Hook], begin: Callable[[CoroutineFunction], Future[Any]]) -> None:
        self._hooks = hooks
        self._begin = begin
        self._begun: set[str] = set()
        """The modules whose shutdown hooks have something to put away."""
        self._running: Hook | None = None
        self._left_alone = False

    def start(self) -> None:
        """Run the startup hooks. Raises TaskDefinitionError that names the one that fails and why.

        `stop` then runs the shutdown hooks of those modules only that had begun to start.
        """
        for hook in self._hooks:
            if hook.moment is Moment.STARTUP:
                try:
                    self._run(hook)
                except (Exception, SystemExit) as exc:
                    raise TaskDefinitionError(f"{hook} failed: {reason_of(exc)}") from exc
                self._begun.add(hook.module)
        self._begun.update(hook.module for hook in self._hooks)

    def stop(self, seconds: float) -> bool:
        """Run the shutdown hooks; return whether all have ended within so many seconds.

        On a thread of their own, so that one that hangs does not keep the process.
        """
        hooks = [hook for hook in reversed(self._hooks) if hook.moment is Moment.SHUTDOWN]
        hooks = [hook for hook in hooks if hook.module in self._begun]
        if not hooks:
            return True
        self._running = hooks[0]
        thread = threading.Thread(target=self._stop, args=(hooks,), name="errand-shutdown", daemon=True)
        thread.start()
        thread.join(seconds)
        self._left_alone = thread.is_alive()
        if self._left_alone:
            LOGGER.warning("%s still runs after %g s and is left alone", self._running, seconds)
        return not self._left_alone

    def _stop(self, hooks: Sequence[Hook]) -> None:
        for hook in hooks:
            if self._left_alone:
                # The pools are being closed by now.
                return
            self._running = hook
            try:
                self._run(hook)
            except BaseException:
                LOGGER.exception("%s failed", hook)

    def _run(self, hook: Hook) -> None:
        if hook.is_coroutine:
            self._begin(hook.fn).result()
        else:
            hook.fn()


_RUN_HERE: set[Callable[[], object]] = set()
"""The startup hooks that have run in this process of a pool."""


def start_in_child(module: str) -> None:
    """Run the plain startup hooks of a module that have not run in this process. Raises what they raise."""
    for hook in find([module]):
        if hook.moment is Moment.STARTUP and not hook.is_coroutine and hook.fn not in _RUN_HERE:
            # Not in the job's own context: the hook is not a part of it.
            Context().run(hook.fn)
            _RUN_HERE.add(hook.fn)
