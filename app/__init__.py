"""Errand: hand in work over HTTP, get a future back.

    from app import task, submit

    @task
    def add(a: int, b: int) -> int:
        return a + b

The names of the core need the standard library only. What registers tasks needs
pydantic too, and is loaded when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from app.core import Future, FutureCancelledError, FutureTimeoutError, Task, gather

if TYPE_CHECKING:
    from app.jobs.context import checkpoint, context, progress, submit
    from app.jobs.hooks import on_shutdown, on_startup
    from app.jobs.registry import task
    from app.jobs.retry import Retry, RetryLater

__all__ = [
    "Future",
    "FutureCancelledError",
    "FutureTimeoutError",
    "Retry",
    "RetryLater",
    "Task",
    "checkpoint",
    "context",
    "gather",
    "on_shutdown",
    "on_startup",
    "progress",
    "submit",
    "task",
]

_LATER = {
    "Retry": "app.jobs.retry",
    "RetryLater": "app.jobs.retry",
    "checkpoint": "app.jobs.context",
    "context": "app.jobs.context",
    "on_shutdown": "app.jobs.hooks",
    "on_startup": "app.jobs.hooks",
    "progress": "app.jobs.context",
    "submit": "app.jobs.context",
    "task": "app.jobs.registry",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for (PEP 562)."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
