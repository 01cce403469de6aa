"""Request bodies: read within bounds, parsed strictly, with the place of each fault.

Python's json takes NaN, infinity, numbers that overflow and half surrogate pairs, none
of which a store can keep. Whether a body has any is mostly decided by tests that cost
nothing; the walk that names their places is for bodies that fail those.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import ClientDisconnect, Request

from app.api.headers import header_lines
from app.api.incoming import NoBody
from app.api.problems import MAX_FAULTS, ProblemError, invalid
from app.jobs.errors import Fault

MAX_BYTES = 1024 * 1024
"""Bytes that a body may take, unless it is a batch."""

LARGE = 64 * 1024
"""Bytes of a body that are parsed on the event loop at most."""

MAX_PARTS = 1_000_000
"""Arrays, objects and keys that a body may have: ten thousand submissions of a hundred each.

However large a body may be, parsing holds the interpreter for as long as these take.
"""

MAX_DEPTH = 100
"""Levels to which a body may be nested, the outermost included."""

INVALID_BODY = "invalid-body"
"""The kind of problem that a body is which is not what a call takes, unless it is a submission."""

JSON_TYPE = "application/json"
UTF_8 = {"utf-8", "utf8", "us-ascii"}

Loc = list[str | int]


async def read_json(request: Request, kind: str = "invalid-submission") -> object:
    """Return the body as parsed JSON.

    kind: of the problem that a body is which is JSON, but cannot be stored. Raises
    ProblemError, in this order: 415, 413, 400, and 422 for what no store can keep.
    """
    return parse(await read_bytes(request), kind)


async def read_bytes(request: Request, limit: int = MAX_BYTES) -> bytes:
    """Return a body that is announced as JSON. limit: bytes. Raises ProblemError (415, 413)."""
    _require_json(request)
    return await _read(request, limit)


async def require_no_body(request: Request) -> None:
    """Raise ProblemError (415, 413, 400, 422) unless there is no body, or an empty object."""
    body = await _read(request, MAX_BYTES)
    if body:
        _require_json(request)
        read_as(NoBody, parse(body, INVALID_BODY), INVALID_BODY)


def _require_json(request: Request) -> None:
    """Raise ProblemError (415) unless the headers announce plain JSON in UTF-8."""
    content_types = header_lines(request, b"content-type")
    encodings = header_lines(request, b"content-encoding")
    if content_types == [JSON_TYPE] and not encodings:
        return
    if encodings and encodings[0].lower() not in ("", "identity"):
        _refuse_type(f"a body with `Content-Encoding: {encodings[0]}` is not understood; send it as it is")
    if len(content_types) != 1:
        _refuse_type(f"the request has {len(content_types) or 'no'} `Content-Type` header(s)")
    name, *parameters = content_types[0].lower().split(";")
    if name.strip() != JSON_TYPE:
        _refuse_type(f"the body is announced as {content_types[0]!r}")
    pairs = (parameter.partition("=") for parameter in parameters)
    charsets = {value.strip().strip('"') for key, _, value in pairs if key.strip() == "charset"}
    if not charsets <= UTF_8:
        _refuse_type("only UTF-8 is understood")


def _refuse_type(reason: str) -> NoReturn:
    raise ProblemError(
        "unsupported-media-type",
        f"{reason}. The header to send is `Content-Type: {JSON_TYPE}`",
        headers={"Accept": JSON_TYPE},
    )


async def _read(request: Request, limit: int) -> bytes:
    announced = next(iter(header_lines(request, b"content-length")), "")
    if announced.isdecimal() and int(announced[:20]) > limit:
        # Before anything is received: a client that asks first (`Expect: 100-continue`) sends nothing.
        _refuse_size(limit)
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            _refuse_size(limit)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _refuse_size(limit: int) -> NoReturn:
    raise ProblemError("body-too-large", f"the body is larger than {limit} bytes")


def parse(body: bytes, kind: str = "invalid-submission") -> object:
    """Parse JSON. Raises ProblemError: 400 for what is none, 422 of that kind for what no store can keep.

    A large body is to be parsed on another thread. It lets others have the interpreter every now and then.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as exc:
        raise ProblemError("invalid-json", f"the body is not UTF-8 (byte {exc.start})") from None
    strict = _STRICT if len(body) <= LARGE else _PATIENT
    if len(body) > MAX_PARTS and _parts(body) > MAX_PARTS:
        raise ProblemError(
            "body-too-large", f"the body has more than {MAX_PARTS} arrays, objects and keys; send it in parts"
        )
    try:
        value, finite = _decode(strict, text), True
    except _NotFiniteError:
        # Once more, leniently: only the whole document shows the places.
        value, finite = _decode(_LENIENT, text), False
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deep(value):
        _refuse_depth()
    # A large body is walked at once: to encode it would take as long, and the interpreter all the while.
    if not finite or (_looks_unstorable(text) and (strict is _PATIENT or not _encodes(value))):
        _refuse_unstorable(value, kind)
    return value


def _parts(body: bytes) -> int:
    """Count arrays, objects and keys, before any is made; those that stand in strings are counted too."""
    return sum(map(body.count, (b"[", b"{", b'":')))


class _NotFiniteError(Exception):
    """The text has NaN, infinity, or a number that is too large for a float."""


def _refuse_number(_: str) -> NoReturn:
    raise _NotFiniteError


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _NotFiniteError
    return value


def _whole(text: str) -> int:
    return int(text)


def _as_it_is(value: dict[str, Any]) -> dict[str, Any]:
    return value


# Made once: json.loads makes a decoder for each call that has options.
_STRICT = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse_number)
# Calling Python for each object and number is what lets other threads have their turn.
_PATIENT = json.JSONDecoder(
    object_hook=_as_it_is, parse_int=_whole, parse_float=_finite, parse_constant=_refuse_number
)
_LENIENT = json.JSONDecoder()
_ENCODER = json.JSONEncoder(ensure_ascii=False)


def _decode(decoder: json.JSONDecoder, text: str) -> object:
    try:
        value: object = decoder.decode(text)
    except json.JSONDecodeError as exc:
        raise ProblemError("invalid-json", f"the body is not JSON: {exc}") from None
    except RecursionError:
        _refuse_depth()
    except ValueError:
        # What is left is an integer beyond Python's limit for reading one.
        raise ProblemError("invalid-json", "the body has an integer of too many digits") from None
    return value


def _is_deep(value: object) -> bool:
    """Tell whether arrays and objects are nested too deep; level by level, as recursion could not."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) in _NESTING
        ]
        if not level:
            return False
    return True


_NESTING = {dict, list}
"""The types of parsed JSON that have parts, compared exactly: the parser makes no subclasses."""


def _refuse_depth() -> NoReturn:
    raise ProblemError("invalid-json", f"the body is nested deeper than {MAX_DEPTH} levels")


def _looks_unstorable(text: str) -> bool:
    """Tell whether there are escapes for half a surrogate pair, or for NUL; unescaped, JSON has neither."""
    return "\\u" in text and ("\\ud" in text or "\\uD" in text or "\\u0000" in text)


def _encodes(value: object) -> bool:
    """Tell for certain that all is well, faster than a walk can."""
    try:
        text = _ENCODER.encode(value)
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\\u0000" not in text


def _refuse_unstorable(value: object, kind: str) -> None:
    faults = list(islice(_all_unstorable(value), MAX_FAULTS))
    if faults:
        raise invalid(kind, faults)


_Place = tuple[Any, str | int] | None
"""Where a value is: the place of what holds it, and its key there. Linked, so deep and wide costs nothing."""


def _all_unstorable(value: object, place: _Place = None) -> Iterator[Fault]:
    """Yield what no store can keep, in the order of the document, which is nested to MAX_DEPTH at most."""
    children: Iterable[tuple[str | int, object]] = ()
    if type(value) is dict:
        yield from _unstorable_keys(place, value)
        children = value.items()
    elif type(value) is list:
        children = enumerate(value)
    elif fault := unstorable(value):
        yield Fault(loc=_loc(place), msg=fault[0], type=fault[1])
    for key, child in children:
        # Of those with which nothing is wrong there may be millions.
        if type(child) in _NESTING or unstorable(child):
            yield from _all_unstorable(child, (place, key))


def _unstorable_keys(place: _Place, keys: Iterable[str]) -> Iterator[Fault]:
    for key in keys:
        fault = unstorable(key)
        if fault is not None:
            yield Fault(loc=_loc((place, key)), msg=f"the key: {fault[0]}", type=fault[1])


def unstorable(value: object) -> tuple[str, str] | None:
    """Return why a string or number cannot be stored, and the kind of fault; None when it can."""
    if isinstance(value, float) and not math.isfinite(value):
        return "not a finite number", "finite_number"
    if not isinstance(value, str):
        return None
    if "\0" in value:
        return "NUL (\\u0000) cannot be stored", "nul"
    if _SURROGATE.search(value):
        return "half of a surrogate pair is no character", "surrogate"
    return None


_SURROGATE = re.compile("[\ud800-\udfff]")


def _loc(place: _Place) -> Loc:
    loc: Loc = []
    while place is not None:
        place, key = place
        loc.append(key)
    return loc[::-1]


Body = TypeVar("Body", bound=BaseModel)


def read_as(model: type[Body], value: object, kind: str = "invalid-submission") -> Body:
    """Check a parsed body. Raises ProblemError (422) of a kind that names the place of each fault."""
    if not isinstance(value, dict):
        fault = Fault(loc=[], msg="the body must be a JSON object", type="dict_type")
        raise invalid(kind, [fault])
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        raise invalid(kind, faults_of(exc)) from None


def faults_of(exc: ValidationError, *root: str | int) -> list[Fault]:
    """Return pydantic's errors as faults. root: what their places begin with."""
    details = exc.errors(include_url=False, include_context=False, include_input=False)[:MAX_FAULTS]
    return [
        Fault(loc=[*root, *detail["loc"]], msg=_message(detail), type=detail["type"]) for detail in details
    ]


def _message(detail: ErrorDetails) -> str:
    # pydantic calls it an "extra input"; whoever mistyped a name looks for the word "unknown".
    return "unknown field" if detail["type"] == "extra_forbidden" else detail["msg"]
