"""What goes out, as pydantic models.

They are there for the OpenAPI document alone: answers are written by `documents`, and a
test holds the two together. The models of what comes in are in `incoming`.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from app.jobs.model import JobState, Outcome, Stopped


class ExceptionSummary(BaseModel):
    """An exception without its traceback."""

    type: str
    message: str


class ExceptionDocument(ExceptionSummary):
    """The exception that ended a job."""

    traceback: str


Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class AttemptDocument(BaseModel):
    """One execution of the function."""

    run: int
    number: int = Field(description="Counted from 1.")
    worker: str | None
    started_at: Time | None
    finished_at: Time | None
    exception: ExceptionDocument | None


class ProgressDocument(BaseModel):
    """How far the function has come, in units of its own."""

    done: float
    total: float | None = Field(description="null when it is not known.")
    message: str | None


class CancellationDocument(BaseModel):
    """A request to cancel, and what became of the code."""

    requested_at: Time
    outcome: Stopped = Field(
        description="pending: asked, and still running; not_started: it never ran; cooperative: it noticed "
        "and ended; killed: the process that ran it was ended; too_late: it had finished first, and its "
        "outcome counts."
    )
    reason: str | None


class LinksDocument(BaseModel):
    """Where more of the job is."""

    self: str
    result: str
    events: str
    logs: str


class ListedJob(BaseModel):
    """A job as in lists: without arguments, result, traceback and attempts."""

    id: Annotated[str, Field(json_schema_extra={"format": "uuid"})]
    task: str
    queue: str
    priority: int
    tags: dict[str, str]
    key: str | None
    state: JobState
    outcome: Outcome | None = Field(description="null until the job is done.")
    exception: ExceptionSummary | None
    run: int
    attempt: int = Field(description="0 before the first.")
    max_attempts: int
    losses: int = Field(description="How often its worker was lost; costs no attempt.")
    progress: ProgressDocument | None
    cancellation: CancellationDocument | None
    timeout: float | None
    created_at: Time
    run_at: Time
    started_at: Time | None
    finished_at: Time | None
    expires_at: Time | None
    version: int
    links: LinksDocument


class JobDocument(ListedJob):
    """A job."""

    model_config = ConfigDict(title="Job")

    args: list[Any]
    kwargs: dict[str, Any]
    result: Any = Field(description="What the function returned; null until then.")
    exception: ExceptionDocument | None
    attempts: list[AttemptDocument]


class JobList(BaseModel):
    """A page of jobs, newest first."""

    jobs: list[ListedJob]
    next: str | None = Field(description="The next page's address; null at the end.")


class SubmittedJob(BaseModel):
    """What stands for one submission of a batch."""

    id: Annotated[str, Field(json_schema_extra={"format": "uuid"})]
    state: JobState
    location: str = Field(description="The job's address.")


class BatchDocument(BaseModel):
    """What stands for the submissions of a batch."""

    jobs: list[SubmittedJob] = Field(description="In the order of the submissions.")


class TallyDocument(BaseModel):
    """What a change of many jobs came to."""

    matched: int = Field(description="Jobs that fitted the filter.")
    changed: int = Field(description="Those of them that this call has changed.")


class QueueDocument(BaseModel):
    """A queue, as its tenant sees it."""

    name: str
    paused: bool = Field(description="Whether none of its jobs is run for the time being.")
    pending: int
    running: int
    oldest_age: float | None = Field(
        description="Seconds that its oldest job has been due; null when none waits."
    )


class QueueList(BaseModel):
    """The queues that have jobs waiting or running, or are paused."""

    tenant: str = Field(description="Whose queues they are.")
    queues: list[QueueDocument]


class RetryDocument(BaseModel):
    """When a job that has failed runs again."""

    max_attempts: int = Field(description="Executions in all; 1 means that it never runs again.")
    backoff: float = Field(description="Seconds before the second one.")
    factor: float = Field(description="By which each further wait is longer.")
    max_backoff: float = Field(description="Seconds that a wait has at most.")
    jitter: bool = Field(description="Whether up to half of each wait is taken off, by chance.")


class OptionsDocument(BaseModel):
    """What a task's jobs have; queue, priority, timeout and retry unless a submission says otherwise."""

    queue: str
    priority: int
    timeout: float | None = Field(description="Seconds that they may run; null means no limit.")
    retry: RetryDocument
    max_running: int | None = Field(
        description="How many may run at a time, for each key if there is a limit_key; null means no limit."
    )
    max_running_total: int | None = Field(
        description="How many may run at a time in all, whatever their keys; null means no limit."
    )
    limit_key: str | None = Field(
        description="What max_running counts by: parameters in braces; null when all count together."
    )
    secret: list[str] = Field(description="Names of parameters whose values are shown nowhere.")


class TaskDocument(BaseModel):
    """A registered function."""

    name: str
    doc: str
    parameters: dict[str, Any] = Field(description="JSON Schema of the arguments; empty when there is none.")
    result: dict[str, Any] = Field(description="JSON Schema of the result; empty when it is not annotated.")
    options: OptionsDocument
    executor: str = Field(description="What a running job occupies: thread, process or coroutine.")


class TaskList(BaseModel):
    """All registered tasks."""

    tasks: list[TaskDocument]


class HealthDocument(BaseModel):
    """That all is well."""

    status: str


class FaultDocument(BaseModel):
    """One thing wrong in what was sent."""

    loc: list[str | int] = Field(
        description="The path to it in the body, which begins with the index (from 0) in a batch; or "
        "`query`, `header` or `path`, and the parameter's name."
    )
    msg: str
    type: str


def _without_default(schema: dict[str, Any]) -> None:
    # It is there or it is not, but never null.
    del schema["default"]


class ProblemDocument(BaseModel):
    """What went wrong (RFC 9457). `type` is the address of a page that says how to fix it."""

    model_config = ConfigDict(title="Problem")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FaultDocument] | SkipJsonSchema[None] = Field(None, json_schema_extra=_without_default)
    exception: ExceptionDocument | SkipJsonSchema[None] = Field(None, json_schema_extra=_without_default)
