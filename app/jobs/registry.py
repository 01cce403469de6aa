"""Tasks: functions that have a name, and so can be asked for over HTTP."""

import difflib
import importlib
import inspect
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, ParamSpec, TypeVar, overload

from app.core.errors import text_of
from app.jobs.arguments import Call, Signature
from app.jobs.errors import NAME_SHOWN, TaskDefinitionError, UnknownTaskError
from app.jobs.limits import fault_in_limits, filled
from app.jobs.masking import fault_in_names, names_in
from app.jobs.model import Slot
from app.jobs.retry import ONCE, Retry

P = ParamSpec("P")
T = TypeVar("T")

NAME_LENGTH = 200
"""Characters of a task's name at most; it has no slash, because it is a part of addresses."""

QUEUE_LENGTH = 100
"""Characters of a queue's name at most."""

MAX_TIMEOUT = 31_536_000
"""Seconds that a job may be allowed to run at most: a year."""

PRIORITIES = range(-100, 101)

OWN_FOLDERS = [str(Path(__file__).parents[1] / folder) for folder in ("core", "jobs", "worker")]
"""Where the code lies that calls the user's."""


class Kind(StrEnum):
    """How a task's function is run."""

    PLAIN = "plain"
    GENERATOR = "generator"
    COROUTINE = "coroutine"


@dataclass(frozen=True)
class TaskDefinition:
    """A registered function and its options."""

    name: str
    fn: Callable[..., Any]
    kind: Kind
    queue: str
    priority: int
    executor: Slot = Slot.THREAD
    """Where a plain function runs."""
    timeout: float | None = None
    """Seconds that it may run; None means no limit."""
    found_in: str = ""
    """The module in which `load` has found it; empty if it was not found by that."""
    retry: Retry = ONCE
    """When a job that has failed runs again."""
    max_running: int | None = None
    """How many of its jobs may run at a time, for each limit key if it has one; None means no limit."""
    max_running_total: int | None = None
    """How many may run at a time in all, whatever their keys; None means no limit."""
    limit_key: str | None = None
    """The template of the limit key; None means that all jobs count together."""
    secret: tuple[str, ...] = ()
    """Names of the parameters whose values are shown nowhere."""

    @property
    def home(self) -> str:
        """The module to import where there is no such task yet.

        The function's own need not declare it: the function may come from a library, or be
        the wrapper that a decorator has made.
        """
        return self.found_in or self.fn.__module__

    @cached_property
    def slot(self) -> Slot:
        """What it occupies while it runs."""
        return Slot(self.executor) if self.kind is Kind.PLAIN else Slot.COROUTINE

    @property
    def doc(self) -> str:
        """Its docstring, cleaned up; empty when it has none."""
        return inspect.getdoc(self.fn) or ""

    @cached_property
    def signature(self) -> Signature:
        """What it takes and returns. Raises TaskDefinitionError when that has no schema."""
        try:
            return Signature(self.fn, self.secret)
        except Exception as exc:
            msg = (
                f"task {self.name!r} in {self.fn.__module__}: its arguments cannot be checked: {text_of(exc)}"
            )
            raise TaskDefinitionError(msg) from exc

    @cached_property
    def parameters(self) -> inspect.Signature:
        """What the function takes, as Python sees it."""
        return inspect.signature(self.fn)

    @cached_property
    def checks_only_types(self) -> bool:
        """Whether a call is fine when its types are: the task has no limits, no secrets, no validators."""
        limited = self.max_running is not None or self.max_running_total is not None
        return not (limited or self.secret or self.signature.runs_user_code)

    def limit_key_of(self, call: Call) -> str | None:
        """Return the key under which the job of a coerced call counts; None when nothing limits the task.

        It is empty when all its jobs count together. Raises InvalidArgumentsError for
        values that make no key.
        """
        if self.max_running is None and self.max_running_total is None:
            return None
        if self.limit_key is None:
            return ""
        bound = self.parameters.bind(*call.args, **call.kwargs)
        bound.apply_defaults()
        return filled(self.limit_key, bound.arguments)

    def shown(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> str | None:
        """Return a call, as submitted, as the JSON text to be shown of it, each secret as "***".

        None when the task has no secrets: it is shown as it is.
        """
        secrets = self.signature.secrets
        return None if secrets is None else secrets.masked(args, kwargs)


_DECLARED: dict[str, list[TaskDefinition]] = {}
"""What `@task` has seen, by module, in the order of declaration."""


@overload
def task(fn: Callable[P, T], /) -> Callable[P, T]: ...
@overload
def task(
    *,
    name: str | None = None,
    queue: str = "default",
    priority: int = 0,
    executor: Literal["thread", "process"] = "thread",
    timeout: float | None = None,
    retry: Retry = ONCE,
    max_running: int | None = None,
    max_running_total: int | None = None,
    limit_key: str | None = None,
    secret: Iterable[str] = (),
) -> Callable[[Callable[P, T]], Callable[P, T]]: ...
def task(  # noqa: PLR0913  (its options)
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    queue: str = "default",
    priority: int = 0,
    executor: Literal["thread", "process"] = "thread",
    timeout: float | None = None,
    retry: Retry = ONCE,
    max_running: int | None = None,
    max_running_total: int | None = None,
    limit_key: str | None = None,
    secret: Iterable[str] = (),
) -> Any:
    """Register a function as a task, and return the function itself.

    name: the function's own unless given. queue, priority (-100 to 100, higher runs
    first), timeout (seconds that it may run; None: no limit): of its jobs, unless a
    submission says otherwise. executor: "process" has a
    plain function run in a process of its own, beside the others if it computes, and
    killed if it does not stop when its job is cancelled; "thread" shares the service's
    process. A generator function runs as a core Task, a coroutine function on an event
    loop for such jobs. Raises TaskDefinitionError for what cannot be a task.

    retry: when a job that has failed runs again; without it, never. max_running: how many
    of its jobs run at a time, over all workers; with limit_key="{customer}", how many for
    each value of that parameter. max_running_total: how many in all, whatever the keys.

    secret: parameters whose values are shown nowhere: not with the job, not in what is said
    of arguments that do not fit, and no default with the task. They are stored as they are,
    because the job needs them. What the function itself prints, logs, returns or raises is
    its own affair, the message and traceback of an exception too.
    """
    options = {
        "queue": queue,
        "priority": priority,
        "executor": executor,
        "timeout": timeout,
        "retry": retry,
        "max_running": max_running,
        "max_running_total": max_running_total,
        "limit_key": limit_key,
        "secret": names_in(secret),
    }

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        return _register(function, name=name, **options)

    return register if fn is None else register(fn)


def _register(fn: Callable[..., Any], *, name: str | None, **options: Any) -> Callable[..., Any]:
    if not inspect.isfunction(fn) or inspect.isasyncgenfunction(fn):
        what = (
            "an asynchronous generator function" if inspect.isfunction(fn) else f"{type(fn).__name__} objects"
        )
        msg = f"only functions, generator functions and coroutine functions can be tasks, not {what}"
        raise TaskDefinitionError(msg)
    definition = TaskDefinition(fn.__name__ if name is None else name, fn, _kind_of(fn), **options)
    _require_options(definition)
    declared = _DECLARED.setdefault(fn.__module__, [])
    # A module that is reloaded declares its functions again, in the same places.
    declared[:] = [old for old in declared if _origin_of(old) != _origin_of(definition)]
    declared.append(definition)
    return fn


def _require_options(definition: TaskDefinition) -> None:
    if not _is_name(definition.name, NAME_LENGTH) or "/" in definition.name:
        fault = f"a name is printable, without a slash, of 1 to {NAME_LENGTH} characters"
    elif not _is_name(definition.queue, QUEUE_LENGTH):
        fault = f"a queue's name is printable, of 1 to {QUEUE_LENGTH} characters"
    elif has_dot_segment(definition.queue):
        fault = f"a queue's name has no part that is only dots, as {definition.queue!r} has"
    elif not isinstance(definition.priority, int) or definition.priority not in PRIORITIES:
        fault = f"priority {definition.priority!r} is outside -100..100"
    elif not _is_timeout(definition.timeout):
        fault = f"timeout is a number of seconds above 0, at most {MAX_TIMEOUT}, not {definition.timeout!r}"
    elif definition.executor not in (Slot.THREAD, Slot.PROCESS):
        fault = f"executor is 'thread' or 'process', not {definition.executor!r}"
    elif definition.executor == Slot.PROCESS and definition.kind is not Kind.PLAIN:
        fault = f"only a plain function can run in a process, and this is a {definition.kind} function"
    elif not isinstance(definition.retry, Retry):
        fault = f"retry is a Retry(...), not {definition.retry!r}"
    elif (found := _fault_in_parameters(definition)) is not None:
        fault = found
    else:
        return
    raise TaskDefinitionError(f"task {definition.fn.__name__!r} in {definition.fn.__module__}: {fault}")


def _fault_in_parameters(definition: TaskDefinition) -> str | None:
    """Return what is wrong with the options that speak of the function's parameters."""
    parameters = definition.parameters.parameters
    return fault_in_names(definition.secret, parameters) or fault_in_limits(
        definition.max_running,
        definition.max_running_total,
        definition.limit_key,
        parameters,
        definition.secret,
    )


def _is_timeout(value: object) -> bool:
    # NaN is in no range, and True is no number of seconds.
    return value is None or (type(value) in (int, float) and 0 < value <= MAX_TIMEOUT)  # type: ignore[operator]


def _is_name(text: object, longest: int) -> bool:
    return isinstance(text, str) and 0 < len(text) <= longest and text.isprintable()


def name_of_task(fn: Callable[..., Any]) -> str:
    """Return the name under which services know a function: as declared here, or its own.

    Raises TypeError for what has none, such as a lambda.
    """
    declared = _DECLARED.get(getattr(fn, "__module__", None) or "", ())
    found = next((definition.name for definition in declared if definition.fn is fn), None)
    name: str | None = found or getattr(fn, "__name__", None)
    if name is None or (not name.isidentifier() and found is None):
        raise TypeError(f"a task's name or its function is needed, not {text_of(fn)}")
    return name


def has_dot_segment(queue: str) -> bool:
    """Tell whether a queue's address would become another one's on its way (RFC 3986, 5.2.4)."""
    return not {".", ".."}.isdisjoint(queue.split("/"))


def find_declared(module: str, name: str) -> TaskDefinition:
    """Return a task by its name and its home, which is imported if need be.

    Raises UnknownTaskError, and whatever the import raises.
    """
    for definition in _tasks_of(importlib.import_module(module)):
        if definition.name == name:
            return definition
    raise UnknownTaskError(name, ())


def _origin_of(definition: TaskDefinition) -> tuple[str, str, int]:
    fn = definition.fn
    return definition.name, fn.__qualname__, fn.__code__.co_firstlineno


def _place_of(definition: TaskDefinition) -> str:
    return f"one in {definition.fn.__module__} (line {definition.fn.__code__.co_firstlineno})"


def _kind_of(fn: Callable[..., Any]) -> Kind:
    if inspect.iscoroutinefunction(fn):
        return Kind.COROUTINE
    return Kind.GENERATOR if inspect.isgeneratorfunction(fn) else Kind.PLAIN


class Registry:
    """The tasks that this service knows, by name.

    Raises TaskDefinitionError for two of one name, and for one whose arguments
    cannot be checked: a bad task stops the start, not the first job.
    """

    def __init__(self, definitions: Iterable[TaskDefinition]) -> None:
        self._tasks: dict[str, TaskDefinition] = {}
        for definition in definitions:
            self._add(definition)

    def _add(self, definition: TaskDefinition) -> None:
        other = self._tasks.get(definition.name)
        if other is not None and other.fn is not definition.fn:
            msg = f"two tasks are called {definition.name!r}: {_place_of(other)}, {_place_of(definition)}"
            raise TaskDefinitionError(msg)
        definition.signature  # noqa: B018  (built now, for its errors)
        self._tasks[definition.name] = definition

    def __iter__(self) -> Iterator[TaskDefinition]:
        return iter(self._tasks.values())

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, name: object) -> bool:
        return name in self._tasks

    def get(self, name: str) -> TaskDefinition:
        """Return the task of that name. Raises UnknownTaskError, which bears the nearest names."""
        definition = self._tasks.get(name)
        if definition is None:
            raise UnknownTaskError(name, difflib.get_close_matches(name[:NAME_SHOWN], self._tasks))
        return definition


def load(modules: Iterable[str]) -> Registry:
    """Import the modules and return the tasks declared in them, in what is below them, or imported into them.

    Raises TaskDefinitionError that says which module and why.
    """
    found: dict[int, TaskDefinition] = {}
    for name in modules:
        module = _import(name)
        found.update((id(definition), replace(definition, found_in=name)) for definition in _tasks_of(module))
    return Registry(found.values())


def without_tasks(modules: Iterable[str]) -> list[str]:
    """Return those modules of which `load` has no tasks."""
    return [name for name in modules if not any(_tasks_of(_import(name)))]


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except TaskDefinitionError as exc:
        raise TaskDefinitionError(f"task module {name!r} cannot be used: {exc}") from exc
    except (Exception, SystemExit) as exc:
        hint = "; write a module's name, not a file's" if name.endswith(".py") or "/" in name else ""
        raise TaskDefinitionError(f"task module {name!r} cannot be imported: {reason_of(exc)}{hint}") from exc


def reason_of(exc: BaseException) -> str:
    """Return in one line what the user's code has raised, and where."""
    text = f"{type(exc).__name__}: {text_of(exc)}{_place_of_error(exc)}"
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _place_of_error(exc: BaseException) -> str:
    """Return where in the user's own code it failed; empty when none of it had begun."""
    others = (*OWN_FOLDERS, "<frozen", sysconfig.get_path("stdlib"))
    frames = [
        frame for frame in traceback.extract_tb(exc.__traceback__) if not frame.filename.startswith(others)
    ]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _tasks_of(module: ModuleType) -> Iterator[TaskDefinition]:
    present = {id(value) for value in vars(module).values() if inspect.isfunction(value)}
    below = module.__name__ + "."
    for origin, definitions in list(_DECLARED.items()):
        inside = origin == module.__name__ or origin.startswith(below)
        for definition in definitions:
            if inside or id(definition.fn) in present:
                yield definition
