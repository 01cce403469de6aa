"""The commands that follow jobs as they run: watch, logs."""

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from app.cli import finding
from app.cli.board import drawn
from app.cli.desk import Desk
from app.cli.ends import FINE
from app.cli.screen import Screen, local, plain, word
from app.cli.words import EXIT_CODES, Seen
from app.client import Client, Event, LogRecord

FIRST_LOOK = 1.0
"""Seconds after which jobs are asked for once more.

They may have ended between the first look and the connection that tells of their ends. Each further
look comes after twice the time.
"""

LONGEST = 60.0
"""Seconds between two looks at most."""

LOOKED_AT = 500
"""Running jobs that are asked for at a time."""

WORTH = 1.0
"""Seconds that a job must have run for its success to be told, unless it was asked for."""

FRAMES = 8
"""Pictures a second."""

LONG_AGO = datetime.min.replace(tzinfo=UTC)

LEVELS = {"DEBUG": "dim", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}
"""Colours of log levels."""


class Feed:
    """Events, read by a thread of their own: Ctrl-C and the clock are heard meanwhile."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._news: queue.SimpleQueue[Event | Exception] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="errand-feed", daemon=True).start()

    def _read(self) -> None:
        try:
            for event in self._client.events():
                self._news.put(event)
        except Exception as exc:  # noqa: BLE001  (whoever takes events is to learn why there are no more)
            self._news.put(exc)

    def take(self, until: float) -> Event | None:
        """Return the next event; None when there is none until then (monotonic). Raises ClientError."""
        try:
            news = self._news.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            return None
        if isinstance(news, Exception):
            raise news
        return news


class Watched:
    """Jobs as they stand. wanted: the ids of those that count; empty for all that run."""

    def __init__(self, client: Client, wanted: Sequence[str]) -> None:
        self._client = client
        self.left = set(wanted)
        """Those of the wanted ones that are not known to be done."""
        self.all = not wanted
        """Whether all that run are watched, without end."""
        self._jobs: dict[str, Seen] = {}

    def look(self) -> Iterator[Seen]:
        """Ask how they stand, and yield those that have ended."""
        if self.all:
            running = self._client.jobs(state="running", page=LOOKED_AT)
            self._jobs = {job.id: Seen.of(job) for job in running}
        else:
            for job_id in sorted(self.left):
                yield from self._note(Seen.of(self._client.get(job_id)))

    def concerns(self, event: Event) -> bool:
        """Tell whether an event is of a job that counts."""
        return event.job is not None and (self.all or event.job in self.left)

    def hear(self, event: Event) -> Iterator[Seen]:
        """Take in an event that concerns it, and yield the job if it has ended with that."""
        job_id = str(event.job)
        seen = self._jobs.get(job_id) or Seen(job_id, event.task or "", "pending")
        if event.kind != "log":
            yield from self._note(seen.after(event))

    def _note(self, seen: Seen) -> Iterator[Seen]:
        if seen.done:
            self._jobs.pop(seen.id, None)
            self.left.discard(seen.id)
            yield seen
        elif seen.id in self.left or seen.status == "running":
            self._jobs[seen.id] = seen
        else:
            # Back in the queue, perhaps for its next attempt.
            self._jobs.pop(seen.id, None)

    @property
    def over(self) -> bool:
        """Whether all that were wanted are done."""
        return not (self.all or self.left)

    def shown(self) -> Sequence[Seen]:
        """Return the jobs to show: those first that have begun first, and last those that wait."""
        # A copy: the picture is drawn by another thread.
        jobs = list(self._jobs.values())
        return sorted(jobs, key=lambda seen: (seen.started_at is None, seen.started_at or LONG_AGO))


def watch(desk: Desk, job_id: finding.Ids = None) -> int:
    """Show live progress bars of what runs.

    With ids: until those jobs are done; the exit code is 1 if one has failed, 3 if one was cancelled.
    Otherwise until Ctrl-C. To a pipe: an event a line, as JSON.
    """
    wanted = finding.find_all(desk.client, job_id or [])
    watched = Watched(desk.client, wanted)
    codes: set[int] = set()
    with _picture(desk.out, watched) if not desk.as_json else nullcontext():
        for seen in _ends(desk, watched):
            if wanted:
                codes.add(EXIT_CODES[seen.status])
            if not desk.as_json and (wanted or seen.status != "succeeded" or (seen.seconds or 0) >= WORTH):
                desk.out.print(_line(seen), soft_wrap=True)
    return min(codes - {FINE}, default=FINE)


def _ends(desk: Desk, watched: Watched) -> Iterator[Seen]:
    """Yield each job when it has ended, until all that are wanted have."""
    for seen in watched.look():
        _say(desk, seen)
        yield seen
    if desk.as_json and not watched.all:
        for seen in watched.shown():
            _say(desk, seen)
    desk.persist()
    if watched.over:
        return
    feed = Feed(desk.client)
    pause = FIRST_LOOK
    due = time.monotonic() + pause
    while not watched.over:
        event = feed.take(due)
        if event is not None and watched.concerns(event):
            if desk.as_json:
                desk.data({"id": event.id, "kind": event.kind, **event.data})
            yield from watched.hear(event)
        # However many events there are: one that has passed may be among them.
        if time.monotonic() >= due or (event is not None and event.kind == "gap"):
            for seen in watched.look():
                # Whose event was not heard.
                _say(desk, seen)
                yield seen
            pause = min(2 * pause, LONGEST)
            due = time.monotonic() + pause


def _say(desk: Desk, seen: Seen) -> None:
    """Tell a pipe how a job was found, as an event tells it."""
    if desk.as_json:
        desk.data({"id": None, "kind": "state", "job": seen.id, "task": seen.task, **seen.stated()})


def _picture(screen: Screen, watched: Watched) -> AbstractContextManager[Any]:
    def picture() -> RenderableType:
        jobs = watched.shown()
        if not jobs and watched.all:
            return Text("nothing runs; Ctrl-C ends this", "dim")
        return drawn(jobs, screen.width, screen.height)

    return Live(
        get_renderable=picture,
        console=screen,
        refresh_per_second=FRAMES,
        transient=True,
    )


def _line(seen: Seen) -> Text:
    line = word(seen.id).append(f" {plain(seen.task)} ")
    return line.append_text(word(seen.status)).append(seen.ending.removeprefix(seen.status))


def logs(
    desk: Desk,
    job_id: finding.Id,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job is done.")] = False,
) -> None:
    """Show what a job has printed and logged.

    As text, to a pipe too; with --json a line as JSON for each.
    """
    found = finding.find(desk.client, job_id)
    for record in _followed(desk, found) if follow else desk.client.logs(found):
        if desk.wants_json:
            desk.data(record)
        else:
            _print(desk, record)


def _followed(desk: Desk, job_id: str) -> Iterator[LogRecord]:
    # Refused at once if there is no such job, or no service.
    desk.client.get(job_id)
    desk.persist()
    for event in desk.client.events(job_id):
        if event.kind == "log":
            yield LogRecord.model_validate({**event.data, "time": event.at})


def _print(desk: Desk, record: LogRecord) -> None:
    message = plain(record.message, lines=True).replace("\n", "\n    ")
    if desk.as_json:
        # To a pipe, where other programs look through the text.
        desk.write(f"{record.time.isoformat()} {plain(record.level)} {message}")
        return
    line = Text(f"{local(record.time):%H:%M:%S.%f}"[:12], "dim")
    line.append(f" {plain(record.level):<9}", LEVELS.get(record.level, "")).append(message)
    desk.out.print(line, soft_wrap=True)
