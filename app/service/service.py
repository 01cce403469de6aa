"""Every use case, once: what the API, and whoever else speaks for a tenant, can ask for.

    ServiceError
    ├── NoSuchJobError        the tenant has no such job
    ├── InvalidCursorError    not a cursor that a list has handed out
    ├── TooManyJobsError      the tenant's quota is used up
    └── UnavailableError      not now; retry_after says when to ask again
        ├── QueueFullError
        ├── DrainingError     the service is about to stop
        └── StoreDownError    the store cannot be written

Errors of jobs (UnknownTaskError, InvalidArgumentsError, JobFinishedError) pass through.
"""

import asyncio
import base64
import binascii
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from app.core import Future, State, ThreadPoolExecutor
from app.jobs.arguments import Signature
from app.jobs.errors import Fault, InvalidArgumentsError
from app.jobs.lifecycle import CancelRequested
from app.jobs.model import SECOND, Clock, Hold, Job, Outcome, new_id
from app.jobs.registry import Registry, TaskDefinition
from app.service.waiters import Waiters
from app.stores import base
from app.stores.base import Change, Filter, Insert, Limits, Paging, Probe, Store
from app.stores.writer import Writer

LARGE = 1000
"""Items of an argument that are checked on the event loop at most."""

PROBE_AFTER = 5.0
"""Seconds for which a commit shows that the store can be written."""

PROBE_TIMEOUT = 2.0
"""Seconds that a probe of the store may take before the service counts as not ready."""

CHECKERS = 8
"""Threads for validators that the user wrote: their own, so that one that hangs holds up nothing else."""

NO_LIMITS = Limits()


class ServiceError(Exception):
    """The root of this layer's errors."""


class NoSuchJobError(ServiceError):
    """The tenant has no such job."""


class InvalidCursorError(ServiceError):
    """Not a cursor that a list has handed out."""


class TooManyJobsError(ServiceError):
    """The tenant has as many unfinished jobs as it may have."""


class UnavailableError(ServiceError):
    """It cannot be done now. retry_after: seconds after which to try again."""

    retry_after = 1


class QueueFullError(UnavailableError):
    """As many jobs wait in the queue as may."""

    retry_after = 5


class DrainingError(UnavailableError):
    """The service finishes what it runs and then stops."""

    retry_after = 5


class StoreDownError(UnavailableError):
    """The store cannot be read or written now."""

    retry_after = 2


class Submission(NamedTuple):
    """What a caller wants run.

    queue, priority, timeout (seconds): None means the task's own. delay: seconds from now.
    run_at: microseconds since the epoch; None, and a delay of 0, mean at once.
    """

    task: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = {}  # never changed in place
    queue: str | None = None
    priority: int | None = None
    delay: float = 0
    run_at: int | None = None
    tags: Mapping[str, str] = {}
    timeout: float | None = None


class JobPage(NamedTuple):
    """A page of a list. cursor: of the next page; None at the end."""

    jobs: Sequence[Job]
    cursor: str | None


class Service:
    """The use cases. All of it runs on one event loop, and nothing of it blocks that.

    claiming: tells whether a worker takes jobs, for readiness.
    """

    def __init__(  # noqa: PLR0913, PLR0917  (what it is made of)
        self,
        store: Store,
        writer: Writer,
        registry: Registry,
        clock: Clock,
        limits: Limits = NO_LIMITS,
        claiming: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store = store
        self._writer = writer
        self._registry = registry
        self._clock = clock
        self._limits = limits
        self._claiming = claiming
        self._draining = False
        self._checkers = ThreadPoolExecutor(CHECKERS, "errand-check")
        self._checks: set[Future[None]] = set()
        self._waiters = Waiters()
        writer.listen(self._waiters.notify)

    # -- submitting ----------------------------------------------------------

    async def submit(self, tenant: str, submission: Submission) -> Job:
        """Check a submission, store it, and return the job once it is durable.

        Raises UnknownTaskError, InvalidArgumentsError, TooManyJobsError, UnavailableError.
        """
        self._refuse_when_draining()
        definition = self._registry.get(submission.task)
        await self._check_arguments(definition, submission)
        # Again: a validator may have taken until the drain was over, and nobody would run the job.
        self._refuse_when_draining()
        new = self._new_job(tenant, definition, submission)
        with _translated():
            jobs: list[Job] = await self._writer.submit(Insert([new], self._limits))
        return jobs[0]

    def _refuse_when_draining(self) -> None:
        if self._draining:
            raise DrainingError("the service is stopping and takes no new jobs")

    async def _check_arguments(self, definition: TaskDefinition, submission: Submission) -> None:
        signature = definition.signature
        if signature.runs_user_code or _is_large(submission):
            # Validators of the user's own, and long lists, must not hold up everybody else's requests.
            await self._check_apart(signature, submission)
        else:
            signature.check(submission.args, dict(submission.kwargs))

    async def _check_apart(self, signature: Signature, submission: Submission) -> None:
        check = self._checkers.submit(_check, signature, submission)
        self._checks.add(check)
        check.add_done_callback(self._checks.discard)
        await check

    def _new_job(self, tenant: str, definition: TaskDefinition, submission: Submission) -> Job:
        now = self._clock()
        run_at = now + round(submission.delay * SECOND) if submission.run_at is None else submission.run_at
        return Job(
            id=new_id(now),
            tenant=tenant,
            task=definition.name,
            slot=definition.slot,
            created_at=now,
            run_at=run_at,
            arguments=_arguments(submission),
            queue=definition.queue if submission.queue is None else submission.queue,
            priority=definition.priority if submission.priority is None else submission.priority,
            tags=submission.tags,
            timeout=definition.timeout if submission.timeout is None else submission.timeout,
            hold=Hold.DUE_LATER if run_at > now else Hold.NONE,
        )

    # -- looking -------------------------------------------------------------

    async def get(self, tenant: str, job_id: str) -> Job:
        """Return the whole job. Raises NoSuchJobError, StoreDownError."""
        with _translated():
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

    async def list(  # noqa: PLR0913  (one for each filter)
        self,
        tenant: str,
        *,
        state: State | None = None,
        outcome: Outcome | None = None,
        task: str | None = None,
        queue: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> JobPage:
        """Return a page of jobs, newest first, without arguments, results and exceptions.

        None means any. A page may be short although more follow. Raises InvalidCursorError,
        StoreDownError.
        """
        paging = Paging(limit, None if cursor is None else _from_cursor(cursor))
        with _translated():
            page = await self._store.list(tenant, Filter(state, outcome, task, queue), paging)
        return JobPage(page.jobs, None if page.next is None else _to_cursor(page.next))

    def tasks(self) -> Registry:
        """Return the registered tasks."""
        return self._registry

    # -- changing ------------------------------------------------------------

    async def cancel(self, tenant: str, job_id: str) -> Job:
        """Cancel a pending job, or ask a running one to stop, and return it as it is then.

        Raises NoSuchJobError, JobFinishedError, StoreDownError.
        """
        return await self._write(Change(job_id, (CancelRequested(),), tenant))

    async def _write(self, operation: Change) -> Job:
        with _translated():
            job: Job = await self._writer.submit(operation)
        return job

    # -- the service itself --------------------------------------------------

    def drain(self) -> None:
        """Take no new jobs from now on; everything else still works."""
        self._draining = True

    def release_waiters(self) -> None:
        """Answer everybody who waits with the job as it is now."""
        self._waiters.release()

    def close(self) -> bool:
        """Let go of the threads that check arguments. Return whether all user code on them has ended."""
        self._checkers.shutdown(wait=False, cancel_futures=True)
        return not self._checks

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
        with _translated():
            try:
                await asyncio.wait_for(_result(self._writer.submit(Probe())), PROBE_TIMEOUT)
            except TimeoutError:
                raise StoreDownError("the store has not answered for some seconds") from None


def _check(signature: Signature, submission: Submission) -> None:
    try:
        signature.check(submission.args, dict(submission.kwargs))
    except Exception:
        raise
    except BaseException as exc:
        # SystemExit, awaited on the event loop, would end the service.
        fault = Fault(loc=[], msg=f"the check ended with {type(exc).__name__}", type="check_failed")
        raise InvalidArgumentsError([fault]) from exc


async def _result(future: Any) -> Any:
    return await future


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the store's errors into this layer's."""
    try:
        yield
    except base.JobNotFoundError as exc:
        raise NoSuchJobError(*exc.args) from exc
    except base.QuotaExceededError as exc:
        raise TooManyJobsError(*exc.args) from exc
    except base.QueueFullError as exc:
        raise QueueFullError(*exc.args) from exc
    except base.StoreError as exc:
        # What exactly is wrong is in the log; a caller shall see no path and no SQL.
        raise StoreDownError("the store cannot be used at the moment") from exc


def _is_large(submission: Submission) -> bool:
    """Tell whether checking the arguments may take more than a moment."""
    values = (*submission.args, *submission.kwargs.values())
    return any(
        isinstance(value, (list, dict)) and (len(value) > LARGE or _is_deep(value)) for value in values
    )


def _is_deep(value: list[Any] | dict[str, Any]) -> bool:
    """Tell whether there are lists or objects within: how many is not worth counting."""
    items = value.values() if isinstance(value, dict) else value
    return any(isinstance(item, (list, dict)) for item in items)


def _arguments(submission: Submission) -> str:
    call = {"args": submission.args, "kwargs": submission.kwargs}
    return json.dumps(call, ensure_ascii=False, separators=(",", ":"))


def _to_cursor(position: int) -> str:
    return base64.urlsafe_b64encode(position.to_bytes(8, "big")).decode().rstrip("=")


def _from_cursor(cursor: str) -> int:
    try:
        position = base64.b64decode(cursor.encode() + b"=", altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        position = b""
    if len(position) != 8 or position[0] > 0x7F:  # noqa: PLR2004  (as written by _to_cursor, from a signed integer)
        raise InvalidCursorError(cursor)
    return int.from_bytes(position, "big")
