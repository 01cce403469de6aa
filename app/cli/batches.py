"""Files of jobs: a line of JSON each, submitted a batch at a time."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app.cli.desk import Desk
from app.cli.ends import UNREACHABLE, USAGE, StopError
from app.cli.schema import parse, shorten, type_of
from app.cli.screen import Screen, plain
from app.client import (
    InvalidRequestError,
    ProblemError,
    ServiceUnreachableError,
    Submission,
    Submitted,
    calls,
)

BATCH = 1_000
"""Jobs that are stored together, or not at all."""

FIELDS = {field.name for field in fields(Submission)} - {"idempotency_key"}
"""What a line may have that is a whole submission."""


SHAPES: Mapping[str, type] = {"args": list, "kwargs": dict, "tags": dict, "retry": dict}
"""Fields that are looked at here; what the others may be, the service says."""

SAID: Mapping[type, str] = {list: "array", dict: "object"}


class Line(NamedTuple):
    """A line of the file. body: as it is sent. end: where it ends, in bytes from the beginning."""

    number: int
    body: str
    end: int


def submit_file(desk: Desk, path: Path, task: str | None, options: Mapping[str, Any]) -> int:
    """Submit all lines of a file. Raises StopError, which names the line that is wrong."""
    stored = 0
    name = "standard input" if str(path) == "-" else plain(path)
    with ExitStack() as opened:
        file = opened.enter_context(_open(path))
        bar = opened.enter_context(_Bar(desk.err, _size(file)))
        lines = _lines(file, task, options)
        try:
            for batch in _batches(lines):
                _tell(desk, _stored(desk, batch))
                desk.persist()
                stored += len(batch)
                bar.show(batch[-1].end, stored)
        except _FaultError as exc:
            raise StopError(f"{name}, line {exc.number}: {exc}; {_so_far(stored)}", exc.code) from None
        except KeyboardInterrupt:
            desk.remark(f"errand: {_so_far(stored)}")
            raise
    if not desk.as_json:
        desk.write(f"{stored:,} {'job' if stored == 1 else 'jobs'} submitted")
    return 0


def _so_far(stored: int) -> str:
    if not stored:
        return "nothing was stored"
    return f"{'the job' if stored == 1 else f'the {stored:,} jobs'} of the batches before are stored"


def _tell(desk: Desk, jobs: Iterable[Submitted]) -> None:
    if desk.as_json:
        desk.each(jobs)


class _FaultError(Exception):
    """A line that is wrong, or at which it went wrong."""

    def __init__(self, number: int, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.number = number
        self.code = code


def _stored(desk: Desk, batch: Sequence[Line]) -> Sequence[Submitted]:
    """Submit a batch. Raises _FaultError."""
    try:
        return desk.client.perform(calls.submit_batch([line.body for line in batch]))
    except InvalidRequestError as exc:
        raise _fault_of(exc, batch) from exc
    except ProblemError as exc:
        raise _FaultError(batch[0].number, str(exc), 1) from exc
    except ServiceUnreachableError as exc:
        raise _FaultError(batch[0].number, str(exc), UNREACHABLE) from exc


def _fault_of(exc: ProblemError, batch: Sequence[Line]) -> _FaultError:
    """Return which line the service finds fault with: it says the place within the batch."""
    for error in exc.errors:
        place = list(error.get("loc", ()))
        index = place.pop(0) if place else None
        if isinstance(index, int) and index < len(batch):
            where = ".".join(map(str, place))
            said = f"{where}: {error.get('msg')}" if where else str(error.get("msg"))
            more = f" (and {len(exc.errors) - 1:,} more)" if len(exc.errors) > 1 else ""
            return _FaultError(batch[index].number, said + more)
    last = batch[-1].number
    return _FaultError(
        batch[0].number, f"{exc} (in the lines up to {last:,})" if len(batch) > 1 else str(exc)
    )


# -- reading ---------------------------------------------------------------------


def _open(path: Path) -> BinaryIO:
    if str(path) == "-":
        # Not closed in the end: it is the process's.
        return open(sys.stdin.fileno(), "rb", closefd=False)
    try:
        return path.open("rb")
    except OSError as exc:
        raise StopError(f"{plain(path)} cannot be read: {exc.strerror}") from None


def _size(file: BinaryIO) -> int | None:
    """Return the bytes of a file; None for a pipe."""
    if not file.seekable():
        return None
    size = file.seek(0, 2)
    file.seek(0)
    return size


def _lines(file: BinaryIO, task: str | None, options: Mapping[str, Any]) -> Iterator[Line]:
    """Yield what the lines stand for; empty ones are left out. Raises _FaultError."""
    end = 0
    for number, line in enumerate(file, 1):
        end += len(line)
        if line.strip():
            yield Line(number, _body(number, _submission(number, line, task, options)), end)


def _body(number: int, submission: Submission) -> str:
    try:
        return submission.body()
    except (TypeError, ValueError) as exc:
        raise _FaultError(number, str(exc)) from exc


def _batches(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Yield what is submitted together: so many lines, or fewer if they are long."""
    batch: list[Line] = []
    size = 0
    for line in lines:
        if batch and size + len(line.body) > calls.BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line.body)
        if len(batch) == BATCH:
            # Before the next line is read, which may be wrong.
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _submission(number: int, line: bytes, task: str | None, options: Mapping[str, Any]) -> Submission:
    try:
        value = parse(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError:
        raise _FaultError(number, "not UTF-8 text") from None
    except ValueError as exc:
        raise _FaultError(number, f"not JSON ({exc})") from None
    if task is None:
        return _whole(number, value, options)
    return Submission(task, *_arguments(value), **options)


def _arguments(value: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
    match value:
        case list():
            return value, {}
        case dict():
            return (), value
        case _:
            return (value,), {}


def _whole(number: int, value: Any, options: Mapping[str, Any]) -> Submission:
    """Return a submission of a line that says all; what it leaves out is as the options have it."""
    if not isinstance(value, dict):
        hint = "name the TASK before --file if the lines are its arguments"
        raise _FaultError(number, f"a submission is a JSON object, and this is {type_of(value)}; {hint}")
    unknown = sorted(value.keys() - FIELDS)
    if unknown:
        raise _FaultError(number, f"a submission has no field {shorten(unknown[0])}")
    if not isinstance(value.get("task"), str):
        raise _FaultError(number, "the field 'task' is to be the name of a task")
    for name, shape in SHAPES.items():
        # null is as good as nothing, which the service says of tags in its own words.
        if value.get(name) is not None and not isinstance(value[name], shape):
            raise _FaultError(number, f"the field {name!r} is to be an {SAID[shape]}")
    return Submission(**{**options, **value})


class _Bar:
    """A progress bar on stderr, if that is a terminal: of bytes if it is known how many there are."""

    def __init__(self, screen: Screen, size: int | None) -> None:
        jobs = TextColumn("{task.fields[jobs]:,} jobs", markup=False)
        columns = (BarColumn(), TaskProgressColumn(), jobs, TimeElapsedColumn())
        self._progress = Progress(*columns, console=screen, transient=True, disable=not sys.stderr.isatty())
        self._task = self._progress.add_task("", total=size, jobs=0)

    def show(self, at: int, jobs: int) -> None:
        """Show how far it is: by bytes, and by jobs."""
        self._progress.update(self._task, completed=at, jobs=jobs)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
