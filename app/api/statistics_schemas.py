"""What the calls for statistics and workers answer with, for the OpenAPI document."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.api.schemas import Time


class StateCountsDocument(BaseModel):
    """How many jobs are in each state."""

    pending: int
    running: int
    cancelled: int
    finished: int


class NamedCountsDocument(StateCountsDocument):
    """How many jobs of a task, or in a queue, are in each state."""

    name: str


class SpanDocument(BaseModel):
    """Percentiles, in seconds. They come from a histogram, and may be 7 % too high or too low."""

    p50: float
    p95: float
    p99: float


class TrafficDocument(BaseModel):
    """What has happened in a time."""

    submitted: int
    succeeded: int
    failed: int = Field(
        description="Runs that have failed for good; not attempts that are followed by another."
    )
    cancelled: int
    wait: SpanDocument | None = Field(
        description="From when a job was due to its start, of the last attempts of those that ended in this "
        "time; null when there were none."
    )
    run: SpanDocument | None = Field(description="How long those attempts ran; null when there were none.")


class MinuteDocument(TrafficDocument):
    """What has happened in a minute."""

    at: Time = Field(description="The minute's begin.")


class FailureDocument(BaseModel):
    """A kind of failure: jobs of a task that have failed by exceptions of a type."""

    type: str = Field(
        description="The exception's type. Of more than 100 kinds in a minute, the further ones are counted "
        "together, as `(others)`."
    )
    task: str
    count: int
    message: str = Field(description="The latest exception's message, cut to 200 characters.")
    job: str = Field(
        description="The id of the latest job that has failed so.", json_schema_extra={"format": "uuid"}
    )
    last_at: Time


class StatisticsDocument(BaseModel):
    """How many jobs there are, and what has happened in the last hour."""

    model_config = ConfigDict(title="Statistics")

    tenant: str = Field(description="Whose jobs are counted.")
    at: Time = Field(description="When they were counted.")
    jobs: StateCountsDocument = Field(description="All that are stored.")
    tasks: list[NamedCountsDocument] = Field(
        description="Those of each task, by name; of the 1,000 busiest if there are more."
    )
    queues: list[NamedCountsDocument] = Field(
        description="Those in each queue, by name; in the 1,000 busiest if there are more."
    )
    minutes: list[MinuteDocument] = Field(
        description="The last 60, the oldest first; the current one is the last."
    )
    hour: TrafficDocument = Field(description="The same minutes together.")
    failures: list[FailureDocument] = Field(
        description="Of the jobs that have failed in these minutes, the 50 most frequent kinds."
    )
    since: Time = Field(
        description="From when on the minutes are complete: after a restart, what happened before it is read "
        "from the newest 10,000 jobs."
    )


class SlotsDocument(BaseModel):
    """What a worker has room for."""

    kind: Literal["thread", "process", "coroutine"]
    total: int = Field(description="Jobs of this kind that it runs at a time.")
    used: int = Field(description="Slots that are taken, whoever's jobs are in them.")


class RunningDocument(BaseModel):
    """A job that runs."""

    job: str = Field(description="Its id.", json_schema_extra={"format": "uuid"})
    task: str
    queue: str
    attempt: int
    started_at: Time


class WorkerDocument(BaseModel):
    """A process that runs jobs."""

    id: str = Field(description="As jobs name it: `host:pid`.")
    host: str
    pid: int
    version: str
    started_at: Time
    heartbeat_at: Time = Field(description="When it last gave a sign of life.")
    state: Literal["running", "draining"] = Field(
        description="draining: it takes no more jobs, and lets those that run end."
    )
    slots: list[SlotsDocument]
    running: list[RunningDocument] = Field(
        description="The tenant's own jobs, the oldest first, at most 1,000."
    )


class WorkerList(BaseModel):
    """All workers."""

    workers: list[WorkerDocument]
