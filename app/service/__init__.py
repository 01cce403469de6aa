"""Every use case, once: what the API, and whoever else speaks for a tenant, can ask for."""

from app.service.service import (
    DrainingError,
    InvalidCursorError,
    JobPage,
    NoSuchJobError,
    QueueFullError,
    Service,
    ServiceError,
    StoreDownError,
    Submission,
    TooManyJobsError,
    UnavailableError,
)

__all__ = [
    "DrainingError",
    "InvalidCursorError",
    "JobPage",
    "NoSuchJobError",
    "QueueFullError",
    "Service",
    "ServiceError",
    "StoreDownError",
    "Submission",
    "TooManyJobsError",
    "UnavailableError",
]
