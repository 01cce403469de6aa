"""What comes in and goes out, as pydantic models.

The models of what comes in check it. Those of what goes out are there for the OpenAPI
document alone: answers are written by `documents`, and a test holds the two together.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from app.jobs.model import JobState, Outcome, Stopped
from app.jobs.registry import MAX_TIMEOUT, NAME_LENGTH, PRIORITIES, QUEUE_LENGTH

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
MAX_DELAY = 100 * 366 * 86400
"""Seconds; a hundred years. Beyond that somebody has mixed up the units."""

RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)  # narrower than `datetime.fromisoformat`, which takes week dates and more


def to_microseconds(value: object) -> int | None:
    """Read a time in RFC 3339. Raises PydanticCustomError."""
    if value is None:
        return None
    if not isinstance(value, str) or not RFC_3339.fullmatch(value):
        raise PydanticCustomError(
            "datetime", "a time is a string like 2030-01-31T09:00:00Z, in RFC 3339, with its offset from UTC"
        )
    try:
        moment = datetime.fromisoformat(value.upper())
        # An offset may carry it out of the years that a datetime knows.
        return (moment.astimezone(UTC) - EPOCH) // MICROSECOND
    except (ValueError, OverflowError):
        raise PydanticCustomError("datetime", "there is no such time") from None


Name = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH)]
QueueName = Annotated[str, Field(min_length=1, max_length=QUEUE_LENGTH)]
Instant = Annotated[
    int | None,
    BeforeValidator(to_microseconds),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}),
]
TagKey = Annotated[str, Field(min_length=1, max_length=64, pattern="^[^:]+$")]
TagValue = Annotated[str, Field(max_length=256)]
Priority = Annotated[int, Field(ge=PRIORITIES[0], le=PRIORITIES[-1])]


DELAY_AND_RUN_AT: dict[str, Any] = {
    "properties": {"delay": {"exclusiveMinimum": 0}, "run_at": {"type": "string"}},
    "required": ["delay", "run_at"],
}


class SubmissionBody(BaseModel):
    """A call of a registered task. Only `task` is required."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        title="Submission",
        json_schema_extra={"not": DELAY_AND_RUN_AT},
    )

    task: Annotated[Name, Field(description="The name of a registered task.")]
    # Made by factories, because pydantic copies a mutable default each time, and deeply.
    args: list[Any] = Field(
        default_factory=list,
        json_schema_extra={"default": []},
        description="Positional arguments, checked against the function's signature.",
    )
    kwargs: dict[str, Any] = Field(
        default_factory=dict,
        json_schema_extra={"default": {}},
        description="Keyword arguments, checked against the signature.",
    )
    queue: QueueName | None = Field(
        None, description="The queue to wait in; without it, or with null, the task's own."
    )
    priority: Priority | None = Field(
        None, description="Higher runs first; without it, or with null, the task's own."
    )
    delay: float = Field(
        0,
        ge=0,
        le=MAX_DELAY,
        allow_inf_nan=False,
        description="Seconds to wait before it may run; not with run_at.",
    )
    run_at: Instant = Field(
        None, description="When it may run, with an offset from UTC; what lies in the past means at once."
    )
    timeout: float | None = Field(
        None,
        gt=0,
        le=MAX_TIMEOUT,
        allow_inf_nan=False,
        description="Seconds that it may run before it is asked to stop, and fails as FutureTimeoutError; "
        "without it, or with null, the task's own.",
    )
    tags: Annotated[dict[TagKey, TagValue], Field(max_length=50)] = Field(
        default_factory=dict,
        # What the pattern does not fit, no other rule lets in.
        json_schema_extra={"default": {}, "additionalProperties": False},
        description="Up to 50 texts of up to 256 characters, under keys of up to 64 without a colon.",
    )

    @model_validator(mode="after")
    def _one_due_time(self) -> "SubmissionBody":
        if self.delay and self.run_at is not None:
            raise PydanticCustomError("delay_and_run_at", "delay and run_at exclude each other")
        return self


class WaitQuery(BaseModel):
    """How long to wait for a job."""

    model_config = ConfigDict(extra="forbid")

    wait: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Seconds to wait for the job to be done before answering; above 60 counts as 60. "
        "`Prefer: wait=N` does the same, and this comes before it.",
    )


class NoQuery(BaseModel):
    """No query parameters at all."""

    model_config = ConfigDict(extra="forbid")


CURSOR = "^[A-Za-f][A-Za-z0-9_-]{10}$"
"""What cursors look like, so that tests made from the published schema send no others."""


class ListQuery(BaseModel):
    """Which jobs a list shows."""

    model_config = ConfigDict(extra="forbid")

    state: JobState | None = Field(None, description="Only jobs in this state.")
    outcome: Outcome | None = Field(None, description="Only jobs that ended so.")
    task: Name | None = Field(None, description="Only jobs of this task.")
    queue: QueueName | None = Field(None, description="Only jobs of this queue.")
    limit: int = Field(50, ge=1, le=500, description="Jobs on a page at most.")
    cursor: Annotated[str, Field(max_length=100, json_schema_extra={"pattern": CURSOR})] | None = Field(
        None, description="Where the page begins: taken from `next` of the page before; opaque."
    )


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
        description="The path to it in the body; or `query` and the parameter's name."
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
