"""The jobs that one transaction on the SQLite store works on.

They are loaded once, moved by the lifecycle's own functions, and written back together.
So the transition table holds here as it stands, and the SQL only selects and stores.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence

from app.core import State
from app.jobs.lifecycle import Event, Logged, transition
from app.jobs.model import GATES, Hold, Job, Slot
from app.stores.base import OperationFailedError
from app.stores.counters import Deltas
from app.stores.lanes import Turns
from app.stores.permits import NO_LIMIT, Grants, Limit, held_by, limit_of_task
from app.stores.rows import (
    JOB,
    RESULT,
    SELECT_JOB,
    Row,
    blocked_by_of,
    changed_by_sql,
    changed_by_sql_in,
    id_to_text,
    job_id_of,
    job_of,
    shown_id,
    turn_of,
    with_call,
    with_result,
)
from app.stores.sqlite_memory import Entry, Found, Memory, ReadyJobs, alike, has_past, place_of
from app.stores.sqlite_records import Histories
from app.stores.sqlite_statements import add_counts, data_version, select_attempts, select_jobs
from app.stores.sqlite_writing import write_back

LOGGER = logging.getLogger(__name__)

ONE = f"""
    SELECT {SELECT_JOB}, arguments FROM jobs LEFT JOIN arguments ON arguments.job = jobs.key
    WHERE key = ?"""

# Not "due later" any more, or it would be due for ever; what was set aside because it was due, is.
SET_ASIDE = f"""
    UPDATE jobs SET hold = hold & ~{Hold.DUE_LATER:d} | {Hold.UNREADABLE:d}, version = version + 1
    WHERE key = ? RETURNING id"""

BLOCKED = f"""
    SELECT {SELECT_JOB}, arguments FROM jobs LEFT JOIN arguments ON arguments.job = jobs.key
    WHERE state = 'pending' AND hold = 16 AND blocked_by = ? ORDER BY priority DESC, turn, key LIMIT ?"""

# The last of those with a permit, by the index of what is ready and has a limit: no more than may be.
LOWEST = f"""
    SELECT {SELECT_JOB}, arguments FROM jobs INDEXED BY jobs_admitted
    LEFT JOIN arguments ON arguments.job = jobs.key
    WHERE state = 'pending' AND hold = 0 AND limit_key IS NOT NULL AND task = ? AND {{}}
    ORDER BY priority, turn DESC, key DESC LIMIT 1"""

LOWEST_BLOCKED = f"""
    SELECT {SELECT_JOB}, arguments FROM jobs LEFT JOIN arguments ON arguments.job = jobs.key
    WHERE state = 'pending' AND hold = 16 AND blocked_by = ? AND limit_key = ?
    ORDER BY priority, turn DESC, key DESC LIMIT 1"""

RESULT_OF = f"SELECT {', '.join(RESULT[1:])} FROM results WHERE job = ?"


class Work:
    """The working set of a transaction that the caller has begun."""

    def __init__(self, db: sqlite3.Connection, memory: Memory, now: int) -> None:
        self.db = db
        self.memory = memory
        self.now = now
        self.deltas = Deltas(memory.counters)
        self.turns = Turns(memory.lanes)
        self.grants = Grants(memory.permits)
        self.last_key = memory.last_key
        self.histories = Histories(db, memory, now)
        self.paused = memory.paused
        self.moving = memory.moving
        self.slots = memory.slots
        self.swept = memory.swept
        self.ready_new: dict[str, Entry] = {}
        """What was inserted as ready, and is written, by id."""
        self.inserted: dict[str, Job] = {}
        self.entries: dict[str, Entry] = {}
        self.ended: list[Job] = []
        """Of each run that has ended, the job as it was then."""
        self.erased: dict[str, Job] = {}
        """What was erased on request, as it was."""
        self._notice_others()
        self.ready, memory.ready = memory.ready, ReadyJobs()

    def remember(self) -> None:
        """Take over what was committed."""
        memory = self.memory
        memory.counters.add(self.deltas.by_key)
        memory.lanes.add(self.turns)
        memory.permits.add(self.grants)
        memory.last_key, memory.last_position = self.last_key, self.histories.last_position
        memory.paused, memory.moving = self.paused, self.moving
        memory.slots, memory.swept = self.slots, self.swept
        self.ready.update(self.ready_new, self.entries)
        memory.ready = self.ready
        for entry in self.entries.values():
            memory.running.keep(entry)

    def _notice_others(self) -> None:
        """Forget what is known without asking when another program has written to the database.

        Somebody may, with SQLite's own shell. Under the write lock, which the transaction has:
        nobody writes between this and the use of it.
        """
        memory, version = self.memory, data_version(self.db)
        if version != memory.version:
            # At once, and not in `remember`: it is so even if this batch fails.
            memory.version, memory.ready = version, ReadyJobs()
            memory.running.clear()

    def ready_for(self, slot: Slot) -> list[Entry] | None:
        """Return what is ready for a slot, but for those that are new; None when a query has to tell."""
        # One of a queue that was paused a moment ago may not know it yet.
        pausing = not self.moving.keys().isdisjoint(self.paused)
        return None if pausing else self.ready.of(slot, self.entries)

    def changed(self) -> list[Job]:
        """Return the jobs that are new or not as they were, have said something, or were erased."""
        moved = {
            job_id: entry.job
            for job_id, entry in self.entries.items()
            if entry.spoke or not alike(entry.job, entry.stored)
        }
        return list({**self.inserted, **moved, **self.erased}.values())

    # -- taking jobs into work -----------------------------------------------

    def load(self, ids: Iterable[str]) -> None:
        """Take jobs into work, with all that `Store.get` shows of them."""
        wanted = set(ids)
        if not wanted:
            return
        known = self.memory.running.take(wanted)
        # Who has been taken into work already is not as it was.
        others = wanted - known.keys() - self.entries.keys()
        known.update((id_, found) for id_ in others if (found := self.ready.find(id_)))
        self.entries.update(known)
        for row in select_jobs(self.db, list(wanted - known.keys())):
            try:
                entry = self.adopt(row)
                if not entry.whole:
                    self._complete(entry, row)
            except Exception as exc:
                if _is_of_the_database(exc):
                    raise
                reason = f"job {shown_id(row[1])} cannot be read ({type(exc).__name__})"
                raise OperationFailedError(reason) from exc

    def _complete(self, entry: Entry, row: Row) -> None:
        """Give a job what `find` does not read. row: of CALLED."""
        arguments, shown = row[len(JOB) : len(JOB) + 2]
        attempts = select_attempts(self.db, entry.key) if has_past(entry.job) else ()
        job = with_call(entry.job, arguments, shown)._replace(attempts=attempts)
        if entry.job is not entry.stored:
            # It has given up its permit to another one in this batch, and nothing else has happened to it.
            entry.written = entry.written._replace(attempts=attempts)
        else:
            if job.done and (result := self.db.execute(RESULT_OF, (entry.key,)).fetchone()):
                job = with_result(job, result)
            entry.stored = entry.written = job
        entry.job, entry.whole = job, True

    def adopt(self, row: Row) -> Entry:
        """Take a row into work, unless the batch has it already, and newer."""
        job_id = job_id_of(row)
        found = self.entries.get(job_id)
        if found is None:
            job = self._inserted_as(job_id, row) or job_of(row)
            turn, blocked_by = turn_of(row), blocked_by_of(row)
            found = self.entries[job_id] = Entry(row[0], turn, blocked_by, job, job, job, (turn, blocked_by))
            self.memory.running.forget(job_id)
        return found

    def _inserted_as(self, job_id: str, row: Row) -> Job | None:
        """Return the job that a row is of, if it came in this batch and the row says the same."""
        job = self.inserted.get(job_id)
        return job if job is not None and changed_by_sql_in(row) == changed_by_sql(job) else None

    def find(self, sql: str, values: Sequence[object] = ()) -> list[Found]:
        """Take what a query finds into work; it is made after `save`.

        A row that cannot be read is set aside, and the query made again without it: all
        the others would wait for its sake otherwise, and those to come too.
        """
        while True:
            try:
                rows = self.db.execute(sql, values).fetchall()
                return [(row, self.adopt(row[: len(JOB)])) for row in rows]
            except Exception as exc:
                if _is_of_the_database(exc) or not self._set_aside(sql, values):
                    raise

    def _set_aside(self, sql: str, values: Sequence[object]) -> bool:
        """Have a query of jobs find no more what cannot be read of it; tell whether that is anything."""
        keys = self.db.execute(f"SELECT key FROM ({sql})", values).fetchall()
        unreadable = [(key, exc) for (key,) in keys if (exc := self._fault(key))]
        self.ready = ReadyJobs()
        for key, exc in unreadable:
            (id_,) = self.db.execute(SET_ASIDE, (key,)).fetchone()
            text = "job %s cannot be read (%s): it is set aside until the next start"
            LOGGER.error(text, id_to_text(id_), type(exc).__name__)
        return bool(unreadable)

    def _fault(self, key: int) -> Exception | None:
        """Return what is raised when a job is read; None when it can be."""
        try:
            for row in self.db.execute(ONE, (key,)):
                job_of(row[: len(JOB)])
        except Exception as exc:
            if _is_of_the_database(exc):
                raise
            return exc
        return None

    def reload(self) -> None:
        """Read again what SQL may have changed behind the working set: pending jobs."""
        waiting = [id_ for id_, entry in self.entries.items() if entry.job.state is State.PENDING]
        new = self.inserted.keys() - self.entries.keys()
        for row in select_jobs(self.db, [*waiting, *new]):
            job = job_of(row)
            if job.id in new:
                # Of a task that is limited from now on: it is told of as it has become.
                self.inserted[job.id] = job
            entry = self.entries.get(job.id)
            if entry is None:
                # A damaged index has led to another row, or nobody has looked for it yet.
                continue
            entry.turn, entry.blocked_by = entry.written_place = turn_of(row), blocked_by_of(row)
            if changed_by_sql(job) != changed_by_sql(entry.job):
                entry.job = entry.written = job._replace(attempts=entry.job.attempts)

    # -- moving them ---------------------------------------------------------

    def apply(self, entry: Entry, events: Iterable[Event]) -> None:
        """Apply lifecycle events, all or none. Raises TransitionError."""
        job, spoken = entry.job, []
        for event in events:
            before, job = job, transition(job, event, self.now)
            if job is not before:
                spoken.append((event, job))
        for event, after in spoken:
            self.histories.add(entry.key, event, after)
            entry.spoke = entry.spoke or isinstance(event, Logged)
            if after.done:  # by this event: no other one leaves it done
                self.ended.append(after)
        self.move(entry, job)

    def apply_to(self, found: Iterable[Found], event_for: Callable[[Job], Event]) -> list[Job]:
        """Apply an event to each of the jobs that a query has found; return those, moved or not."""
        entries = [entry for _, entry in found]
        for entry in entries:
            self.apply(entry, (event_for(entry.job),))
        return [entry.job for entry in entries]

    def move(self, entry: Entry, job: Job) -> None:
        """Let a job become this, through the gates, with its permits, its turn and the counts."""
        before, blocked_by, limits = entry.job, entry.blocked_by, self.grants.limits_of(job)
        limits_before = self.grants.limits_of(before)
        if job.state is not State.PENDING and limits is limits_before is NO_LIMIT:
            # As most do: it waits nowhere, and neither has nor needs a permit.
            self.deltas.move(before, job)
            entry.job, entry.blocked_by = job, None
            return
        had = held_by(before, blocked_by, limits_before)
        job, entry.blocked_by = self._gated(job, had, limits)
        has = held_by(job, entry.blocked_by, limits)
        for name in has:
            if name not in had:
                self.grants.take(name)
        for name in had:
            if name not in has:
                self.grants.give_back(name)
        self._queue_up(entry, before, blocked_by, job)
        self.deltas.move(before, job)
        entry.job = job
        if job.ready and job.priority < before.priority and limits:
            # Others may come before it now, that it had come before.
            self._send_back(entry, limits[0].name)

    def _gated(self, job: Job, had: Sequence[str], limits: Sequence[Limit]) -> tuple[Job, str | None]:
        """Return the job as the gates let it through or hold it back, and the limit that does."""
        if job.state is not State.PENDING:
            return job, None
        hold, blocked_by = job.hold & ~GATES, None
        if not hold and (job.tenant, job.queue) in self.paused:
            hold = Hold.PAUSED
        elif not hold and limits is not NO_LIMIT:
            blocked_by = self._first_closed(job, had, limits)
            hold = Hold.NONE if blocked_by is None else Hold.LIMITED
        return (job if hold == job.hold else job._replace(hold=hold)), blocked_by

    def _first_closed(self, job: Job, had: Sequence[str], limits: Sequence[Limit]) -> str | None:
        for name, _ in limits:
            may_outrank = self.grants.comes(name, job.priority)
            if name in had:
                continue
            if self.grants.free(name) > 0:
                if name in self.grants.freed:
                    # Others may wait for it, and have come before.
                    return name
            elif not (may_outrank and self._outranks(job, name)):
                return name
        return None

    def _outranks(self, job: Job, name: str) -> bool:
        """Have a job of a lower priority, that has not begun, give up its permit if there is one."""
        self.save()
        if name == limit_of_task(job.task):
            found = self.find(LOWEST.format("1"), (job.task,))
        else:
            found = self.find(LOWEST.format("limit_key = ?"), (job.task, job.limit_key))
            found += self.find(LOWEST_BLOCKED, (limit_of_task(job.task), job.limit_key))
        lowest = min((entry for _, entry in found), key=lambda entry: entry.job.priority, default=None)
        if lowest is None or lowest.job.priority >= job.priority:
            return False
        self._send_back(lowest, name)
        return True

    def _send_back(self, entry: Entry, name: str) -> None:
        """Have a job wait for a limit again of which it has a permit, and for those that come after it."""
        names = [limit.name for limit in self.grants.limits_of(entry.job)]
        for held in held_by(entry.job, entry.blocked_by, self.grants.limits_of(entry.job)):
            if names.index(held) >= names.index(name):
                self.grants.give_back(held)
        entry.job, entry.blocked_by = entry.job._replace(hold=Hold.LIMITED), name
        entry.turn = self.turns.enter(name, entry.job)

    def _queue_up(self, entry: Entry, before: Job, blocked_by: str | None, job: Job) -> None:
        """Deal a turn to a job that has come to another place to wait in."""
        place = place_of(job, entry.blocked_by)
        # One that was put back has had its turn, and keeps it: it waits behind nobody.
        put_back = before.state is State.RUNNING and job.attempt < before.attempt
        if place is not None and not put_back:
            stays = place_of(before, blocked_by) == place and before.priority == job.priority
            entry.turn = entry.turn if stays else self.turns.enter(place, job)

    def admit(self) -> bool:
        """Give the permits that are free to those whose turn it is; tell whether anybody got one."""
        admitted = False
        while self.grants.freed:
            name = self.grants.freed.pop()
            free = self.grants.free(name)
            if free > 0:
                self.save()
                for _, entry in self.find(BLOCKED, (name, free)):
                    self.turns.serve(name, entry.job, entry.turn)
                    self.move(entry, entry.job)
                    admitted = True
        return admitted

    # -- writing back --------------------------------------------------------

    def save(self) -> None:
        """Write what has changed since it was last written."""
        dirty = [entry for entry in self.entries.values() if entry.is_dirty]
        if dirty:
            write_back(self.db, dirty)
        self.histories.save()

    def save_before_claim(self) -> None:
        """Write what has changed, if a query for ready jobs would find it to be otherwise."""
        if any(
            entry.is_dirty and (entry.job.ready or entry.written.ready) for entry in self.entries.values()
        ):
            self.save()

    def save_counters(self) -> None:
        """Write what has changed in the counts."""
        add_counts(self.db, [(*key, n) for key, n in self.deltas.take_unsaved().items() if n])


def _is_of_the_database(exc: Exception) -> bool:
    """Tell whether SQLite itself reports an error. Of a text that is no UTF-8 it knows nothing."""
    return getattr(exc, "sqlite_errorcode", None) is not None
