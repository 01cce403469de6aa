"""Whose turn it is: fairness between lanes, dealt out in advance.

A lane is a tenant's queue, or what a limit key has in it. Each job gets its turn, a
number, when it comes to a place where it has to wait: for a slot, or for a limit. What
becomes free goes to the lowest turn of the highest priority: start-time fair queuing,
at the cost of one index look-up. A lane's jobs get consecutive turns; a lane that was
empty starts at the turn now being served. So ten thousand jobs of one lane are spread
over ten thousand turns, and the first job of another lane comes next.
"""

from app.jobs.model import Job

Level = tuple[str, int]
"""Jobs that compete with each other: the slot or the limit that they wait for, and their priority."""

Lane = tuple[str, int, str, str, str]
"""Slot or limit, priority, tenant, queue, limit key."""

PRUNE_AT = 10_000
"""Lanes remembered before those that have nothing waiting are forgotten."""


class Lanes:
    """The turns as committed: the last one dealt in each lane, and the one served on each level."""

    def __init__(self) -> None:
        self.serving: dict[Level, int] = {}
        self.last: dict[Lane, int] = {}
        self._prune_at = PRUNE_AT

    def restore(self, lane: Lane, first: int, last: int) -> None:
        """Take note, after a start, of the turns that a lane's jobs have."""
        level = lane[:2]
        self.serving[level] = min(self.serving.get(level, first - 1), first - 1)
        self.last[lane] = last

    def add(self, turns: "Turns") -> None:
        """Take over what a committed batch has dealt and served."""
        self.serving.update(turns.serving)
        self.last.update(turns.last)
        if len(self.last) > self._prune_at:
            self._prune()

    def _prune(self) -> None:
        self.last = {lane: last for lane, last in self.last.items() if last > self.serving.get(lane[:2], 0)}
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

    def enter(self, place: str, job: Job) -> int:
        """Return the turn of a job that comes to wait for a slot or a limit."""
        lane = (place, job.priority, job.tenant, job.queue, job.limit_key or "")
        last = self.last.get(lane) or self._committed.last.get(lane, 0)
        self.last[lane] = turn = max(last, self._served(lane[:2])) + 1
        return turn

    def serve(self, place: str, job: Job, turn: int) -> None:
        """Take note that a job got what it waited for."""
        level = (place, job.priority)
        self.serving[level] = max(self._served(level), turn)

    def _served(self, level: Level) -> int:
        return self.serving.get(level) or self._committed.serving.get(level, 0)
