"""What a store says of its jobs in figures, for statistics."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from app.jobs.model import Job


class StateCounts(NamedTuple):
    """How many jobs are in each state."""

    pending: int = 0
    running: int = 0
    cancelled: int = 0
    finished: int = 0

    @property
    def unfinished(self) -> int:
        """How many are pending or running."""
        return self.pending + self.running


class Counts(NamedTuple):
    """How many jobs a tenant has: in all, of each task and in each queue, by their names."""

    jobs: StateCounts
    tasks: Mapping[str, StateCounts]
    queues: Mapping[str, StateCounts]


class Recent(NamedTuple):
    """What happened of late, to jobs of all tenants: those that were submitted, and those that have ended.

    Of each no more than statistics need: nothing of its options, arguments, result or traceback.
    complete_from: what happened since this time, microseconds since the epoch, is all there, but
    for jobs that were erased and runs that were followed by another one.
    """

    submitted: Sequence[Job]
    ended: Sequence[Job]
    complete_from: int
