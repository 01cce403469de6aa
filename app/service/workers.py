"""Workers: who runs what since when, as whoever runs them tells."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from app.jobs.model import Job, Slot

RUNNING_SHOWN = 1000
"""Running jobs of a worker that are shown."""


class SlotUse(NamedTuple):
    """How many jobs of a kind a worker runs at a time, and how many slots are taken."""

    kind: Slot
    total: int
    used: int


class WorkerStatus(NamedTuple):
    """A worker. id: as jobs name it. started_at, heartbeat_at: microseconds since the epoch.

    draining: whether it takes no more jobs. running: what it runs, as claimed.
    """

    id: str
    host: str
    pid: int
    version: str
    started_at: int
    heartbeat_at: int
    draining: bool
    slots: Sequence[SlotUse]
    running: Sequence[Job]


Workers = Callable[[], Sequence[WorkerStatus]]
"""Tells of all workers, and of the jobs of all tenants that they run."""


def no_workers() -> Sequence[WorkerStatus]:
    """Tell of none."""
    return ()


def seen_by(tenant: str, worker: WorkerStatus) -> WorkerStatus:
    """Return a worker without other tenants' jobs, and with the oldest of the tenant's own only, in order."""
    own = [job for job in worker.running if job.tenant == tenant]
    own.sort(key=lambda job: (job.started_at or 0, job.id))
    return worker._replace(running=own[:RUNNING_SHOWN])
