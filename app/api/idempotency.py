"""Idempotency keys: what the header says, and when two bodies are the same.

Bodies are the same when their JSON is: the order of keys does not matter, nor does space,
and 1 is 1.0. It is not `true`.
"""

import json
import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from starlette.requests import Request

from app.api.headers import header_lines
from app.api.problems import invalid
from app.jobs.errors import Fault

HEADER = "Idempotency-Key"
REPLAYED = {"Idempotency-Replayed": "true"}

_KEY = re.compile(r"[!-~]{1,255}")
# A string of RFC 8941: in quotes, in which a backslash makes a character of a quote or a backslash.
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_ESCAPED = re.compile(r'\\(["\\])')

_LEVELS = 2
"""Levels of a body whose parts are encoded one by one: those of a batch are its items."""

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def read_key(request: Request) -> str | None:
    """Return the idempotency key of a request, without quotes; None when there is none.

    Raises ProblemError (422) for one that is none, or several.
    """
    lines = header_lines(request, b"idempotency-key")
    if not lines:
        return None
    key = _unquoted(lines[0]) if len(lines) == 1 else ""
    if not _KEY.fullmatch(key):
        text = "one key of 1 to 255 visible ASCII characters is needed, as it is or in quotes"
        raise invalid("invalid-parameters", [Fault(loc=["header", HEADER], msg=text, type="idempotency_key")])
    return key


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    match = _QUOTED.fullmatch(text)
    return "" if match is None else _ESCAPED.sub(r"\1", match[1])


def digest_of(body: object) -> bytes:
    """Return the SHA-256 of a parsed body: the same for the same JSON, however it was written."""
    digest = sha256()
    for piece in _pieces(body, _LEVELS):
        digest.update(piece.encode())
    return digest.digest()


def _pieces(value: object, levels: int) -> Iterator[str]:
    """Yield the canonical form. In pieces, because the interpreter is nobody else's while one is encoded."""
    if levels and isinstance(value, dict):
        yield "{"
        for key in sorted(value):
            yield f"{_encode(key)}:"
            yield from _pieces(value[key], levels - 1)
        yield "}"
    elif levels and isinstance(value, list):
        yield "["
        for item in value:
            yield from _pieces(item, levels - 1)
        yield "]"
    else:
        yield f"{_encode(_plain(value))},"


def _plain(value: Any) -> Any:
    """Return the value with integers in place of the floats that are some."""
    if isinstance(value, dict):
        return {key: _plain(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_plain(child) for child in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
