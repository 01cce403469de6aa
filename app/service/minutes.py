"""Minutes: what has happened to a tenant's jobs in each of the last sixty, in bounded memory."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from app.jobs.model import SECOND, Job
from app.service.histogram import Histogram

MINUTE = 60 * SECOND
"""A minute, in microseconds."""

KEPT = 60
"""Minutes that are remembered, the current one among them."""

SUBMITTED = "submitted"
KINDS = (SUBMITTED, "succeeded", "failed", "cancelled")
"""What is counted: submissions, and ends by their outcome."""

FAILURES = 100
"""Kinds of failures, by exception and task, that are told apart in a minute: there may be any number."""

OTHERS = "(others)"
"""Exception and task of all further ones."""

SHOWN = 200
"""Characters of an exception's type and of its message that are kept."""

FAILURES_SHOWN = 50
"""Kinds of failures that are shown, the most frequent first."""


class Failing(NamedTuple):
    """A failure that has happened: the exception's type, the task, the exception's message, and the job."""

    type: str
    task: str
    message: str
    job: str


class Happening(NamedTuple):
    """Something to be counted: as little as that takes, because it is kept for a while.

    at: microseconds since the epoch. kind: one of KINDS. wait, run: microseconds; None for what
    was not started. times: how often it has happened; above 1 for submissions only.
    """

    tenant: str
    at: int
    kind: str
    wait: int | None = None
    run: int | None = None
    failing: Failing | None = None
    times: int = 1


class Span(NamedTuple):
    """Percentiles, in seconds."""

    p50: float
    p95: float
    p99: float


class Traffic(NamedTuple):
    """What has happened. wait, run: see `Happening`; None when nothing was counted."""

    submitted: int
    succeeded: int
    failed: int
    cancelled: int
    wait: Span | None
    run: Span | None


class FailureCount(NamedTuple):
    """How many times a task has failed by a type of exception. message, job, last_at: of the latest."""

    type: str
    task: str
    times: int
    message: str
    job: str
    last_at: int


class Recount(NamedTuple):
    """The last minutes of a tenant, the oldest first: when each has begun, and what has happened in it."""

    minutes: Sequence[tuple[int, Traffic]]
    hour: Traffic
    failures: Sequence[FailureCount]


def submissions(jobs: Iterable[Job]) -> Iterator[Happening]:
    """Yield what there is to count of submissions: of a batch's, no more than of one."""
    for (tenant, at), alike in groupby(map(_OCCASION, jobs)):
        yield Happening(tenant, at, SUBMITTED, times=len(list(alike)))


_OCCASION = attrgetter("tenant", "created_at")


def ending(job: Job) -> Happening:
    """Return what there is to count of a run's end."""
    at = job.finished_at or 0
    wait = run = None
    if job.started_at is not None:
        wait, run = job.started_at - job.run_at, at - job.started_at
    return Happening(job.tenant, at, job.outcome or "", wait, run, _failing(job))


def _failing(job: Job) -> Failing | None:
    if job.exception is None:
        return None
    return Failing(_cut(job.exception.type), job.task, _cut(job.exception.message), job.id)


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


class _Minute:
    """What has happened within a minute."""

    __slots__ = ("counts", "failures", "run", "wait")

    def __init__(self) -> None:
        self.counts = dict.fromkeys(KINDS, 0)
        self.wait = Histogram()
        self.run = Histogram()
        self.failures: dict[tuple[str, str], FailureCount] = {}

    def add(self, happening: Happening) -> None:
        """Count it."""
        self.counts[happening.kind] += happening.times
        if happening.wait is not None:
            self.wait.add(happening.wait)
        if happening.run is not None:
            self.run.add(happening.run)
        if happening.failing is not None:
            self._add_failure(happening.at, happening.failing)

    def _add_failure(self, at: int, failing: Failing) -> None:
        key = (failing.type, failing.task)
        if key not in self.failures and len(self.failures) >= FAILURES:
            key = (OTHERS, OTHERS)
        later = FailureCount(*key, 1, failing.message, failing.job, at)
        known = self.failures.get(key)
        self.failures[key] = later if known is None else _both(known, later)


def _both(failure: FailureCount, other: FailureCount) -> FailureCount:
    """Return two of a kind as one."""
    latest = other if other.last_at >= failure.last_at else failure
    return latest._replace(times=failure.times + other.times)


class Minutes:
    """Those of all tenants. To be used by one thread.

    now: microseconds since the epoch, wherever it is asked for.
    """

    def __init__(self) -> None:
        self._tenants: dict[str, dict[int, _Minute]] = {}
        self._pruned = 0
        """The current minute when those that are over were last forgotten."""

    def add(self, happenings: Iterable[Happening], now: int) -> None:
        """Count what has happened. What is too old to be remembered is not counted."""
        current = now // MINUTE
        if current != self._pruned:
            self._forget(current)
        for happening in happenings:
            # If the clock was set back meanwhile, it counts as of now.
            number = min(happening.at // MINUTE, current)
            if number > current - KEPT:
                self._minute(happening.tenant, number).add(happening)

    def _minute(self, tenant: str, number: int) -> _Minute:
        minutes = self._tenants.setdefault(tenant, {})
        found = minutes.get(number)
        if found is None:
            found = minutes[number] = _Minute()
        return found

    def _forget(self, current: int) -> None:
        """Forget what is too long ago; and what is in the future, if the clock was set back."""
        self._pruned = current
        for tenant, minutes in list(self._tenants.items()):
            kept = {number: minute for number, minute in minutes.items() if abs(current - number) < KEPT}
            self._tenants[tenant] = kept
            if not kept:
                del self._tenants[tenant]

    def of(self, tenant: str, now: int) -> Recount:
        """Return the tenant's last minutes, of which the current one is the last."""
        current = now // MINUTE
        known, empty = self._tenants.get(tenant, {}), _Minute()
        numbers = range(current - KEPT + 1, current + 1)
        minutes = [known.get(number, empty) for number in numbers]
        each = [
            (number * MINUTE, _traffic([minute])) for number, minute in zip(numbers, minutes, strict=True)
        ]
        return Recount(each, _traffic(minutes), _failures(minutes))


def _traffic(minutes: Sequence[_Minute]) -> Traffic:
    counts = {kind: sum(minute.counts[kind] for minute in minutes) for kind in KINDS}
    wait, run = (_span(map(attrgetter(name), minutes)) for name in ("wait", "run"))
    return Traffic(**counts, wait=wait, run=run)


def _span(histograms: Iterable[Histogram]) -> Span | None:
    found = Histogram().merge(histograms).percentiles()
    return None if found is None else Span(*(round(value / SECOND, 6) for value in found))


def _failures(minutes: Sequence[_Minute]) -> Sequence[FailureCount]:
    found: dict[tuple[str, str], FailureCount] = {}
    for key, failure in _items(minute.failures for minute in minutes):
        known = found.get(key)
        found[key] = failure if known is None else _both(known, failure)
    order = sorted(found.values(), key=lambda failure: (-failure.times, -failure.last_at, failure[:2]))
    return order[:FAILURES_SHOWN]


def _items(
    mappings: Iterable[Mapping[tuple[str, str], FailureCount]],
) -> Iterator[tuple[tuple[str, str], FailureCount]]:
    for mapping in mappings:
        yield from mapping.items()
