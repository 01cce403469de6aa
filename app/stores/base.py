"""The Store protocol: what a store promises, whichever database is behind it.

A store is told what to do as a list of operations, all of one transaction, so a batch
of a hundred submissions costs one commit. `stores.writer` gathers the operations of all
threads into batches, by chance: what must happen together has to be one operation.

    StoreError
    ├── StoreUnavailableError   cannot be written (or read) now; nothing of the batch is stored
    ├── StoreUnusableError      cannot be opened: not ours, damaged, too new, in use
    ├── OperationFailedError    this operation can never be carried out, and others can
    ├── JobNotFoundError        no such job of that tenant
    ├── QueueFullError          as many jobs wait in the queue as may
    ├── QuotaExceededError      the tenant has as many unfinished jobs as it may
    ├── KeyReusedError          an idempotency key was used for something else before
    └── KeyHeldError            another job that is not done has the key of a job to be run again
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from app.core import State
from app.jobs.errors import JobError
from app.jobs.history import Record
from app.jobs.lifecycle import Event
from app.jobs.model import SECOND, Job, Outcome, Slot
from app.stores.figures import Counts, Recent


class StoreError(Exception):
    """The root of this layer's errors."""


class StoreUnavailableError(StoreError):
    """The store cannot be used now; nothing of what was asked for has happened."""


class StoreUnusableError(StoreError):
    """The store cannot be opened. The message says why and what to do about it."""


class OperationFailedError(StoreError):
    """The operation itself is at fault, so it fails however often it is tried."""


class JobNotFoundError(StoreError):
    """The tenant has no such job."""


class QueueFullError(StoreError):
    """As many jobs wait in the queue as are allowed to."""


class QuotaExceededError(StoreError):
    """The tenant has as many unfinished jobs as it is allowed to."""


class KeyReusedError(StoreError):
    """The idempotency key stands for another submission."""


class KeyHeldError(StoreError):
    """Another job of the same task that is not done has this job's key."""


class Limits(NamedTuple):
    """What an insertion must not exceed; None means no limit.

    queue: jobs waiting in one queue, of all tenants. tenant: unfinished jobs of one tenant.
    What a batch ends may make room for the next batch only.
    """

    queue: int | None = None
    tenant: int | None = None


ONCE_KEPT = 24 * 3600 * SECOND
"""Microseconds for which an idempotency key stands for its submission, and the jobs of that are kept."""


class Once(NamedTuple):
    """An idempotency key. route: what it was sent to. digest: of the body it was sent with."""

    route: str
    key: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Insert:
    """Store new jobs of one tenant, pending and of new ids as `new_id` makes them, all or none.

    Later operations find them there. One with a `key` that a job of the same tenant and task
    has, and that is not done, is not stored: that job stands for it, also if it is another one
    of these. Its outcome is the list of jobs that stand for those given, in their order, with
    their arguments; or Replayed, for a `once` that is known; or KeyReusedError,
    QueueFullError, QuotaExceededError.
    """

    jobs: Sequence[Job]
    limits: Limits = Limits()  # noqa: RUF009  (a tuple)
    once: Once | None = None


class Replayed(NamedTuple):
    """What was submitted under this idempotency key before, as it is now; without what was erased since."""

    jobs: Sequence[Job]


@dataclass(frozen=True, slots=True)
class Change:
    """Apply lifecycle events to a job, in order, all or none.

    tenant: whose job it must be; None for the worker's own. Its outcome is the job
    after the events, as `Store.get` returns it, or JobNotFoundError, a TransitionError, or
    KeyHeldError for one to be run again.
    """

    id: str
    events: Sequence[Event]
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """Hand ready jobs to a worker: the highest priority first, then fair between lanes, then oldest.

    free: slots of each kind. Each job gets a token that no claim has had before. What
    the batch's other operations made ready counts. What has expired is cancelled instead.
    A job that cannot be read is held back (Hold.UNREADABLE), and the next one claimed in
    its place; so with Promote. Its outcome is the list of claimed jobs, with their arguments.
    """

    worker: str
    free: Mapping[Slot, int]


@dataclass(frozen=True, slots=True)
class Promote:
    """Make ready what is due, and cancel what has expired. Its outcome is `Promoted`."""

    limit: int = 1000


class Caps(NamedTuple):
    """How many jobs of a task may run at a time: of one limit key, and of all of them; None means any."""

    each: int | None = None
    all: int | None = None


@dataclass(frozen=True, slots=True)
class Recover:
    """Take over when a worker starts, and before it claims.

    slots: what a job of each task that this worker knows occupies. caps: of those that have
    any; from now on they hold. Running jobs whose worker no longer lives are lost: in a
    store that one process owns, all of them. Pending jobs of tasks that no living worker
    knows are held back; those of a task that is known (again) are let go, and those that
    could not be read are tried again. Its outcome is `Recovered`. There may be very many
    that wait, so `Applied.changed` has only those that were lost.
    """

    slots: Mapping[str, Slot]
    caps: Mapping[str, Caps] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pause:
    """Run no more jobs of a tenant's queue, or run them again; what runs goes on. It lasts until changed.

    From now on none of them is claimed; but let go they are a part at a time, the oldest first.
    limit: jobs in a part. Its outcome is whether some are left to be moved: by the same
    operation once more, or by the next Recover. `Applied.changed` does not have those moved.
    """

    tenant: str
    queue: str
    paused: bool
    limit: int = 500


@dataclass(frozen=True, slots=True)
class Purge:
    """Erase a job that is done, with everything that hangs on it.

    Its outcome is None, or JobNotFoundError, or JobNotDoneError.
    """

    id: str
    tenant: str


@dataclass(frozen=True, slots=True)
class Sweep:
    """Erase what is older than it has to be; some of it at a time.

    jobs: those that are done since before this time, microseconds since the epoch, unless an
    idempotency key still stands for them. results: of those that succeeded before this time.
    limit: jobs to look at, of each. Its outcome is `Swept`.
    """

    jobs: int
    results: int
    limit: int = 500


class Swept(NamedTuple):
    """How many were erased. more: whether there may be more of them now."""

    jobs: int
    results: int
    more: bool


@dataclass(frozen=True, slots=True)
class Probe:
    """Write something, to show that the store can be written. Its outcome is None."""


class Promoted(NamedTuple):
    """promoted: jobs whose time had come. next_due: when that of the next one comes; None if none's does."""

    promoted: int
    next_due: int | None


class Recovered(NamedTuple):
    """lost: jobs whose worker was lost. unknown: pending jobs held back, by task."""

    lost: Sequence[Job]
    unknown: Mapping[str, int]


Operation = Insert | Change | Claim | Promote | Recover | Pause | Purge | Sweep | Probe
Answer = Job | list[Job] | Replayed | Promoted | Recovered | Swept | bool | None
Refusal = StoreError | JobError


class Applied(NamedTuple):
    """What a committed batch did.

    outcomes: one per operation, in order: what it promises, or the exception that
    refused it. changed: each job that is new, or not as it was, or of which something was
    logged, as it is now, once; one that was erased on request as it was; without those that
    were swept, and whose gates alone were moved. Those that were not just submitted may lack
    their arguments and attempts. inserted: those that are new, as they were submitted.
    ended: each run of a job that has ended, as the job was then, whatever became of it after.
    """

    outcomes: Sequence[Answer | Refusal]
    changed: Sequence[Job]
    inserted: Sequence[Job] = ()
    ended: Sequence[Job] = ()


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs a list shows; None means any.

    tags: all of them, as pairs. created_after, created_before: microseconds since the epoch,
    neither included. q: the beginning or end of an id, or a part of the task's name in any case.
    """

    state: State | None = None
    outcome: Outcome | None = None
    task: str | None = None
    queue: str | None = None
    tags: Sequence[tuple[str, str]] = ()
    created_after: int | None = None
    created_before: int | None = None
    q: str | None = None


class Page(NamedTuple):
    """Jobs, newest first, without arguments, results and tracebacks. next: None at the end."""

    jobs: Sequence[Job]
    next: int | None


@dataclass(frozen=True, slots=True)
class Paging:
    """Where a page begins and how long it is. before: the `next` of the page before; None for the first."""

    limit: int = 50
    before: int | None = None


class StoredRecord(NamedTuple):
    """A record of a job's history. position: grows with each one that is stored, of whichever job."""

    position: int
    job_id: str
    task: str
    queue: str
    record: Record


class Records(NamedTuple):
    """Some records, oldest first.

    position: to go on from, after these. trimmed: whether some that came after the position
    asked for are gone. more: whether there may be more now.
    """

    records: Sequence[StoredRecord]
    position: int
    trimmed: bool
    more: bool


class Queue(NamedTuple):
    """A tenant's queue. oldest: when its oldest pending job became due; None when none waits."""

    name: str
    paused: bool
    pending: int
    running: int
    oldest: int | None


EXAMINED = 10_000
"""Rows that a page examines at most when no index serves its filter."""


class Store(Protocol):
    """A place for jobs.

    `apply` blocks, and is called by one thread at a time. The reads are for an event
    loop and must not block it for long; what they return was committed.
    """

    def apply(self, operations: Sequence[Operation], now: int) -> Applied:
        """Carry out a batch in one transaction, and return when it is durable.

        now: the caller's wall clock, microseconds since the epoch. A store that several
        processes share goes by its database's clock instead, so that they agree. A refused
        operation changes nothing and harms no other. Raises StoreUnavailableError when
        nothing could be stored now, and anything else when an operation makes that
        impossible; nothing is stored then either.
        """

    def tidy(self) -> bool:
        """Do what has been left to be done after batches, if it is time; return whether it was.

        It is called by the thread that calls `apply`, when everybody has been told. Raises nothing.
        """

    async def get(self, tenant: str, job_id: str) -> Job | None:
        """Return the whole job, or None when the tenant has none of that id."""

    async def list(self, tenant: str, where: Filter, paging: Paging) -> Page:
        """Return a page of the tenant's jobs. It may be short, even empty, with a `next`."""

    async def recall(self, tenant: str, once: Once, now: int) -> Replayed | None:
        """Return what an idempotency key stands for; None when it is not known, or too old.

        Raises KeyReusedError.
        """

    async def records(
        self, tenant: str, after: int, limit: int, *, job_id: str | None = None, where: Filter | None = None
    ) -> Records:
        """Return records that were stored after a position: of one job, or of the jobs that fit.

        after: 0 for the beginning.
        """

    async def last_position(self) -> int:
        """Return the position of the newest record of all; 0 when there is none."""

    async def log(self, tenant: str, job_id: str) -> Sequence[StoredRecord]:
        """Return what a job has logged, oldest first."""

    async def queues(self, tenant: str) -> Sequence[Queue]:
        """Return the tenant's queues that have jobs waiting or running, or are paused, by name."""

    async def counts(self, tenant: str) -> Counts:
        """Return how many jobs the tenant has, as they were counted when they changed."""

    def recent(self, after: int, examined: int) -> Recent:
        """Return what has happened since a time, microseconds since the epoch. It blocks: for the start.

        examined: jobs that are looked at: of the newest so many, and so many of those that ended
        last if there are others. Raises StoreUnavailableError.
        """

    def close(self) -> None:
        """Let go of the database. Nothing may be called afterwards."""
