"""Every use case, once: what the API, and whoever else speaks for a tenant, can ask for."""

from app.core.precedence import PRECEDENCE
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
from app.service.minutes import FailureCount, Recount, Span, Traffic
from app.service.queues import QueueStatus
from app.service.service import JobPage, Service
from app.service.statistics import Overview
from app.service.streams import Entry, Part, Stream, Streams
from app.service.submitting import Submission, Submitted
from app.service.workers import SlotUse, WorkerStatus
from app.stores.base import Filter, Once
from app.stores.figures import StateCounts

__all__ = [
    "PRECEDENCE",
    "DrainingError",
    "Entry",
    "FailureCount",
    "Filter",
    "InvalidBatchError",
    "InvalidCursorError",
    "InvalidSubmissionError",
    "JobPage",
    "KeyHeldError",
    "KeyReusedError",
    "NoSuchJobError",
    "Once",
    "Overview",
    "Part",
    "QueueFullError",
    "QueueStatus",
    "Recount",
    "Service",
    "ServiceError",
    "SlotUse",
    "Span",
    "StateCounts",
    "StoreDownError",
    "Stream",
    "Streams",
    "Submission",
    "Submitted",
    "Tally",
    "TooManyJobsError",
    "Traffic",
    "UnavailableError",
    "WorkerStatus",
]
