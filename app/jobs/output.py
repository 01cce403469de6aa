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
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self, TextIO

from app.jobs.model import Line, Progress
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

LINE_COST = 32
"""Characters that a line counts for beside its own: empty ones are work too."""


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

    def part(self) -> None:
        """Forget, in a forked process, what there is to send and who sends it."""
        self._lock = threading.RLock()
        self._lines.clear()
        self._progress = self._sender = None
        self._dropped = 0
        self._over = True

    def progress(self, progress: Progress) -> None:
        """Have the latest progress sent."""
        with self._lock:
            self._progress = progress
            self._have_sent()

    def say(self, logger: str, level: int, text: str) -> None:
        """Have a line sent; drop and count it when there were too many."""
        # After the first that is dropped all are, or nobody could tell where they are missing.
        text = "" if self._dropped else _shortened(storable(text))
        with self._lock:
            if self._over or self._dropped or len(text) > self._room:
                self._dropped += 1
                return
            self._room -= len(text) + LINE_COST
            # Plain values: an enumeration's level, for one, might be of a class that cannot be sent.
            self._lines.append(_line(storable(logger), int(level), text))
            self._have_sent()

    def _have_sent(self) -> None:
        """Wake the thread that sends; it begins with the first that there is. The lock is held."""
        if self._over or self._woken:
            return
        self._woken = True
        self._wakes.put(True)
        if self._sender is None:
            sender = threading.Thread(target=self._send_all, name="errand-output", daemon=True)
            # RuntimeError: there can be no more threads. It is sent at the end then.
            with suppress(RuntimeError):
                sender.start()
                self._sender = sender

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
        # For the next look too: there may be a wake-up left, and the rest shall not take its time.
        self._ends.put(None)
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
    """Stands in for stdout, stderr and the log of this process while it runs a job.

    What threads print that earlier jobs have left behind is none of this job's.
    """

    def __init__(self) -> None:
        self._output: Output | None = None
        self._streams: list[_Stream] = []
        self._handler = _Handler(self)
        self._strangers: set[threading.Thread] = set()
        """The threads that were there before the job."""

    def begin(self, output: Output, level: int) -> None:
        """Take what is printed and logged for this job's."""
        if not self._streams:
            self._streams = [
                _Stream(self, sys.stdout, logging.INFO),
                _Stream(self, sys.stderr, logging.WARNING),
            ]
            # What a forked process says has no way to the worker: there is no sender in it.
            os.register_at_fork(after_in_child=self._part)
        # Each time: the last job may have put something else in their place.
        sys.stdout, sys.stderr = self._streams
        if not logging.root.handlers:
            # Not beside others: code that configures logging has each line twice otherwise.
            logging.root.addHandler(self._handler)
        logging.root.setLevel(level)
        self._strangers = {*threading.enumerate()} - {threading.current_thread()}
        self._output = output

    def end(self) -> None:
        """Let go of the job."""
        # The job may have put something of its own in their place, which holds some text back.
        with suppress(Exception):
            sys.stdout.flush()
        with suppress(Exception):
            sys.stderr.flush()
        for stream in self._streams:
            stream.end_line()
        self._output = None

    def say(self, logger: str, level: int, text: str) -> None:
        """Take a line in."""
        output = self._output
        if output is not None and threading.current_thread() not in self._strangers:
            output.say(logger, level, text)
        elif self._streams:
            # This process's own stderr is the service's.
            origin = f"{logging.getLevelName(level)} {logger}: " if logger else ""
            _write(self._streams[-1].real, f"{origin}{text}\n")

    def _part(self) -> None:
        """Let a forked process print and log by itself."""
        if self._output is not None:
            self._output.part()
        self._output = None
        if self._streams:
            sys.stdout, sys.stderr = (stream.real for stream in self._streams)
        logging.root.removeHandler(self._handler)
        for stream in self._streams:
            stream.part()


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

        self.buffer = _Bytes(self)

    def __getattr__(self, name: str) -> Any:
        """Return the real one's `line_buffering`, `reconfigure` and the like."""
        return getattr(self.real, name)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """As the real one's."""
        return self.real.encoding

    def close(self) -> None:
        """Do nothing: the next job will print too."""

    def fileno(self) -> int:
        """Return the real one's, for programs that are started with this as their output."""
        return self.real.fileno()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Take text in. Returns its length."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
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

    def part(self) -> None:
        """Forget, in a forked process, the line that has begun here, and who was writing it."""
        self._lock, self._begun = threading.RLock(), ""

    def _say(self, line: str) -> None:
        self._capture.say("", self._level, line.rstrip("\r").rpartition("\r")[2])


class _Bytes(io.BufferedIOBase):
    """In place of stdout's or stderr's `buffer`."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def close(self) -> None:
        """Do nothing; see _Stream."""

    def fileno(self) -> int:
        """Return the real one's."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any) -> int:
        """Take bytes in, as text. Returns their number."""
        view = memoryview(data)
        self._stream.write(view.tobytes().decode("utf-8", "backslashreplace"))
        return view.nbytes


CAPTURE = _Capture()


# -- and where it goes -------------------------------------------------------


def repeat(lines: Sequence[Line]) -> None:
    """Print and log the lines here, as the code would have if it ran in this process."""
    for line in lines:
        if line.logger:
            _log(line)
        else:
            _write(sys.stderr if line.level > logging.INFO else sys.stdout, f"{line.text}\n")


def _write(out: TextIO | None, text: str) -> None:
    """Write to a stream that may be anything: missing, closed, or without these characters."""
    if out is None:
        return
    # OSError: nobody reads it any more. ValueError: it is closed.
    with suppress(OSError, ValueError):
        try:
            out.write(text)
        except UnicodeEncodeError:
            out.write(text.encode("ascii", "backslashreplace").decode())


def _log(line: Line) -> None:
    logger = logging.getLogger(line.logger)
    if logger.isEnabledFor(line.level):
        record = logger.makeRecord(line.logger, line.level, "", 0, line.text, (), None)
        record.created = line.at
        # The formatter takes the milliseconds from here.
        record.msecs = line.at % 1 * 1000
        logger.handle(record)
