"""Promoter: has jobs made ready when they are due, and cancelled when they have expired.

By a wall clock that may be set at any time.
"""

from collections.abc import Sequence
from functools import partial

from app.core import Future, State
from app.jobs.model import SECOND, Clock, Hold, Job
from app.jobs.points import reached
from app.stores.base import Promote, Promoted
from app.stores.ticker import CallLater, Retry
from app.stores.writer import Writer

# Each job that changes is looked at, and to find a member in its enum takes as long as to compare it.
_PENDING = State.PENDING
_DUE_LATER = Hold.DUE_LATER
_DUE_LATER_BIT = int(Hold.DUE_LATER)

CLOCK_CHECK = 1.0
"""Seconds after which the wall clock is looked at again while jobs wait for a time: it may be set."""


class Promoter:
    """Has what comes with time happen to jobs, when it has come.

    call_later: of a ticker, on whose thread alone the clock is looked at and the state is
    changed. So there is no lock, and whoever may wait for none can call this.
    """

    def __init__(self, writer: Writer, clock: Clock, call_later: CallLater) -> None:
        self._writer = writer
        self._clock = clock
        self._call_later = call_later
        self._due: int | None = None
        """When the next job is due or expires, as far as that is known."""
        self._looks = 0
        """Chains of looks at the clock; the last one of them goes on."""
        self._retry = Retry(call_later, self.promote)

    def promote(self) -> None:
        """Have happen what is due now, and wait for what is due next; from any thread."""
        reached("promotion-next")
        self._writer.submit(Promote()).add_done_callback(self._promoted)

    def _promoted(self, future: Future[Promoted]) -> None:
        if future.exception() is not None:
            # Not by the wall clock, which may be set back.
            self._retry.soon()
        elif (next_due := future.result().next_due) is not None:
            self.expect(next_due)

    def changed(self, jobs: Sequence[Job]) -> None:
        """Note what the jobs that a commit has changed wait for. A listener of the writer's."""
        due = min(filter(None, map(_time_of, jobs)), default=None)
        if due is not None:
            self.expect(due)

    def expect(self, due: int) -> None:
        """Look for what is due at that time, unless it is later than what is expected; from any thread.

        The job is in the store by now. So if what is expected is being forgotten at this moment,
        the promotion that it is forgotten for comes after the job, and tells when it is due.
        """
        known = self._due
        if known is None or due < known:
            self._call_later(0, partial(self._expect, due))

    # -- on the ticker's thread ----------------------------------------------

    def _expect(self, due: int) -> None:
        if self._due is None or due < self._due:
            self._due = due
            self._looks += 1
            self._look(self._looks, due)

    def _look(self, number: int, due: int) -> None:
        if number != self._looks:
            # Something is due earlier than this, or was; that has looks of its own.
            return
        seconds = (due - self._clock()) / SECOND
        if seconds > 0:
            self._call_later(min(seconds, CLOCK_CHECK), partial(self._look, number, due))
        else:
            self._due = None
            self.promote()


def _time_of(job: Job) -> int | None:
    """Return when something happens to a job by itself; None when nothing does."""
    if job.state is not _PENDING:
        return None
    # Most have this flag alone. Else as plain numbers: `&` of flags makes a flag, which takes as long again.
    waits = job.hold is _DUE_LATER or int(job.hold) & _DUE_LATER_BIT
    due = job.run_at if waits else None
    expires = None if job.attempt else job.expires_at
    if due is None or expires is None:
        return expires if due is None else due
    return min(due, expires)
