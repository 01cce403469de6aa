"""Calls without I/O: a generator yields requests and is sent the answers.

So each call is written once, and whoever performs its requests decides whether that
blocks (`Client`) or not (`AsyncClient`). What is repeated, and when, is decided here too.
"""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import httpx

from app.client.errors import AnswerError, ClientError, ServiceUnreachableError, problem_of

T = TypeVar("T")

ERROR = 400
"""Statuses from here on are refusals (RFC 9110)."""

FIRST_PAUSE = 0.1
"""Seconds before the first repetition; each further pause is twice as long."""

LONGEST_PAUSE = 5.0
"""Seconds between two attempts at most."""


class Request(NamedTuple):
    """What to ask for. path: with its query, unless `params` has that.

    waits: seconds that the service may take before it begins to answer. repeatable: whether
    it may be sent again when nobody knows what became of it.
    """

    method: str
    path: str
    content: bytes | None = None
    params: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = {}
    waits: float = 0.0
    repeatable: bool = True


class Pause(NamedTuple):
    """Do nothing for so many seconds."""

    seconds: float


Steps = Generator[Request | Pause, Any, T]
"""A call: yields requests, is sent answers below status 400, and returns its result."""

Performing = Generator[Request | Pause, Any, T]
"""The same, with repetitions; httpx's RequestError is thrown in when there is no answer."""


def persistent(steps: Steps[T], patience: float) -> Performing[T]:
    """Carry out a call, with repetitions for as long as `patience` (seconds).

    Raises what the call raises: ServiceUnreachableError and ProblemError among it.
    """
    try:
        step = next(steps)
        while True:
            try:
                answer = (yield step) if isinstance(step, Pause) else (yield from _answered(step, patience))
            except ClientError as exc:
                step = steps.throw(exc)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


def _answered(request: Request, patience: float) -> Performing[httpx.Response]:
    # From the first failure on: what waits for a job's end may take its minute before that.
    give_up: float | None = None
    for pause in pauses():
        try:
            answer: httpx.Response = yield request
        except httpx.LocalProtocolError as exc:
            # Nothing was sent, and nothing will be: a header that is none, for one.
            raise ClientError(
                f"{request.method} {request.path} cannot be sent: {type(exc).__name__}"
            ) from exc
        except httpx.TransportError as exc:
            error: ClientError = unreachable(exc)
            again, due = request.repeatable or _is_unsent(exc), pause
        except httpx.InvalidURL as exc:
            # Too long, for one.
            raise ClientError(f"there can be no such address: {exc}") from exc
        except httpx.RequestError as exc:
            raise AnswerError(f"{request.path} was answered with what cannot be read: {exc}") from exc
        else:
            if answer.status_code < ERROR:
                return answer
            error = problem = problem_of(answer)
            again, due = request.repeatable and problem.temporary, max(pause, problem.wait)
        give_up = time.monotonic() + patience if give_up is None else give_up
        if not again or time.monotonic() + due > give_up:
            raise error
        yield Pause(due)
    raise AssertionError  # pauses have no end


def pauses() -> Iterator[float]:
    """Yield the seconds before each repetition, without end."""
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE)


def unreachable(exc: httpx.TransportError) -> ServiceUnreachableError:
    """Return our error for theirs."""
    where = exc.request.url.copy_with(path="/", query=None, fragment=None)
    what = str(exc) or type(exc).__name__
    error = ServiceUnreachableError(f"{str(where).rstrip('/')} cannot be reached: {what}")
    error.__cause__ = exc
    return error


def _is_unsent(exc: httpx.TransportError) -> bool:
    return isinstance(exc, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
