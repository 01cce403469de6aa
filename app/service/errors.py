"""The errors of the use cases.

    ServiceError
    ├── NoSuchJobError          the tenant has no such job
    ├── InvalidCursorError      not a cursor that a list has handed out
    ├── InvalidSubmissionError  what was handed in is no submission
    ├── InvalidBatchError       some of a batch's submissions are wrong, so that none was stored
    ├── KeyReusedError          the idempotency key stands for another submission
    ├── KeyHeldError            another job that is not done has the job's key
    ├── TooManyJobsError        the tenant's quota is used up
    └── UnavailableError        not now; retry_after says when to ask again
        ├── QueueFullError
        ├── DrainingError       the service is about to stop
        └── StoreDownError      the store cannot be written

Errors of jobs (UnknownTaskError, InvalidArgumentsError, JobFinishedError, JobNotPendingError,
JobNotRetriableError, JobNotDoneError) pass through.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from app.jobs.errors import Fault
from app.stores import base


class ServiceError(Exception):
    """The root of this layer's errors."""


class NoSuchJobError(ServiceError):
    """The tenant has no such job."""


class InvalidCursorError(ServiceError):
    """Not a cursor that a list has handed out."""


class InvalidSubmissionError(ServiceError):
    """What was handed in is no submission. faults: one per place."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(fault["msg"] for fault in faults))
        self.faults = tuple(faults)


class InvalidBatchError(ServiceError):
    """Some of a batch's submissions are wrong. errors: why, by their places in the batch, from 0."""

    def __init__(self, errors: Mapping[int, Exception]) -> None:
        super().__init__(f"{len(errors)} of the submissions are wrong")
        self.errors = errors


class KeyReusedError(ServiceError):
    """The idempotency key stands for another submission."""


class KeyHeldError(ServiceError):
    """Another job of the same task that is not done has this job's key."""


class TooManyJobsError(ServiceError):
    """The tenant has as many unfinished jobs as it may have."""


class UnavailableError(ServiceError):
    """It cannot be done now. retry_after: seconds after which to try again."""

    retry_after = 1


class QueueFullError(UnavailableError):
    """As many jobs wait in the queue as may."""

    retry_after = 5


class DrainingError(UnavailableError):
    """The service finishes what it runs and then stops."""

    retry_after = 5


class StoreDownError(UnavailableError):
    """The store cannot be read or written now."""

    retry_after = 2


_OWN: tuple[tuple[type[base.StoreError], type[ServiceError]], ...] = (
    (base.JobNotFoundError, NoSuchJobError),
    (base.KeyReusedError, KeyReusedError),
    (base.KeyHeldError, KeyHeldError),
    (base.QuotaExceededError, TooManyJobsError),
    (base.QueueFullError, QueueFullError),
)


class _Translation:
    """Keeps nothing, so that one is enough: a context manager made of a generator costs a dozen calls."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, exc: BaseException | None, __: object) -> None:
        if isinstance(exc, base.StoreError):
            raise _translation(exc) from exc


_TRANSLATION = _Translation()


def translated() -> AbstractContextManager[None]:
    """Turn the store's errors into this layer's."""
    return _TRANSLATION


def _translation(exc: base.StoreError) -> ServiceError:
    for theirs, ours in _OWN:
        if isinstance(exc, theirs):
            return ours(*exc.args)
    # What exactly is wrong is in the log; a caller shall see no path and no SQL.
    return StoreDownError("the store cannot be used at the moment")
