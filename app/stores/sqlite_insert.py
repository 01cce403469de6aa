"""Insertions into the SQLite store: new jobs, the keys of which there may be one, and idempotency keys."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

from app.jobs.lifecycle import Event, has_expired
from app.jobs.model import Hold, Job, Slot
from app.stores.base import (
    ONCE_KEPT,
    Answer,
    Insert,
    KeyReusedError,
    Once,
    Refusal,
    Replayed,
    StoreError,
)
from app.stores.permits import NO_LIMIT
from app.stores.rows import (
    ARGUMENTS,
    ENDS,
    NEW,
    UUID_BYTES,
    New,
    call_columns,
    call_rows,
    id_to_bytes,
    id_to_text,
    new_columns,
    new_row,
)
from app.stores.sqlite_columns import MANY, insert_columns
from app.stores.sqlite_memory import Entry
from app.stores.sqlite_statements import insert_rows
from app.stores.sqlite_work import Work

HOLDER = """
    SELECT id FROM jobs INDEXED BY jobs_by_unique_key
    WHERE unique_key IS NOT NULL AND state IN ('pending', 'running')
        AND tenant = ? AND task = ? AND unique_key = ?"""

KNOWN = """
    SELECT digest, jobs FROM idempotency WHERE tenant = ? AND route = ? AND key = ? AND created_at > ?"""

KEEP = "UPDATE jobs SET kept_until = max(kept_until, ?) WHERE id = ?"

Key = tuple[str, str, str]


class Insertion:
    """Takes in the insertions of a batch, and writes their rows together."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._new: list[New] = []
        """What is not written yet."""
        self._written: set[Slot] = set()
        """Slots for which something ready was written, so that a query has to tell what is."""
        self._gated: list[Entry] = []
        self._holders: dict[Key, str] = {}
        """Who has a unique key, of the jobs of this batch: tenant, task, key."""
        self._once: dict[Key, tuple[bytes, Sequence[str]]] = {}
        """What idempotency keys stand for, of this batch: tenant, route, key."""

    def add_all(self, operations: Sequence[Insert]) -> Sequence[Answer | Refusal]:
        """Take in insertions, and return what has become of each; `flush` writes them."""
        stored = self._together(operations) if len(operations) > 1 else None
        return list(map(self._add, operations)) if stored is None else stored

    def _together(self, operations: Sequence[Insert]) -> Sequence[list[Job]] | None:
        """Take in insertions as if they were one, for half of what they cost one by one.

        None, with none taken in, when something else might become of them than one by one.
        """
        limits = operations[0].limits
        if any(operation.once is not None or operation.limits != limits for operation in operations):
            return None
        jobs = [job for operation in operations for job in operation.jobs]
        if len({job.tenant for job in jobs}) != 1:
            return None
        try:
            stored = iter(self._store(Insert(jobs, limits)))
        except StoreError:
            # There is no room for all of them; there may be for some.
            return None
        return [list(islice(stored, len(operation.jobs))) for operation in operations]

    def _add(self, operation: Insert) -> Answer | Refusal:
        try:
            return self._replay(operation) or self._store(operation)
        except StoreError as exc:
            # Its traceback leads to all that the transaction works on, and from there back to it.
            return exc.with_traceback(None)

    # -- idempotency ---------------------------------------------------------

    def _replay(self, operation: Insert) -> Replayed | None:
        once = operation.once
        if once is None:
            return None
        known = self._known(operation.jobs[0].tenant, once)
        if known is None:
            return None
        digest, ids = known
        if digest != once.digest:
            raise KeyReusedError(once.key)
        return Replayed([job for job in map(self._job, ids) if job is not None])

    def _known(self, tenant: str, once: Once) -> tuple[bytes, Sequence[str]] | None:
        noted = self._once.get((tenant, once.route, once.key))
        if noted is not None:
            return noted
        since = self._work.now - ONCE_KEPT
        row = self._work.db.execute(KNOWN, (tenant, once.route, once.key, since)).fetchone()
        return None if row is None else (row[0], ids_of(row[1]))

    def _note(self, once: Once, jobs: Sequence[Job]) -> None:
        work, tenant = self._work, jobs[0].tenant
        ids = [job.id for job in jobs]
        self._once[tenant, once.route, once.key] = once.digest, ids
        packed = b"".join(map(id_to_bytes, ids))
        work.db.execute(
            "INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?, ?, ?)",
            (tenant, once.route, once.key, once.digest, packed, work.now),
        )
        work.db.executemany(KEEP, {(work.now + ONCE_KEPT, id_to_bytes(id_)) for id_ in ids})

    # -- uniqueness ----------------------------------------------------------

    def holder_of(self, job: Job) -> str | None:
        """Return the id of the job that has this one's key; None when none has, or there is no key."""
        if job.key is None:
            return None
        key = (job.tenant, job.task, job.key)
        noted = self._holders.get(key)
        if noted is not None:
            # It was new in this batch. What has come to an end in it since then holds no key.
            entry = self._work.entries.get(noted)
            if entry is None or not entry.job.done:
                return noted
        row = self._work.db.execute(HOLDER, key).fetchone()
        return None if row is None else id_to_text(row[0])

    # -- storing -------------------------------------------------------------

    def _store(self, operation: Insert) -> list[Job]:
        standing, new = self._sort_out(self._work.grants.with_keys(operation.jobs))
        if new:
            self._work.deltas.admit(new, operation.limits)
            self._take_in(new)
        if operation.once is not None:
            self.flush()
            self._note(operation.once, standing)
        return standing

    def _sort_out(self, jobs: list[Job]) -> tuple[list[Job], list[Job]]:
        """Return those who stand for the jobs, and which of them are new."""
        if all(job.key is None for job in jobs):
            return jobs, jobs
        standing, new = [], []
        keys: dict[Key, Job] = {}
        for job in jobs:
            key = (job.tenant, job.task, job.key or "")
            known = None if job.key is None else keys.get(key) or self._standing(job)
            if known is None:
                new.append(job)
            if job.key is not None:
                keys[key] = known or job
            standing.append(known or job)
        return standing, new

    def _standing(self, job: Job) -> Job | None:
        holder = self.holder_of(job)
        return None if holder is None else self._job(holder)

    def _job(self, job_id: str) -> Job | None:
        """Return a job as the batch has it; None when there is none."""
        work = self._work
        if job_id not in work.entries:
            if job_id in work.inserted:
                return work.inserted[job_id]
            work.load([job_id])
        entry = work.entries.get(job_id)
        return None if entry is None else entry.job

    def _take_in(self, jobs: Sequence[Job]) -> None:
        work = self._work
        keys = range(work.last_key + 1, work.last_key + len(jobs) + 1)
        work.last_key = keys[-1]
        work.inserted.update(zip([job.id for job in jobs], jobs, strict=True))
        self._holders.update(
            [((job.tenant, job.task, job.key), job.id) for job in jobs if job.key is not None]
        )
        work.histories.begin(keys)
        self._new += [
            (key, job, job.hold, 0) if job.hold else self._let_in(key, job)
            for key, job in zip(keys, jobs, strict=True)
        ]

    def _let_in(self, key: int, job: Job) -> New:
        """Return a job that nothing holds back but the gates."""
        work = self._work
        paused = (job.tenant, job.queue) in work.paused
        if not paused and work.grants.limits_of(job) is NO_LIMIT:
            return key, job, job.hold, work.turns.enter(job.slot, job)
        if not paused:
            # Let through the gates when its row is there: it may have to outrank others for that.
            self._gated.append(_entry_of(key, job))
        return key, job, Hold.PAUSED, 0

    def flush(self) -> None:
        """Write the rows of what was taken in."""
        work = self._work
        if len(self._new) >= MANY:
            self._write_many()
        else:
            self._write()
        ready = [Entry.of_row(key, turn, job) for key, job, _, turn in self._new if turn and job.ready]
        self._written |= {entry.job.slot for entry in ready}
        work.ready_new.update((entry.job.id, entry) for entry in ready)
        gated, self._new, self._gated = self._gated, [], []
        for entry in gated:
            work.entries[entry.job.id] = entry
        for entry in gated:
            work.move(entry, entry.job)

    def _write(self) -> None:
        db, new = self._work.db, self._new
        insert_rows(db, "jobs", NEW, [new_row(*one) for one in new], ends=ENDS)
        insert_rows(db, "arguments", ARGUMENTS, call_rows(new))

    def _write_many(self) -> None:
        db, calls = self._work.db, call_rows(self._new)
        insert_columns(db, "jobs", new_columns(self._new), ends=ENDS)
        if len(calls) >= MANY:
            insert_columns(db, "arguments", call_columns(calls))
        else:
            insert_rows(db, "arguments", ARGUMENTS, calls)

    # -- claiming what is not written yet --------------------------------------

    def may_wait(self, changed: Iterable[str]) -> bool:
        """Tell whether nobody but a claim will look for the rows. changed: ids of jobs that events go to."""
        return not self._gated and self._work.inserted.keys().isdisjoint(changed)

    def claim(self, slot: Slot, free: int, event_for: Callable[[Job], Event]) -> list[Job] | None:
        """Claim what is known to be ready, new or not; None when a query has to tell.

        That is when it is not known who is ready, and when one of them has expired.
        """
        ready = None if slot in self._written else self._work.ready_for(slot)
        if ready is None:
            return None
        new = self._new_for(slot)
        ready = sorted([*ready, *new.values()], key=_place)
        del ready[free:]
        if any(has_expired(entry.job, self._work.now) for entry in ready):
            return None
        jobs = [self._claim(slot, entry, event_for(entry.job)) for entry in ready]
        self._rewrite(new)
        return jobs

    def _new_for(self, slot: Slot) -> dict[int, Entry]:
        """Return what is new and ready for a slot, by where it is among the new."""
        # Still ready: a claim before this one, in the same batch, may have taken some.
        return {
            at: Entry.of_row(key, turn, job)
            for at, (key, job, _, turn) in enumerate(self._new)
            if turn and job.ready and job.slot == slot
        }

    def _claim(self, slot: Slot, entry: Entry, event: Event) -> Job:
        work = self._work
        work.entries[entry.job.id] = entry
        work.apply(entry, (event,))
        work.turns.serve(slot, entry.job, entry.turn)
        return entry.job

    def _rewrite(self, new: Mapping[int, Entry]) -> None:
        """Have what is new written as it is now, claimed or not. new: by where it is among the new."""
        for at, entry in new.items():
            entry.written = entry.job
            key, _, hold, turn = self._new[at]
            self._new[at] = (key, entry.job, hold, turn)


def _place(entry: Entry) -> tuple[int, int, int]:
    """Return the key by which READY_NOW sorts."""
    return -entry.job.priority, entry.turn, entry.key


def _entry_of(key: int, job: Job) -> Entry:
    held = job._replace(hold=Hold.PAUSED)
    return Entry(key, 0, None, held, held, held)


def ids_of(packed: bytes) -> list[str]:
    """Return the ids of a row of `idempotency`."""
    return [id_to_text(packed[at : at + UUID_BYTES]) for at in range(0, len(packed), UUID_BYTES)]
