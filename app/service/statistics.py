"""Statistics: how many jobs there are, and what has happened in the last hour."""

import logging
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from app.core import ThreadPoolExecutor
from app.jobs.model import Clock
from app.service.errors import translated
from app.service.minutes import KEPT, MINUTE, Happening, Minutes, Recount, ending, submissions
from app.stores.base import EXAMINED, Applied, Store
from app.stores.figures import Counts, StateCounts
from app.stores.writer import Writer

LOGGER = logging.getLogger(__name__)

UNCOUNTED = 500
"""Happenings that wait to be counted until somebody asks, at most about so many."""

NAMES_SHOWN = 1000
"""Queues, and tasks, that are shown: callers may have named any number."""


class Overview(NamedTuple):
    """How things stand with a tenant's jobs.

    at: now. since: from when on the minutes are complete; both microseconds since the epoch.
    jobs, tasks, queues: all that are stored, in all and by name; of very many names the busiest.
    """

    at: int
    jobs: StateCounts
    tasks: Mapping[str, StateCounts]
    queues: Mapping[str, StateCounts]
    recount: Recount
    since: int


class Statistics:
    """Watches what the writer commits.

    On the writer's thread, for which everybody waits, it only takes notes. A thread of its own
    counts them, some hundred at a time, and when somebody asks; what is counted is that thread's
    alone. What happened before the start is read from the store, as far as `EXAMINED` rows go.
    """

    def __init__(self, store: Store, writer: Writer, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._notes: deque[Happening] = deque()
        self._counting = False
        """Whether the thread was asked to count them."""
        self._minutes = Minutes()
        self._thread = ThreadPoolExecutor(1, "errand-statistics")
        self._since = self._look_back()
        self._asked_at = 0
        writer.follow(self._follow)

    def _look_back(self) -> int:
        """Count what happened before the start, and return from when on that is complete."""
        now = self._clock()
        try:
            recent = self._store.recent((now // MINUTE - KEPT + 1) * MINUTE, EXAMINED)
            self._minutes.add(submissions(recent.submitted), now)
            self._minutes.add(map(ending, recent.ended), now)
        except Exception as exc:  # noqa: BLE001  (a damaged store, which must not keep the service from starting)
            LOGGER.warning("the statistics begin anew: %s", exc)
            return now
        return min(recent.complete_from, now)

    def _follow(self, applied: Applied) -> None:
        """Take notes of what was committed; on the writer's thread."""
        self._notes.extend(submissions(applied.inserted))
        self._notes.extend(map(ending, applied.ended))
        if len(self._notes) >= UNCOUNTED and not self._counting:
            self._counting = True
            try:
                self._thread.submit(self._count)
            except RuntimeError:
                # It is closed, and nobody will ask.
                self._notes.clear()
                self._counting = False

    def _count(self) -> None:
        # First: what comes from now on may not be seen any more.
        self._counting = False
        try:
            self._minutes.add(self._taken(), self._clock())
        except Exception:
            # Nobody looks at what becomes of it.
            LOGGER.exception("some jobs are not in the statistics")

    def _taken(self) -> Iterator[Happening]:
        with suppress(IndexError):
            while True:
                yield self._notes.popleft()

    async def overview(self, tenant: str) -> Overview:
        """Return how things stand. Raises StoreDownError."""
        with translated():
            counts = await self._store.counts(tenant)
        # Not on the event loop: there may be very many names, and very many jobs to be counted yet.
        return await self._thread.submit(self._overview, tenant, counts)

    def _overview(self, tenant: str, counts: Counts) -> Overview:
        self._count()
        now = self._clock()
        if now < self._asked_at - MINUTE:
            # The clock was set back: what is stored ahead of it is not shown, or was taken for too old.
            self._since = now
        self._asked_at = now
        recount = self._minutes.of(tenant, now)
        since = max(self._since, recount.minutes[0][0])
        return Overview(now, counts.jobs, _busiest(counts.tasks), _busiest(counts.queues), recount, since)

    def close(self) -> None:
        """End the thread. Nothing is counted any more."""
        self._thread.shutdown()


def _busiest(counts: Mapping[str, StateCounts]) -> Mapping[str, StateCounts]:
    """Return those with most unfinished jobs, or most jobs, as many as are shown, in their order."""
    if len(counts) <= NAMES_SHOWN:
        return counts
    order = sorted(counts, key=lambda name: (counts[name].unfinished, sum(counts[name])), reverse=True)
    shown = set(order[:NAMES_SHOWN])
    return {name: count for name, count in counts.items() if name in shown}
