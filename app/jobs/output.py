"""What the code of a job in a process prints, logs and reports, on its way to the worker.

A few times a second, in parts of a bounded size: the worker handles them in the process
that also answers HTTP, and a flood must not hold that up.
"""

import io
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self, TextIO

from app.jobs.model import Progress
from app.jobs.outcome import storable

INTERVAL = 0.1
"""Seconds between two parts."""

PART = 32 * 1024
"""Characters of lines in one part, about."""

PART_LINES = 500
"""Lines in one part at most."""

LINE_LIMIT = 8 * 1024
"""Characters of a line that are kept."""

LIMIT = 1024 * 1024
"""Characters of all lines of one attempt that are kept. What is beyond them is counted."""


class Line(NamedTuple):
    """Something printed or logged.

    logger: its name, or empty for what was printed. level: as in `logging`; INFO for stdout,
    WARNING for stderr. at: seconds since the epoch.
    """

    logger: str
    level: int
    at: float
    text: str


Send = Callable[[Progress | None, Sequence[Line]], None]


class Output:
    """Takes in what the code says between `with` and its end, from all threads of this process."""

    def __init__(self, level: int, send: Send) -> None:
        self._level = level
        self._send = send
        # Reentrant, and the queues are too: a finalizer may print while a line is taken in.
        self._lock = threading.RLock()
        self._lines: deque[Line] = deque()
        self._progress: Progress | None = None
        self._room = LIMIT
        self._dropped = 0
        self._over = False
        self._sender: threading.Thread | None = None
        self._woken = False
        self._wakes: SimpleQueue[bool] = SimpleQueue()
        """True: there is something to send. False: the end."""
        self._ends: SimpleQueue[None] = SimpleQueue()

    def __enter__(self) -> Self:
        CAPTURE.begin(self, self._level)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        CAPTURE.end()
        with self._lock:
            self._over = True
        if self._sender is not None:
            self._ends.put(None)
            self._wakes.put(False)
            self._sender.join()
        while self._send_part():
            pass
        if self._dropped:
            self._send(None, [_line("", logging.WARNING, f"... {self._dropped} more lines were dropped")])

    def progress(self, progress: Progress) -> None:
        """Have the latest progress sent."""
        with self._lock:
            self._progress = progress
            self._have_sent()

    def say(self, logger: str, level: int, text: str) -> None:
        """Have a line sent; drop and count it when there were too many."""
        text = _shortened(storable(text))
        with self._lock:
            if self._over or len(text) > self._room:
                self._dropped += 1
                return
            # An empty line takes room too.
            self._room -= len(text) + 1
            self._lines.append(_line(logger, level, text))
            self._have_sent()

    def _have_sent(self) -> None:
        """Wake the thread that sends; it begins with the first that there is. The lock is held."""
        if self._over or self._woken:
            return
        self._woken = True
        self._wakes.put(True)
        if self._sender is None:
            self._sender = threading.Thread(target=self._send_all, name="errand-output", daemon=True)
            self._sender.start()

    def _send_all(self) -> None:
        while self._wakes.get():
            self._woken = False
            while self._send_part() and not self._ends_within(INTERVAL):
                pass

    def _ends_within(self, seconds: float) -> bool:
        try:
            self._ends.get(timeout=seconds)
        except Empty:
            return False
        return True

    def _send_part(self) -> bool:
        """Send some of what there is; False when there is nothing."""
        with self._lock:
            progress, self._progress = self._progress, None
            lines: list[Line] = []
            size = 0
            while self._lines and size < PART and len(lines) < PART_LINES:
                lines.append(self._lines.popleft())
                size += len(lines[-1].text)
        if progress is None and not lines:
            return False
        self._send(progress, lines)
        return True


def _line(logger: str, level: int, text: str) -> Line:
    return Line(logger, level, time.time(), text)


def _shortened(text: str) -> str:
    return text if len(text) <= LINE_LIMIT else f"{text[:LINE_LIMIT]}... ({len(text)} characters in all)"


# -- where it comes from -----------------------------------------------------


class _Capture:
    """Stands in for stdout, stderr and the log of this process from its first job on.

    Between jobs it lets through what threads that a job has left behind print.
    """

    def __init__(self) -> None:
        self._output: Output | None = None
        self._streams: list[_Stream] = []
        self._handler = _Handler(self)

    def begin(self, output: Output, level: int) -> None:
        """Take what is printed and logged for this job's."""
        if not self._streams:
            self._install()
        logging.root.setLevel(level)
        self._output = output

    def end(self) -> None:
        """Let go of the job."""
        for stream in self._streams:
            stream.end_line()
        self._output = None

    def say(self, logger: str, level: int, text: str) -> None:
        """Take a line in."""
        output = self._output
        if output is not None:
            output.say(logger, level, text)
        elif self._streams:
            # The job is over. This process's own stderr is the service's.
            self._streams[-1].real.write(f"{text}\n")

    def _install(self) -> None:
        self._streams = [_Stream(self, sys.stdout, logging.INFO), _Stream(self, sys.stderr, logging.WARNING)]
        sys.stdout, sys.stderr = self._streams
        logging.root.addHandler(self._handler)
        # What a forked process says has no way to the worker: there is no sender in it.
        os.register_at_fork(after_in_child=self._uninstall)

    def _uninstall(self) -> None:
        self._output = None
        sys.stdout, sys.stderr = (stream.real for stream in self._streams)
        logging.root.removeHandler(self._handler)


class _Handler(logging.Handler):
    def __init__(self, capture: _Capture) -> None:
        super().__init__()
        self._capture = capture

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record in, as text: its arguments may be anything."""
        try:
            self._capture.say(record.name, record.levelno, self.format(record))
        except Exception:  # noqa: BLE001  (as all handlers do)
            self.handleError(record)


class _Stream(io.TextIOBase):
    """In place of stdout or stderr. Takes in complete lines; of a line that is redrawn, its last state."""

    def __init__(self, capture: _Capture, real: TextIO, level: int) -> None:
        self.real = real
        self._capture = capture
        self._level = level
        self._lock = threading.RLock()
        self._begun = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """As the real one's."""
        return self.real.encoding

    @property
    def buffer(self) -> BinaryIO:
        """The real one's: bytes are not taken in."""
        return self.real.buffer

    def fileno(self) -> int:
        """Return the real one's, for programs that are started with this as their output."""
        return self.real.fileno()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Take text in. Returns its length."""
        with self._lock:
            *lines, begun = f"{self._begun}{text}".split("\n")
            if len(begun) > LINE_LIMIT:
                lines.append(begun)
                begun = ""
            self._begun = begun
        for line in lines:
            self._say(line)
        return len(text)

    def end_line(self) -> None:
        """Take in the line that has begun."""
        with self._lock:
            line, self._begun = self._begun, ""
        if line:
            self._say(line)

    def _say(self, line: str) -> None:
        self._capture.say("", self._level, line.rstrip("\r").rpartition("\r")[2])


CAPTURE = _Capture()


# -- and where it goes -------------------------------------------------------


def repeat(lines: Sequence[Line]) -> None:
    """Print and log the lines here, as the code would have if it ran in this process."""
    for line in lines:
        if line.logger:
            _log(line)
        else:
            out = sys.stderr if line.level > logging.INFO else sys.stdout
            out.write(f"{line.text}\n")


def _log(line: Line) -> None:
    logger = logging.getLogger(line.logger)
    if logger.isEnabledFor(line.level):
        record = logger.makeRecord(line.logger, line.level, "", 0, line.text, (), None)
        record.created = line.at
        logger.handle(record)
