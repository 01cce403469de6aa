"""Live progress bars of running jobs."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from app.cli.screen import cells, plain, span, word
from app.cli.words import Seen, first_line, share

BAR = 14
"""Columns of a bar."""

NAME = 24
"""Columns of a task's name at most, where there is room for a job's own words."""

OTHERS = 18
"""Columns that are taken by what is no id, no name and no bar."""

WIDE = 110
"""Columns of a terminal in which a job's own words have room."""

SPARE = 2
"""Lines of a terminal that are left free."""


def drawn(jobs: Sequence[Seen], width: int, height: int) -> RenderableType:
    """Return the bars of jobs; as many as there are lines, and how many more there are."""
    room = max(1, height - SPARE)
    grid = Table.grid(padding=(0, 1))
    for row in (_row(job, width) for job in jobs[:room]):
        grid.add_row(*row)
    if len(jobs) <= room:
        return grid
    return Group(grid, Text(f"and {len(jobs) - room:,} more", "dim"))


def _row(job: Seen, width: int) -> Iterable[RenderableType]:
    total = job.progress.total if job.progress is not None else None
    done = job.progress.done if job.progress is not None and total else 0
    yield word(job.id)
    yield _name(job, width)
    yield ProgressBar(total or 1, done, width=BAR, pulse=job.status == "running" and not total)
    yield Text(share(job.progress), no_wrap=True, justify="right")
    yield Text("waits" if job.seconds is None else span(job.seconds), no_wrap=True, justify="right")
    if width >= WIDE:
        message = job.progress.message if job.progress is not None else None
        yield Text(first_line(message or ""), "dim", no_wrap=True, overflow="ellipsis")


def _name(job: Seen, width: int) -> Text:
    """Return the task's name; with a colour when the job was asked to stop."""
    name = Text(plain(job.task), "magenta" if job.stop is not None else "", no_wrap=True)
    # What is whole must not be shortened for it.
    room = NAME if width >= WIDE else width - cells(job.id) - BAR - OTHERS
    name.truncate(max(room, 1), overflow="ellipsis")
    return name
