"""What the SQLite store's writer knows without asking, and a job as a transaction works on it."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from app.core import State
from app.jobs.model import Hold, Job, Slot
from app.stores.counters import Counters
from app.stores.lanes import Lanes
from app.stores.permits import Permits
from app.stores.rows import Row, attempt_rows


class Running(NamedTuple):
    """A running job as it was last written, whole; and its place, which it had waited in."""

    key: int
    turn: int
    job: Job


@dataclass(slots=True)
class Memory:
    """What the store's writer knows without asking the database. It is the only one that writes."""

    counters: Counters
    lanes: Lanes
    last_key: int
    last_position: int
    data_version: int
    """SQLite's, when `running` was last known to be right: it changes when another program has written."""
    paused: frozenset[tuple[str, str]]
    """Tenant and queue."""
    permits: Permits = field(default_factory=Permits)
    slots: Mapping[str, Slot] | None = None
    """What jobs of the known tasks occupy; None before a worker has said so."""
    progress: dict[int, deque[int]] = field(default_factory=dict)
    """Where the records of progress of running jobs are, by the job's key."""
    moving: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Queues that were paused or resumed, with the key up to which their jobs know it."""
    swept: tuple[int, int] = (0, 0)
    """Up to where results were dropped already."""
    running: dict[str, Running] = field(default_factory=dict)
    """Jobs in their first attempt, by id: their ends need not read them. Whoever is in work is not here."""


@dataclass(slots=True)
class Entry:
    """A job in work. stored: as it was before the batch. written: as the transaction has it.

    blocked_by: the limit that it waits for. spoke: whether something was logged. whole: whether its
    arguments were read too.
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

    @property
    def is_dirty(self) -> bool:
        """Whether it is not as it was written."""
        return self.job is not self.written or self.written_place != (self.turn, self.blocked_by)

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

    @property
    def is_first_run(self) -> bool:
        """Whether it runs for the first time, so that there are no attempts to be read beside it."""
        return self.job.state is State.RUNNING and self.job.attempt == self.job.run == 1


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
