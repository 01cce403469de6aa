"""Who waits for which job, and what wakes them: on one event loop, and without a thread."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from app.jobs.model import Job

Listeners = defaultdict[str, set["Signal"]]


class Waiters:
    """Those who wait for jobs to change: for one job, or for any of a tenant's."""

    def __init__(self) -> None:
        self.released = False
        self._by_job: Listeners = defaultdict(set)
        self._by_tenant: Listeners = defaultdict(set)
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextmanager
    def waiting(self, job_id: str, *, any_change: bool) -> Iterator["Signal"]:
        """Provide what is set when the job is done, or at any change of it."""
        with self._listening(self._by_job, job_id, Signal(any_change=any_change)) as signal:
            yield signal

    @contextmanager
    def following(self, tenant: str) -> Iterator["Signal"]:
        """Provide what is set at any change of any of the tenant's jobs."""
        with self._listening(self._by_tenant, tenant, Signal(any_change=True)) as signal:
            yield signal

    @contextmanager
    def _listening(self, listeners: Listeners, key: str, signal: "Signal") -> Iterator["Signal"]:
        self._loop = asyncio.get_running_loop()
        listeners[key].add(signal)
        try:
            yield signal
        finally:
            signals = listeners[key]
            signals.discard(signal)
            if not signals:
                del listeners[key]

    def notify(self, jobs: Sequence[Job]) -> None:
        """Wake whoever waits for one of these jobs; from any thread, one wake-up for all."""
        # Here and not on the loop, which a commit that concerns nobody must not wake. Whoever comes
        # after either look reads after it has come, and so what was committed before this call.
        if not (self._by_job or self._by_tenant):
            return
        concerned = [job for job in jobs if job.id in self._by_job or job.tenant in self._by_tenant]
        if concerned and self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake, concerned)

    def _wake(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            for signal in self._by_job.get(job.id, ()):
                # Whoever waits reads the whole job: not four times a second for its progress.
                if job.done or signal.any_change:
                    signal.set()
        for tenant in {job.tenant for job in jobs}:
            for signal in self._by_tenant.get(tenant, ()):
                signal.set()

    def release(self) -> None:
        """Let everybody go, and nobody wait from now on."""
        self.released = True
        for listeners in (self._by_job, self._by_tenant):
            for signals in listeners.values():
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

    def clear(self) -> None:
        """Forget what has changed: what is read from now on has it."""
        self._event.clear()

    async def wait(self, seconds: float) -> None:
        """Return at the next change, or after so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self.clear()
