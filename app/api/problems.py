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
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from app.api.kinds import KINDS
from app.api.whole import USUAL, WholeResponse
from app.jobs.errors import (
    Fault,
    InvalidArgumentsError,
    JobFinishedError,
    JobNotDoneError,
    JobNotPendingError,
    JobNotRetriableError,
    UnknownTaskError,
)
from app.service import (
    DrainingError,
    InvalidBatchError,
    InvalidCursorError,
    InvalidSubmissionError,
    KeyHeldError,
    KeyReusedError,
    NoSuchJobError,
    QueueFullError,
    StoreDownError,
    TooManyJobsError,
    UnavailableError,
)

MAX_FAULTS = 100
"""Faults that a problem names at most; a body may have a million."""

RETRY_AFTER_QUOTA = 5
"""Seconds after which somebody whose quota is used up may try again: time for some jobs to end."""


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
        text = json.dumps({**body, **self.members}, separators=(",", ":")) + "\n"
        headers = {**USUAL, **self.headers}
        return WholeResponse(text.encode(), kind.status, b"application/problem+json", headers)


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
    fault = Fault(loc=["task"], msg=f"no task of this name; {hint}", type="unknown_task")
    return ProblemError("unknown-task", f"{exc}; {hint}", errors=[fault])


def _bad_cursor(_: InvalidCursorError) -> ProblemError:
    fault = Fault(loc=["query", "cursor"], msg="not a cursor that a list has handed out", type="cursor")
    return invalid("invalid-parameters", [fault])


def _bad_batch(exc: InvalidBatchError) -> ProblemError:
    """Put together what is wrong with each of them; the problem is theirs, if they have the same."""
    problems = {index: problem_of(error) for index, error in exc.errors.items()}
    faults = [
        Fault(loc=[index, *fault["loc"]], msg=fault["msg"], type=fault["type"])
        for index, problem in problems.items()
        for fault in (problem.errors if problem else ())
    ]
    kinds = {problem.kind for problem in problems.values() if problem}
    return invalid(kinds.pop() if len(kinds) == 1 else "invalid-submission", faults[:MAX_FAULTS])


def _other_body(_: KeyReusedError) -> ProblemError:
    detail = "this Idempotency-Key stands for a submission with another body"
    fault = Fault(loc=["header", "Idempotency-Key"], msg="used before, with another body", type="key_reused")
    return ProblemError("idempotency-key-reused", detail, errors=[fault])


def _always(kind: str, detail: str) -> "Translation":
    return lambda _: ProblemError(kind, detail)


# The key's own type is the argument's, which the type system cannot say.
Translation = Callable[[Any], ProblemError]

TRANSLATIONS: Mapping[type[Exception], Translation] = MappingProxyType(
    {
        NoSuchJobError: _always("job-not-found", "there is no job of this id"),
        JobFinishedError: _always("job-finished", "the job has finished: its outcome stands"),
        JobNotPendingError: _always("job-not-pending", "the job has begun, or is done"),
        JobNotRetriableError: _always("job-not-retriable", "the job has neither failed nor been cancelled"),
        JobNotDoneError: _always("job-not-done", "the job still waits or runs"),
        KeyHeldError: _always("key-held", "another job that is not done has the job's key"),
        KeyReusedError: _other_body,
        InvalidSubmissionError: lambda exc: invalid("invalid-submission", exc.faults),
        InvalidBatchError: _bad_batch,
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
