"""Whose turn it is: fairness between lanes and their tenants, dealt out in advance.

A lane is a tenant's queue, or what a limit key has in it. Each job gets its turn, a
number, when it comes to a place where it has to wait: for a slot, or for a limit. What
becomes free goes to the lowest turn of the highest priority: start-time fair queuing,
at the cost of one index look-up.

A lane's jobs get consecutive turns; a lane that was empty starts at the turn now being
served. So ten thousand jobs of one lane are spread over ten thousand turns, and the first
job of another lane comes next. But queues are named by those who submit: a tenant with more
than FEW of them waiting gets turns that are further apart, and no more of them by naming a
thousand.
"""

import heapq
import math
from collections.abc import Callable

from app.jobs.model import Job

Level = tuple[str, int]
"""Jobs that compete with each other: the slot or the limit that they wait for, and their priority."""

Lane = tuple[str, int, str, str, str]
"""Slot or limit, priority, tenant, queue, limit key."""

FEW = 8
"""Lanes of a tenant that take turns as if each were a tenant's own."""

PRUNE_AT = 10_000
"""Lanes remembered before those that have nothing waiting are forgotten."""


class Share:
    """The lanes of one tenant on one level that have something waiting."""

    def __init__(self) -> None:
        self._lanes: set[Lane] = set()
        self._by_last: list[tuple[int, Lane]] = []
        """A heap of the lanes, by a turn that each has had; its last one may be later."""

    def add(self, lane: Lane, turn: int) -> None:
        """Take in a lane that gets this turn."""
        if lane not in self._lanes:
            self._lanes.add(lane)
            heapq.heappush(self._by_last, (turn, lane))

    def __len__(self) -> int:
        return len(self._lanes)

    def prune(self, served: int, last_of: Callable[[Lane], int]) -> None:
        """Drop the lanes that were served to their last turn."""
        while self._by_last and self._by_last[0][0] <= served:
            _, lane = self._by_last[0]
            last = last_of(lane)
            if last > served:
                heapq.heapreplace(self._by_last, (last, lane))
            else:
                # Also a lane of which a batch that failed had told.
                heapq.heappop(self._by_last)
                self._lanes.discard(lane)


class Lanes:
    """The turns as committed: the last one dealt in each lane, and the one served on each level."""

    def __init__(self) -> None:
        self.serving: dict[Level, int] = {}
        self.last: dict[Lane, int] = {}
        self._shares: dict[tuple[str, int, str], Share] = {}
        self._prune_at = PRUNE_AT

    def share_of(self, lane: Lane) -> Share:
        """Return what a lane's tenant has on its level."""
        share = self._shares.get(lane[:3])
        if share is None:
            share = self._shares[lane[:3]] = Share()
        return share

    def restore(self, lane: Lane, first: int, last: int) -> None:
        """Take note, after a start, of the turns that a lane's jobs have."""
        level = lane[:2]
        self.serving[level] = min(self.serving.get(level, first - 1), first - 1)
        self.last[lane] = last
        self.share_of(lane).add(lane, last)

    def add(self, turns: "Turns") -> None:
        """Take over what a committed batch has dealt and served."""
        self.serving.update(turns.serving)
        self.last.update(turns.last)
        if max(len(self.last), len(self._shares)) > self._prune_at:
            self._prune()

    def _prune(self) -> None:
        self.last = {lane: last for lane, last in self.last.items() if last > self.serving.get(lane[:2], 0)}
        self._shares = {}
        for lane, last in self.last.items():
            self.share_of(lane).add(lane, last)
        # Not again at once when most of them do have something waiting.
        self._prune_at = max(PRUNE_AT, 2 * len(self.last))


class Turns:
    """What one batch deals and serves.

    Apart from what is committed: a lane whose insertions fail for an hour, because the
    disk is full, would otherwise stand behind all others by as many turns.
    """

    def __init__(self, committed: Lanes) -> None:
        self._committed = committed
        self.serving: dict[Level, int] = {}
        self.last: dict[Lane, int] = {}
        self._entered: Lane | None = None
        """The lane that was entered last, if nothing was served since; and how far apart its turns are."""
        self._step = 1

    def enter(self, place: str, job: Job) -> int:
        """Return the turn of a job that comes to wait for a slot or a limit."""
        lane = (place, job.priority, job.tenant, job.queue, job.limit_key or "")
        if lane != self._entered:
            self._enter(lane)
        self.last[lane] = turn = self.last[lane] + self._step
        return turn

    def _enter(self, lane: Lane) -> None:
        served, share = self._served(lane[:2]), self._committed.share_of(lane)
        self.last[lane] = begin = max(self._last_of(lane), served)
        # Before it comes in: served to its last turn until now, it would go with the others.
        share.prune(served, self._last_of)
        share.add(lane, begin + 1)
        self._entered, self._step = lane, math.ceil(len(share) / FEW)

    def serve(self, place: str, job: Job, turn: int) -> None:
        """Take note that a job got what it waited for."""
        level, self._entered = (place, job.priority), None
        self.serving[level] = max(self._served(level), turn)

    def _last_of(self, lane: Lane) -> int:
        return self.last.get(lane) or self._committed.last.get(lane, 0)

    def _served(self, level: Level) -> int:
        return self.serving.get(level) or self._committed.serving.get(level, 0)
