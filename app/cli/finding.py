"""How jobs are named on a command line: by their ids, the beginning or end of one, or a filter."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Annotated, Any

import typer

from app.cli.completion import complete_queue, complete_task
from app.cli.ends import REFUSED, StopError
from app.cli.schema import shorten
from app.client import Client
from app.jobs.model import JobState, Outcome

LEAST = 8
"""Characters of an id that may stand for all of it."""

NAMED = 3
"""Jobs that are named when a part of an id fits several."""

WHOLE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
PART = re.compile(r"[0-9a-f-]+", re.IGNORECASE)

PANEL = "Which jobs"


def _option(*names: str, **settings: Any) -> Any:
    return typer.Option(*names, show_default=False, rich_help_panel=PANEL, **settings)


@dataclass(frozen=True)
class Where:
    """A filter, as the options of a command."""

    state: Annotated[
        JobState | None, _option("--state", metavar="STATE", help="pending, running, cancelled or finished.")
    ] = None
    outcome: Annotated[
        Outcome | None, _option("--outcome", metavar="OUTCOME", help="succeeded, failed or cancelled.")
    ] = None
    task: Annotated[
        str | None, _option("--task", metavar="NAME", help="Of this task.", autocompletion=complete_task)
    ] = None
    queue: Annotated[
        str | None, _option("--queue", metavar="NAME", help="In this queue.", autocompletion=complete_queue)
    ] = None
    tag: Annotated[
        list[str] | None, _option("--tag", metavar="KEY=VALUE", help="With this tag; repeatable.")
    ] = None
    created_after: Annotated[
        str | None, _option("--created-after", metavar="TIME", help="Created after it.")
    ] = None
    created_before: Annotated[
        str | None, _option("--created-before", metavar="TIME", help="Created before it.")
    ] = None
    query: Annotated[
        str | None,
        _option(
            "--query",
            "-q",
            metavar="TEXT",
            help="Whose id begins or ends with it, or whose task's name has it.",
        ),
    ] = None

    def conditions(self) -> dict[str, Any]:
        """Return it as the client takes it, without what was not given. Raises StopError."""
        given = {
            "state": self.state,
            "outcome": self.outcome,
            "task": self.task,
            "queue": self.queue,
            "tags": tags_of(self.tag or ()) or None,
            "created_after": self.created_after and instant(self.created_after, "--created-after"),
            "created_before": self.created_before and instant(self.created_before, "--created-before"),
            "q": self.query,
        }
        return {name: value for name, value in given.items() if value is not None}


Ids = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ID", help="Ids, or their first or last 8 characters, or more.", show_default=False
    ),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="Its id, or the first or last 8 characters, or more.")]


def told(where: dict[str, Any]) -> str:
    """Return a filter in words."""
    return ", ".join(f"{name.replace('_', ' ')} {_value(value)}" for name, value in where.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={text}" for key, text in value.items())
    return value.isoformat() if isinstance(value, datetime) else str(value)


def tags_of(written: Iterable[str]) -> dict[str, str]:
    """Read tags that are written `key=value`; `key:value`, as HTTP has it, too. Raises StopError."""
    tags: dict[str, str] = {}
    for text in written:
        match = re.fullmatch(r"([^:=]+)[:=](.*)", text, re.DOTALL)
        if match is None:
            raise StopError(f"--tag {shorten(text)}: a tag is written key=value")
        tags[match[1]] = match[2]
    return tags


def instant(text: str, option: str) -> datetime:
    """Read a time: RFC 3339, or without an offset by this machine's clock. Raises StopError."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        example = "2030-01-31T09:00, or 2030-01-31T09:00:00Z"
        raise StopError(f"{option} {shorten(text)}: a time is written like {example}") from None


def find(client: Client, written: str) -> str:
    """Return the id that is meant by it, or its beginning or end. Raises StopError."""
    text = written.strip().lower()
    if WHOLE.fullmatch(text):
        return text
    if len(text) < LEAST or not PART.fullmatch(text):
        raise StopError(
            f"{shorten(written)} is no id: take one from `errand list`, or its last {LEAST} characters"
        )
    digits = text.replace("-", "")
    # A task's name may have it too.
    found = (job.id for job in client.jobs(q=text) if _is_part(digits, job.id.replace("-", "")))
    ids = list(islice(found, NAMED + 1))
    if not ids:
        raise StopError(f"no job's id begins or ends with {text}; `errand list` shows them", REFUSED)
    if len(ids) > 1:
        named = ", ".join(ids[:NAMED]) + (", …" if len(ids) > NAMED else "")
        raise StopError(f"several jobs' ids begin or end with {text}: {named}")
    return ids[0]


def _is_part(digits: str, job_id: str) -> bool:
    return job_id.startswith(digits) or job_id.endswith(digits)


def find_all(client: Client, written: Sequence[str]) -> list[str]:
    """Return the ids that are meant, each once. Raises StopError."""
    return list(dict.fromkeys(find(client, text) for text in written))
