"""Errors as RFC 9457 problem documents: the kinds there are, and which exception becomes which.

    ProblemError                  raised by this layer, says its kind itself
    app.service.ServiceError      ┐
    app.jobs.errors.JobError      ┴ translated here (`problem_of`); the rest of them, which no caller
                                    can be at fault for, end as internal-error
    starlette's HTTPException     an unknown route or method

Each kind has a page under /problems, made from the same table.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from app.jobs.errors import Fault, InvalidArgumentsError, JobFinishedError, UnknownTaskError
from app.service import (
    DrainingError,
    InvalidCursorError,
    NoSuchJobError,
    QueueFullError,
    StoreDownError,
    TooManyJobsError,
    UnavailableError,
)

RETRY_AFTER_QUOTA = 5
"""Seconds after which somebody whose quota is used up may try again: time for some jobs to end."""


class Kind(NamedTuple):
    """A type of problem. meaning and remedy: for its page."""

    status: int
    title: str
    meaning: str
    remedy: str


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "invalid-json": Kind(
            400,
            "The body is not usable JSON",
            "The body is no JSON document in UTF-8, or it is nested deeper than 100 levels, or has an "
            "integer "
            "of more than 4300 digits.",
            "Send the output of a JSON library, encoded as UTF-8. The detail says where reading stopped.",
        ),
        "unauthorized": Kind(
            401,
            "An API key is needed",
            "The service has API keys, and the request bears none, or one that is not known.",
            "Send the header `Authorization: Bearer <key>`, with the secret alone, without its name.",
        ),
        "cross-site": Kind(
            403,
            "A web page of another site may not change anything here",
            "The request came from a web page that this service did not serve. Without API keys, every page "
            "that is open in a browser on this machine could otherwise submit jobs.",
            "Call from a program, or give the service API keys.",
        ),
        "not-found": Kind(
            404,
            "There is nothing at this address",
            "The path is none that the service knows.",
            "See /docs for all paths. They have no slash at the end.",
        ),
        "job-not-found": Kind(
            404,
            "There is no such job",
            "No job has this id, or it belongs to somebody else, or the id is no UUID.",
            "Take the id from the answer to the submission, and call with a key of the same name.",
        ),
        "task-not-found": Kind(
            404,
            "There is no such task",
            "No task of this name is registered.",
            "GET /tasks lists the names. Modules with tasks are named in ERRAND_TASKS when the service "
            "starts.",
        ),
        "method-not-allowed": Kind(
            405,
            "This address does not know the method",
            "The path exists, but not with this method.",
            "The header `Allow` lists the methods that it knows.",
        ),
        "job-finished": Kind(
            409,
            "The job has finished",
            "What has finished cannot be cancelled: its outcome stands.",
            "Nothing needs to be done. GET /jobs/{id} shows the outcome.",
        ),
        "job-failed": Kind(
            409,
            "The job has failed",
            "The function raised an exception, so there is no result. The member `exception` shows it.",
            "Mend the cause that the exception names, and submit the job again.",
        ),
        "job-cancelled": Kind(
            409,
            "The job was cancelled",
            "The job was cancelled before it had a result.",
            "Submit it again if the result is still wanted.",
        ),
        "body-too-large": Kind(
            413,
            "The body is too large",
            "A submission may take 1 MiB.",
            "Store large input elsewhere and submit where it is.",
        ),
        "unsupported-media-type": Kind(
            415,
            "The body must be JSON, and say so",
            "The header `Content-Type` is missing, or names something other than JSON in UTF-8, or the "
            "body is "
            "compressed.",
            "Send the header `Content-Type: application/json`. With curl: `-H 'Content-Type: "
            "application/json'`.",
        ),
        "misdirected-request": Kind(
            421,
            "This service answers to local names only",
            "Without API keys, only a `Host` of localhost, 127.0.0.1 or [::1] is answered, so that no "
            "web page "
            "can reach the service under a name of its own.",
            "Use one of these names, or give the service API keys.",
        ),
        "invalid-submission": Kind(
            422,
            "The submission is not valid",
            "The body is JSON, but not a submission: a field is unknown, missing, of the wrong type or "
            "out of "
            "range, or a value is one that JSON stores cannot keep (NaN, infinity, NUL, half a surrogate "
            "pair).",
            "`errors` names each place. /docs shows all fields. Of a key that is there twice, the last "
            "counts.",
        ),
        "unknown-task": Kind(
            422,
            "No task of this name is registered",
            "The submission names a task that the service does not have.",
            "The detail names the nearest ones, GET /tasks all. Modules with tasks are named in "
            "ERRAND_TASKS.",
        ),
        "invalid-arguments": Kind(
            422,
            "The arguments do not fit the task",
            "An argument is missing, surplus, or not of the type that the function is annotated with. "
            "Nothing "
            "was stored.",
            "`errors` names each place. GET /tasks/{name} shows the parameters.",
        ),
        "invalid-parameters": Kind(
            422,
            "The query is not valid",
            "A query parameter is unknown, there twice, or has a value that it cannot have.",
            "`errors` names each. A `cursor` must be one that a list has handed out.",
        ),
        "too-many-jobs": Kind(
            429,
            "The quota is used up",
            "The tenant has as many unfinished jobs as it may have.",
            "Try again after the seconds in `Retry-After`, or wait for jobs to finish, or cancel some.",
        ),
        "internal-error": Kind(
            500,
            "Something is wrong with the service",
            "The service met an error that it did not foresee. Its log has the details.",
            "Whether the request had an effect is not known: look at GET /jobs before you repeat it.",
        ),
        "unavailable": Kind(
            503,
            "The service cannot do this now",
            "The service is up, but not able to do its work, for instance because no worker takes jobs.",
            "Try again after the seconds in `Retry-After`.",
        ),
        "queue-full": Kind(
            503,
            "The queue is full",
            "As many jobs wait in the queue as may.",
            "Try again after the seconds in `Retry-After`, or submit to another queue.",
        ),
        "draining": Kind(
            503,
            "The service is stopping",
            "The service finishes what it runs, and takes no new jobs.",
            "Try again after the seconds in `Retry-After`, when it has started again.",
        ),
        "store-unavailable": Kind(
            503,
            "The store cannot be used",
            "The database cannot be read or written, for instance because the disk is full. Nothing was "
            "stored.",
            "Try again after the seconds in `Retry-After`. The service's log says what is wrong.",
        ),
    }
)


class ProblemError(Exception):
    """Something to be answered with a problem document.

    errors: a fault for each place that is wrong. members: more members of the document.
    """

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        errors: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}
        self.members = members or {}

    def response(self, instance: str) -> Response:
        """Return the answer. instance: the path that was called."""
        kind = KINDS[self.kind]
        body: dict[str, Any] = {
            "type": f"/problems/{self.kind}",
            "title": kind.title,
            "status": kind.status,
            "detail": self.detail,
            "instance": instance,
        }
        if self.errors:
            body["errors"] = self.errors
        # An undecodable byte of the path is a lone surrogate in `instance`: ASCII holds it as an escape.
        text = json.dumps({**body, **self.members}) + "\n"
        return Response(text, kind.status, self.headers, "application/problem+json")


def invalid(kind: str, errors: Sequence[Fault]) -> ProblemError:
    """Return a problem whose detail sums up the faults."""
    shown = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in errors[:3])
    more = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""  # noqa: PLR2004  (as many as shown)
    return ProblemError(kind, shown + more, errors=errors)


def problem_of(exc: Exception) -> ProblemError | None:
    """Translate an error of the service or of jobs; None when no caller should see it."""
    if isinstance(exc, ProblemError):
        return exc
    translations = (TRANSLATIONS.get(cls) for cls in type(exc).__mro__)
    translate = next(filter(None, translations), None)
    return None if translate is None else translate(exc)


def _not_now(kind: str) -> "Translation":
    return lambda exc: ProblemError(kind, str(exc), headers={"Retry-After": str(exc.retry_after)})


def _unknown_task(exc: UnknownTaskError) -> ProblemError:
    names = " or ".join(map(repr, exc.nearest))
    hint = f"did you mean {names}?" if names else "GET /tasks lists those there are"
    fault = Fault(loc=["task"], msg="no task of this name", type="unknown_task")
    return ProblemError("unknown-task", f"{exc}; {hint}", errors=[fault])


def _bad_cursor(_: InvalidCursorError) -> ProblemError:
    fault = Fault(loc=["query", "cursor"], msg="not a cursor that a list has handed out", type="cursor")
    return invalid("invalid-parameters", [fault])


# The key's own type is the argument's, which the type system cannot say.
Translation = Callable[[Any], ProblemError]

TRANSLATIONS: Mapping[type[Exception], Translation] = MappingProxyType(
    {
        NoSuchJobError: lambda _: ProblemError("job-not-found", "there is no job of this id"),
        JobFinishedError: lambda _: ProblemError("job-finished", "the job has finished: its outcome stands"),
        UnknownTaskError: _unknown_task,
        InvalidArgumentsError: lambda exc: invalid("invalid-arguments", exc.faults),
        InvalidCursorError: _bad_cursor,
        TooManyJobsError: lambda exc: ProblemError(
            "too-many-jobs", str(exc), headers={"Retry-After": str(RETRY_AFTER_QUOTA)}
        ),
        UnavailableError: _not_now("unavailable"),
        QueueFullError: _not_now("queue-full"),
        DrainingError: _not_now("draining"),
        StoreDownError: _not_now("store-unavailable"),
    }
)


async def answer(request: Request, exc: Exception) -> Response:
    """Answer an exception that a route raised; raises it again when it is nobody's business."""
    problem = problem_of(exc)
    if problem is None:
        raise exc
    return problem.response(request.scope["path"])
