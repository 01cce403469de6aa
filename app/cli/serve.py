"""`errand serve`: flags from the settings, the log, and the service until its end.

The flags are read without typer: a service that is idle need not hold what draws tables.
"""

import argparse
import atexit
import io
import logging
import os
import queue
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.cli.ends import INTERRUPTED, USAGE
from app.config import ConfigError, Settings, load_settings, unknown_variables

LOG_RECORDS = 10_000
"""Records that wait to be written at most."""


def main(arguments: Sequence[str]) -> int:
    """Run `errand serve` with what stands behind it on the command line, and return the exit code."""
    given = vars(parser().parse_args(arguments))
    return _serve({name: value for name, value in given.items() if value is not None})


def parser() -> argparse.ArgumentParser:
    """Return what reads the flags: one for each setting."""
    flags = argparse.ArgumentParser(
        prog="errand serve",
        description="Run the service. Every flag has an environment variable: --host is ERRAND_HOST.",
    )
    for name, field in Settings.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        if field.annotation is bool:
            flags.add_argument(flag, action="store_true", default=None, help=field.description)
        else:
            # argparse expands % in help texts.
            text = f"{field.description}{_default(field)}".replace("%", "%%")
            flags.add_argument(flag, metavar="VALUE", help=text)
    return flags


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None or value == ():
        return ""
    return f" (default: {','.join(value) if isinstance(value, tuple) else value})"


def _serve(options: dict[str, Any]) -> int:
    """Start the service and run it to its end. What keeps it from starting is one line, not a traceback."""
    from app.jobs.errors import TaskDefinitionError  # noqa: PLC0415  (`--help` needs none of them)
    from app.jobs.registry import load, without_tasks  # noqa: PLC0415
    from app.server import StartError, serve  # noqa: PLC0415
    from app.stores.base import StoreError  # noqa: PLC0415

    _print_by_lines()
    _log_aside()
    put_current_folder_first()
    try:
        settings = load_settings(**options)
        registry = load(settings.tasks)
        _warn(without_tasks(settings.tasks))
        return serve(settings, registry)
    except (ConfigError, TaskDefinitionError, StartError, StoreError) as exc:
        print(f"errand: {exc}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        # Before the service took the signals over: nothing has begun that would have to end.
        return INTERRUPTED


def _warn(empty: Sequence[str]) -> None:
    """Tell of what is hardly meant: settings of no such name, and modules without tasks (`empty`)."""
    for name, nearest in unknown_variables().items():
        hint = f"; did you mean {nearest}?" if nearest else "; `errand serve --help` shows those there are"
        print(f"errand: {name} is no setting{hint}", file=sys.stderr)
    for name in empty:
        own = name.partition(".")[0] == "app"
        why = ", and is Errand's own: yours needs a name other than `app`" if own else ""
        print(f"errand: the task module {name!r} has no tasks{why}", file=sys.stderr)


def _print_by_lines() -> None:
    """Have each line that a task prints come when it is printed, also to a file or a pipe.

    Python by itself gathers some pages for these: they come late, and after a kill they never do.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)


def _log_aside() -> None:
    """Have a thread of its own write the log, so that nothing waits for whoever reads it.

    A pipe that nobody reads would otherwise stop the event loop and the writer. Records
    that do not fit are dropped.
    """
    from logging.handlers import QueueHandler, QueueListener  # noqa: PLC0415  (only to serve)

    from app.worker.tee import name_job  # noqa: PLC0415  (see _serve)

    class Dropping(QueueHandler):
        def enqueue(self, record: logging.LogRecord) -> None:
            with suppress(queue.Full):
                self.queue.put_nowait(record)

    out = logging.StreamHandler()
    out.setFormatter(_formatter())
    # A forked child's records come here without the queue.
    out.addFilter(name_job)
    records: queue.Queue[logging.LogRecord] = queue.Queue(LOG_RECORDS)
    listener = QueueListener(records, out)
    listener.start()
    atexit.register(listener.stop)
    # A forked child has no such thread.
    os.register_at_fork(after_in_child=lambda: setattr(logging.root, "handlers", [out]))
    # Not by basicConfig: it would give the queue's end a format too, and each line would have it twice.
    dropping = Dropping(records)
    # Before the record is queued: only the thread that logs knows whose code it runs.
    dropping.addFilter(name_job)
    logging.root.addHandler(dropping)
    logging.root.setLevel(logging.INFO)
    # What it says of its start and its end, we say ourselves.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def _formatter() -> logging.Formatter:
    """Return what makes a line of a record, with the id of the job whose code made it."""
    from app.jobs.output import JOB  # noqa: PLC0415  (see _serve)

    class Formatter(logging.Formatter):
        def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (logging's name)
            job_id = getattr(record, JOB, "")
            record.origin = f"{record.name} [{job_id}]" if job_id else record.name
            return super().formatMessage(record)

    return Formatter("%(asctime)s %(levelname)-7s %(origin)s: %(message)s")


def put_current_folder_first() -> None:
    """Let task modules beside the user be found. A console script does not look there by itself."""
    here = Path.cwd()
    own = Path(__file__).parents[1]
    for rival in (here / "app", here / "app.py"):
        if rival.exists() and rival != own and not (rival.is_dir() and rival.samefile(own)):
            print(
                f"errand: {rival} has the name of Errand's own package; "
                "what your tasks import from `app` is Errand's",
                file=sys.stderr,
            )
    if str(here) not in sys.path[:1]:
        sys.path.insert(0, os.fspath(here))
