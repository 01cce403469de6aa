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
    └── QuotaExceededError      the tenant has as many unfinished jobs as it may
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from app.core import State
from app.jobs.errors import JobError
from app.jobs.lifecycle import Event
from app.jobs.model import Job, Outcome, Slot


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


class Limits(NamedTuple):
    """What an insertion must not exceed; None means no limit.

    queue: jobs waiting in one queue, of all tenants. tenant: unfinished jobs of one tenant.
    What a batch ends may make room for the next batch only.
    """

    queue: int | None = None
    tenant: int | None = None


@dataclass(frozen=True, slots=True)
class Insert:
    """Store a new job, pending and of a new id. Later operations of the batch find it there.

    Its outcome is the job, or QueueFullError or QuotaExceededError.
    """

    job: Job
    limits: Limits = Limits()  # noqa: RUF009  (a tuple)


@dataclass(frozen=True, slots=True)
class Change:
    """Apply lifecycle events to a job, in order, all or none.

    tenant: whose job it must be; None for the worker's own. Its outcome is the job
    after the events, with its arguments, or JobNotFoundError, or a TransitionError.
    """

    id: str
    events: Sequence[Event]
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """Hand ready jobs to a worker: the highest priority first, then fair between lanes, then oldest.

    free: slots of each kind. Each job gets a token that no claim has had before. What
    the batch's other operations made ready counts. A job that cannot be read is held back
    (Hold.UNREADABLE), and the next one claimed in its place; so with Promote. Its outcome
    is the list of claimed jobs, with their arguments.
    """

    worker: str
    free: Mapping[Slot, int]


@dataclass(frozen=True, slots=True)
class Promote:
    """Make ready what is due. Its outcome is `Promoted`."""

    limit: int = 1000


@dataclass(frozen=True, slots=True)
class Recover:
    """Take over when a worker starts, and before it claims.

    slots: what a job of each task that this worker knows occupies. Running jobs whose
    worker no longer lives are lost: in a store that one process owns, all of them. Pending
    jobs of tasks that no living worker knows are held back; those of a task that is known
    (again) are let go, and those that could not be read are tried again. Its outcome is
    `Recovered`. There may be very many that wait, so `Applied.changed` has only those
    that were lost.
    """

    slots: Mapping[str, Slot]


@dataclass(frozen=True, slots=True)
class Probe:
    """Write something, to show that the store can be written. Its outcome is None."""


class Promoted(NamedTuple):
    """promoted: jobs made ready. next_due: when the next one is, in microseconds; None if none is."""

    promoted: int
    next_due: int | None


class Recovered(NamedTuple):
    """lost: jobs whose worker was lost. unknown: pending jobs held back, by task."""

    lost: Sequence[Job]
    unknown: Mapping[str, int]


Operation = Insert | Change | Claim | Promote | Recover | Probe
Answer = Job | list[Job] | Promoted | Recovered | None
Refusal = StoreError | JobError


class Applied(NamedTuple):
    """What a committed batch did.

    outcomes: one per operation, in order: what it promises, or the exception that
    refused it. changed: each job that is new or not as it was, as it is now, once;
    those that were not just submitted may lack their arguments.
    """

    outcomes: Sequence[Answer | Refusal]
    changed: Sequence[Job]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs a list shows; None means any."""

    state: State | None = None
    outcome: Outcome | None = None
    task: str | None = None
    queue: str | None = None


class Page(NamedTuple):
    """Jobs, newest first, without arguments, results and tracebacks. next: None at the end."""

    jobs: Sequence[Job]
    next: int | None


@dataclass(frozen=True, slots=True)
class Paging:
    """Where a page begins and how long it is. before: the `next` of the page before; None for the first."""

    limit: int = 50
    before: int | None = None


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

    async def get(self, tenant: str, job_id: str) -> Job | None:
        """Return the whole job, or None when the tenant has none of that id."""

    async def list(self, tenant: str, where: Filter, paging: Paging) -> Page:
        """Return a page of the tenant's jobs. It may be short, even empty, with a `next`."""

    def close(self) -> None:
        """Let go of the database. Nothing may be called afterwards."""
