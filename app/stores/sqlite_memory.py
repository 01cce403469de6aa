"""What the SQLite store's writer knows without asking, and a job as a transaction works on it."""

from collections import deque
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from app.core import State
from app.jobs.model import Hold, Job, Slot
from app.stores.counters import Counters
from app.stores.lanes import Lanes
from app.stores.permits import Permits
from app.stores.rows import Row, attempt_rows


@dataclass(slots=True)
class Memory:
    """What the store's writer knows without asking the database. Nobody else is meant to write to it."""

    counters: Counters
    lanes: Lanes
    last_key: int
    last_position: int
    paused: frozenset[tuple[str, str]]
    """Tenant and queue."""
    version: int
    """SQLite's `data_version`, which is another one when another program has written to the database."""
    running: "RunningJobs"
    ready: "ReadyJobs"
    permits: Permits = field(default_factory=Permits)
    slots: Mapping[str, Slot] | None = None
    """What jobs of the known tasks occupy; None before a worker has said so."""
    progress: dict[int, deque[int]] = field(default_factory=dict)
    """Where the records of progress of running jobs are, by the job's key."""
    moving: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Queues that were paused or resumed, with the key up to which their jobs know it."""
    swept: tuple[int, int] = (0, 0)
    """Up to where results were dropped already."""


@dataclass(slots=True)
class Entry:
    """A job in work. stored: as it was before the batch. written: as the transaction has it.

    blocked_by: the limit that it waits for. spoke: whether something was logged. whole: whether it
    has all that `Store.get` shows.
    """

    key: int
    turn: int
    blocked_by: str | None
    stored: Job
    written: Job
    job: Job
    written_place: tuple[int, str | None] = (0, None)
    spoke: bool = False
    whole: bool = False

    @classmethod
    def of_row(cls, key: int, turn: int, job: Job) -> "Entry":
        """Return a job that is as its row has it, and all that `Store.get` shows."""
        return cls(key, turn, None, job, job, job, (turn, None), whole=True)

    @property
    def is_dirty(self) -> bool:
        """Whether it is not as it was written."""
        return self.job is not self.written or self.written_place != (self.turn, self.blocked_by)

    @property
    def keeps_its_place(self) -> bool:
        """Whether of MOVING no more than COURSE is not as it was written."""
        job, written = self.job, self.written
        return (
            job.progress is written.progress
            and job.cancellation is written.cancellation
            and self.written_place == (self.turn, self.blocked_by)
            and (job.priority, job.run_at, job.hold, job.losses, job.logged)
            == (written.priority, written.run_at, written.hold, written.losses, written.logged)
        )

    @property
    def is_changed_rarely(self) -> bool:
        """Whether something of RARE is not as it was written."""
        job, written = self.job, self.written
        return job.tags is not written.tags or (job.run, job.expires_at, job.slot, job.limit_key) != (
            written.run, written.expires_at, written.slot, written.limit_key,
        )  # fmt: skip

    def new_attempts(self) -> Iterator[Row]:
        """Yield rows for the attempts that are not written."""
        return attempt_rows(self.key, self.job.attempts[len(self.written.attempts) :])


class RunningJobs:
    """Running jobs as they were last written, so that their ends need not read them.

    Only those in their first attempt, as most are. Whoever is in work is not here, so a batch that
    fails leaves nothing behind that is not so.
    """

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def take(self, ids: AbstractSet[str]) -> dict[str, Entry]:
        """Return, for work, those of the jobs that are here, by their ids."""
        return {job_id: self._entries.pop(job_id) for job_id in ids & self._entries.keys()}

    def clear(self) -> None:
        """Forget them all."""
        self._entries.clear()

    def keep(self, entry: Entry) -> None:
        """Take over what was committed of a job, if it runs."""
        job = entry.job
        if entry.whole and job.state is State.RUNNING and not has_past(job):
            self._entries[job.id] = Entry.of_row(entry.key, entry.turn, job)

    def forget(self, job_id: str) -> None:
        """Drop a job that was taken into work by another way."""
        self._entries.pop(job_id, None)


MOST_KNOWN = 256
"""Ready jobs of a slot that are known without asking: to sort many takes longer than to ask."""

SMALL = 4096
"""The longest arguments, in characters, of a job that is among them: they are in memory meanwhile."""


class ReadyJobs:
    """All that a claim may take, for the slots of which that is known without asking.

    Python's sqlite3 gives up the interpreter for each column of each row that it reads, and beside a
    busy thread has to wait for it again: a claim that reads nothing is several times as fast.
    A batch takes this over, and gives it back when it is committed: after one that fails, nothing is known.
    Nor is it of a slot for which one waits that is too large, or was tried before.
    """

    def __init__(self) -> None:
        self._by_slot: dict[Slot, dict[str, Entry]] = {}

    def know_none(self, slot: Slot) -> None:
        """Take note that a claim has left nothing for a slot."""
        self._by_slot[slot] = {}

    def find(self, job_id: str) -> Entry | None:
        """Return a job if it is here."""
        return next((known[job_id] for known in self._by_slot.values() if job_id in known), None)

    def of(self, slot: Slot, work: Mapping[str, Entry]) -> list[Entry] | None:
        """Return what a claim may take, the jobs in work included; None when a query has to tell."""
        known = self._by_slot.get(slot)
        ours = [entry for entry in work.values() if entry.job.ready and entry.job.slot == slot]
        if known is None or not all(map(_is_kept, ours)):
            return None
        return [entry for job_id, entry in known.items() if job_id not in work] + ours

    def update(self, new: Mapping[str, Entry], work: Mapping[str, Entry]) -> None:
        """Take over what was committed. new: inserted as ready. work: what has become of them, and others."""
        for known in self._by_slot.values():
            for job_id in known.keys() & work.keys():
                del known[job_id]
        for entry in {**new, **work}.values():
            if entry.job.ready and entry.job.slot in self._by_slot:
                self._add(self._by_slot[entry.job.slot], entry)

    def _add(self, known: dict[str, Entry], entry: Entry) -> None:
        if _is_kept(entry) and len(known) < MOST_KNOWN:
            known[entry.job.id] = Entry.of_row(entry.key, entry.turn, entry.job)
        else:
            del self._by_slot[entry.job.slot]


def _is_kept(entry: Entry) -> bool:
    job = entry.job
    return entry.whole and not has_past(job) and len(job.arguments) + len(job.shown or "") <= SMALL


def has_past(job: Job) -> bool:
    """Tell whether a job has attempts that are read beside it: those before the current one."""
    return job.attempt > 1 or job.run > 1 or (job.attempt > 0 and job.started_at is None)


Found = tuple[Row, Entry]
"""A row of JOB, perhaps with more behind it, and its job in work."""


def place_of(job: Job, blocked_by: str | None) -> str | None:
    """Return where a job waits for its turn."""
    if job.state is not State.PENDING:
        return None
    return job.slot if not job.hold else blocked_by if job.hold == Hold.LIMITED else None


def alike(job: Job, other: Job) -> bool:
    """Tell whether no more than the gates tells two of a job apart."""
    return job is other or (job.version, job.logged) == (other.version, other.logged)
