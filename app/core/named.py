"""Calls as text: a function's name, JSON arguments, and an ending that is text again.

This is what can lie in a queue or a database, and be read by another process, years
later: there is no code in it, and no pickle.
"""

import builtins
import json
import sys
from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple

from app.core.errors import FutureCancelledError, FutureTimeoutError, QueueUnavailableError, RemoteError
from app.core.future import Future

_OURS = {cls.__name__: cls for cls in (FutureCancelledError, FutureTimeoutError)}
"""Errors of the core that come back as what they were, as those of `builtins` do."""


class Call(NamedTuple):
    """What shall run. arguments: JSON text, `{"args": [...], "kwargs": {...}}`."""

    name: str
    arguments: str


class Returned(NamedTuple):
    """The call returned. result: as JSON text."""

    result: str


class Raised(NamedTuple):
    """The call raised: the exception's class's name, its text, and the traceback as printed."""

    type: str
    message: str
    traceback: str = ""


class Stopped(NamedTuple):
    """The call was cancelled: it never ran, or was asked to stop and did."""


class Lost(NamedTuple):
    """Nothing more will be heard of the call from this queue object; it may still run, and end."""

    reason: str


Ending = Returned | Raised | Stopped | Lost


def name_of(fn: Callable[..., Any]) -> str:
    """Return `module:qualname` of a function. Raises TypeError unless it is found there by that name."""
    module, name = getattr(fn, "__module__", None), getattr(fn, "__qualname__", None)
    try:
        found = attrgetter(name)(sys.modules[module])  # type: ignore[index,arg-type]  # see below
    except (AttributeError, KeyError, TypeError):
        # No module, no such name in it, or one of the two is no text.
        found = None
    if found is None or found is not fn:
        what = type(fn).__name__ if name is None else f"{type(fn).__name__} {name}"
        raise TypeError(f"only a function that its module has by its name can be put on a queue, not {what}")
    return f"{module}:{name}"


def to_json(value: Any, what: str) -> str:
    """Return the value as JSON text; a tuple becomes a list.

    what: what it is, for the message. Raises TypeError when a part of it is no JSON
    (a key that is no str is none), ValueError for NaN, infinity, cycles and excessive depth.
    """
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    except TypeError as exc:
        raise TypeError(f"{what} cannot be JSON: {exc}") from exc
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"{what} cannot be JSON: {exc}") from exc
    _require_text_keys(value, what)
    return text


def _require_text_keys(value: Any, what: str) -> None:
    """Raise TypeError for a dict with other keys: `json.dumps` turns 1, None and True into text silently."""
    rest = [value]
    while rest:
        part = rest.pop()
        if isinstance(part, dict):
            for key in part:
                if not isinstance(key, str):
                    raise TypeError(f"{what} cannot be JSON: a dict has a key of type {type(key).__name__}")
            rest.extend(part.values())
        elif isinstance(part, (list, tuple)):
            rest.extend(part)


def ending_of(future: Future[Any]) -> Ending:
    """Return how the future of a call has ended, as text; what cannot be JSON is a failure."""
    if future.cancelled():
        return Stopped()
    exception: BaseException | None = None
    try:
        exception = future.exception()
        if exception is None:
            return Returned(to_json(future.result(), "the result"))
        return raised(exception)
    except Exception as exc:  # noqa: BLE001  (whatever an iteration over the user's own kind of dict raises, too)
        return raised(exc)
    finally:
        # An exception's traceback may lead to this frame, and the future to the exception.
        del future, exception


def raised(exception: BaseException) -> Raised:
    """Return an exception as text, whatever its `str()` does."""
    cls, remote = type(exception), RemoteError.of(exception)
    # Somebody's own class of the same name must not come back as the builtin one.
    same = _class_called(cls.__name__) in (None, cls)
    name = remote.type if same else f"{cls.__module__}.{cls.__qualname__}"
    return Raised(name, remote.message, remote.traceback)


def exception_of(ending: Raised | Lost) -> Exception:
    """Return the exception for the submitter.

    A class of `builtins` that takes a message alone comes back as itself, with a
    RemoteError as its cause; any other as a RemoteError.
    """
    if isinstance(ending, Lost):
        return QueueUnavailableError(ending.reason)
    remote = RemoteError(*ending)
    cls = _class_called(ending.type)
    if cls is None:
        return remote
    try:
        exception = cls(ending.message) if ending.message else cls()
    except Exception:  # noqa: BLE001  (it wants something else than a message)
        return remote
    exception.__cause__ = remote
    return exception


def _class_called(name: str) -> type[Exception] | None:
    found = _OURS.get(name) or getattr(builtins, name, None)
    # Not SystemExit and its like: text from elsewhere ends no program.
    return found if isinstance(found, type) and issubclass(found, Exception) else None
