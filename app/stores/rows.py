"""A job as rows of the SQLite schema, and back."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from app.core import State
from app.jobs.model import (
    NO_ARGUMENTS,
    Attempt,
    Backoff,
    Cancellation,
    Failure,
    Hold,
    Job,
    Outcome,
    Progress,
    Slot,
    Stopped,
)

FIXED = (
    "key", "id", "tenant", "task", "created_at", "queue", "unique_key", "max_attempts", "backoff", "timeout",
    "parent", "root", "step", "traceparent",
)  # fmt: skip
"""Columns that no event of a job changes."""

RARE = ("key", "slot", "tags", "run", "expires_at", "limit_key")
"""The key, and columns that are changed once in a long while."""

MOVING = (
    "key", "priority", "run_at", "state", "outcome", "hold", "attempt", "losses", "started_at", "finished_at",
    "progress_done", "progress_total", "progress_message", "cancel_requested_at", "cancel_outcome",
    "cancel_reason", "worker", "token", "version", "logged", "blocked_by", "turn",
)  # fmt: skip
"""The key, and the columns that most events change."""

COURSE = ("key", "state", "outcome", "attempt", "started_at", "finished_at", "worker", "token", "version")
"""Those of them that a run's beginning and end change, if nobody asks it to stop."""

JOB = (*FIXED, *RARE[1:], *MOVING[1:])
"""The columns of `jobs` that make a job, in the order in which rows are read here."""

NEW = (
    "key", "id", "tenant", "task", "slot", "created_at", "queue", "priority", "tags", "run", "run_at",
    "state", "hold", "attempt", "max_attempts", "losses", "version", "logged", "turn",
    "started_at", "worker", "token",
    "timeout", "expires_at", "limit_key", "unique_key", "backoff", "parent", "root", "step", "traceparent",
)  # fmt: skip
"""Those of a job that is new, and claimed at most, by how often they have a value."""

ENDS = tuple(NEW.index(column) + 1 for column in ("turn", "token", "backoff", NEW[-1]))
"""After how many of them a row may end: what all have; a claim; options; a parent and a trace.

At a few places only, because there is a prepared statement for each.
"""

ARGUMENTS = ("job", "arguments", "shown")
"""Columns of `arguments`, where a call without any has no row."""

RESULT = ("job", "result", "exception_type", "exception_message", "exception_traceback")
"""Columns of `results`."""

ATTEMPT = ("run", "number", "worker", "started_at", "finished_at", *RESULT[2:])
"""Columns of `attempts`, without the job's."""

RECORD = ("position", "job", "kind", "at", "data")
"""Columns of `events`."""

AS_SUBMITTED = ""
"""The data of every job's first record: in full it would be a quarter of all that is written of a new job."""

CHANGED_BY_SQL = ("version", "hold", "slot", "limit_key")
_changed_by_sql = itemgetter(*map(JOB.index, CHANGED_BY_SQL))

SELECT_JOB = ", ".join(f"jobs.{column}" for column in JOB)

WHOLE = f"{SELECT_JOB}, arguments, shown, exception_type, exception_message, exception_traceback, result"
LISTED = f"{SELECT_JOB}, NULL, NULL, exception_type, exception_message, '', NULL"
CALLED = f"{SELECT_JOB}, arguments, shown, NULL, NULL, NULL, NULL"

# By tables, because calling an enumeration takes as long as looking ten values up.
STATES = {str(state): state for state in State}
OUTCOMES = {str(outcome): outcome for outcome in Outcome}
SLOTS = {str(slot): slot for slot in Slot}
HOLDS = {bits: Hold(bits) for bits in range(1 << len(Hold))}

UUID_BYTES = 16

NOTHING = (None, None, None)
"""What columns of a progress, a cancellation or an exception have where there is none."""

NO_PAYLOAD = (None, None, *NOTHING, None)
"""What stands for the other columns of WHOLE in a row of JOB: no call, no exception, no result."""

USUAL = Backoff()
"""What is not stored, because most jobs have it."""

Row = Sequence[Any]


# The enumerations that most rows have are plain text: for a value of any other type than text, a number
# or a bytearray, None included, sqlite3 looks for an adapter first, which takes three times as long as to
# bind it.


def new_row(key: int, job: Job, hold: Hold, turn: int) -> tuple[Any, ...]:
    """Return the values of NEW. hold: why the job is not ready, the gates included."""
    return (
        key, _id(job.id), job.tenant, job.task, str(job.slot), job.created_at,
        job.queue, job.priority, _tags(job.tags), job.run, job.run_at, str(job.state), int(hold), job.attempt,
        job.max_attempts, job.losses, job.version, job.logged, turn,
        job.started_at, job.worker, job.token,
        job.timeout, job.expires_at, job.limit_key, job.key,
        _backoff(job.backoff), job.parent, job.root, job.step,
        job.traceparent,
    )  # fmt: skip


New = tuple[int, Job, Hold, int]
"""A job that is new: its key, itself, why it is not ready, the gates included, and its turn or 0."""


def call_rows(new: Iterable[New]) -> list[tuple[int, str, str | None]]:
    """Return the rows of `arguments`; see `with_call`."""
    return [
        (key, job.arguments, job.shown)
        for key, job, _, _ in new
        if job.arguments != NO_ARGUMENTS or job.shown is not None
    ]


def call_columns(rows: Sequence[tuple[int, str, str | None]]) -> dict[str, Sequence[Any]]:
    """Return the columns of such rows, at least one, whose keys ascend."""
    keys, arguments, shown = zip(*rows, strict=True)
    rising = range(keys[0], keys[-1] + 1)
    values = (rising if len(rising) == len(keys) else keys, arguments, shown)
    return dict(zip(ARGUMENTS, values, strict=True))


def with_call(job: Job, arguments: str | None, shown: str | None) -> Job:
    """Return the job with what `arguments` has of it; None, twice, when it has no row there."""
    return job._replace(arguments=NO_ARGUMENTS if arguments is None else arguments, shown=shown)


def new_columns(new: Sequence[New]) -> dict[str, Sequence[Any]]:
    """Return the columns of many new jobs: those of NEW, each with what `new_row` has in its place.

    Raises ValueError unless their keys rise by one.
    """
    keys, jobs, holds, turns = zip(*new, strict=True)
    values: dict[str, Sequence[Any]] = dict(zip(Job._fields, zip(*jobs, strict=True), strict=True))
    values["unique_key"] = values["key"]
    rising = range(keys[0], keys[0] + len(keys))
    if keys != tuple(rising):
        msg = "the keys of new jobs have a gap"
        raise ValueError(msg)
    values |= {"key": rising, "id": _ids(values["id"]), "hold": holds, "turn": turns}
    values |= {name: _each(stored, values[name]) for name, stored in _STORED.items()}
    # Of tags that are equal the order may differ.
    values["tags"] = list(map(_tags, values["tags"]))
    return {name: values[name] for name in NEW}


def _each(stored: Callable[[Any], Any], values: Sequence[Any]) -> Sequence[Any]:
    """Return what is stored of each value; of very many that are the same it is found once."""
    first, count = values[0], len(values)
    return [stored(first)] * count if values.count(first) == count else list(map(stored, values))


def _ids(job_ids: Sequence[str]) -> list[bytes]:
    """Return what `_id` does of each."""
    packed = bytes.fromhex("".join(job_ids).replace("-", ""))
    if len(packed) != UUID_BYTES * len(job_ids):
        msg = "an id of a new job is no UUID"
        raise ValueError(msg)
    return [packed[at : at + UUID_BYTES] for at in range(0, len(packed), UUID_BYTES)]


def rare_row(key: int, job: Job) -> tuple[Any, ...]:
    """Return the values of RARE."""
    return (key, str(job.slot), _tags(job.tags), job.run, job.expires_at, job.limit_key)


def moving_row(key: int, job: Job, blocked_by: str | None, turn: int) -> tuple[Any, ...]:
    """Return the values of MOVING."""
    return (
        key, job.priority, job.run_at, str(job.state), job.outcome, int(job.hold), job.attempt, job.losses,
        job.started_at, job.finished_at, *(job.progress or NOTHING), *(job.cancellation or NOTHING),
        job.worker, job.token, job.version, job.logged, blocked_by, turn,
    )  # fmt: skip


def course_row(key: int, job: Job) -> tuple[Any, ...]:
    """Return the values of COURSE."""
    return (
        key, str(job.state), None if job.outcome is None else str(job.outcome), job.attempt, job.started_at,
        job.finished_at, job.worker, job.token, job.version,
    )  # fmt: skip


def _id(job_id: str) -> bytes:
    # It is `new_id`'s, so its form is not looked at again.
    return bytes.fromhex(job_id.replace("-", ""))


def _tags(tags: Mapping[str, str]) -> str:
    return json.dumps(tags, ensure_ascii=False) if tags else "{}"


def _backoff(backoff: Backoff) -> str | None:
    return None if backoff == USUAL else json.dumps(backoff)


_STORED: dict[str, Callable[[Any], Any]] = {
    "slot": str, "state": str, "hold": int, "backoff": _backoff,
}  # fmt: skip
"""What is stored otherwise than a job has it."""


def has_payload(job: Job) -> bool:
    """Tell whether there is anything to keep in `results`."""
    return job.result is not None or job.exception is not None


def result_row(key: int, job: Job) -> tuple[Any, ...]:
    """Return a row of `results`."""
    return (key, job.result, *(job.exception or NOTHING))


def attempt_rows(key: int, attempts: Iterable[Attempt]) -> Iterator[tuple[Any, ...]]:
    """Yield rows of `attempts`."""
    for *values, exception in attempts:
        yield (key, *values, *(exception or NOTHING))


def attempt_of(row: Row) -> Attempt:
    """Return the attempt of a row of ATTEMPT."""
    run, number, worker, started_at, finished_at, name, message, traceback = row
    exception = None if name is None else Failure(name, message, traceback)
    return Attempt(run, number, worker, started_at, finished_at, exception)


def job_of(row: Row) -> Job:
    """Return the job of a row of JOB, or of one of WHOLE, LISTED or CALLED; without its attempts."""
    (
        _, id_, tenant, task, created_at, queue, unique_key, max_attempts, backoff, timeout, parent, root,
        step, traceparent, slot, tags, run, expires_at, limit_key, priority, run_at, state, outcome, hold,
        attempt, losses, started_at, finished_at, done, total, message, requested_at, stopped, reason, worker,
        token, version, logged, _, _,
    ) = row[: len(JOB)]  # fmt: skip
    arguments, shown, *exception, result = row[len(JOB) :] or NO_PAYLOAD
    return Job(
        id=id_to_text(id_), tenant=tenant, task=task, slot=SLOTS[slot], created_at=created_at, run_at=run_at,
        queue=queue, priority=priority, tags=json.loads(tags) if tags != "{}" else {}, key=unique_key,
        state=STATES[state], outcome=outcome and OUTCOMES[outcome], hold=HOLDS[hold], run=run,
        attempt=attempt, max_attempts=max_attempts, losses=losses, limit_key=limit_key, timeout=timeout,
        backoff=USUAL if backoff is None else Backoff(*json.loads(backoff)), started_at=started_at,
        finished_at=finished_at, expires_at=expires_at,
        progress=None if done is None else Progress(done, total, message),
        cancellation=None if requested_at is None else Cancellation(requested_at, Stopped(stopped), reason),
        worker=worker, token=token, parent=parent, root=root, step=step, traceparent=traceparent,
        logged=logged, version=version,
        arguments=NO_ARGUMENTS if arguments is None else arguments, shown=shown,
        exception=None if exception[0] is None else Failure(*exception), result=result,
    )  # fmt: skip


def with_result(job: Job, row: Row) -> Job:
    """Return the job with what `results` has of it. row: of RESULT, without its first column."""
    result, *exception = row
    return job._replace(result=result, exception=None if exception[0] is None else Failure(*exception))


def blocked_by_of(row: Row) -> str | None:
    """Return the limit that holds back the job of a row of JOB."""
    name: str | None = row[len(JOB) - 2]
    return name


def turn_of(row: Row) -> int:
    """Return the turn in a row of JOB."""
    turn: int = row[len(JOB) - 1]
    return turn


def job_id_of(row: Row) -> str:
    """Return the job's id in a row of JOB."""
    return id_to_text(row[1])


def changed_by_sql(job: Job) -> tuple[object, ...]:
    """Return what statements of `sqlite_routes` may change of a job that waits, beside its place."""
    return tuple(getattr(job, name) for name in CHANGED_BY_SQL)


def changed_by_sql_in(row: Row) -> tuple[object, ...]:
    """Return the same, of a row of JOB."""
    values: tuple[object, ...] = _changed_by_sql(row)
    return values


def id_to_bytes(job_id: str) -> bytes:
    """Return a canonical UUID's 16 bytes. Raises ValueError for any other text."""
    value = bytes.fromhex(job_id.replace("-", ""))
    if len(value) != UUID_BYTES or id_to_text(value) != job_id:
        msg = f"{job_id!r} is no canonical UUID"
        raise ValueError(msg)
    return value


def id_to_text(value: bytes) -> str:
    """Return 16 bytes as a canonical UUID."""
    text = value.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def shown_id(value: object) -> str:
    """Return an id for the log, also that of a damaged row, which may be anything."""
    return id_to_text(value) if isinstance(value, bytes) else repr(value)
