"""Who waits for which job, and what wakes them: on one event loop, and without a thread."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from app.jobs.model import Job


class Waiters:
    """Those who wait for jobs to change, by job."""

    def __init__(self) -> None:
        self.released = False
        self._by_job: defaultdict[str, set[Signal]] = defaultdict(set)
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextmanager
    def waiting(self, job_id: str, *, any_change: bool) -> Iterator["Signal"]:
        """Provide what is set when the job is done, or at any change of it."""
        self._loop = asyncio.get_running_loop()
        signal = Signal(any_change=any_change)
        self._by_job[job_id].add(signal)
        try:
            yield signal
        finally:
            signals = self._by_job[job_id]
            signals.discard(signal)
            if not signals:
                del self._by_job[job_id]

    def notify(self, jobs: Sequence[Job]) -> None:
        """Wake whoever waits for one of these jobs; from any thread, one wake-up for all."""
        if self._by_job and jobs and self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake, jobs)

    def _wake(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            for signal in self._by_job.get(job.id, ()):
                # Whoever waits reads the whole job: not four times a second for its progress.
                if job.done or signal.any_change:
                    signal.set()

    def release(self) -> None:
        """Let everybody go, and nobody wait from now on."""
        self.released = True
        for signals in self._by_job.values():
            for signal in signals:
                signal.set()


class Signal:
    """Says that something has changed since the last wait."""

    def __init__(self, *, any_change: bool) -> None:
        self.any_change = any_change
        self._event = asyncio.Event()

    def set(self) -> None:
        """End the wait; on the loop's own thread."""
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Return at the next change, or after so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()
