"""What the fields of bodies and queries have in common: their types, their limits, how they are read."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.jobs.registry import NAME_LENGTH, PRIORITIES, QUEUE_LENGTH, has_dot_segment
from app.jobs.retry import MAX_SECONDS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
MAX_DELAY = 100 * 366 * 86400
"""Seconds; a hundred years. Beyond that somebody has mixed up the units."""

MAX_BATCH = 10_000
"""Submissions in a batch."""

KEY_LENGTH = 200
"""Characters of a job's key at most."""

MAX_TAGS = 50
"""Tags of a job, and of a filter."""

RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)  # narrower than `datetime.fromisoformat`, which takes week dates and more

_TAG = re.compile(r"([^:]{1,64}):(.{0,256})", re.DOTALL)


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


def to_tag(value: object) -> tuple[str, str]:
    """Read a tag that is written `key:value`. Raises PydanticCustomError."""
    if isinstance(value, tuple):
        # Read already: JSON has none.
        return value
    match = _TAG.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise PydanticCustomError(
            "tag", "a tag is written key:value, the key of 1 to 64 characters, the value of up to 256"
        )
    return match[1], match[2]


def to_tags(value: object) -> object:
    """Take a tag for a list of one."""
    return [to_tag(value)] if isinstance(value, str) else value


def never_null(value: object) -> object:
    """Refuse null where it would mean nothing. Raises PydanticCustomError."""
    # Perhaps somebody's variable was empty: better to ask than to change more than was meant.
    if value is None:
        raise PydanticCustomError("null", "null is no value here; leave it out")
    return value


def without_null(schema: dict[str, Any]) -> None:
    """Take null, which `never_null` refuses, out of the published schema too."""
    for name, field in schema["properties"].items():
        choices = [choice for choice in field.pop("anyOf", [{}]) if choice.get("type") != "null"]
        field.pop("default", None)
        schema["properties"][name] = {**choices[0], **field}
    schema["minProperties"] = 1


def with_one_tag(schema: dict[str, Any]) -> None:
    """As `without_null`; and one tag need not be a list."""
    without_null(schema)
    tags = schema["properties"]["tag"]
    several = {name: tags.pop(name) for name in ("type", "items", "minItems", "maxItems")}
    tags["anyOf"] = [several["items"], several]


def without_defaults(schema: dict[str, Any]) -> None:
    """Take out defaults that are the task's own, whatever the model says."""
    for field in schema["properties"].values():
        field.pop("default")


Name = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH)]


def _without_dot_segments(queue: str) -> str:
    if has_dot_segment(queue):
        raise PydanticCustomError("dot_segment", "no part of a queue's name, between slashes, is . or ..")
    return queue


QueueName = Annotated[
    str, Field(min_length=1, max_length=QUEUE_LENGTH), AfterValidator(_without_dot_segments)
]
Instant = Annotated[
    int | None,
    BeforeValidator(to_microseconds),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}),
]
TagKey = Annotated[str, Field(min_length=1, max_length=64, pattern="^[^:]+$")]
TagValue = Annotated[str, Field(max_length=256)]
Tags = Annotated[dict[TagKey, TagValue], Field(max_length=MAX_TAGS)]
Tag = Annotated[
    tuple[str, str],
    BeforeValidator(to_tag),
    WithJsonSchema({"type": "string", "pattern": r"^[^:]{1,64}:[\s\S]{0,256}$"}),
]
Priority = Annotated[int, Field(ge=PRIORITIES[0], le=PRIORITIES[-1])]
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
