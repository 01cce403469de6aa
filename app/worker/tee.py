"""What the code of jobs in this process prints and logs: it goes on to where it went, and to its job too.

Whose it is, the context tells. So a plain thread that a function starts itself is nobody's,
it does not inherit the context: what it says goes to the service's own output only, unless it is
run in a copy of the context (`asyncio.to_thread` is). The same is true of programs that a
function starts, which write to the real streams, and of processes that it forks. What Errand's
own loggers say is never a job's.
"""

import logging
import os
import sys
import threading
from contextlib import suppress
from typing import Any, TextIO

from app.jobs.context import SCOPE, Listener
from app.jobs.output import JOB
from app.jobs.streams import StandIn, as_text

OWN = ("app.core.", "app.jobs.", "app.stores.", "app.worker.", "app.service.", "app.api.", "app.client.")
"""What the names of Errand's own loggers begin with. The sample tasks' is not among them."""


def _is_own(logger: str) -> bool:
    return f"{logger}.".startswith(OWN)


def name_job(record: logging.LogRecord) -> bool:
    """Name in a record the job whose code made it, on the thread that made it; a filter that lets all pass.

    The attribute `errand_job` is its id, or empty.
    """
    if not hasattr(record, JOB):
        scope = None if _is_own(record.name) else SCOPE.get()
        setattr(record, JOB, "" if scope is None else scope.context.id)
    return True


def _listener() -> Listener | None:
    scope = SCOPE.get()
    return None if scope is None else scope.listener


class Router(StandIn):
    """In place of stdout or stderr of the service."""

    def __init__(self, real: TextIO, level: int) -> None:
        super().__init__(real)
        self._level = level

    def take(self, text: str) -> None:
        """Write text to the real one, and tell the job. Raises what the real one raises."""
        self._tell(text)
        self.real.write(text)

    def take_bytes(self, data: Any) -> None:
        """Write bytes to the real one, and tell the job. Raises what the real one raises."""
        self._tell(as_text(data))
        self.real.buffer.write(data)

    def flush(self) -> None:
        """Flush the real one."""
        self.real.flush()

    def _tell(self, text: str) -> None:
        try:
            listener = _listener()
            if listener is not None:
                listener.write(self._level, text)
        except Exception:  # noqa: BLE001, S110  (anything: the text may be of a class of the user's own)
            pass


class _Handler(logging.Handler):
    """Beside the handlers of the service's own log."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Tell the job of a record, as text: its arguments may be anything.

        Under no lock, as handlers usually are: to show its arguments a record may have to wait
        for somebody who logs. What cannot be shown the service's own log complains of.
        """
        with suppress(Exception):
            listener = None if _is_own(record.name) else _listener()
            if listener is not None:
                listener.say(record.name, record.levelno, self.format(record))
        return True


class Tee:
    """Puts the stand-ins in their places as long as there is a worker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._handler = _Handler()
        self._parts = False

    def begin(self) -> None:
        """Be there for one worker more."""
        with self._lock:
            self._users += 1
            if not self._parts:
                self._parts = True
                # What a forked process says has no way to the store: there is no worker in it.
                os.register_at_fork(after_in_child=self._restore)
            self._take_places()

    def again(self) -> None:
        """Take the places again, if there is a worker: somebody may have put something else there."""
        with self._lock:
            if self._users:
                self._take_places()

    def _take_places(self) -> None:
        # None of it does harm when it is there already.
        sys.stdout = _routed(sys.stdout, logging.INFO)
        sys.stderr = _routed(sys.stderr, logging.WARNING)
        logging.root.addHandler(self._handler)

    def end(self) -> None:
        """Be gone with the last worker."""
        with self._lock:
            self._users -= 1
            if not self._users:
                self._restore()

    def _restore(self) -> None:
        sys.stdout, sys.stderr = _real(sys.stdout), _real(sys.stderr)
        logging.root.removeHandler(self._handler)


def _routed(stream: Any, level: int) -> Any:
    # None: a process without a console has none.
    return stream if stream is None or isinstance(stream, Router) else Router(stream, level)


def _real(stream: Any) -> Any:
    """Return the real one, if it is a stand-in; anything else somebody else has put there."""
    return stream.real if isinstance(stream, Router) else stream


TEE = Tee()
