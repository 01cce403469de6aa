"""How many jobs of a task, and of each of its limit keys, may run: permits, and who has them.

A job that has a limit needs a permit of it before it becomes ready, and keeps it until it
has ended or is held back again. So no more are ready than may run, and those beyond cost
a claim nothing: they wait at the limit, in lanes of their own, and the one whose turn it is
gets the next permit. A job with two limits takes them in order, that of its key first, and
waits for the second with the first in hand; as all take them in that order, none waits for
another in a ring.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from app.core import State
from app.jobs.model import Hold, Job
from app.stores.base import Caps


class Limit(NamedTuple):
    """One limit of a job. most: how many permits there are."""

    name: str
    most: int


NO_CAPS = Caps()
NO_LIMIT: Sequence[Limit] = ()


def limit_of_key(task: str, limit_key: str) -> str:
    """Return the name of the limit that a key has. A task's name has no slash, so no two share one."""
    return f"{task}/{limit_key}"


def limit_of_task(task: str) -> str:
    """Return the name of the limit that all of a task's keys share."""
    return f"/{task}"


class Permits:
    """The permits as committed."""

    def __init__(self) -> None:
        self.caps: Mapping[str, Caps] = {}
        self.held: Counter[str] = Counter()
        self.lowest: dict[str, int] = {}
        """The lowest priority that has come to each limit: only what is above that can outrank a job."""

    def limits_of(self, job: Job) -> Sequence[Limit]:
        """Return a job's limits, in the order in which it has to pass them."""
        if job.limit_key is None or job.task not in self.caps:
            return NO_LIMIT
        each, all_ = self.caps[job.task]
        named = ((limit_of_key(job.task, job.limit_key), each), (limit_of_task(job.task), all_))
        return [Limit(name, most) for name, most in named if most is not None]

    def most(self, name: str) -> int:
        """Return how many permits a limit has; 0 for one that is none any more."""
        key_of, _, total_of = name.partition("/")
        caps = self.caps.get(key_of or total_of, NO_CAPS)
        return (caps.each if key_of else caps.all) or 0

    def restore(self, caps: Mapping[str, Caps], held: Counter[str]) -> None:
        """Begin anew."""
        self.caps, self.held, self.lowest = caps, held, dict.fromkeys(held, -(1 << 31))

    def add(self, grants: "Grants") -> None:
        """Take over what a committed batch has granted and taken back."""
        if grants.restored is not None:
            self.restore(*grants.restored)
        self.lowest.update(grants.lowest)
        for name, n in grants.by_name.items():
            self.held[name] += n
            if self.held[name] <= 0:
                # There may be a limit for each customer; those without a job must not pile up.
                del self.held[name]
                self.lowest.pop(name, None)


class Grants:
    """What one batch grants and takes back."""

    def __init__(self, committed: Permits) -> None:
        self._committed = committed
        self.by_name: Counter[str] = Counter()
        self.lowest: dict[str, int] = {}
        self.freed: set[str] = set()
        """Limits of which a permit may be free, and for which others may wait."""
        self.restored: tuple[Mapping[str, Caps], Counter[str]] | None = None

    def restore(self, caps: Mapping[str, Caps], held: Counter[str]) -> None:
        """Begin anew, with what the database says."""
        self.restored, self.by_name, self.lowest = (caps, held), Counter(), {}
        self._committed = Permits()
        self._committed.restore(caps, held)

    @property
    def caps(self) -> Mapping[str, Caps]:
        """How many jobs of a task may run."""
        return self._committed.caps

    def with_key(self, job: Job) -> Job:
        """Return a job with what its task's limits count it with; they may be of later than the job."""
        return job._replace(limit_key="") if job.limit_key is None and job.task in self.caps else job

    def with_keys(self, jobs: Sequence[Job]) -> list[Job]:
        """Return jobs as `with_key` does."""
        return list(map(self.with_key, jobs)) if self.caps else list(jobs)

    def limits_of(self, job: Job) -> Sequence[Limit]:
        """See Permits.limits_of."""
        return self._committed.limits_of(job)

    def free(self, name: str) -> int:
        """Return how many permits of a limit are left; fewer than none after its cap was lowered."""
        return self._committed.most(name) - self._committed.held[name] - self.by_name[name]

    def take(self, name: str) -> None:
        """Give a permit away."""
        self.by_name[name] += 1

    def give_back(self, name: str) -> None:
        """Take a permit back."""
        self.by_name[name] -= 1
        self.freed.add(name)

    def comes(self, name: str, priority: int) -> bool:
        """Take note of a job that comes to a limit; tell whether it may outrank one that has a permit."""
        lowest = self.lowest.get(name, self._committed.lowest.get(name))
        if lowest is None or priority < lowest:
            self.lowest[name] = priority
        return lowest is not None and priority > lowest


def held_by(job: Job, blocked_by: str | None, limits: Sequence[Limit]) -> Sequence[str]:
    """Return the limits of which a job has a permit. blocked_by: the one that it waits for."""
    if limits is NO_LIMIT:
        return ()
    names = [limit.name for limit in limits]
    if job.state is State.RUNNING or job.ready:
        return names
    if job.state is State.PENDING and job.hold == Hold.LIMITED and blocked_by in names:
        return names[: names.index(blocked_by)]
    return ()
