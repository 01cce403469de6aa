"""What the calls for events and logs answer with, for the OpenAPI document."""

from pydantic import BaseModel, ConfigDict, Field

from app.api.schemas import Time


class LineDocument(BaseModel):
    """A line that a function has printed or logged."""

    time: Time
    level: str = Field(description="As in `logging`; INFO for what was printed, WARNING if to stderr.")
    run: int
    attempt: int
    logger: str = Field(description="Empty for what was printed.")
    message: str


class LogDocument(BaseModel):
    """What a job has logged, over all its attempts: 1 MiB at most."""

    model_config = ConfigDict(title="Log")

    logs: list[LineDocument]
