"""What is sent to have a function run."""

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, TypedDict

from app.core.named import to_json
from app.jobs.registry import name_of_task
from app.jobs.retry import Retry

Task = str | Callable[..., Any]
"""A task's name, or its function."""


class Options(TypedDict, total=False):
    """What a submission can say besides the call; what is left out is up to the task. See Submission."""

    queue: str
    priority: int
    delay: float
    run_at: datetime | str
    timeout: float
    expires_in: float
    retry: Retry | Mapping[str, Any]
    key: str
    tags: Mapping[str, str]
    idempotency_key: str


def checked_key(key: str) -> str:
    """Return an idempotency key. Raises ValueError for one that no header can bear."""
    if not re.fullmatch("[!-~]+", key):
        raise ValueError(f"an idempotency key is of visible ASCII characters, not {key!r}")
    return key


@dataclass(frozen=True)
class Submission:
    """A call of a task, and how it is to be run; None: as the task has it.

    priority: -100 to 100, higher runs first. delay: seconds from now, or run_at: a time, an
    aware datetime or RFC 3339. timeout: seconds that it may run. expires_in: seconds in which
    it must have started. key: while a job of that task and key is not done, it stands for this
    one too. idempotency_key: whoever submits again with the same gets the same job; each
    submission has one of its own, unless given.
    """

    task: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    queue: str | None = None
    priority: int | None = None
    delay: float | None = None
    run_at: datetime | str | None = None
    timeout: float | None = None
    expires_in: float | None = None
    retry: Retry | Mapping[str, Any] | None = None
    key: str | None = None
    tags: Mapping[str, str] | None = None
    idempotency_key: str | None = None

    def body(self) -> str:
        """Return it as JSON. Raises TypeError or ValueError for what is no JSON, before anything is sent."""
        fields: dict[str, Any] = {
            "queue": self.queue,
            "priority": self.priority,
            "delay": self.delay,
            "run_at": _time(self.run_at),
            "timeout": self.timeout,
            "expires_in": self.expires_in,
            "retry": _policy(self.retry),
            "key": self.key,
            "tags": None if self.tags is None else dict(self.tags),
        }
        given = {name: value for name, value in fields.items() if value is not None}
        call = {"task": self.task, "args": list(self.args), "kwargs": dict(self.kwargs)}
        return to_json({**call, **given}, f"what {self.task} is submitted with")


def task_name(task: Task) -> str:
    """Return the name under which a service knows a task. Raises TypeError for what cannot have one."""
    return task if isinstance(task, str) else name_of_task(task)


def new_key() -> str:
    """Return an idempotency key that nobody has had."""
    return uuid.uuid4().hex


def _time(time: datetime | str | None) -> str | None:
    if not isinstance(time, datetime):
        return time
    if time.tzinfo is None:
        raise ValueError(
            "run_at needs a time zone: datetime.now(timezone.utc) has one, datetime.now() has not"
        )
    return time.isoformat()


def _policy(retry: Retry | Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if not isinstance(retry, Retry):
        return None if retry is None else dict(retry)
    if retry.on or retry.never:
        raise ValueError("exception classes cannot be sent: give the task itself `on` and `never`")
    fields = asdict(retry)
    return {name: value for name, value in fields.items() if name not in {"on", "never"}}
