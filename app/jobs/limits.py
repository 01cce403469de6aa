"""How many jobs of a task may run at a time: what can be declared, and the key that a job counts under."""

import hashlib
import json
from collections.abc import Collection, Mapping
from string import Formatter
from typing import Any

from pydantic_core import to_jsonable_python

from app.core.errors import text_of
from app.jobs.errors import Fault, InvalidArgumentsError
from app.jobs.outcome import storable

KEY_LENGTH = 200
"""Characters of a key at most; a longer one is stored as its digest."""


def fault_in_limits(
    max_running: object,
    max_running_total: object,
    limit_key: object,
    parameters: Collection[str],
    secret: Collection[str],
) -> str | None:
    """Return what is wrong with the limits of a function with these parameters; None when nothing is."""
    for name, number in (("max_running", max_running), ("max_running_total", max_running_total)):
        if number is not None and (type(number) is not int or number < 1):
            return f"{name} is a whole number from 1, not {number!r}"
    if limit_key is None:
        return None
    if max_running is None:
        return "limit_key says what max_running counts by, and there is no max_running"
    return _fault_in_key(limit_key, parameters, secret)


def _fault_in_key(template: object, parameters: Collection[str], secret: Collection[str]) -> str | None:
    if not isinstance(template, str):
        return f"limit_key is a text like '{{customer}}', not {template!r}"
    try:
        fields = [part[1:] for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as exc:
        return f"limit_key {template!r} cannot be read: {exc}"
    if not fields:
        return f"limit_key {template!r} has no {{parameter}} in it"
    for name, spec, conversion in fields:
        if name not in parameters or spec or conversion:
            return f"limit_key {template!r} may have parameters of the function in braces, and nothing else"
        if name in secret:
            return f"limit_key {template!r} would store the secret parameter {name!r}"
    return None


def filled(template: str, arguments: Mapping[str, Any]) -> str:
    """Return the key of a call by its arguments, defaults among them.

    A text stands for itself, any other value as JSON. Raises InvalidArgumentsError for
    what is no JSON.
    """
    parts = (
        literal + ("" if name is None else _text_of(name, arguments[name]))
        for literal, name, *_ in Formatter().parse(template)
    )
    key = storable("".join(parts))
    return key if len(key) <= KEY_LENGTH else hashlib.sha256(key.encode()).hexdigest()


def _text_of(name: str, value: Any) -> str:
    if isinstance(value, str):
        # Not the value itself: the member of an enumeration prints otherwise.
        return str.__str__(value)
    try:
        # Sorted: equal objects are one key, however they were written.
        return json.dumps(
            to_jsonable_python(value), ensure_ascii=False, sort_keys=True, separators=(",", ":")
        )
    except Exception as exc:
        msg = f"the jobs are limited by {name!r}, and its value cannot be turned into JSON: {text_of(exc)}"
        raise InvalidArgumentsError([Fault(loc=[], msg=storable(msg), type="limit_key")]) from exc
