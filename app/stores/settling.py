"""Settler: sees to it that the store gets to know how jobs have ended."""

import logging
from collections import deque
from collections.abc import Callable

from app.jobs.lifecycle import Failed, Released
from app.jobs.model import Failure
from app.jobs.points import reached
from app.stores.base import Change, OperationFailedError, StoreUnavailableError
from app.stores.ticker import CallLater, Retry
from app.stores.trouble import Trouble
from app.stores.writer import Writer

LOGGER = logging.getLogger(__name__)


class Settler:
    """Hands settlements to the writer until each is stored or refused.

    One that can never be stored is replaced by a plain one: a release, or a failure by `unstorable`.
    settled: called with each change, replaced or not, and the exception that it was refused
    with, or None, when nothing more will be tried; most often on the writer's thread.

    It has no lock, so whoever may wait for none can call it.
    """

    def __init__(
        self,
        writer: Writer,
        call_later: CallLater,
        unstorable: Failure,
        settled: Callable[[Change, BaseException | None], object],
    ) -> None:
        self._writer = writer
        self._unstorable = unstorable
        self._settled = settled
        self._kept: deque[Change] = deque()
        """What the store could not take. It exists nowhere else."""
        self._trouble = Trouble(LOGGER, "ends of jobs are kept until they can be stored")
        self._retry = Retry(call_later, self._repeat)

    def settle(self, change: Change) -> None:
        """Hand in a settlement; from any thread."""
        self._writer.submit_all([(change, _Settlement(change, self._answered))])
        reached("settlement-handed-in")

    def close(self) -> None:
        """Make the last attempt, after the ticker was closed.

        If it fails, the next process finds the job running, and lost.
        """
        self._repeat()

    def _answered(self, change: Change, exception: BaseException | None) -> None:
        if isinstance(exception, StoreUnavailableError):
            self._trouble.met(str(exception))
            # In this order: either the call that was asked for already finds it, or another is asked for.
            self._kept.append(change)
            self._retry.soon()
            return
        if exception is None:
            reached("settlement-answered")
            self._trouble.over()
        else:
            LOGGER.warning("the end of job %s is not stored: %s", change.id, exception)
        if isinstance(exception, OperationFailedError) and not self._is_plain(change):
            self.settle(self._plain(change))
        else:
            self._settled(change, exception)

    def _repeat(self) -> None:
        # Not until none is left: what fails at once is kept again.
        for _ in range(len(self._kept)):
            self.settle(self._kept.popleft())

    def _plain(self, change: Change) -> Change:
        """Return a settlement that any store takes: without what the code has said, and how it has ended."""
        event = change.events[-1]
        if not isinstance(event, Released):
            event = Failed(event.token, self._unstorable)  # type: ignore[union-attr]
        return Change(change.id, (event,))

    def _is_plain(self, change: Change) -> bool:
        """Tell whether a settlement bears nothing that a store could refuse to keep."""
        event = change.events[-1]
        return len(change.events) == 1 and (
            isinstance(event, Released) or (isinstance(event, Failed) and event.failure is self._unstorable)
        )


class _Settlement:
    """Who is told what becomes of a settlement. Every job has one, and needs nothing more of a Future."""

    __slots__ = ("_answered", "_change")

    def __init__(self, change: Change, answered: Callable[[Change, BaseException | None], object]) -> None:
        self._change = change
        self._answered = answered

    def set_running_or_notify_cancel(self) -> bool:
        return True

    def set_result(self, _: object) -> None:
        self._answered(self._change, None)

    def set_exception(self, exception: BaseException) -> None:
        self._answered(self._change, exception)
