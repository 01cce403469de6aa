"""What a request asks for besides its body: the query, `Prefer`, `If-None-Match`."""

import re
from collections import Counter
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from app.api.bodies import faults_of
from app.api.headers import header_lines
from app.api.incoming import WaitQuery
from app.api.problems import invalid
from app.jobs.errors import Fault

MAX_WAIT = 60.0
"""Seconds that a request may wait at most: below the patience of the usual proxies."""

MAX_PARAMETERS = 100
"""Parameters that a query may have; no call knows more than a few."""

# RFC 7240: preferences are separated by commas, which a quoted string may contain too. Possessive,
# and a quote that is not closed ends with the text: nothing is read twice.
_PREFERENCE = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*+(?:"|$))++')
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")
_ENTITY_TAG = re.compile(r'\*|(?:W/)?("[^"]*")')

Query = TypeVar("Query", bound=BaseModel)


def read_query(request: Request, model: type[Query]) -> Query:
    """Check the query. Raises ProblemError (422) that names each parameter that is wrong."""
    pairs = query_pairs(request)
    values: dict[str, Any] = {}
    for name in getattr(model, "REPEATABLE", ()):
        found = [value for key, value in pairs if key == name]
        values.update({name: found} if found else {})
    single = [(name, value) for name, value in pairs if name not in values]
    values.update(single)
    faults = _repeated([name for name, _ in single])
    if faults:
        raise invalid("invalid-parameters", faults)
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        raise invalid("invalid-parameters", list(map(_of_parameter, faults_of(exc, "query")))) from None


def _of_parameter(fault: Fault) -> Fault:
    # Of one that may be repeated, which one it is does not matter.
    loc, unknown = fault["loc"][:2], fault["type"] == "extra_forbidden"
    return Fault(loc=loc, msg="unknown parameter" if unknown else fault["msg"], type=fault["type"])


def query_pairs(request: Request) -> list[tuple[str, str]]:
    """Return the parameters of the query in their order. Raises ProblemError (422) for too many."""
    query = request.scope["query_string"].decode("latin-1")
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        fault = Fault(loc=["query"], msg=f"more than {MAX_PARAMETERS} parameters", type="too_long")
        raise invalid("invalid-parameters", [fault]) from None


def _repeated(names: list[str]) -> list[Fault]:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    return [Fault(loc=["query", name], msg="given more than once", type="repeated") for name in twice]


class Wait(NamedTuple):
    """seconds: to wait; 0 means not to. applied: the header that says what was made of it."""

    seconds: float
    applied: dict[str, str]


NO_WAIT = Wait(0.0, {})


def read_wait(request: Request) -> Wait:
    """Return how long to wait. Raises ProblemError (422) for a bad query; a bad `Prefer` is ignored."""
    asked = read_query(request, WaitQuery).wait if request.scope["query_string"] else None
    preferred = preferred_wait(header_lines(request, b"prefer"))
    if asked is None and preferred is None:
        return NO_WAIT
    wanted = asked if asked is not None else preferred or 0.0
    seconds = min(wanted, MAX_WAIT)
    say = asked is None or seconds < wanted
    return Wait(seconds, {"Preference-Applied": f"wait={seconds:g}"} if say else {})


def preferred_wait(lines: list[str]) -> float | None:
    """Return the seconds of `Prefer: wait=N` (RFC 7240); None when there is none that makes sense."""
    for preference in _PREFERENCE.findall(",".join(lines)) if lines else ():
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            # The first one counts, be it good or bad.
            seconds = value.strip().strip('"')
            return float(seconds) if _SECONDS.fullmatch(seconds) else None
    return None


def entity_tag(version: int) -> str:
    """Return the strong entity tag of a job's version."""
    return f'"{version}"'


def matches(request: Request, tag: str) -> bool:
    """Tell whether `If-None-Match` names the tag, compared weakly (RFC 9110, 13.1.2)."""
    lines = header_lines(request, b"if-none-match")
    if not lines:
        return False
    found = {match[0] if match[0] == "*" else match[1] for match in _ENTITY_TAG.finditer(",".join(lines))}
    return tag in found or "*" in found
