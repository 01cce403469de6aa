"""A job in full, for people."""

import json
from collections.abc import Iterator
from typing import Any

from rich.table import Table
from rich.text import Text

from app.cli import words
from app.cli.screen import Screen, moment, plain, pretty, span, word
from app.client import Attempt, Job

ARGUMENT = 60
"""Characters of an argument that are shown in the line of the call; --json has all of them."""

LINES = 200
"""Lines of a result that are shown; --json has all of them."""


def report(screen: Screen, job: Job, *, paused: bool = False) -> None:
    """Print a job. paused: whether its queue is."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(job, paused=paused):
        facts.add_row(name, value)
    screen.print(facts)
    if job.attempts and (len(job.attempts) > 1 or job.losses):
        _attempts(screen, job)
    if job.exception is not None:
        _section(screen, "Traceback" if job.exception.traceback else "Exception")
        text = job.exception.traceback or words.failure(job.exception)
        screen.print(Text(plain(text.rstrip("\n"), lines=True)), soft_wrap=True)
    if words.status(job) == "succeeded":
        _section(screen, "Result")
        _result(screen, job.result)


def _section(screen: Screen, title: str) -> None:
    screen.print()
    screen.print(Text(title, "bold"))


def _result(screen: Screen, value: Any) -> None:
    lines = pretty(value, screen.width).split("\n")
    screen.print(Text("\n").join(lines[:LINES]), soft_wrap=True)
    if len(lines) > LINES:
        screen.print(Text(f"… {len(lines) - LINES:,} lines more; --json shows all", "dim"))


def _facts(job: Job, *, paused: bool) -> Iterator[tuple[str, Text]]:
    yield "id", word(job.id)
    yield "call", Text(call(job))
    yield "status", _status(job)
    if job.progress is not None:
        yield "progress", Text(_progress(job))
    if job.cancellation is not None:
        yield (
            "cancel",
            Text(f"{words.cancelled(job.cancellation)}; requested {moment(job.cancellation.requested_at)}"),
        )
    yield from _times(job)
    yield "queue", Text(f"{plain(job.queue)}, priority {job.priority}")
    if paused:
        yield "", Text("the queue is paused; `errand resume` has its jobs run", "yellow")
    yield "attempt", Text(f"{job.attempt} of {job.max_attempts}, run {job.run}{_losses(job)}")
    if job.key is not None:
        yield "key", Text(plain(job.key))
    if job.tags:
        yield "tags", Text("  ".join(f"{plain(key)}={plain(value)}" for key, value in job.tags.items()))


def _status(job: Job) -> Text:
    status = word(words.status(job))
    if job.state == "running" and job.cancellation is not None:
        return status.append(", asked to stop", "magenta")
    if job.state == "pending" and job.attempt:
        return status.append(" for its next attempt", "yellow")
    return status


def _progress(job: Job) -> str:
    progress = job.progress
    if progress is None:
        return ""
    share = f"{progress.done:g} of {progress.total:g}" if progress.total is not None else f"{progress.done:g}"
    return f"{share}  {words.first_line(progress.message)}" if progress.message else share


def _times(job: Job) -> Iterator[tuple[str, Text]]:
    yield "created", Text(moment(job.created_at))
    if job.state == "pending" and job.run_at > job.created_at:
        yield "due", Text(moment(job.run_at))
    if job.started_at is not None:
        waited = (job.started_at - job.run_at).total_seconds()
        yield "started", Text(f"{moment(job.started_at)}, {span(waited)} after it was due")
    if job.finished_at is not None:
        took = f", took {words.took(job)}" if job.started_at is not None else ""
        yield "finished", Text(f"{moment(job.finished_at)}{took}")
    if job.timeout is not None:
        yield "timeout", Text(span(job.timeout))
    if job.expires_at is not None and job.started_at is None:
        yield "expires", Text(moment(job.expires_at))


def _losses(job: Job) -> str:
    if not job.losses:
        return ""
    return f"; its worker was lost {'once' if job.losses == 1 else f'{job.losses} times'}"


def call(job: Job) -> str:
    """Return the call in a line, as one would write it in Python; long arguments are shortened."""
    parts = [_argument(value) for value in job.args or ()]
    parts += [f"{plain(name)}={_argument(value)}" for name, value in (job.kwargs or {}).items()]
    return f"{plain(job.task)}({', '.join(parts)})"


def _argument(value: Any) -> str:
    text = plain(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= ARGUMENT else f"{text[:ARGUMENT]}…"


def _attempts(screen: Screen, job: Job) -> None:
    _section(screen, "Attempts")
    for attempt in job.attempts or ():
        screen.print(Text(_attempt(attempt)), soft_wrap=True)


def _attempt(attempt: Attempt) -> str:
    number = f"run {attempt.run}, attempt {attempt.number}"
    if attempt.started_at is None:
        return f"{number}: not begun"
    if attempt.finished_at is None:
        return f"{number}: since {moment(attempt.started_at)}"
    took = span((attempt.finished_at - attempt.started_at).total_seconds())
    failure = attempt.exception
    end = words.failure(failure) if failure else "ended"
    return f"{number}: {end} after {took}"
