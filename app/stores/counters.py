"""How many jobs there are, by tenant, queue, task and state; for limits and statistics."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from app.core import State
from app.jobs.model import Job
from app.stores.base import Limits, QueueFullError, QuotaExceededError

T = TypeVar("T", bound=Hashable)

Key = tuple[str, str, str, str]
"""Tenant, queue, task, state."""


class Counters:
    """The counts as committed, with sums for the limits kept beside them."""

    def __init__(self, counts: Mapping[Key, int]) -> None:
        self._waiting: Counter[str] = Counter()
        self._unfinished: Counter[str] = Counter()
        self.add(counts)

    def add(self, deltas: Mapping[Key, int]) -> None:
        """Take over what a committed batch has changed."""
        for (tenant, queue, _, state), n in deltas.items():
            if state == State.PENDING:
                _add(self._waiting, queue, n)
            if state in (State.PENDING, State.RUNNING):
                _add(self._unfinished, tenant, n)

    def waiting(self, queue: str) -> int:
        """Return how many jobs of all tenants are pending in a queue."""
        return self._waiting[queue]

    def unfinished(self, tenant: str) -> int:
        """Return how many jobs of a tenant are pending or running."""
        return self._unfinished[tenant]


def _add(counter: Counter[str], name: str, n: int) -> None:
    counter[name] += n
    if not counter[name]:
        # Callers choose the names of queues, so those that are empty must not pile up.
        del counter[name]


def _by_kind(values: Sequence[T]) -> Mapping[T, int]:
    """Return how many there are of each value."""
    # Most often there is one, and a Counter takes many times as long to make as that takes to see.
    first, count = values[0], len(values)
    return {first: count} if values.count(first) == count else Counter(values)


class Deltas:
    """What one batch changes in the counts."""

    def __init__(self, committed: Counters) -> None:
        # No Counters: each batch makes all of these, and a Counter takes four times as long to make.
        self._committed = committed
        self._queued: defaultdict[str, int] = defaultdict(int)
        self._accepted: defaultdict[str, int] = defaultdict(int)
        self._unsaved: defaultdict[Key, int] = defaultdict(int)
        self.by_key: defaultdict[Key, int] = defaultdict(int)
        """What was handed out to be saved."""

    def admit(self, jobs: Sequence[Job], limits: Limits) -> None:
        """Count new jobs of one tenant in. Raises QueueFullError or QuotaExceededError, and counts none then.

        What the same batch finishes makes room for the next one.
        """
        queued = _by_kind([job.queue for job in jobs])
        for queue, n in queued.items():
            if limits.queue is not None and self._waiting(queue) + n > limits.queue:
                msg = f"queue {queue!r} has reached its limit of {limits.queue} waiting jobs"
                raise QueueFullError(msg)
        tenant = jobs[0].tenant
        held = self._committed.unfinished(tenant) + self._accepted[tenant]
        if limits.tenant is not None and held + len(jobs) > limits.tenant:
            msg = f"the quota of {limits.tenant} unfinished jobs is used up"
            raise QuotaExceededError(msg)
        for queue, n in queued.items():
            self._queued[queue] += n
        self._accepted[tenant] += len(jobs)
        for key, n in _by_kind([(job.tenant, job.queue, job.task, job.state) for job in jobs]).items():
            self._unsaved[key] += n

    def _waiting(self, queue: str) -> int:
        return self._committed.waiting(queue) + self._queued[queue]

    def forget(self, job: Job) -> None:
        """Count out a job that is erased."""
        self._count(job, -1)

    def move(self, old: Job, new: Job) -> None:
        """Count a job from its old state to its new one."""
        if old.state is not new.state:
            self._count(old, -1)
            self._count(new, 1)

    def _count(self, job: Job, n: int) -> None:
        self._unsaved[job.tenant, job.queue, job.task, job.state] += n

    def take_unsaved(self) -> Mapping[Key, int]:
        """Return what has changed since the last call."""
        taken, self._unsaved = self._unsaved, defaultdict(int)
        for key, n in taken.items():
            self.by_key[key] += n
        return taken
