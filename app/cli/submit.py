"""The command that hands in work: submit."""

import re
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from difflib import get_close_matches
from itertools import chain, repeat
from pathlib import Path
from typing import Annotated, Any, Self

import typer
from rich.live import Live

from app.cli import finding
from app.cli.batches import submit_file
from app.cli.board import drawn
from app.cli.completion import complete_queue, complete_task
from app.cli.desk import Desk
from app.cli.ends import FINE, INTERRUPTED, TIMED_OUT, StopError
from app.cli.schema import Parameters, parse, shorten, type_of
from app.cli.screen import span, word
from app.cli.words import EXIT_CODES, Seen, status
from app.client import Client, Job, TaskInfo

HOW = "How it is to run"
WAITING = "Waiting"

FIRST_LOOK, LOOK = 0.1, 1.0
"""Seconds until the first look at how far a job has come, and between further ones, when somebody watches."""

LONGEST = 60.0
"""Seconds that the service lets one request wait."""


def _how(*names: str, **settings: Any) -> Any:
    return typer.Option(*names, show_default=False, rich_help_panel=HOW, **settings)


@dataclass(frozen=True)
class Options:
    """How a job is to run, as the options of the command; None: as its task has it."""

    queue: Annotated[
        str | None,
        _how("--queue", metavar="NAME", help="The queue to wait in.", autocompletion=complete_queue),
    ] = None
    priority: Annotated[
        int | None, _how("--priority", metavar="N", help="-100 to 100; higher runs first.")
    ] = None
    delay: Annotated[float | None, _how("--delay", metavar="SECONDS", help="Not before so many seconds.")] = (
        None
    )
    run_at: Annotated[
        str | None,
        _how("--run-at", metavar="TIME", help="Not before it: 2030-01-31T09:00, or with an offset."),
    ] = None
    timeout: Annotated[
        float | None, _how("--timeout", metavar="SECONDS", help="Stop it when it has run for so long.")
    ] = None
    expires_in: Annotated[
        float | None, _how("--expires-in", metavar="SECONDS", help="Cancel it if it has not begun by then.")
    ] = None
    max_attempts: Annotated[
        int | None, _how("--max-attempts", metavar="N", help="Run it so often until it succeeds.")
    ] = None
    key: Annotated[
        str | None, _how("--key", metavar="TEXT", help="Not if a job of this task and key is not done yet.")
    ] = None
    tag: Annotated[
        list[str] | None, _how("--tag", metavar="KEY=VALUE", help="A text to find it by; repeatable.")
    ] = None
    idempotency_key: Annotated[
        str | None,
        _how(
            "--idempotency-key", metavar="TEXT", help="The same again within a day stands for the same job."
        ),
    ] = None

    def given(self) -> dict[str, Any]:
        """Return what was given, as the client takes it. Raises StopError."""
        options = {field.name: getattr(self, field.name) for field in fields(self)}
        attempts, tags = options.pop("max_attempts"), options.pop("tag")
        if self.idempotency_key is not None and not re.fullmatch(r"[!-~]{1,255}", self.idempotency_key):
            raise StopError("--idempotency-key takes 1 to 255 visible ASCII characters")
        if self.run_at is not None:
            options["run_at"] = finding.instant(self.run_at, "--run-at")
        options["retry"] = None if attempts is None else {"max_attempts": attempts}
        options["tags"] = finding.tags_of(tags) if tags else None
        return {name: value for name, value in options.items() if value is not None}


File = Annotated[
    Path | None,
    typer.Option(
        "--file",
        metavar="FILE",
        show_default=False,
        help="Submit a job for each line of JSON, 1,000 at a time; - is the standard input. Without a TASK, "
        "a line is a submission as in HTTP. With one: its arguments, an array or an object; anything else "
        "is its only argument. It does not wait.",
    ),
]


@dataclass(frozen=True)
class Call:
    """What to run, as arguments and options of the command."""

    task: Annotated[
        str | None,
        typer.Argument(metavar="TASK", help="Its name.", show_default=False, autocompletion=complete_task),
    ] = None
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ARG",
            show_default=False,
            help="Its arguments: VALUE or NAME=VALUE. Text is taken as it is; all that is no text to the "
            "task, as JSON. After -- they may begin with a dash.",
        ),
    ] = None
    args: Annotated[
        str | None,
        typer.Option("--args", metavar="JSON", help="All values without names, as a JSON array."),
    ] = None
    kwargs: Annotated[
        str | None, typer.Option("--kwargs", metavar="JSON", help="Values by their names, as a JSON object.")
    ] = None

    @property
    def has_arguments(self) -> bool:
        """Whether any arguments were given."""
        return bool(self.words) or self.args is not None or self.kwargs is not None

    def arguments(self, task: TaskInfo) -> tuple[list[Any], dict[str, Any]]:
        """Return them, by position and by name. Raises StopError, which says what is wrong with them."""
        args, kwargs = Parameters(task.parameters).read(self.words or [])
        if self.args is not None:
            if args:
                raise StopError("values without names stand in --args or on the command line, not in both")
            args = _json("--args", self.args, "array")
        more = {} if self.kwargs is None else _json("--kwargs", self.kwargs, "object")
        for name in kwargs.keys() & more.keys():
            raise StopError(f"{name} is given twice")
        return args, {**kwargs, **more}


@dataclass(frozen=True)
class Waiting:
    """Whether to wait for the job, as options of the command."""

    wait: Annotated[
        bool,
        typer.Option("--wait", "-w", rich_help_panel=WAITING, help="Wait for the result and print it."),
    ] = False
    wait_timeout: Annotated[
        float | None,
        typer.Option(
            "--wait-timeout",
            metavar="SECONDS",
            min=0,
            rich_help_panel=WAITING,
            show_default=False,
            help="Wait for no longer than that; the job goes on, and the exit code is 4.",
        ),
    ] = None

    @property
    def wanted(self) -> bool:
        """Whether it is to be waited for, for however long."""
        return self.wait or self.wait_timeout is not None


def submit(desk: Desk, call: Call, options: Options, waiting: Waiting, file: File = None) -> int:
    """Hand in a job, or a file of them.

    Prints the job; with --wait, its result.
    """
    if file is not None:
        if call.has_arguments or waiting.wanted or options.idempotency_key:
            raise StopError("with --file there are no arguments, no waiting and no --idempotency-key")
        return submit_file(desk, file, call.task, options.given())
    if call.task is None:
        raise StopError("name a task; `errand tasks` shows what there is")
    args, kwargs = call.arguments(task_of(desk.client, call.task))
    try:
        job = desk.client.options(**options.given()).submit(call.task, *args, **kwargs)
    except (TypeError, ValueError) as exc:
        # Nothing was sent: a delay that is no number, for one.
        raise StopError(str(exc)) from None
    if waiting.wanted:
        return _result(desk, _waited(desk, job, waiting.wait_timeout))
    _tell(desk, job)
    return FINE


def task_of(client: Client, name: str) -> TaskInfo:
    """Return what the service knows of a task. Raises StopError, which names those that it may be."""
    tasks = {task.name: task for task in client.tasks()}
    if name not in tasks:
        near = get_close_matches(name, tasks)
        hint = f"did you mean {' or '.join(near)}?" if near else "`errand tasks` shows what there is"
        raise StopError(f"there is no task {shorten(name)}; {hint}")
    return tasks[name]


def _json(option: str, text: str, kind: str) -> Any:
    example = {"array": "'[\"to be\", 3]'", "object": "'{\"n\": 3}'"}[kind]
    try:
        value = parse(text)
    except ValueError as exc:
        raise StopError(f"{option} is no JSON ({exc}); it takes an {kind} like {example}") from None
    if type_of(value) != kind:
        raise StopError(f"{option} takes an {kind} of JSON like {example}")
    return value


# -- waiting ---------------------------------------------------------------------


def _waited(desk: Desk, job: Job, seconds: float | None) -> Job:
    """Return the job when it is done. Raises StopError when time is up, or Ctrl-C is pressed."""
    desk.persist()
    deadline = None if seconds is None else time.monotonic() + seconds
    watched = sys.stderr.isatty()
    with _Picture(desk, job) if watched else nullcontext() as picture:
        try:
            slices = chain([FIRST_LOOK], repeat(LOOK)) if watched else repeat(LONGEST)
            while not job.done:
                left = LONGEST if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    still = f" is still {job.state} after {span(seconds or 0)}, and"
                    raise StopError(_going_on(job, still), TIMED_OUT)
                job = desk.client.get(job.id, wait=min(left, next(slices)))
                if picture is not None:
                    picture.job = job
        except KeyboardInterrupt:
            # What it was at the last look may be long ago.
            raise StopError(_going_on(job), INTERRUPTED) from None
    return job


class _Picture(AbstractContextManager["_Picture"]):
    """A progress bar of one job, on stderr."""

    def __init__(self, desk: Desk, job: Job) -> None:
        self.job = job
        screen = desk.err
        self._live = Live(
            get_renderable=lambda: drawn([Seen.of(self.job)], screen.width, screen.height),
            console=screen,
            transient=True,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()


def _going_on(job: Job, still: str = "") -> str:
    return f"job {job.id}{still} goes on; `errand watch {job.id}` follows it"


def _result(desk: Desk, job: Job) -> int:
    """Print the result of a job that is done; what else it may have come to, beside the answer."""
    seen = Seen.of(job)
    if code := EXIT_CODES.get(seen.status, FINE):
        raise StopError(f"job {job.id} {seen.ending}", code)
    desk.data(job.result)
    return FINE


def _tell(desk: Desk, job: Job) -> None:
    if desk.as_json:
        desk.data(job)
        return
    desk.out.print(word(job.id).append(" ").append_text(word(status(job))), soft_wrap=True)
