"""What a function leaves behind, as data: its result as JSON, its exception as text."""

import json
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from pydantic_core import to_jsonable_python

from app.core.errors import text_of, trace_of
from app.jobs.errors import ResultError
from app.jobs.model import Failure

OWN = ("app.core.", "app.jobs.", "app.worker.")
"""What the names of the modules that run a function begin with; their frames tell its author nothing."""

MESSAGE_LIMIT = 16 * 1024
"""Characters of an exception's text that are kept."""

TRACEBACK_LIMIT = 64 * 1024
"""Characters of a traceback that are kept, from its end, where the cause is."""


_NULL = "null"

# Made once: `json.dumps` makes an encoder for each call that has options.
_encode = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode


def result_to_json(value: Any, limit: int) -> str:
    """Return the value as JSON text.

    limit: bytes it may take in UTF-8. Raises ResultError when it is no JSON (NaN and
    infinity are none), or larger.
    """
    if value is None and limit >= len(_NULL):
        # What most functions return.
        return _NULL
    if isinstance(value, Iterator):
        # It may have no end, and would be read to it.
        raise ResultError(f"the result is an iterator, of type {type(value).__name__}; return a list of it")
    try:
        text = _encode(to_jsonable_python(value))
        size = len(text.encode())
    except Exception as exc:
        # Not the value itself: its repr may be large, or raise.
        msg = f"the result, of type {type(value).__name__}, cannot be turned into JSON: {text_of(exc)}"
        raise ResultError(msg) from exc
    if size > limit:
        msg = f"the result takes {size} bytes as JSON, and {limit} are allowed"
        raise ResultError(msg)
    return text


def failure_of(exception: BaseException) -> Failure:
    """Return an exception as data, whatever its `str()` does."""
    message = text_of(exception)
    if len(message) > MESSAGE_LIMIT:
        message = f"{message[:MESSAGE_LIMIT]}... ({len(message)} characters in all)"
    trace = trace_of(exception, _users_part(exception))
    if len(trace) > TRACEBACK_LIMIT:
        trace = f"... (shortened)\n{trace[-TRACEBACK_LIMIT:]}"
    return Failure(_name_of(type(exception)), storable(message), storable(trace))


def _name_of(cls: type[BaseException]) -> str:
    return storable(cls.__name__)


def _users_part(exception: BaseException) -> TracebackType | None:
    """Return the traceback from the user's code on, None if there is none of it.

    The frames that called it are the same for every job.
    """
    trace = exception.__traceback__
    while trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith(OWN):
        trace = trace.tb_next
    return trace


def storable(text: str) -> str:
    """Return the text without what no store takes: lone surrogates and NUL, shown as escapes."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
