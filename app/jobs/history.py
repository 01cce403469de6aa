"""What a job's history has to say of each event: the records that its readers are sent.

A record never bears arguments, a result or a traceback. Its data is a JSON object as text.
"""

import json
import logging
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from app.jobs.lifecycle import Due, Event, Logged, Progressed
from app.jobs.model import SECOND, Cancellation, Failure, Job, Line, Progress, Slot

MESSAGE_SHOWN = 1000
"""Characters of an exception's text that a record bears; the job has all of it."""


class RecordKind(StrEnum):
    """What a record tells of."""

    STATE = "state"
    PROGRESS = "progress"
    LOG = "log"


class Record(NamedTuple):
    """One thing that happened to a job. at: microseconds since the epoch. data: a JSON object as text."""

    kind: RecordKind
    at: int
    data: str


encode: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def records_of(event: Event, job: Job, now: int) -> Sequence[Record]:
    """Return what an event leaves behind. job: as it is after it."""
    match event:
        case Due():
            # It waits, as before.
            return ()
        case Progressed(progress=progress):
            return (Record(RecordKind.PROGRESS, now, encode(_progress(progress))),)
        case Logged(lines=lines):
            return [
                Record(RecordKind.LOG, round(line.at * SECOND), encode(_line(job, line))) for line in lines
            ]
        case _:
            return (Record(RecordKind.STATE, now, _state(job)),)


def _state(job: Job) -> str:
    # Put together here: three of these are written for every job, and an encoder takes four times as long.
    outcome = "null" if job.outcome is None else f'"{job.outcome}"'
    exception = "null" if job.exception is None else encode(_exception(job.exception))
    cancellation = "null" if job.cancellation is None else encode(_cancellation(job.cancellation))
    return (
        f'{{"state":"{job.state}","outcome":{outcome},"run":{job.run},"attempt":{job.attempt},'
        f'"version":{job.version},"exception":{exception},"cancellation":{cancellation}}}'
    )


SUBMITTED = _state(Job("", "", "", Slot.THREAD, 0, 0))
"""What the first record of every job says."""


def _exception(failure: Failure) -> dict[str, str]:
    return {"type": failure.type, "message": failure.message[:MESSAGE_SHOWN]}


def _cancellation(cancellation: Cancellation) -> dict[str, Any]:
    return {"outcome": cancellation.outcome, "reason": cancellation.reason}


def _progress(progress: Progress) -> dict[str, Any]:
    return progress._asdict()


def _line(job: Job, line: Line) -> dict[str, Any]:
    return {
        "level": logging.getLevelName(line.level),
        "run": job.run,
        "attempt": job.attempt,
        "logger": line.logger,
        "message": line.text,
    }
