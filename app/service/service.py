"""The use cases: what the API, and whoever else speaks for a tenant, can ask for.

Their errors are drawn in `service.errors`.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from app.jobs.errors import JobNotPendingError
from app.jobs.lifecycle import CancelRequested, Edited, Reopened
from app.jobs.model import Clock, Job, Outcome
from app.jobs.registry import Registry
from app.service.bulk import ONLY_WAITING, Bulk, Tally, cancellations, new_runs
from app.service.checkers import Checkers
from app.service.cursors import from_cursor, to_cursor
from app.service.errors import (
    DrainingError,
    InvalidSubmissionError,
    NoSuchJobError,
    StoreDownError,
    UnavailableError,
    translated,
)
from app.service.queues import Queues
from app.service.statistics import Statistics
from app.service.streams import Streams
from app.service.submitting import Submission, Submitted, check, check_all, is_slow, new_job, new_jobs
from app.service.waiters import Waiters
from app.service.workers import Workers, WorkerStatus, no_workers, seen_by
from app.stores.base import (
    Change,
    Filter,
    Insert,
    Limits,
    Once,
    Operation,
    Paging,
    Probe,
    Purge,
    Replayed,
    Store,
)
from app.stores.outbox import Outbox
from app.stores.writer import Writer

PROBE_AFTER = 5.0
"""Seconds for which a commit shows that the store can be written."""

PROBE_TIMEOUT = 2.0
"""Seconds that a probe of the store may take before the service counts as not ready."""

BATCH_PATIENCE = 0.05
"""Seconds that a batch waits, on its thread, for those before it to be made; 1,000 jobs take some 4 ms."""

NO_LIMITS = Limits()
EVERY_JOB = Filter()

T = TypeVar("T")


class JobPage(NamedTuple):
    """A page of a list. cursor: of the next page; None at the end."""

    jobs: Sequence[Job]
    cursor: str | None


class Service:
    """The use cases. All of it runs on one event loop, and nothing of it blocks that.

    claiming: tells whether a worker takes jobs, for readiness. workers: tells who runs what.
    """

    def __init__(  # noqa: PLR0913, PLR0917  (what it is made of)
        self,
        store: Store,
        writer: Writer,
        registry: Registry,
        clock: Clock,
        limits: Limits = NO_LIMITS,
        claiming: Callable[[], bool] = lambda: True,
        workers: Workers = no_workers,
    ) -> None:
        self._store = store
        self._writer = writer
        self._outbox = Outbox(writer)
        self._registry = registry
        self._clock = clock
        self._limits = limits
        self._claiming = claiming
        self._workers = workers
        self._draining = False
        self._checkers = Checkers()
        self._making = threading.Lock()
        """Held while a batch's jobs are made, unless one before it takes too long."""
        self._bulk = Bulk(store, writer)
        self.queues = Queues(store, writer, clock)
        """How queues stand, and whether their jobs run."""
        self.statistics = Statistics(store, writer, clock)
        """How many jobs there are, and what has happened of late."""
        self._waiters = Waiters()
        self.streams = Streams(store, self._waiters)
        writer.listen(self._waiters.notify)

    # -- submitting ----------------------------------------------------------

    async def recall(self, tenant: str, once: Once) -> Submitted | None:
        """Return what an idempotency key stands for; None when it is new. It works at all times.

        Raises KeyReusedError, StoreDownError.
        """
        with translated():
            known = await self._store.recall(tenant, once, self._clock())
        return known and Submitted(known.jobs, replayed=True)

    async def submit(self, tenant: str, submission: Submission, once: Once | None = None) -> Submitted:
        """Check a submission, store it, and return when it is durable.

        once: an idempotency key; what it stands for already is returned instead. Raises
        UnknownTaskError, InvalidArgumentsError, KeyReusedError, TooManyJobsError, UnavailableError.
        """
        self._refuse_when_draining()
        definition = self._registry.get(submission.task)
        if is_slow(definition, submission):
            # Validators of the user's own, and long lists, must not hold up everybody else's requests.
            checked = await self._checkers.run(check, definition, submission)
        else:
            checked = check(definition, submission)
        return await self._insert([new_job(tenant, checked, self._clock())], once)

    async def submit_batch(
        self,
        tenant: str,
        submissions: Iterable[Submission | InvalidSubmissionError],
        once: Once | None = None,
    ) -> Submitted:
        """Check submissions, at least one, and store all of them, or none.

        submissions: read on another thread; what is known to be wrong stands in its place.
        Raises InvalidBatchError for all that is wrong with them, what reading them raises, and
        otherwise as `submit`.
        """
        self._refuse_when_draining()
        return await self._insert(await self._checkers.run(self._make_jobs, tenant, submissions), once)

    def _make_jobs(
        self, tenant: str, submissions: Iterable[Submission | InvalidSubmissionError]
    ) -> list[Job]:
        """Return the jobs of a batch; on one of the checkers' threads.

        One batch after the other: of several at a time none would be ready sooner, and the writer would have
        nothing to do meanwhile. Nothing relies on it, so a batch waits no longer than BATCH_PATIENCE for one
        that does not end, by a validator of the user's.
        """
        alone = self._making.acquire(timeout=BATCH_PATIENCE)
        try:
            checked = check_all(self._registry, submissions)
            return new_jobs(tenant, checked, self._clock())
        finally:
            if alone:
                self._making.release()

    async def _insert(self, jobs: Sequence[Job], once: Once | None) -> Submitted:
        # Again: a validator may have taken until the drain was over, and nobody would run the job.
        self._refuse_when_draining()
        stored: list[Job] | Replayed = await self._write(Insert(jobs, self._limits, once))
        if isinstance(stored, Replayed):
            return Submitted(stored.jobs, replayed=True)
        return Submitted(stored, new=_has_any(stored, jobs))

    def _refuse_when_draining(self) -> None:
        if self._draining:
            raise DrainingError("the service is stopping and takes no new jobs")

    async def apart(self, fn: Callable[..., T], *args: Any) -> T:
        """Call a function that takes its time where it holds up nothing but submissions."""
        return await self._checkers.run(fn, *args)

    # -- looking -------------------------------------------------------------

    async def get(self, tenant: str, job_id: str) -> Job:
        """Return the whole job. Raises NoSuchJobError, StoreDownError."""
        with translated():
            job = await self._store.get(tenant, job_id)
        if job is None:
            raise NoSuchJobError(job_id)
        return job

    async def wait(self, tenant: str, job_id: str, seconds: float, version: int | None = None) -> Job:
        """Return the job when it is done, at the latest after `seconds`.

        version: when given, any change counts: it returns when the job's version is
        another. Raises as `get`. A service that stops lets all waiters go.
        """
        deadline = time.monotonic() + seconds
        # Registered before the job is read: a change is either in what is read, or heard of.
        with self._waiters.waiting(job_id, any_change=version is not None) as changed:
            while True:
                job = await self.get(tenant, job_id)
                left = deadline - time.monotonic()
                over = left <= 0 or self._waiters.released
                if over or job.done or (version is not None and job.version != version):
                    return job
                await changed.wait(left)

    async def list(
        self, tenant: str, where: Filter = EVERY_JOB, *, limit: int = 50, cursor: str | None = None
    ) -> JobPage:
        """Return a page of jobs, newest first, without arguments, results and exceptions.

        A page may be short although more follow. Raises InvalidCursorError, StoreDownError.
        """
        paging = Paging(limit, None if cursor is None else from_cursor(cursor))
        with translated():
            page = await self._store.list(tenant, where, paging)
        return JobPage(page.jobs, None if page.next is None else to_cursor(page.next))

    def tasks(self) -> Registry:
        """Return the registered tasks."""
        return self._registry

    def workers(self, tenant: str) -> Sequence[WorkerStatus]:
        """Return who runs jobs, and which of the tenant's."""
        return [seen_by(tenant, worker) for worker in self._workers()]

    # -- changing ------------------------------------------------------------

    async def cancel(self, tenant: str, job_id: str, *, waiting: bool = False) -> Job:
        """Cancel a pending job, or ask a running one to stop, and return it as it is then.

        waiting: only if it waits, and JobNotPendingError otherwise; one that is cancelled already
        is returned unchanged in any case. Raises NoSuchJobError, JobFinishedError, StoreDownError.
        """
        if not waiting:
            return await self._change(tenant, job_id, CancelRequested())
        try:
            return await self._change(tenant, job_id, *ONLY_WAITING, CancelRequested())
        except JobNotPendingError:
            job = await self.get(tenant, job_id)
            if job.outcome is not Outcome.CANCELLED:
                raise
            return job

    async def edit(self, tenant: str, job_id: str, edit: Edited) -> Job:
        """Change what a pending job is to be. Raises NoSuchJobError, JobNotPendingError, StoreDownError."""
        return await self._change(tenant, job_id, edit)

    async def retry(self, tenant: str, job_id: str) -> Job:
        """Run a job once more that failed or was cancelled.

        Raises NoSuchJobError, JobNotRetriableError, KeyHeldError, DrainingError, StoreDownError.
        """
        self._refuse_when_draining()
        return await self._change(tenant, job_id, Reopened())

    async def purge(self, tenant: str, job_id: str) -> None:
        """Erase a job that is done. Raises NoSuchJobError, JobNotDoneError, StoreDownError."""
        await self._write(Purge(job_id, tenant))

    async def cancel_all(self, tenant: str, where: Filter) -> Tally:
        """Cancel every job that the filter fits. Raises StoreDownError; doing it again does no harm."""
        return await self._bulk.change(tenant, where, cancellations, lambda: None)

    async def retry_all(self, tenant: str, where: Filter) -> Tally:
        """Run every job once more that the filter fits and that failed or was cancelled.

        Raises DrainingError, StoreDownError; doing it again does no harm.
        """
        return await self._bulk.change(tenant, where, new_runs, self._refuse_when_draining)

    async def _change(self, tenant: str, job_id: str, *events: CancelRequested | Edited | Reopened) -> Job:
        job: Job = await self._write(Change(job_id, events, tenant))
        return job

    async def _write(self, operation: Operation) -> Any:
        with translated():
            return await self._outbox.submit(operation)

    # -- the service itself --------------------------------------------------

    def drain(self) -> None:
        """Take no new jobs from now on; everything else still works."""
        self._draining = True

    def release_waiters(self) -> None:
        """Answer everybody who waits with the job as it is now."""
        self._waiters.release()

    def close(self) -> bool:
        """Let go of the threads. Return whether all user code on them has ended."""
        self.statistics.close()
        return self._checkers.close()

    async def check_ready(self) -> None:
        """Return when the service does its work: a recent commit succeeded, and a worker claims.

        Raises DrainingError, StoreDownError, UnavailableError.
        """
        if self._draining:
            raise DrainingError("the service is stopping")
        # First: the probe's batch brings a claim along, if the last one was not answered.
        if not self._writer.committed_within(PROBE_AFTER):
            await self._probe()
        if not self._claiming():
            raise UnavailableError("no worker takes jobs")

    async def _probe(self) -> None:
        with translated():
            try:
                await asyncio.wait_for(_result(self._writer.submit(Probe())), PROBE_TIMEOUT)
            except TimeoutError:
                raise StoreDownError("the store has not answered for some seconds") from None


def _has_any(stored: Sequence[Job], jobs: Sequence[Job]) -> bool:
    """Tell whether any of these jobs is stored, and not another one in its place."""
    # Most often all are stored as they are; only otherwise are ids compared.
    return stored == jobs or not {job.id for job in jobs}.isdisjoint(job.id for job in stored)


async def _result(future: Any) -> Any:
    return await future
