"""One transaction's work on the SQLite store: the operations of a batch, carried out in their order."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

from app.jobs.entropy import Entropy
from app.jobs.errors import TransitionError
from app.jobs.lifecycle import Claimed, Due, Event, Expired, Reopened, has_expired
from app.jobs.model import Hold, Job, Slot
from app.stores.base import (
    Answer,
    Applied,
    Change,
    Claim,
    Insert,
    JobNotFoundError,
    KeyHeldError,
    Operation,
    Pause,
    Probe,
    Promote,
    Promoted,
    Purge,
    Recover,
    Recovered,
    Refusal,
    Sweep,
    Swept,
)
from app.stores.rows import SELECT_JOB, with_call
from app.stores.sqlite_insert import Insertion
from app.stores.sqlite_memory import Entry, Found, ReadyJobs
from app.stores.sqlite_routes import Routes
from app.stores.sqlite_sweep import Eraser
from app.stores.sqlite_work import Work

DUE = f"""
    SELECT {SELECT_JOB} FROM jobs
    WHERE state = 'pending' AND hold & 1 AND run_at <= ? ORDER BY run_at LIMIT ?"""

NEXT_DUE = "SELECT run_at FROM jobs WHERE state = 'pending' AND hold & 1 ORDER BY run_at LIMIT 1"

EXPIRING = "state = 'pending' AND attempt = 0 AND expires_at IS NOT NULL AND NOT hold & 4"

EXPIRED = f"""
    SELECT {SELECT_JOB} FROM jobs INDEXED BY jobs_expiring
    WHERE {EXPIRING} AND expires_at <= ? ORDER BY expires_at LIMIT ?"""

NEXT_EXPIRY = f"""
    SELECT expires_at FROM jobs INDEXED BY jobs_expiring WHERE {EXPIRING} ORDER BY expires_at LIMIT 1"""

READY = f"""
    SELECT {SELECT_JOB}, arguments, shown FROM jobs LEFT JOIN arguments ON arguments.job = jobs.key
    WHERE state = 'pending' AND hold = 0 AND slot = ? {{}} ORDER BY priority DESC, turn, key LIMIT ?"""

READY_NOW = READY.format("")

# While not all jobs of a queue know that it is paused.
READY_ELSEWHERE = READY.format(
    "AND (tenant, queue) NOT IN (SELECT value ->> '$[0]', value ->> '$[1]' FROM json_each(?))"
)


PLAIN = (Insert, Change, Claim, Probe)
"""Operations that need no row of a job that is new.

They look it up by its id or its key, which the batch knows; and what they make ready is in `Work.entries`.
"""


# Of 64 bits the token takes 62: SQLite's integers have a sign.
_ENTROPY = Entropy(8)


class Batch:
    """Carries out operations within the transaction that the caller has begun."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._insertion = Insertion(work)

    def run(self, operations: Sequence[Operation]) -> Applied:
        """Carry all of them out: claims last, so that they see what the others made ready."""
        work = self._work
        outcomes: list[Answer | Refusal] = [None] * len(operations)
        self._insert(operations, outcomes)
        work.load(operation.id for operation in operations if isinstance(operation, (Change, Purge)))
        for index, operation in enumerate(operations):
            if not isinstance(operation, (Insert, Claim)):
                outcomes[index] = self._CALLS[type(operation)](self, operation)
        work.admit()
        for index, operation in enumerate(operations):
            if isinstance(operation, Claim):
                outcomes[index] = self._claim(operation)
        self._insertion.flush()
        work.save()
        work.save_counters()
        return Applied(outcomes, work.changed(), tuple(work.inserted.values()), tuple(work.ended))

    def _insert(self, operations: Sequence[Operation], outcomes: list[Answer | Refusal]) -> None:
        places = [at for at, operation in enumerate(operations) if isinstance(operation, Insert)]
        insertions = [operation for operation in operations if isinstance(operation, Insert)]
        for at, outcome in zip(places, self._insertion.add_all(insertions), strict=True):
            outcomes[at] = outcome
        plain = all(isinstance(operation, PLAIN) for operation in operations)
        changed = (operation.id for operation in operations if isinstance(operation, Change))
        if not (plain and self._insertion.may_wait(changed)):
            self._insertion.flush()
        if not plain:
            # Statements may change these rows unseen. A claim asks, and then it is known what it has left.
            self._work.ready, self._work.ready_new = ReadyJobs(), {}

    def _probe(self, _: Probe) -> None:
        self._work.db.execute("INSERT OR REPLACE INTO probe VALUES (1, ?)", (self._work.now,))

    def _change(self, operation: Change) -> Job | Refusal:
        entry = self._work.entries.get(operation.id)
        if entry is None or operation.tenant not in (None, entry.job.tenant):
            return JobNotFoundError(operation.id)
        reopened = Reopened in map(type, operation.events)
        if reopened and self._is_key_held(entry):
            return KeyHeldError(operation.id)
        try:
            self._work.apply(entry, operation.events)
        except TransitionError as exc:
            # See `Insertion._add`.
            return exc.with_traceback(None)
        if reopened:
            self._route(entry)
        return entry.job

    def _is_key_held(self, entry: Entry) -> bool:
        """Tell whether another job has the key of one that is to be run again."""
        self._work.save()
        return entry.job.done and self._insertion.holder_of(entry.job) is not None

    def _route(self, entry: Entry) -> None:
        """Hold back a job that is run again if its task is not known any more; or give it today's slot."""
        slots, job = self._work.slots, entry.job
        if slots is None:
            return
        slot = slots.get(job.task)
        routed = job._replace(hold=job.hold | Hold.UNKNOWN_TASK) if slot is None else job._replace(slot=slot)
        routed = self._work.grants.with_key(routed)
        if routed != job:
            self._work.move(entry, routed)

    def _promote(self, operation: Promote) -> Promoted:
        work = self._work
        work.save()
        expired = work.find(EXPIRED, (work.now, operation.limit))
        work.apply_to(expired, lambda _: Expired())
        work.save()
        due = work.find(DUE, (work.now, operation.limit))
        work.apply_to(due, lambda _: Due())
        work.save()
        later = [row[0] for sql in (NEXT_DUE, NEXT_EXPIRY) for row in work.db.execute(sql)]
        return Promoted(len(expired) + len(due), min(later, default=None))

    # -- claims --------------------------------------------------------------

    def _claim(self, operation: Claim) -> list[Job]:
        claimed: list[Job] = []
        event_for = partial(self._event_for, worker=operation.worker)
        for slot, free in operation.free.items():
            taken = self._insertion.claim(slot, free, event_for)
            if taken is None:
                self._insertion.flush()
                taken = self._claim_stored(slot, free, event_for)
            claimed += taken
        return claimed

    def _claim_stored(self, slot: Slot, free: int, event_for: Callable[[Job], Event]) -> list[Job]:
        taken: list[Job] = []
        # Once more after some had expired: others may get their slots, and their permits.
        while len(taken) < free and self._claim_some(slot, free - len(taken), event_for, taken):
            pass
        if len(taken) < free:
            self._work.ready.know_none(slot)
        return taken

    def _claim_some(self, slot: Slot, free: int, event_for: Callable[[Job], Event], taken: list[Job]) -> bool:
        """Claim for free slots; tell whether there is reason to do it again."""
        work = self._work
        work.save_before_claim()
        found = self._ready(slot, free)
        for row, entry in found:
            event = event_for(entry.job)
            work.apply(entry, (event,))
            if isinstance(event, Claimed):
                work.turns.serve(slot, entry.job, entry.turn)
                # Whole, so that it is known as long as it runs, and its end need not read it.
                entry.job, entry.whole = with_call(entry.job, *row[-2:]), True
                taken.append(entry.job)
        expired = any(entry.job.done for _, entry in found)
        if expired:
            work.admit()
        return expired

    def _ready(self, slot: Slot, free: int) -> list[Found]:
        pausing = [queue for queue in self._work.moving if queue in self._work.paused]
        if pausing:
            return self._work.find(READY_ELSEWHERE, (slot, json.dumps(pausing), free))
        return self._work.find(READY_NOW, (slot, free))

    def _event_for(self, job: Job, worker: str) -> Event:
        if has_expired(job, self._work.now):
            return Expired()
        # Random, so that no token comes twice, not even after a restart.
        return Claimed(int.from_bytes(_ENTROPY(), "big") >> 2, worker)

    # -- which call carries out what -------------------------------------------

    def _recover(self, operation: Recover) -> Recovered:
        return Routes(self._work).recover(operation)

    def _pause(self, operation: Pause) -> bool:
        return Routes(self._work).pause(operation)

    def _purge(self, operation: Purge) -> Refusal | None:
        return Eraser(self._work).purge(operation)

    def _sweep(self, operation: Sweep) -> Swept:
        return Eraser(self._work).sweep(operation)

    # The class's own, and not an object's: its methods, which lead back to it, would leave it to the
    # garbage collector, with every job of the transaction. The key is the operation's type, which the
    # type system cannot say.
    _CALLS: ClassVar[dict[type[Operation], Callable[["Batch", Any], Answer | Refusal]]] = {
        Change: _change,
        Promote: _promote,
        Recover: _recover,
        Pause: _pause,
        Purge: _purge,
        Sweep: _sweep,
        Probe: _probe,
    }
