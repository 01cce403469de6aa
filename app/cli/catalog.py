"""The commands about what the service offers: tasks, queues, pause, resume."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli.completion import complete_queue, complete_task
from app.cli.desk import Desk
from app.cli.schema import signature
from app.cli.screen import Column, plain, span, table, word
from app.cli.submit import task_of
from app.client import QueueInfo, TaskInfo

INDENT = 4
"""Columns by which documentation is indented."""

Name = Annotated[str, typer.Argument(metavar="QUEUE", help="Its name.", autocompletion=complete_queue)]

COLUMNS = (
    Column("QUEUE"),
    Column("STATE", whole=True),
    Column("PENDING", whole=True, right=True),
    Column("RUNNING", whole=True, right=True),
    Column("OLDEST", whole=True, right=True),
)


def tasks(
    desk: Desk,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="One of them, in full.", show_default=False, autocompletion=complete_task
        ),
    ] = None,
) -> None:
    """Show the functions that can be submitted, and what they take."""
    found = desk.client.tasks() if name is None else [task_of(desk.client, name)]
    if desk.as_json:
        desk.each(found)
    elif name is None:
        for task in found:
            _show(desk, task)
    else:
        _show_in_full(desk, found[0])


def _show(desk: Desk, task: TaskInfo) -> None:
    desk.out.print(_signature(task), soft_wrap=True)
    if task.doc:
        line = Text(" " * INDENT + plain(task.doc.partition("\n")[0]), "dim")
        desk.out.print(line, no_wrap=True, overflow="ellipsis")


def _show_in_full(desk: Desk, task: TaskInfo) -> None:
    desk.out.print(_signature(task), soft_wrap=True)
    for line in plain(task.doc, lines=True).splitlines():
        desk.out.print(Text(f"{' ' * INDENT}{line}" if line else ""), soft_wrap=True)
    desk.out.print()
    desk.out.print(Text(", ".join(_options(task)), "dim"), soft_wrap=True)


def _signature(task: TaskInfo) -> Text:
    line = Text(plain(signature(task.name, task.parameters, task.result)))
    line.stylize("bold cyan", 0, len(plain(task.name)))
    return line


def _options(task: TaskInfo) -> Sequence[str]:
    """Return in words how it is run."""
    options = task.options
    told = [f"runs in a {plain(task.executor)}", f"queue {plain(options.get('queue'))}"]
    told += [f"{word} {plain(value)}" for word, value in _numbers(options) if value]
    attempts = (options.get("retry") or {}).get("max_attempts", 1)
    return told if attempts == 1 else [*told, f"{attempts} attempts"]


def _numbers(options: Any) -> Sequence[tuple[str, Any]]:
    names = (("priority", "priority"), ("timeout in seconds", "timeout"), ("running at most", "max_running"))
    more = (("in all at most", "max_running_total"), ("counted by", "limit_key"))
    return [(word, options.get(name)) for word, name in (*names, *more)]


def queues(desk: Desk) -> None:
    """Show the queues that hold jobs or are paused."""
    found = desk.client.queues()
    if desk.as_json:
        desk.each(found)
    elif found:
        desk.out.print(table(COLUMNS, [_row(queue) for queue in found], desk.out.width))
    else:
        desk.remark("no queue holds jobs, and none is paused")


def _row(queue: QueueInfo) -> Sequence[object]:
    state = Text("paused", "yellow") if queue.paused else Text("open", "green")
    oldest = "" if queue.oldest_age is None else span(queue.oldest_age)
    return queue.name, state, f"{queue.pending:,}", f"{queue.running:,}", oldest


def pause(desk: Desk, queue: Name) -> None:
    """Run no more jobs of a queue until it is resumed.

    It takes jobs all the same, and what runs goes on. A restart changes nothing.
    """
    _tell(desk, desk.client.pause(queue))


def resume(desk: Desk, queue: Name) -> None:
    """Run the jobs of a queue again."""
    _tell(desk, desk.client.resume(queue))


def _tell(desk: Desk, queue: QueueInfo) -> None:
    if desk.as_json:
        desk.data(queue)
        return
    told = "is paused" if queue.paused else "runs"
    line = word(queue.name).append(f" {told}: {queue.pending:,} pending, {queue.running:,} running")
    desk.out.print(line, soft_wrap=True)
