"""One change of many jobs: of all that a filter fits."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from app.core import State
from app.jobs.errors import TransitionError
from app.jobs.lifecycle import CancelRequested, Edited, Event, Reopened
from app.jobs.model import Job, Outcome
from app.service.errors import translated
from app.stores.base import (
    Change,
    Filter,
    JobNotFoundError,
    KeyHeldError,
    OperationFailedError,
    Paging,
    Store,
)
from app.stores.writer import Writer

BATCH = 500
"""Jobs that are looked at, and changed, at a time: what others write comes in between."""

ONLY_WAITING = (Edited(),)
"""Has what follows in the same change refused unless the job waits: an edit, be it of nothing, is."""

Plan = Callable[[str, Filter, Sequence[Job]], list[Change]]
"""Says what to do with a page of a tenant's jobs that a filter fits."""

_REFUSALS = (TransitionError, JobNotFoundError, KeyHeldError, OperationFailedError)
"""Why a job is left as it is: others may have been quicker, or it cannot be changed at all."""


class Tally(NamedTuple):
    """matched: jobs that fitted the filter when it came by. changed: those of them that it has changed."""

    matched: int
    changed: int


class Bulk:
    """Walks a list once, from the newest job to the oldest, and changes what it finds.

    No job is met twice, whatever becomes of it meanwhile, and none that is new: so it ends.
    """

    def __init__(self, store: Store, writer: Writer) -> None:
        self._store = store
        self._writer = writer

    async def change(self, tenant: str, where: Filter, plan: Plan, go_on: Callable[[], object]) -> Tally:
        """Carry out a plan page by page.

        go_on: called before each page; what it raises ends the walk. Raises StoreDownError;
        what was changed until then stays changed.
        """
        matched = changed = 0
        before: int | None = None
        while True:
            go_on()
            with translated():
                page = await self._store.list(tenant, where, Paging(BATCH, before))
                changed += await self._write(plan(tenant, where, page.jobs))
            matched += len(page.jobs)
            before = page.next
            if before is None:
                return Tally(matched, changed)

    async def _write(self, changes: Sequence[Change]) -> int:
        """Return how many of the changes were made."""
        made = 0
        # All of them first: they share a commit.
        for future in [self._writer.submit(change) for change in changes]:
            try:
                await future
            except _REFUSALS:
                continue
            made += 1
        return made


def cancellations(tenant: str, where: Filter, jobs: Sequence[Job]) -> list[Change]:
    """Return what cancels those that are not done, and not asked to stop yet."""
    events: tuple[Event, ...] = (CancelRequested(),)
    if where.state is State.PENDING:
        # Whoever cancels what waits does not mean what has begun since it was listed.
        events = (*ONLY_WAITING, *events)
    return [Change(job.id, events, tenant) for job in jobs if not job.done and job.cancellation is None]


def new_runs(tenant: str, _: Filter, jobs: Sequence[Job]) -> list[Change]:
    """Return what runs those again that failed or were cancelled."""
    ended = (Outcome.FAILED, Outcome.CANCELLED)
    return [Change(job.id, (Reopened(),), tenant) for job in jobs if job.outcome in ended]
