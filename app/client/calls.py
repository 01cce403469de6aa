"""The calls of the HTTP contract, each written once (see `steps`); the names are the clients' methods."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, TypedDict, TypeVar, Unpack
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from app.client.errors import (
    AnswerError,
    BusyError,
    ConflictError,
    JobCancelledError,
    JobFailedError,
    JobTimeoutError,
)
from app.client.models import (
    Health,
    Job,
    JobPage,
    LogDocument,
    LogRecord,
    QueueInfo,
    QueueList,
    Stats,
    Submitted,
    SubmittedJobs,
    Tally,
    TaskInfo,
    TaskList,
    WorkerInfo,
    WorkerList,
)
from app.client.steps import FIRST_PAUSE, Pause, Request, Steps
from app.client.submission import Submission, checked_key, new_key
from app.core.named import Ending, Raised, Returned, Stopped, to_json
from app.jobs.model import Outcome

JSON = {"Content-Type": "application/json"}

LONGEST_WAIT = 60.0
"""Seconds that the service lets one request wait."""

BATCH_JOBS = 10_000
"""Submissions in a batch at most."""

BATCH_BYTES = 8 * 1024 * 1024
"""Characters of a batch by which a further one is begun: at most 32 MiB, which the service takes."""

MANY = 600.0
"""Seconds that a change of many jobs may take: it walks all that the filter may fit."""

M = TypeVar("M", bound=BaseModel)


class Where(TypedDict, total=False):
    """A filter, as lists have it. q: the beginning or end of an id, or a part of a task's name."""

    state: str
    outcome: str
    task: str
    queue: str
    tags: Mapping[str, str]
    created_after: datetime | str
    created_before: datetime | str
    q: str


# -- submitting ----------------------------------------------------------------


def submit(submission: Submission) -> Steps[Job]:
    """Hand in a call, and return its job once it is durable."""
    headers = {**JSON, "Idempotency-Key": checked_key(submission.idempotency_key or new_key())}
    answer = yield Request("POST", "/jobs", submission.body().encode(), headers=headers)
    return _read(Job, answer)


def submit_many(submissions: Sequence[Submission]) -> Steps[Sequence[Submitted]]:
    """Hand in up to 10,000 calls as one batch, and return what stands for each: all are stored or none.

    Raises ValueError for an idempotency key of one of them: the batch has its own.
    """
    return (yield from submit_batch(bodies(submissions)))


def bodies(submissions: Sequence[Submission]) -> list[str]:
    """Return what each submission of a batch is in JSON. Raises ValueError as `submit_many`."""
    if any(submission.idempotency_key is not None for submission in submissions):
        raise ValueError("a batch has one idempotency key of its own, and none for each submission")
    return [submission.body() for submission in submissions]


def submit_batch(batch: Sequence[str]) -> Steps[Sequence[Submitted]]:
    """Hand in a batch. batch: what each submission is in JSON."""
    if not batch:
        # The service takes none for a mistake.
        return []
    content = f'{{"jobs":[{",".join(batch)}]}}'.encode()
    headers = {**JSON, "Idempotency-Key": new_key()}
    return _read(SubmittedJobs, (yield Request("POST", "/jobs/batch", content, headers=headers))).jobs


def batches(all_bodies: Iterable[str]) -> Iterator[list[str]]:
    """Yield what fits into a batch each."""
    batch: list[str] = []
    size = 0
    for body in all_bodies:
        if batch and (len(batch) == BATCH_JOBS or size + len(body) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(body)
        size += len(body)
    if batch:
        yield batch


# -- looking -------------------------------------------------------------------


def get(job_id: str, wait: float = 0) -> Steps[Job]:
    """Return a job; after waiting for its end for so many seconds, 60 at most."""
    answer = yield Request(
        "GET", job_path(job_id), params=[("wait", f"{wait:g}")] if wait else (), waits=wait
    )
    return _read(Job, answer)


def until_done(job_id: str, timeout: float | None = None) -> Steps[Job]:
    """Return a job when it is done. timeout: seconds; None means no limit. Raises JobTimeoutError."""
    if timeout is not None and math.isnan(timeout):
        raise ValueError("a timeout is a number of seconds, not NaN")
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        begun = time.monotonic()
        left = LONGEST_WAIT if deadline is None else max(0.0, deadline - begun)
        wait = min(left, LONGEST_WAIT)
        job = yield from get(job_id, wait)
        if job.done:
            return job
        if deadline is not None and time.monotonic() >= deadline:
            raise JobTimeoutError(job)
        if time.monotonic() - begun < wait / 2:
            # A service that stops lets all waiters go at once.
            yield Pause(FIRST_PAUSE)


def result(job_id: str, timeout: float | None = None) -> Steps[Any]:
    """Wait for a job's result and return it.

    timeout: seconds; None means no limit. Raises JobTimeoutError, JobCancelledError, JobFailedError
    with what the function raised as its cause, ResultGoneError.
    """
    job = yield from until_done(job_id, timeout)
    if job.outcome == Outcome.FAILED:
        raise JobFailedError(job)
    if job.outcome == Outcome.CANCELLED:
        raise JobCancelledError(job)
    if job.result is not None:
        return job.result
    # It was None, or was erased: this call tells the two apart.
    answer = yield Request("GET", f"{job_path(job_id)}/result")
    return _json(answer)


def standing(job_id: str) -> Steps[Ending | Job]:
    """Return how a job has ended, as an executor's future wants it; the job when it has not."""
    try:
        answer = yield Request("GET", f"{job_path(job_id)}/result")
    except ConflictError as exc:
        if exc.kind == "job-cancelled":
            return Stopped()
        failure = exc.members.get("exception")
        if exc.kind != "job-failed" or not isinstance(failure, dict):
            raise
        return Raised(*(str(failure.get(name, "")) for name in ("type", "message", "traceback")))
    return Returned(answer.text) if answer.status_code == HTTPStatus.OK else _read(Job, answer)


def page(address: str) -> Steps[JobPage]:
    """Return the page of a list at a relative address, such as the one before has named as its next."""
    found = _read(JobPage, (yield Request("GET", address)))
    # The key goes along, so nowhere else; and not in circles.
    if found.next is not None and (not found.next.startswith("/jobs?") or found.next == address):
        raise AnswerError(f"{found.next[:200]!r} is no next page of {address}")
    return found


def first_page(size: int, where: Where) -> str:
    """Return the address of a list's first page. size: 1 to 500."""
    query = httpx.QueryParams([*conditions(where), ("limit", str(size))])
    return f"/jobs?{query}"


def conditions(where: Where) -> list[tuple[str, str]]:
    """Return a filter as a query."""
    plain = {name: value for name, value in where.items() if name != "tags" and value is not None}
    texts = [
        (name, value.isoformat() if isinstance(value, datetime) else str(value))
        for name, value in plain.items()
    ]
    return texts + [("tag", f"{key}:{value}") for key, value in (where.get("tags") or {}).items()]


def logs(job_id: str) -> Steps[Sequence[LogRecord]]:
    """Return what a job has printed and logged."""
    answer = yield Request("GET", f"{job_path(job_id)}/logs", headers={"Accept": "application/json"})
    return _read(LogDocument, answer).logs


# -- changing ------------------------------------------------------------------


def cancel(job_id: str, *, waiting: bool = False) -> Steps[Job]:
    """Cancel a pending job, or ask a running one to stop; `cancellation` says what became of it.

    waiting: only if it waits. Raises ConflictError when it has finished, or does not wait then.
    """
    params = [("state", "pending")] if waiting else ()
    return _read(Job, (yield Request("DELETE", job_path(job_id), params=params)))


def purge(job_id: str) -> Steps[None]:
    """Erase a job that is done. Raises ConflictError when it is not."""
    # Not repeated: if the first was heard, there is no such job for the second.
    request = Request("DELETE", job_path(job_id), params=[("purge", "true")], repeatable=False)
    answer = yield request
    if answer.status_code != HTTPStatus.NO_CONTENT:
        raise AnswerError(f"{answer.url} answered an erasure with {answer.status_code}")


def retry(job_id: str) -> Steps[Job]:
    """Run a job again that failed or was cancelled. Raises ConflictError for any other."""
    # Not repeated: if the first was heard, the second would be refused.
    return _read(Job, (yield Request("POST", f"{job_path(job_id)}/retry", repeatable=False)))


def update(
    job_id: str,
    *,
    priority: int | None = None,
    run_at: datetime | str | None = None,
    tags: Mapping[str, str] | None = None,
) -> Steps[Job]:
    """Change a pending job; None leaves a field as it is. Raises ConflictError once it has begun."""
    at = run_at.isoformat() if isinstance(run_at, datetime) else run_at
    fields = {"priority": priority, "run_at": at, "tags": None if tags is None else dict(tags)}
    body = {name: value for name, value in fields.items() if value is not None}
    return _read(
        Job, (yield Request("PATCH", job_path(job_id), to_json(body, "a change").encode(), headers=JSON))
    )


def cancel_all(**where: Unpack[Where]) -> Steps[Tally]:
    """Cancel every job that a filter fits; it must have a condition. With state="pending", none that runs.

    If it had to be asked for again, the counts are those of the last time.
    """
    return (yield from _change_all("/jobs/cancel", where, repeatable=True))


def retry_all(**where: Unpack[Where]) -> Steps[Tally]:
    """Run every job again that a filter fits and that failed or was cancelled."""
    # Not repeated: what has failed again by then would be run once more.
    return (yield from _change_all("/jobs/retry", where, repeatable=False))


def _change_all(path: str, where: Where, *, repeatable: bool) -> Steps[Tally]:
    body: dict[str, Any] = {name: value for name, value in conditions(where) if name != "tag"}
    tags = [value for name, value in conditions(where) if name == "tag"]
    if tags:
        body["tag"] = tags
    content = to_json(body, "a filter").encode()
    request = Request("POST", path, content, headers=JSON, waits=MANY, repeatable=repeatable)
    return _read(Tally, (yield request))


# -- the rest --------------------------------------------------------------------


def tasks() -> Steps[Sequence[TaskInfo]]:
    """Return the functions that can be called."""
    return _read(TaskList, (yield Request("GET", "/tasks"))).tasks


def task(name: str) -> Steps[TaskInfo]:
    """Return one of them. Raises UnknownTaskError, which says which names are near."""
    return _read(TaskInfo, (yield Request("GET", f"/tasks/{quote(name, safe='')}")))


def queues() -> Steps[Sequence[QueueInfo]]:
    """Return the queues that have jobs, or are paused."""
    return _read(QueueList, (yield Request("GET", "/queues"))).queues


def pause(queue: str) -> Steps[QueueInfo]:
    """Run no more jobs of a queue until it is resumed; it accepts them all the same."""
    return (yield from _turn(queue, "pause"))


def resume(queue: str) -> Steps[QueueInfo]:
    """Run the jobs of a queue again."""
    return (yield from _turn(queue, "resume"))


def _turn(queue: str, how: str) -> Steps[QueueInfo]:
    if {".", ".."} & set(queue.split("/")):
        # On its way the address would become another queue's (RFC 3986, 5.2.4).
        raise ValueError(f"a queue's name has no part that is only dots, as {queue!r} has")
    return _read(QueueInfo, (yield Request("POST", f"/queues/{quote(queue)}/{how}")))


def stats() -> Steps[Stats]:
    """Return counts, and throughput, latency and failures of the last hour."""
    return _read(Stats, (yield Request("GET", "/stats")))


def workers() -> Steps[Sequence[WorkerInfo]]:
    """Return who runs what."""
    return _read(WorkerList, (yield Request("GET", "/workers"))).workers


def ready() -> Steps[bool]:
    """Tell whether the service accepts jobs and runs them. Raises ServiceUnreachableError."""
    try:
        # Not asked again: whoever asks wants to know now.
        answer = yield Request("GET", "/health/ready", repeatable=False)
    except BusyError:
        return False
    _read(Health, answer)
    return True


def job_path(job_id: str) -> str:
    """Return a job's address, whatever its id is."""
    return f"/jobs/{quote(job_id, safe='')}"


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except (ValueError, RecursionError) as exc:
        raise AnswerError(f"{answer.url} answered with what is no JSON") from exc


def _read(model: type[M], answer: httpx.Response) -> M:
    try:
        return model.model_validate_json(answer.content)
    except ValidationError as exc:
        raise AnswerError(f"{answer.url} answered with what is no {model.__name__}: {exc}") from exc
