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
    from app.jobs.registry import task

__all__ = [
    "Future",
    "FutureCancelledError",
    "FutureTimeoutError",
    "Task",
    "checkpoint",
    "context",
    "gather",
    "progress",
    "submit",
    "task",
]

_LATER = {
    "checkpoint": "app.jobs.context",
    "context": "app.jobs.context",
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
