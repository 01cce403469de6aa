"""What the service answers, as frozen pydantic models with the names of the HTTP contract.

What a newer service adds is left out, and what lists leave out is None.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.jobs.model import JobState, Outcome, Stopped


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Failure(_Model):
    """What a function has raised. traceback: as printed there; empty in lists."""

    type: str
    message: str
    traceback: str = ""


class Attempt(_Model):
    """One execution of the function. number: counted from 1."""

    run: int
    number: int
    worker: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exception: Failure | None = None


class Progress(_Model):
    """How far the function has come, in units of its own. total: None when it is not known."""

    done: float
    total: float | None = None
    message: str | None = None


class Cancellation(_Model):
    """A request to cancel, and what became of the code."""

    requested_at: datetime
    outcome: Stopped
    reason: str | None = None


class Job(_Model):
    """A job, as it was when it was asked for. Durations are seconds.

    args, kwargs, attempts: None in lists, which leave them out. result: None until it has
    succeeded, and in lists.
    """

    id: str
    task: str
    queue: str
    priority: int
    tags: Mapping[str, str]
    key: str | None
    state: JobState
    outcome: Outcome | None
    args: Sequence[Any] | None = None
    kwargs: Mapping[str, Any] | None = None
    result: Any = None
    exception: Failure | None
    run: int
    attempt: int
    max_attempts: int
    losses: int
    attempts: Sequence[Attempt] | None = None
    progress: Progress | None
    cancellation: Cancellation | None
    timeout: float | None
    created_at: datetime
    run_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    version: int

    @property
    def done(self) -> bool:
        """Whether it is cancelled or finished."""
        return self.outcome is not None


class Submitted(_Model):
    """What stands for one submission of a batch. location: the job's address, relative."""

    id: str
    state: JobState
    location: str


class Tally(_Model):
    """What a change of many jobs came to: how many fitted the filter, and how many it has changed."""

    matched: int
    changed: int


class LogRecord(_Model):
    """A line that a function has printed or logged. logger: empty for what was printed."""

    time: datetime
    level: str
    run: int
    attempt: int
    logger: str
    message: str


class TaskInfo(_Model):
    """A registered function. parameters, result: JSON Schema. executor: thread, process or coroutine."""

    name: str
    doc: str
    parameters: Mapping[str, Any]
    result: Mapping[str, Any]
    options: Mapping[str, Any]
    executor: str


class QueueInfo(_Model):
    """A queue, as its tenant sees it. oldest_age: seconds; None when nothing waits."""

    name: str
    paused: bool
    pending: int
    running: int
    oldest_age: float | None


class Counts(_Model):
    """How many jobs are in each state. name: of a task or queue; empty for all."""

    name: str = ""
    pending: int = 0
    running: int = 0
    cancelled: int = 0
    finished: int = 0


class Percentiles(_Model):
    """Seconds within which so many of 100 were done."""

    p50: float
    p95: float
    p99: float


class Period(_Model):
    """What happened in a minute, or in the last hour. at: its begin.

    wait: from when a job was due to its start. run: of its last attempt. None: there was nothing.
    """

    at: datetime | None = None
    submitted: int
    succeeded: int
    failed: int
    cancelled: int
    wait: Percentiles | None = None
    run: Percentiles | None = None


class FailureGroup(_Model):
    """Jobs of a task that have failed with one type of exception. message, job: of the latest."""

    type: str
    task: str
    count: int
    message: str
    job: str
    last_at: datetime


class Stats(_Model):
    """How the service stands, for its tenant. since: from when on the minutes are complete."""

    tenant: str
    at: datetime
    jobs: Counts
    tasks: Sequence[Counts]
    queues: Sequence[Counts]
    minutes: Sequence[Period]
    hour: Period
    failures: Sequence[FailureGroup]
    since: datetime


class Slots(_Model):
    """How many jobs of a kind a worker can run, and runs."""

    kind: str
    total: int
    used: int


class RunningJob(_Model):
    """What a worker runs."""

    job: str
    task: str
    queue: str
    attempt: int
    started_at: datetime | None


class WorkerInfo(_Model):
    """A worker. state: running or draining. running: the tenant's own jobs only."""

    id: str
    host: str
    pid: int
    version: str
    started_at: datetime
    heartbeat_at: datetime
    state: str
    slots: Sequence[Slots]
    running: Sequence[RunningJob]


class Event(_Model):
    """Something that has happened to a job.

    id: to go on after it. kind: "state", "progress", "log", or "gap" when some that came
    before are no longer kept. job, task, queue, at: None for a gap. data: all that was said.
    """

    id: str
    kind: str
    job: str | None = None
    task: str | None = None
    queue: str | None = None
    at: datetime | None = None
    data: Mapping[str, Any] = Field(default_factory=dict)


class Health(_Model):
    """What a service says that is well."""

    status: str


class JobPage(_Model):
    """A page of a list. next: the next page's address, relative; None at the end."""

    jobs: Sequence[Job]
    next: str | None


class SubmittedJobs(_Model):
    """The answer to a batch."""

    jobs: Sequence[Submitted]


class LogDocument(_Model):
    """The answer that bears a log."""

    logs: Sequence[LogRecord]


class TaskList(_Model):
    """All tasks."""

    tasks: Sequence[TaskInfo]


class QueueList(_Model):
    """All queues."""

    queues: Sequence[QueueInfo]


class WorkerList(_Model):
    """All workers."""

    workers: Sequence[WorkerInfo]
