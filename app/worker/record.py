"""What the log gets of a job's end."""

import logging
import time
from typing import NamedTuple

from app.jobs.lifecycle import Died, Event, Failed
from app.jobs.model import SECOND, Failure, Job

LOGGER = logging.getLogger(__name__)

LOGGED_CHARACTERS = 200
"""Characters of an exception's message that the log gets."""


class Record(NamedTuple):
    """An end. asked: the job was asked to stop. gave_in: it ended by that. started: by `time.monotonic()`."""

    job: Job
    event: Event
    asked: bool
    gave_in: bool
    started: float

    def log(self) -> None:
        """Leave one line: of a failure a warning, without the traceback, which may show secrets.

        What goes well is for debugging only: a line for each job would cost a third of the throughput.
        """
        failed = isinstance(self.event, Failed | Died) and not self.gave_in
        level = logging.WARNING if failed else logging.DEBUG
        if LOGGER.isEnabledFor(level):
            job, seconds = self.job, time.monotonic() - self.started
            line = "job %s (%s, attempt %s, %.3f s) %s"
            LOGGER.log(level, line, job.id, job.task, self._attempt(), seconds, self._ending())

    def _attempt(self) -> str:
        attempt, granted = self.job.attempt, self.job.max_attempts
        return str(attempt) if granted == 1 else f"{attempt} of {granted}"

    def _ending(self) -> str:
        if self.gave_in:
            return "cancelled"
        if not isinstance(self.event, Failed | Died):
            return "succeeded"
        # The record says only `cancelled` of a job that was asked to stop, whatever its
        # cleanup has raised: here is the one trace of that.
        if self.asked and isinstance(self.event, Died):
            return "was killed, because it did not stop when asked"
        how = "failed when asked to stop" if self.asked else "failed"
        return f"{how}: {_one_line(self.event.failure)}{self._next(self.event.retry_in)}"

    def _next(self, retry_in: int | None) -> str:
        """Say when it runs again, unless that was all. The store has the last word: it may be cancelled."""
        if retry_in is None or self.job.attempt >= self.job.max_attempts:
            return ""
        return f"; next in {retry_in / SECOND:.3g} s"


def _one_line(failure: Failure) -> str:
    """Return the exception for the log: one line, whatever is in it, and no more than an operator needs."""
    message = failure.message
    if len(message) > LOGGED_CHARACTERS:
        message = message[: LOGGED_CHARACTERS - 3] + "..."
    text = f"{failure.type}: {message}"
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
