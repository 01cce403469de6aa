"""What the code of a job in a process prints, logs and reports, on its way to the worker.

A few times a second, in parts of a bounded size: the worker handles them in the process
that also answers HTTP, and a flood must not hold that up.
"""

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
from typing import Self, TextIO

from app.jobs.model import Line, Progress
from app.jobs.outcome import storable
from app.jobs.streams import LINE_LIMIT, StandIn, last_state, whole_lines

INTERVAL = 0.1
"""Seconds between two parts."""

PART = 32 * 1024
"""Characters of lines in one part, about."""

PART_LINES = 500
"""Lines in one part at most."""

LIMIT = 1024 * 1024
"""Characters of all lines of a job that are kept. What is beyond them is counted."""

JOB = "errand_job"
"""The attribute by which a record of the log names the job whose code made it."""

Send = Callable[[Progress | None, Sequence[Line], int], None]
"""Takes the latest progress, lines, and how many more were dropped since the last time."""


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
        self._full = False
        self._dropped = 0
        """Lines; those that were told of are not counted any more."""
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
        line = None if self._full else line_of(logger, level, text)
        with self._lock:
            if self._over:
                return
            # After the first that is dropped all are, or nobody could tell where they are missing.
            if line is None or self._full or line.cost > self._room:
                self._full = True
                self._dropped += 1
            else:
                self._room -= line.cost
                self._lines.append(line)
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
            dropped, self._dropped = self._dropped, 0
            lines: list[Line] = []
            size = 0
            while self._lines and size < PART and len(lines) < PART_LINES:
                lines.append(self._lines.popleft())
                size += len(lines[-1].text)
        if progress is None and not lines and not dropped:
            return False
        self._send(progress, lines, dropped)
        return True


def line_of(logger: str, level: int, text: str) -> Line:
    """Return a line that is said now, as it can be kept. logger: empty for what was printed."""
    # Plain values: an enumeration's level, for one, might be of a class that cannot be sent.
    return Line(storable(logger), int(level), time.time(), _shortened(storable(text)))


def dropped_line(number: int) -> Line:
    """Return the line that stands for those that were dropped."""
    return line_of("", logging.WARNING, f"... {number} more lines were dropped")


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


class _Stream(StandIn):
    """In place of stdout or stderr. Takes in complete lines."""

    def __init__(self, capture: _Capture, real: TextIO, level: int) -> None:
        super().__init__(real)
        self._capture = capture
        self._level = level
        self._lock = threading.RLock()
        self._begun = ""

    def take(self, text: str) -> None:
        """Take text in."""
        with self._lock:
            lines, self._begun = whole_lines(self._begun, text)
        for line in lines:
            self._say(line)

    def end_line(self) -> None:
        """Take in the line that has begun."""
        with self._lock:
            line, self._begun = self._begun, ""
        if line:
            self._say(last_state(line))

    def part(self) -> None:
        """Forget, in a forked process, the line that has begun here, and who was writing it."""
        self._lock, self._begun = threading.RLock(), ""

    def _say(self, line: str) -> None:
        self._capture.say("", self._level, line)


CAPTURE = _Capture()


# -- and where it goes -------------------------------------------------------


def repeat(lines: Sequence[Line], job_id: str) -> None:
    """Print and log the lines here, as the code would have if it ran in this process."""
    for line in lines:
        if line.logger:
            _log(line, job_id)
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


def _log(line: Line, job_id: str) -> None:
    logger = logging.getLogger(line.logger)
    if logger.isEnabledFor(line.level):
        record = logger.makeRecord(line.logger, line.level, "", 0, line.text, (), None, extra={JOB: job_id})
        record.created = line.at
        # The formatter takes the milliseconds from here.
        record.msecs = line.at % 1 * 1000
        logger.handle(record)
