"""One transaction's work on the SQLite store.

The jobs that a batch touches are loaded once, moved by the lifecycle's own functions,
and written back together. So the transition table holds here as it stands, and the
SQL only selects and stores.
"""

import json
import logging
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.core import State
from app.jobs.errors import TransitionError
from app.jobs.lifecycle import Claimed, Due, Event, Lost, transition
from app.jobs.model import Hold, Job, Slot
from app.stores.base import (
    Answer,
    Applied,
    Change,
    Claim,
    Insert,
    JobNotFoundError,
    Operation,
    Probe,
    Promote,
    Promoted,
    Recover,
    Recovered,
    Refusal,
    StoreError,
)
from app.stores.counters import Counters, Deltas
from app.stores.lanes import Lanes, Turns
from app.stores.rows import (
    JOB,
    RESULT,
    SELECT_JOB,
    Row,
    add_counts,
    fixed_row,
    has_payload,
    id_to_text,
    insert_rows,
    job_of,
    moving_row,
    ready_lanes,
    result_row,
    select_jobs,
    turn_of,
    update_jobs,
)

LOGGER = logging.getLogger(__name__)

DUE = f"""
    SELECT {SELECT_JOB} FROM jobs
    WHERE state = 'pending' AND hold & 1 AND run_at <= ? ORDER BY run_at LIMIT ?"""

NEXT_DUE = "SELECT run_at FROM jobs WHERE state = 'pending' AND hold & 1 ORDER BY run_at LIMIT 1"

READY = f"""
    SELECT {SELECT_JOB}, arguments FROM jobs JOIN arguments ON arguments.job = jobs.key
    WHERE state = 'pending' AND hold = 0 AND slot = ? ORDER BY priority DESC, turn, key LIMIT ?"""

RUNNING = f"SELECT {SELECT_JOB} FROM jobs WHERE state = 'running' AND NOT hold & {Hold.UNREADABLE:d}"

ONE = f"""
    SELECT {SELECT_JOB}, arguments FROM jobs LEFT JOIN arguments ON arguments.job = jobs.key
    WHERE key = ?"""

# Not "due later" any more, or it would be due for ever; what was set aside because it was due, is.
SET_ASIDE = f"""
    UPDATE jobs SET hold = hold & ~{Hold.DUE_LATER:d} | {Hold.UNREADABLE:d}, version = version + 1
    WHERE key = ? RETURNING id"""

TRY_AGAIN = f"UPDATE jobs SET hold = 0 WHERE state = 'running' AND hold & {Hold.UNREADABLE:d}"

# All that wait, found through an index: done jobs may be many more.
WAITING = "state = 'pending' AND tenant IN (SELECT tenant FROM counters WHERE state = 'pending' AND n > 0)"

COUNT_UNKNOWN = f"""
    SELECT task, count(*) FROM jobs INDEXED BY jobs_by_state WHERE {WAITING} AND hold & 2 GROUP BY task"""

HOLD_BACK = f"""
    UPDATE jobs INDEXED BY jobs_by_state SET hold = hold | 2, version = version + 1
    WHERE {WAITING} AND NOT hold & 2 AND task NOT IN (SELECT key FROM json_each(?))"""

LET_GO = f"""
    UPDATE jobs INDEXED BY jobs_by_state
    SET hold = hold & ~6, slot = known.value, version = version + 1, turn = 0 FROM json_each(?) AS known
    WHERE {WAITING} AND task = known.key AND (hold & 6 OR slot <> known.value)"""

# A turn for each ready job that LET_GO left without one, as `Turns.enter` would deal it: behind
# its lane, or from the turn that is served on its level.
DEAL_TURNS = """
    WITH ready AS (
        SELECT key, turn,
            max(turn) OVER (PARTITION BY slot, priority, tenant, queue) AS last,
            min(nullif(turn, 0)) OVER (PARTITION BY slot, priority) - 1 AS served,
            row_number() OVER (PARTITION BY slot, priority, tenant, queue, turn = 0 ORDER BY key) AS place
        FROM jobs WHERE state = 'pending' AND hold = 0
    )
    UPDATE jobs SET turn = max(ready.last, coalesce(ready.served, 0)) + ready.place
    FROM ready WHERE jobs.key = ready.key AND ready.turn = 0"""


@dataclass(slots=True)
class Memory:
    """What the store's writer knows without asking the database. It is the only one that writes."""

    counters: Counters
    lanes: Lanes
    last_key: int


@dataclass(slots=True)
class _Entry:
    """A job in work. stored: as it was before the batch. written: as the transaction has it."""

    key: int
    turn: int
    stored: Job
    written: Job
    job: Job


_Found = tuple[Row, _Entry]


class Batch:
    """Carries out operations within the transaction that the caller has begun."""

    def __init__(self, db: sqlite3.Connection, memory: Memory, now: int) -> None:
        self._db = db
        self._memory = memory
        self._now = now
        self._deltas = Deltas(memory.counters)
        self._turns = Turns(memory.lanes)
        self._last_key = memory.last_key
        self._inserted: dict[str, Job] = {}
        self._entries: dict[str, _Entry] = {}

    def run(self, operations: Sequence[Operation]) -> Applied:
        """Carry all of them out: claims last, so that they see what the others made ready."""
        outcomes: list[Answer | Refusal] = [None] * len(operations)
        self._insert(operations, outcomes)
        self._load(operation.id for operation in operations if isinstance(operation, Change))
        for index, operation in enumerate(operations):
            if not isinstance(operation, (Insert, Claim)):
                outcomes[index] = self._carry_out(operation)
        self._save()
        for index, operation in enumerate(operations):
            if isinstance(operation, Claim):
                outcomes[index] = self._claim(operation)
        self._save_counters()
        changed = {
            job_id: entry.job for job_id, entry in self._entries.items() if entry.job is not entry.stored
        }
        return Applied(outcomes, list({**self._inserted, **changed}.values()))

    def remember(self) -> None:
        """Take over what was committed."""
        self._memory.counters.add(self._deltas.by_key)
        self._memory.lanes.add(self._turns)
        self._memory.last_key = self._last_key

    # -- operations ----------------------------------------------------------

    def _insert(self, operations: Sequence[Operation], outcomes: list[Answer | Refusal]) -> None:
        rows, arguments = [], []
        for index, operation in enumerate(operations):
            if not isinstance(operation, Insert):
                continue
            try:
                self._deltas.admit(operation.job, operation.limits)
            except StoreError as exc:
                outcomes[index] = exc
                continue
            outcomes[index] = self._inserted[operation.job.id] = job = operation.job
            self._last_key = key = self._last_key + 1
            turn = self._turns.enter(job) if job.ready else 0
            rows.append((*fixed_row(key, job), *moving_row(key, job, turn)[1:]))
            arguments.append((key, job.arguments))
        insert_rows(self._db, "jobs", JOB, rows)
        insert_rows(self._db, "arguments", ("job", "arguments"), arguments)

    def _carry_out(self, operation: Change | Promote | Recover | Probe) -> Answer | Refusal:
        match operation:
            case Change():
                return self._change(operation)
            case Promote():
                return self._promote(operation)
            case Recover():
                return self._recover(operation)
            case Probe():
                self._db.execute("INSERT OR REPLACE INTO probe VALUES (1, ?)", (self._now,))
                return None

    def _change(self, operation: Change) -> Job | Refusal:
        entry = self._entries.get(operation.id)
        if entry is None or operation.tenant not in (None, entry.job.tenant):
            return JobNotFoundError(operation.id)
        job = entry.job
        try:
            for event in operation.events:
                job = transition(job, event, self._now)
        except TransitionError as exc:
            return exc
        self._move(entry, job)
        return job

    def _promote(self, operation: Promote) -> Promoted:
        self._save()
        found = self._find(DUE, (self._now, operation.limit))
        promoted = self._apply_to(found, lambda _: Due())
        self._save()
        later = self._db.execute(NEXT_DUE).fetchone()
        return Promoted(len(promoted), later and later[0])

    def _recover(self, operation: Recover) -> Recovered:
        self._save()
        self._db.execute(TRY_AGAIN)
        lost = self._apply_to(self._find(RUNNING), lambda job: Lost(job.token or 0))
        self._save()
        self._route(operation.slots)
        unknown = self._db.execute(COUNT_UNKNOWN).fetchall()
        return Recovered([self._entries[job.id].job for job in lost], dict(unknown))

    def _route(self, slots: Mapping[str, Slot]) -> None:
        """Hold back what nobody here can run, let go what somebody can again, and sort by slot.

        By the database alone: after a slip in the list of task modules this may be every job that waits.
        """
        # Which tenants have jobs that wait is read from there.
        self._save_counters()
        known = json.dumps(dict(slots))
        for sql in (HOLD_BACK, LET_GO):
            self._db.execute(sql, (known,))
        self._db.execute(DEAL_TURNS)
        self._turns.last.update((lane, last) for lane, _, last in ready_lanes(self._db))
        self._reload()

    def _claim(self, operation: Claim) -> list[Job]:
        claimed: list[Job] = []
        for slot, free in operation.free.items():
            if free > 0:
                claimed += self._claim_slot(operation.worker, slot, free)
        self._save()
        return claimed

    def _claim_slot(self, worker: str, slot: Slot, free: int) -> list[Job]:
        found = self._find(READY, (slot, free))
        # Random, so that no token comes twice, not even after a restart.
        jobs = self._apply_to(found, lambda _: Claimed(secrets.randbits(62), worker))
        for job in jobs:
            self._turns.serve(job, self._entries[job.id].turn)
        return [job._replace(arguments=row[-1]) for (row, _), job in zip(found, jobs, strict=True)]

    # -- the working set -----------------------------------------------------

    def _load(self, ids: Iterable[str]) -> None:
        for row in select_jobs(self._db, list(set(ids))):
            self._adopt(row)

    def _adopt(self, row: Row) -> _Entry:
        """Take a row into work, unless the batch has it already, and newer."""
        job = job_of(row)
        return self._entries.setdefault(job.id, _Entry(row[0], turn_of(row), job, job, job))

    def _find(self, sql: str, values: Sequence[Any] = ()) -> list[_Found]:
        """Take what a query finds into work; it is made after `_save`.

        A row that cannot be read is set aside, and the query made again without it: all
        the others would wait for its sake otherwise, and those to come too.
        """
        while True:
            try:
                rows = self._db.execute(sql, values).fetchall()
                return [(row, self._adopt(row[: len(JOB)])) for row in rows]
            except Exception as exc:
                if _is_of_the_database(exc) or not self._set_aside(sql, values):
                    raise

    def _set_aside(self, sql: str, values: Sequence[Any]) -> bool:
        """Have a query of jobs find no more what cannot be read of it; tell whether that is anything."""
        keys = self._db.execute(f"SELECT key FROM ({sql})", values).fetchall()
        unreadable = [(key, exc) for (key,) in keys if (exc := self._fault(key))]
        for key, exc in unreadable:
            (id_,) = self._db.execute(SET_ASIDE, (key,)).fetchone()
            text = "job %s cannot be read (%s): it is set aside until the next start"
            LOGGER.error(text, id_to_text(id_), type(exc).__name__)
        return bool(unreadable)

    def _fault(self, key: int) -> Exception | None:
        """Return what is raised when a job is read; None when it can be."""
        try:
            for row in self._db.execute(ONE, (key,)):
                job_of(row[: len(JOB)])
        except Exception as exc:
            if _is_of_the_database(exc):
                raise
            return exc
        return None

    def _apply_to(self, found: Iterable[_Found], event_for: Callable[[Job], Event]) -> list[Job]:
        """Apply an event to each of the jobs that a query has found."""
        moved = []
        for _, entry in found:
            job = transition(entry.job, event_for(entry.job), self._now)
            self._move(entry, job)
            moved.append(job)
        return moved

    def _move(self, entry: _Entry, job: Job) -> None:
        # One that was put back has had its turn, and keeps it: it waits behind nobody.
        if job.ready and entry.job.state is State.PENDING and not entry.job.ready:
            entry.turn = self._turns.enter(job)
        self._deltas.move(entry.job, job)
        entry.job = job

    # -- writing back --------------------------------------------------------

    def _save(self) -> None:
        """Write what has changed since it was last written."""
        dirty = [entry for entry in self._entries.values() if entry.job is not entry.written]
        update_jobs(self._db, [moving_row(entry.key, entry.job, entry.turn) for entry in dirty])
        ended = [entry for entry in dirty if entry.job.done and not entry.written.done]
        rows = [result_row(entry.key, entry.job) for entry in ended if has_payload(entry.job)]
        insert_rows(self._db, "results", RESULT, rows, "REPLACE")
        for entry in dirty:
            entry.written = entry.job

    def _save_counters(self) -> None:
        add_counts(self._db, [(*key, n) for key, n in self._deltas.take_unsaved().items() if n])

    def _reload(self) -> None:
        """Read again what SQL may have changed behind the working set: pending jobs."""
        for row in select_jobs(
            self._db, [id_ for id_, entry in self._entries.items() if entry.job.state is State.PENDING]
        ):
            job = job_of(row)
            entry = self._entries[job.id]
            entry.turn = turn_of(row)
            if job.version != entry.job.version:
                entry.job = entry.written = job


def _is_of_the_database(exc: Exception) -> bool:
    """Tell whether SQLite itself reports an error. Of a text that is no UTF-8 it knows nothing."""
    return getattr(exc, "sqlite_errorcode", None) is not None
