"""A job as rows of the SQLite schema, and back."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, TypeVar

from app.core import State
from app.jobs.model import (
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
from app.stores.lanes import Lane

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
    "outcome", "finished_at", "progress_done", "progress_total", "progress_message", "cancel_requested_at",
    "cancel_outcome", "cancel_reason",
)  # fmt: skip
"""Those of a job that is new: what all of them have; what one has that is claimed at once; and the rest."""

ARGUMENTS = ("job", "arguments", "shown")
"""Columns of `arguments`."""

RESULT = ("job", "result", "exception_type", "exception_message", "exception_traceback")
"""Columns of `results`."""

ATTEMPT = ("run", "number", "worker", "started_at", "finished_at", *RESULT[2:])
"""Columns of `attempts`, without the job's."""

RECORD = ("position", "job", "kind", "at", "data")
"""Columns of `events`."""

CHANGED_BY_SQL = ("version", "hold", "slot", "limit_key")
_changed_by_sql = itemgetter(*map(JOB.index, CHANGED_BY_SQL))

SELECT_JOB = ", ".join(f"jobs.{column}" for column in JOB)

WHOLE = f"{SELECT_JOB}, arguments, shown, exception_type, exception_message, exception_traceback, result"
LISTED = f"{SELECT_JOB}, NULL, NULL, exception_type, exception_message, '', NULL"
CALLED = f"{SELECT_JOB}, arguments, shown, NULL, NULL, NULL, NULL"

SIZES = (256, 64)
"""How many of many rows one statement takes.

Fewer than these are one statement, whatever their number: after each, the interpreter has to
be waited for. There is a prepared statement for each number, see `STATEMENTS`.
"""

STATEMENTS = 1024
"""Prepared statements that the writing connection keeps.

There are some ten kinds, for each number of rows; of insertions also for each number of columns.
"""

# By tables, because calling an enumeration takes as long as looking ten values up.
STATES = {str(state): state for state in State}
OUTCOMES = {str(outcome): outcome for outcome in Outcome}
SLOTS = {str(slot): slot for slot in Slot}
HOLDS = {bits: Hold(bits) for bits in range(1 << len(Hold))}

UUID_BYTES = 16

NOTHING = (None, None, None)
"""What columns of a progress, a cancellation or an exception have where there is none."""

USUAL = Backoff()
"""What is not stored, because most jobs have it."""

Row = Sequence[Any]
T = TypeVar("T")


# The enumerations that most rows have are plain text: for a value of any other type than text, a number
# or a bytearray, None included, sqlite3 looks for an adapter first, which takes three times as long as to
# bind it.


def new_row(key: int, job: Job, hold: Hold, turn: int) -> tuple[Any, ...]:
    """Return the values of NEW. hold: why the job is not ready, the gates included."""
    return (
        # The id is `new_id`'s, so its form is not looked at again.
        key, bytes.fromhex(job.id.replace("-", "")), job.tenant, job.task, str(job.slot), job.created_at,
        job.queue, job.priority, _tags(job), job.run, job.run_at, str(job.state), int(hold), job.attempt,
        job.max_attempts, job.losses, job.version, job.logged, turn,
        job.started_at, job.worker, job.token,
        job.timeout, job.expires_at, job.limit_key, job.key,
        None if job.backoff == USUAL else json.dumps(job.backoff), job.parent, job.root, job.step,
        job.traceparent,
        job.outcome, job.finished_at, *(job.progress or NOTHING), *(job.cancellation or NOTHING),
    )  # fmt: skip


def rare_row(key: int, job: Job) -> tuple[Any, ...]:
    """Return the values of RARE."""
    return (key, str(job.slot), _tags(job), job.run, job.expires_at, job.limit_key)


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


def _tags(job: Job) -> str:
    return json.dumps(job.tags, ensure_ascii=False) if job.tags else "{}"


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
    job = Job(
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
    )  # fmt: skip
    return job if len(row) == len(JOB) else with_payload(job, row[len(JOB) :])


def with_payload(job: Job, payload: Row) -> Job:
    """Return the job with what WHOLE has beside JOB."""
    arguments, shown, *exception, result = payload
    return job._replace(
        arguments=job.arguments if arguments is None else arguments,
        shown=shown,
        exception=None if exception[0] is None else Failure(*exception),
        result=result,
    )


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


# -- statements for many rows ------------------------------------------------
#
# `executemany` gives up the interpreter after every row, and with a busy thread beside
# it waits for it again each time. One statement of many rows waits once.


def insert_rows(
    db: sqlite3.Connection, table: str, columns: Sequence[str], rows: Sequence[Row], verb: str = "INSERT"
) -> None:
    """Insert rows. Raises sqlite3.IntegrityError when one is there already, unless the verb is REPLACE.

    The columns at the end that are None in all of them are left out, so by default they have to be NULL.
    """
    for chunk in _chunks(rows):
        width = _width(chunk)
        values = [row[:width] for row in chunk]
        db.execute(_insert(verb, table, tuple(columns[:width]), len(chunk)), _flat(values))


def _width(rows: Sequence[Row]) -> int:
    """Return how many columns there are up to the last one that is not None in all of the rows."""
    if rows[0][-1] is not None:
        return len(rows[0])
    columns = list(zip(*rows, strict=True))
    while columns[-1].count(None) == len(rows):
        columns.pop()
    return len(columns)


def add_counts(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Add to `counters`; a row is tenant, queue, task, state and what to add."""
    for chunk in _chunks(rows):
        db.execute(_add(len(chunk)), _flat(chunk))
    # Callers choose the names of queues, so those that are empty again must not pile up.
    for chunk in _chunks([row[:-1] for row in rows if row[-1] < 0]):
        db.execute(delete_zeros(len(chunk)), _flat(chunk))


@lru_cache(STATEMENTS)
def delete_zeros(count: int) -> str:
    """Return the statement that deletes so many rows of `counters`, those of them that are zero."""
    # Not `IN (VALUES ...)`, for which SQLite reads the whole table.
    keys = " OR ".join(["(tenant, queue, task, state) = (?, ?, ?, ?)"] * count)
    return f"DELETE FROM counters WHERE n = 0 AND ({keys})"


def update_jobs(db: sqlite3.Connection, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Update `jobs` from rows of those columns, of which the first is the key."""
    for chunk in _chunks(rows):
        db.execute(_update(tuple(columns), len(chunk)), _flat(chunk))


def delete_where(db: sqlite3.Connection, table: str, column: str, values: Sequence[Any]) -> None:
    """Delete the rows of a table that have one of these values in a column."""
    for chunk in _chunks(values):
        db.execute(f"DELETE FROM {table} WHERE {column} IN ({_marks(len(chunk))})", chunk)


def select_jobs(db: sqlite3.Connection, ids: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of CALLED of those ids that there are."""
    for chunk in _chunks(list(_known_forms(ids))):
        sql = f"""
            SELECT {CALLED} FROM jobs JOIN arguments ON arguments.job = jobs.key
            WHERE id IN ({_marks(len(chunk))})"""
        yield from db.execute(sql, chunk).fetchall()


def select_attempts(db: sqlite3.Connection, key: int) -> tuple[Attempt, ...]:
    """Return what a job has tried before, in order."""
    sql = f"SELECT {', '.join(ATTEMPT)} FROM attempts WHERE job = ? ORDER BY run, number"
    return tuple(map(attempt_of, db.execute(sql, (key,)).fetchall()))


def data_version(db: sqlite3.Connection) -> int:
    """Return the number that changes when another connection has written to the database."""
    version: int
    (version,) = db.execute("PRAGMA data_version").fetchone()
    return version


LANES = """
    SELECT {place}, priority, tenant, queue, coalesce(limit_key, ''), min(turn), max(turn) FROM jobs
    WHERE state = 'pending' AND hold = {hold} GROUP BY 1, 2, 3, 4, 5"""


def waiting_lanes(db: sqlite3.Connection) -> Iterator[tuple[Lane, int, int]]:
    """Yield each lane in which jobs wait for their turn, with the first and the last of these."""
    for place, hold in (("slot", Hold.NONE), ("blocked_by", Hold.LIMITED)):
        for *lane, first, last in db.execute(LANES.format(place=place, hold=int(hold))).fetchall():
            # The slot as text, which is as good a key: a damaged one must not keep the store closed.
            yield tuple(lane), first, last


def _known_forms(ids: Sequence[str]) -> Iterator[bytes]:
    for job_id in ids:
        # What is no UUID is the id of no job.
        with suppress(ValueError):
            yield id_to_bytes(job_id)


def _chunks(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    start = 0
    # Most are fewer than any of the sizes.
    for size in SIZES if len(rows) >= SIZES[-1] else ():
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size
    if start < len(rows):
        yield rows[start:]


# Each made once: SQLite's module looks for the statement that it has prepared by the text, and a text
# that is the same object is found at once.


@lru_cache(STATEMENTS)
def _insert(verb: str, table: str, columns: tuple[str, ...], count: int) -> str:
    return f"{verb} INTO {table} ({', '.join(columns)}) VALUES {_values(count, len(columns))}"


@lru_cache(STATEMENTS)
def _add(count: int) -> str:
    return f"INSERT INTO counters VALUES {_values(count, 5)} ON CONFLICT DO UPDATE SET n = n + excluded.n"


@lru_cache(STATEMENTS)
def _update(columns: tuple[str, ...], count: int) -> str:
    numbered = list(enumerate(columns[1:], 2))
    if count == 1:
        # The values of many are a table first, which for one takes longer than the update.
        return f"UPDATE jobs SET {', '.join(f'{column} = ?{n}' for n, column in numbered)} WHERE key = ?1"
    changes = ", ".join(f"{column} = new.column{n}" for n, column in numbered)
    values = _values(count, len(columns))
    return f"UPDATE jobs SET {changes} FROM (VALUES {values}) AS new WHERE key = new.column1"


def _values(count: int, width: int) -> str:
    return ", ".join([f"({_marks(width)})"] * count)


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _flat(rows: Sequence[Row]) -> list[Any]:
    return list(chain.from_iterable(rows))
