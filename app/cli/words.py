"""What is said of a job: its state in a word, its end in a line, its cancellation truthfully."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple, Self

from app.cli.ends import CANCELLED, FINE, REFUSED
from app.cli.screen import now, plain, short, span
from app.client import Cancellation, Event, Failure, Job, Progress

EXIT_CODES = {"succeeded": FINE, "failed": REFUSED, "cancelled": CANCELLED}
"""What a job that is done means to a script, by its outcome."""


class Stop(NamedTuple):
    """A request to cancel: what became of the code, and why it was made."""

    outcome: str
    reason: str | None


@dataclass(frozen=True)
class Seen:
    """As much of a job as its events tell. ended_at: None as long as it is not done."""

    id: str
    task: str
    status: str
    """Its outcome, or its state as long as there is none."""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    progress: Progress | None = None
    exception: Failure | None = None
    stop: Stop | None = None

    @classmethod
    def of(cls, job: Job) -> Self:
        """Return what is seen of a job."""
        return cls(
            job.id,
            job.task,
            status(job),
            job.started_at if job.state != "pending" else None,
            job.finished_at,
            job.progress,
            job.exception,
            _stop(job.cancellation),
        )

    def after(self, event: Event) -> Self:
        """Return what is seen of it after an event."""
        if event.kind == "progress":
            return replace(self, progress=Progress.model_validate(event.data))
        return replace(self, **_changes(self, event)) if event.kind == "state" else self

    def stated(self) -> dict[str, Any]:
        """Return how it stands in the words of an event."""
        outcome = self.status if self.done else None
        state = "finished" if outcome in {"succeeded", "failed"} else self.status
        exception = None if self.exception is None else self.exception.model_dump(exclude={"traceback"})
        return {"state": state, "outcome": outcome, "exception": exception}

    @property
    def done(self) -> bool:
        """Whether it has an outcome."""
        return self.status in EXIT_CODES

    @property
    def seconds(self) -> float | None:
        """How long its last attempt took, or takes; None when it has not begun."""
        if self.started_at is None:
            return None
        return ((self.ended_at or now()) - self.started_at).total_seconds()

    @property
    def ending(self) -> str:
        """What became of it, in a line."""
        match self.status:
            case "succeeded" if self.seconds is not None:
                return f"succeeded in {span(self.seconds)}"
            case "failed" if self.exception is not None:
                return f"failed: {failure(self.exception)}"
            case "cancelled" if self.stop is not None:
                return cancelled(self.stop)
            case other:
                return plain(other)


def _changes(seen: Seen, event: Event) -> Mapping[str, Any]:
    data = event.data
    state, outcome = str(data.get("state")), data.get("outcome")
    begins = state == "running" and seen.status != "running"
    exception, stop = data.get("exception"), data.get("cancellation")
    started_at = event.at if begins else seen.started_at
    return {
        "status": str(outcome or state),
        "started_at": None if state == "pending" else started_at,
        "ended_at": event.at if outcome else None,
        "progress": None if begins else seen.progress,
        "exception": Failure.model_validate(exception) if exception else None,
        "stop": Stop(str(stop.get("outcome")), stop.get("reason")) if stop else None,
    }


def _stop(cancellation: Cancellation | None) -> Stop | None:
    return None if cancellation is None else Stop(str(cancellation.outcome), cancellation.reason)


def status(job: Job) -> str:
    """Return the outcome, or the state as long as there is none."""
    return str(job.outcome or job.state)


def age(at: datetime) -> str:
    """Return how long ago a time was, in few characters."""
    return short((now() - at).total_seconds())


def took(job: Job) -> str | None:
    """Return how long its last attempt took, or takes; None before the first."""
    seconds = Seen.of(job).seconds
    return None if seconds is None else span(seconds)


def share(progress: Progress | None) -> str:
    """Return how far a job has come, in few characters: a share, or a number if the total is not known."""
    if progress is None:
        return ""
    return f"{min(progress.done / progress.total, 1):.0%}" if progress.total else f"{progress.done:g}"


def failure(exception: Failure) -> str:
    """Return an exception in a line."""
    return f"{plain(exception.type)}: {first_line(exception.message)}"


def cancelled(stop: Cancellation | Stop) -> str:
    """Return what a request to cancel has come to."""
    why = f" ({plain(stop.reason)})" if stop.reason else ""
    match str(stop.outcome):
        case "pending":
            return f"asked to stop, and still running{why}"
        case "not_started":
            return f"cancelled before it began{why}"
        case "cooperative":
            return f"cancelled: it was asked to stop, noticed, and ended{why}"
        case "killed":
            return f"cancelled: the process that ran it was killed{why}"
        case "too_late":
            return f"asked to stop too late: it had finished first, and its outcome counts{why}"
        case other:
            return f"{plain(other)}{why}"


def first_line(text: str) -> str:
    """Return the first line of a text, and a mark when there are more."""
    line, more, _ = text.strip().partition("\n")
    return f"{plain(line)} …" if more else plain(line)
