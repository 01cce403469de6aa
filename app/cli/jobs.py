"""The commands that find jobs and change them: list, show, cancel, retry."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli import finding, words
from app.cli.desk import Desk
from app.cli.ends import REFUSED, StopError
from app.cli.finding import Where, told
from app.cli.report import report
from app.cli.screen import Column, plain, table, word
from app.client import Job, ProblemError, Tally

MOST = 1_000_000_000
"""Jobs that a list may be limited to; --all knows no limit."""

LIMIT = 25
"""Jobs that a list shows unless told otherwise: about a terminal."""

PAGE = 500
"""Jobs that are asked for at a time at most."""

COLUMNS = (
    Column("ID", whole=True),
    Column("STATUS", whole=True),
    Column("TASK"),
    Column("AGE", whole=True, right=True, width=72),
    Column("TOOK", whole=True, right=True, width=96),
    Column("QUEUE", width=96),
    Column("TRY", whole=True, right=True, width=110),
    Column("PROGRESS", whole=True, right=True, width=120),
    Column("TAGS", width=140),
)

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before changing all jobs that fit.")]


def list_(
    desk: Desk,
    where: Where,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=MOST, help="How many at most.")] = LIMIT,
    everything: Annotated[bool, typer.Option("--all", help="All of them, however many.")] = False,
) -> None:
    """List jobs, newest first.

    To a pipe: a job a line, as JSON.
    """
    found = desk.client.jobs(**where.conditions(), page=PAGE if everything else min(limit + 1, PAGE))
    if desk.as_json:
        desk.each(found if everything else islice(found, limit))
        return
    _show(desk, found if everything else islice(found, limit))
    if not everything and next(found, None) is not None:
        desk.remark(f"there are more: --limit {limit * 4}, or --all")


def _show(desk: Desk, found: Iterable[Job]) -> None:
    jobs = iter(found)
    page = list(islice(jobs, PAGE))
    if not page:
        desk.remark("no jobs")
    while page:
        desk.out.print(table(COLUMNS, [_row(job) for job in page], desk.out.width))
        page = list(islice(jobs, PAGE))


def _row(job: Job) -> Sequence[object]:
    status = words.status(job)
    if status == "running" and job.cancellation is not None:
        status = "stopping"
    tags = " ".join(f"{key}={value}" for key, value in job.tags.items())
    return (
        job.id,
        word(status),
        job.task,
        words.age(job.created_at),
        words.took(job) or "",
        job.queue,
        f"{job.attempt}/{job.max_attempts}",
        words.share(job.progress),
        tags,
    )


def show(desk: Desk, job_id: finding.Id) -> None:
    """Show all there is to know about a job."""
    job = desk.client.get(finding.find(desk.client, job_id))
    if desk.as_json:
        desk.data(job)
    else:
        paused = job.state == "pending" and job.queue in _paused(desk)
        report(desk.out, job, paused=paused)


def _paused(desk: Desk) -> set[str]:
    return {queue.name for queue in desk.client.queues() if queue.paused}


def cancel(desk: Desk, where: Where, job_id: finding.Ids = None, yes: Yes = False) -> int:
    """Cancel jobs: those named, or all that a filter fits.

    A job that waits is cancelled at once. One that runs is asked to stop; `errand show` tells what
    became of its code.
    """
    conditions = where.conditions()
    if _are_named(job_id, conditions):
        return _change(desk, job_id or [], desk.client.cancel)
    _require_yes(desk, yes, f"cancel all jobs with {told(conditions)}")
    return _changed(desk, desk.client.cancel_all(**conditions), "cancelled or asked to stop")


def retry(desk: Desk, where: Where, job_id: finding.Ids = None, yes: Yes = False) -> int:
    """Run jobs again: those named, or all that a filter fits.

    Only what has failed or was cancelled is run again. Each keeps its id, and opens its next run.
    """
    conditions = where.conditions()
    if _are_named(job_id, conditions):
        return _change(desk, job_id or [], desk.client.retry)
    _require_yes(desk, yes, f"run again all jobs with {told(conditions)}")
    return _changed(desk, desk.client.retry_all(**conditions), "to run again")


def _are_named(ids: Sequence[str] | None, conditions: Mapping[str, Any]) -> bool:
    """Tell whether jobs are named, and not described. Raises StopError for both, and for neither."""
    if bool(ids) == bool(conditions):
        hint = "not by both" if ids else "for instance --task NAME"
        raise StopError(f"say which jobs, by their ids or by options like --state and --task, {hint}")
    return bool(ids)


def _require_yes(desk: Desk, yes: bool, what: str) -> None:
    """Ask, if there is somebody to ask. Raises StopError when it is not to be."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise StopError(f"to {what} without being asked, give --yes")
    desk.err.print(Text(f"{what[0].upper()}{plain(what[1:])}? [y/N] "), end="", soft_wrap=True)
    if input().strip().lower() not in {"y", "yes"}:
        raise StopError("nothing was changed", REFUSED)


def _changed(desk: Desk, tally: Tally, done: str) -> int:
    if desk.as_json:
        desk.data(tally)
    else:
        desk.write(f"{tally.changed:,} of {tally.matched:,} jobs {done}")
    return 0


def _change(desk: Desk, written: Sequence[str], change: Callable[[str], Job]) -> int:
    """Change each job. One that cannot be changed keeps no other from it."""
    code = 0
    for job_id in finding.find_all(desk.client, written):
        try:
            job = change(job_id)
        except ProblemError as exc:
            desk.remark(f"errand: {job_id}: {exc}")
            code = REFUSED
        else:
            _tell(desk, job)
    return code


def _tell(desk: Desk, job: Job) -> None:
    if desk.as_json:
        desk.data(job)
        return
    line = word(job.id)
    line.append(" ")
    if job.cancellation is not None:
        line.append(words.cancelled(job.cancellation))
    else:
        line.append_text(word(words.status(job))).append(f", run {job.run}")
    desk.out.print(line, soft_wrap=True)
