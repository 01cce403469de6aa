"""The client's errors, one tree.

    app.core.QueueError
    └── ClientError
        ├── ServiceUnreachableError   no answer; also a QueueUnavailableError
        ├── AnswerError               an answer that makes no sense: of something else, or another release
        ├── ProblemError              the service says no (RFC 9457)
        │   ├── InvalidRequestError   400, 413, 415, 422: what was sent is wrong
        │   │   └── UnknownTaskError
        │   ├── UnauthorizedError     401, 403, 421: the key, or who calls from where
        │   ├── NotFoundError         404
        │   │   └── JobNotFoundError
        │   ├── ConflictError         409: not in the state that the job is in
        │   ├── ResultGoneError       410: retention has erased it
        │   └── BusyError             429, 503: later; also a QueueUnavailableError
        ├── JobFailedError            the job's function has raised; the cause is a RemoteError
        ├── JobCancelledError         also a FutureCancelledError
        └── JobTimeoutError           not done in time; also a FutureTimeoutError

They are QueueErrors because a service is a queue to an executor: code written for a
QueuingExecutor catches them unchanged.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from app.client.models import Job
from app.core import FutureCancelledError, FutureTimeoutError, QueueError, QueueUnavailableError, RemoteError

LONGEST_WAIT = 60.0
"""Seconds that somebody who says to come again later is believed."""


class ClientError(QueueError):
    """Something between this program and the service, or between the service and its job, went wrong."""


class ServiceUnreachableError(ClientError, QueueUnavailableError):
    """There was no answer. Its cause is the error of the connection."""


class AnswerError(ClientError):
    """What was answered is nothing that the service would say."""


class ProblemError(ClientError):
    """The service refuses. It bears what RFC 9457 has: status, type, title, detail.

    errors: where fields are at fault, a mapping with `loc`, `msg` and `type` for each.
    retry_after: seconds after which it may be tried again; None when nothing was said.
    members: all of the document.
    """

    def __init__(self, status: int, document: Mapping[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        self.members = document
        self.type = str(document.get("type", "about:blank"))
        self.title = str(document.get("title", f"HTTP status {status}"))
        self.detail = str(document.get("detail", ""))
        self.errors: Sequence[Mapping[str, Any]] = document.get("errors") or ()
        self.retry_after = retry_after
        super().__init__(self.detail or self.title)

    @property
    def wait(self) -> float:
        """Seconds to wait before the next attempt at least: as told, but no longer than a minute."""
        return min(self.retry_after or 0.0, LONGEST_WAIT)

    @property
    def temporary(self) -> bool:
        """Whether the same request may well succeed in a while: the service says so, or a proxy misses it."""
        return self.retry_after is not None or self.status in _TEMPORARY

    @property
    def kind(self) -> str:
        """The last part of its type, such as `unknown-task`."""
        return self.type.rpartition("/")[2]


class InvalidRequestError(ProblemError):
    """What was sent is wrong; `errors` says where."""


class UnknownTaskError(InvalidRequestError):
    """No task has that name; the message says which are near."""


class UnauthorizedError(ProblemError):
    """The key is missing or wrong, or the service does not answer callers from there."""


class NotFoundError(ProblemError):
    """There is nothing at the address."""


class JobNotFoundError(NotFoundError):
    """There is no such job, or not for this key."""


class ConflictError(ProblemError):
    """The job's state does not allow it."""


class ResultGoneError(ProblemError):
    """The job succeeded, and its result is no longer kept."""


class BusyError(ProblemError, QueueUnavailableError):
    """Not now: a quota, a full queue, a store that cannot be written, a service that stops."""


class JobFailedError(ClientError):
    """The job has failed. Its cause is what the function raised, as a RemoteError."""

    def __init__(self, job: Job) -> None:
        self.job = job
        failure = job.exception
        super().__init__(
            f"{job.task} {job.id} failed: {failure.type}: {failure.message}" if failure else job.id
        )
        if failure is not None:
            self.__cause__ = RemoteError(failure.type, failure.message, failure.traceback)


class JobCancelledError(ClientError, FutureCancelledError):
    """The job was cancelled."""

    def __init__(self, job: Job) -> None:
        self.job = job
        super().__init__(f"{job.task} {job.id} was cancelled")


class JobTimeoutError(ClientError, FutureTimeoutError):
    """The job was not done in time; it goes on."""

    def __init__(self, job: Job) -> None:
        self.job = job
        super().__init__(f"{job.task} {job.id} is not done yet: {job.state}")


_TEMPORARY = {502, 503, 504}

_BY_KIND = {"unknown-task": UnknownTaskError, "job-not-found": JobNotFoundError}

_BY_STATUS: Mapping[int, type[ProblemError]] = {
    **dict.fromkeys((400, 413, 415, 422), InvalidRequestError),
    **dict.fromkeys((401, 403, 421), UnauthorizedError),
    404: NotFoundError,
    409: ConflictError,
    410: ResultGoneError,
    **dict.fromkeys((429, 503), BusyError),
}


def problem_of(answer: httpx.Response) -> ProblemError:
    """Return the error that an answer of status 400 or above stands for; not all are of the service."""
    try:
        document = answer.json()
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        # A proxy's, perhaps.
        document = {"detail": f"{answer.url} answered with status {answer.status_code}"}
    kind = str(document.get("type", "")).rpartition("/")[2]
    cls = _BY_KIND.get(kind) or _BY_STATUS.get(answer.status_code, ProblemError)
    return cls(answer.status_code, document, _seconds(answer.headers.get("Retry-After")))


def _seconds(text: str | None) -> float | None:
    # The service says seconds; a date, which RFC 9110 allows too, comes from somebody in between.
    return float(text) if text is not None and text.isdecimal() else None
