"""Whose turn it is: fairness between lanes, dealt out in advance.

A lane is a tenant's queue. Each job gets its turn, a number, when it becomes ready,
and a claim takes the lowest of the highest priority: start-time fair queuing, at the
cost of one index look-up per claim. A lane's jobs get consecutive turns; a lane that
was empty starts at the turn now being served. So ten thousand jobs of one lane are
spread over ten thousand turns, and the first job of another lane comes next.
"""

from app.jobs.model import Job, Slot

_Level = tuple[Slot, int]
_Lane = tuple[Slot, int, str, str]

PRUNE_AT = 10_000
"""Lanes remembered before those that have nothing waiting are forgotten."""


class Lanes:
    """Deals out turns. A turn given for nothing (its transaction failed) harms nobody."""

    def __init__(self) -> None:
        self._serving: dict[_Level, int] = {}
        self._last: dict[_Lane, int] = {}

    def enter(self, job: Job) -> int:
        """Return the turn of a job that becomes ready."""
        lane = (job.slot, job.priority, job.tenant, job.queue)
        turn = max(self._last.get(lane, 0), self._serving.get((job.slot, job.priority), 0)) + 1
        self._last[lane] = turn
        if len(self._last) > PRUNE_AT:
            self._prune()
        return turn

    def serve(self, job: Job, turn: int) -> None:
        """Take note that a job was claimed in its turn."""
        level = (job.slot, job.priority)
        self._serving[level] = max(self._serving.get(level, 0), turn)

    def restore(self, lane: _Lane, first: int, last: int) -> None:
        """Take note, after a start, of the turns that a lane's ready jobs have."""
        level = lane[:2]
        self._serving[level] = min(self._serving.get(level, first - 1), first - 1)
        self._last[lane] = last

    def _prune(self) -> None:
        self._last = {lane: last for lane, last in self._last.items() if last > self._serving.get(lane[:2], 0)}
