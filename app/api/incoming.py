"""What comes in, as pydantic models: they check it, and the OpenAPI document is made from them.

The models of what goes out are in `schemas`.
"""

from operator import itemgetter
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from app.api.fields import (
    KEY_LENGTH,
    MAX_BATCH,
    MAX_DELAY,
    MAX_TAGS,
    Instant,
    Name,
    Priority,
    QueueName,
    Seconds,
    Tag,
    Tags,
    never_null,
    to_tags,
    with_one_tag,
    without_defaults,
    without_null,
)
from app.jobs.lifecycle import Edited
from app.jobs.model import JobState, Outcome
from app.jobs.registry import MAX_TIMEOUT
from app.jobs.retry import MAX_ATTEMPTS, MAX_SECONDS
from app.service import Filter, Submission

DELAY_AND_RUN_AT: dict[str, Any] = {
    "properties": {"delay": {"exclusiveMinimum": 0}, "run_at": {"type": "string"}},
    "required": ["delay", "run_at"],
}


class RetryOptions(BaseModel):
    """How often and when a job is run again that has failed. What is left out is the task's own."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=without_defaults)

    max_attempts: int = Field(1, ge=1, le=MAX_ATTEMPTS, description="Attempts in all, the first included.")
    backoff: Seconds = Field(1.0, description="Seconds before the second attempt.")
    factor: float = Field(
        2.0,
        ge=1,
        le=MAX_SECONDS,
        allow_inf_nan=False,
        description="How much longer each further wait is than the one before.",
    )
    max_backoff: Seconds = Field(300.0, description="Seconds that a wait takes at most.")
    jitter: bool = Field(True, description="Whether up to half of each wait is taken off, by chance.")


_values_of = itemgetter(*Submission._fields)
"""A submission's values, in the order of its fields."""


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
    expires_in: float | None = Field(
        None,
        gt=0,
        le=MAX_DELAY,
        allow_inf_nan=False,
        description="Seconds within which it has to start, or it is cancelled with the reason `expired`.",
    )
    retry: RetryOptions | None = Field(
        None,
        description="How often and when it is run again when it has failed; without it, or with null, as "
        "its task has it.",
    )
    key: Annotated[str, Field(min_length=1, max_length=KEY_LENGTH)] | None = Field(
        None,
        description="While a job of the same task and key is not done, that job stands for this submission, "
        "whatever its arguments are.",
    )
    tags: Tags = Field(
        default_factory=dict,
        # What the pattern does not fit, no other rule lets in.
        json_schema_extra={"default": {}, "additionalProperties": False},
        description="Up to 50 texts of up to 256 characters, under keys of up to 64 without a colon.",
    )

    # Of the field, and not of the model: most bodies have none, and are checked without a call of Python.
    # `delay` is known by then, because it is declared before.
    @field_validator("run_at")
    @classmethod
    def _one_due_time(cls, run_at: int | None, info: ValidationInfo) -> int | None:
        if run_at is not None and info.data.get("delay"):
            raise PydanticCustomError("delay_and_run_at", "delay and run_at exclude each other")
        return run_at

    def submission(self) -> Submission:
        """Return it as the service takes it."""
        submission = Submission._make(_values_of(vars(self)))
        if self.retry is None:
            return submission
        return submission._replace(retry=self.retry.model_dump(exclude_unset=True))


class BatchBody(BaseModel):
    """Submissions that are stored together, or not at all."""

    model_config = ConfigDict(extra="forbid", strict=True, title="Batch")

    # Not as `SubmissionBody`: what is wrong with one of them is named by its place in the list.
    jobs: list[Any] = Field(
        min_length=1,
        max_length=MAX_BATCH,
        json_schema_extra={"items": {"$ref": "#/components/schemas/Submission"}},
        description="From 1 to 10,000 submissions.",
    )


class EditBody(BaseModel):
    """What a pending job is to be instead. At least one of them."""

    model_config = ConfigDict(extra="forbid", strict=True, title="Edit", json_schema_extra=without_null)

    priority: Priority | None = Field(None, description="Higher runs first.")
    run_at: Instant = Field(
        None, description="When it may run, with an offset from UTC; what lies in the past means at once."
    )
    tags: Tags | None = Field(
        None,
        json_schema_extra={"additionalProperties": False},
        description="All of its tags: those that it has are replaced.",
    )

    _no_null = field_validator("*", mode="before")(never_null)

    @model_validator(mode="after")
    def _some(self) -> "EditBody":
        if not self.model_fields_set:
            raise PydanticCustomError("nothing_to_do", "at least one of priority, run_at and tags is needed")
        return self

    def edit(self) -> Edited:
        """Return it as the service takes it."""
        return Edited(self.priority, self.run_at, self.tags)


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


class DeleteQuery(BaseModel):
    """Whether to cancel a job, or to erase it."""

    model_config = ConfigDict(extra="forbid")

    purge: Literal["true", "false"] = Field(
        "false", description="`true`: do not cancel the job but erase it, with all its data; it must be done."
    )
    state: Literal["pending"] | None = Field(
        None,
        description="`pending`: cancel the job only if it still waits, and never ask one that runs to stop.",
    )

    @model_validator(mode="after")
    def _require_one_thing(self) -> "DeleteQuery":
        if self.state is not None and self.purge == "true":
            raise ValueError("a job that waits cannot be erased")
        return self


class NoBody(BaseModel):
    """No body at all, or an empty object."""

    model_config = ConfigDict(extra="forbid")


class Conditions(BaseModel):
    """Which jobs are meant: those that fulfil all that is given."""

    model_config = ConfigDict(extra="forbid")

    REPEATABLE: ClassVar[frozenset[str]] = frozenset({"tag"})
    """Parameters of a query that may be given more than once."""

    state: JobState | None = Field(None, strict=False, description="Only jobs in this state.")
    outcome: Outcome | None = Field(None, strict=False, description="Only jobs that ended so.")
    task: Name | None = Field(None, description="Only jobs of this task.")
    queue: QueueName | None = Field(None, description="Only jobs of this queue.")
    tag: Annotated[list[Tag], BeforeValidator(to_tags)] | None = Field(
        None,
        min_length=1,
        max_length=MAX_TAGS,
        description="Only jobs with this tag, written `key:value`; with several of them, jobs that have all.",
    )
    created_after: Instant = Field(None, description="Only jobs created later than this, in RFC 3339.")
    created_before: Instant = Field(None, description="Only jobs created earlier than this, in RFC 3339.")
    q: Name | None = Field(
        None, description="Only jobs whose id begins or ends with this, or whose task's name has it."
    )

    def filter(self) -> Filter:
        """Return it as the service takes it."""
        return Filter(
            self.state,
            self.outcome,
            self.task,
            self.queue,
            tuple(self.tag or ()),
            self.created_after,
            self.created_before,
            self.q,
        )


class FilterBody(Conditions):
    """Which jobs to change: those that a list with the same filter shows. At least one condition."""

    model_config = ConfigDict(extra="forbid", strict=True, title="Filter", json_schema_extra=with_one_tag)

    _no_null = field_validator("*", mode="before")(never_null)

    @model_validator(mode="after")
    def _some(self) -> "FilterBody":
        if not self.model_fields_set:
            raise PydanticCustomError("no_condition", "at least one condition is needed")
        return self


CURSOR = "^[A-Za-f][A-Za-z0-9_-]{10}$"
"""What cursors look like, so that tests made from the published schema send no others."""


class ListQuery(Conditions):
    """Which jobs a list shows."""

    limit: int = Field(50, ge=1, le=500, description="Jobs on a page at most.")
    cursor: Annotated[str, Field(max_length=100, json_schema_extra={"pattern": CURSOR})] | None = Field(
        None, description="Where the page begins: taken from `next` of the page before; opaque."
    )
