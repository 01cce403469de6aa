"""Prints and logs what jobs in processes say."""

from collections.abc import Sequence
from contextlib import suppress

from app.core import Future, ThreadPoolExecutor, wait
from app.jobs.model import Line
from app.jobs.output import repeat

PATIENCE = 1.0
"""Seconds that a part of what jobs say may take to be printed."""


class Speaker:
    """Says it on a thread of its own: stdout may be a pipe that nobody reads.

    The thread that reads a process's pipe must not wait for that, or nobody would notice the
    job's end. What comes while a part has taken too long is dropped.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, "errand-print")
        self._late: Future[None] | None = None

    def say(self, lines: Sequence[Line], job_id: str) -> None:
        """Print and log a job's lines, before this returns unless they are not taken."""
        late = self._late
        if lines and (late is None or late.done()):
            # RuntimeError: the service has ended.
            with suppress(RuntimeError):
                said = self._executor.submit(repeat, lines, job_id)
                if wait([said], PATIENCE).not_done:
                    self._late = said

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See Executor.shutdown."""
        self._executor.shutdown(wait, cancel_futures=cancel_futures)
