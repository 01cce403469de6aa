"""Every use case, once: what the API, and whoever else speaks for a tenant, can ask for."""

from app.service.bulk import Tally
from app.service.errors import (
    DrainingError,
    InvalidBatchError,
    InvalidCursorError,
    InvalidSubmissionError,
    KeyHeldError,
    KeyReusedError,
    NoSuchJobError,
    QueueFullError,
    ServiceError,
    StoreDownError,
    TooManyJobsError,
    UnavailableError,
)
from app.service.queues import QueueStatus
from app.service.service import JobPage, Service
from app.service.streams import Entry, Part, Stream, Streams
from app.service.submitting import Submission, Submitted
from app.stores.base import Filter, Once

__all__ = [
    "DrainingError",
    "Entry",
    "Filter",
    "InvalidBatchError",
    "InvalidCursorError",
    "InvalidSubmissionError",
    "JobPage",
    "KeyHeldError",
    "KeyReusedError",
    "NoSuchJobError",
    "Once",
    "Part",
    "QueueFullError",
    "QueueStatus",
    "Service",
    "ServiceError",
    "StoreDownError",
    "Stream",
    "Streams",
    "Submission",
    "Submitted",
    "Tally",
    "TooManyJobsError",
    "UnavailableError",
]
