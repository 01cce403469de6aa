"""What the code of an attempt has said, its progress and its lines, on its way to the store."""

import itertools
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from app.core import Future
from app.jobs.lifecycle import Logged, Progressed
from app.jobs.model import Job, Line, Progress
from app.jobs.output import LIMIT, dropped_line, line_of
from app.jobs.process import Report
from app.jobs.streams import LINE_LIMIT, last_state, whole_lines
from app.stores.base import StoreUnavailableError

PART = 1000
"""Lines that are stored at a time at most: other jobs' changes shall come in between."""

Rest = tuple[Progressed | Logged, ...]
Settle = Callable[[Rest], object]
"""Takes what is left to be stored, as events that come before the one that ends the attempt."""


class Messenger(Protocol):
    """The worker, as this sees it."""

    def has_news(self, said: "Said", /) -> None:
        """Have it reported before long. It may be a finalizer that asks: no lock is held for long here."""

    def report(self, said: "Said", /) -> None:
        """Have stored what can be taken from it, and `stored` called."""


class Said:
    """Gathers it; the messenger takes it from here a few times a second, and the rest with the end.

    There may be a great many lines of which the limit lets few pass: those beyond it are
    only counted.

    The code's side has no lock: a finalizer may print wherever the garbage collector comes
    in, and may wait for a thread that prints too. So it does nothing but what is atomic.
    Each thread has a line of its own that has begun. What is a matter of order, and how
    many characters the lines take exactly, is left to whoever collects them.
    """

    def __init__(self, job: Job, messenger: Messenger) -> None:
        self.job_id = job.id
        self._token = job.token or 0
        self._messenger = messenger
        self._awake = False
        """Whether the news was told, and nothing was taken since."""
        self._over = False
        self._progress: Progress | None = None
        self._fresh = False
        """Whether the progress is not stored."""
        self._lines: deque[Line] = deque()
        self._begun: dict[tuple[int, int], str] = {}
        """Lines without an end yet, by thread and level."""
        self._count = itertools.count()
        """Of all lines, those that are dropped among them."""
        self._size = 0
        """Of the lines that were taken in. Threads that add to it at once may make it too small."""
        self._limit = LIMIT - job.logged
        self.dropped = 0
        """Lines that were dropped by the process that the code runs in."""
        # Of the collecting side. Reentrant: its owner may be interrupted by a finalizer too.
        self._lock = threading.RLock()
        self._room = self._limit
        self._full = self._limit < 0
        self._kept = 0
        self._unstored: list[Line] = []
        self._flying = 0
        """How many of them are being stored."""
        self._settles: list[Settle] = []

    # -- the code's side -----------------------------------------------------

    def progress(self, progress: Progress) -> None:
        """Keep the latest. After the job's end nothing comes of it."""
        if not self._over:
            self._progress = progress
            self._fresh = True
            self._wake()

    def write(self, level: int, text: str) -> None:
        """Take in what was printed, in any pieces."""
        if self._over:
            return
        key = (threading.get_ident(), level)
        begun = self._begun.pop(key, "")
        if "\n" not in text and len(begun) + len(text) <= LINE_LIMIT:
            # Most often: `print` writes each of its arguments apart.
            self._begun[key] = begun + text
            return
        lines, rest = whole_lines(begun, text)
        if rest:
            self._begun[key] = rest
        for line in lines:
            self.say("", level, line)

    def say(self, logger: str, level: int, text: str) -> None:
        """Take in a line. After the job's end nothing comes of it."""
        if not self._over:
            next(self._count)
            # What comes after this is more than there is room for: see `_collect`.
            if self._size <= self._limit:
                self._add(line_of(logger, level, text))

    def take_in(self, report: Report) -> None:
        """Take in what the code has said in its process."""
        if report.progress is not None:
            self.progress(report.progress)
        if not self._over:
            self.dropped += report.dropped
            for line in report.lines:
                next(self._count)
                self._add(line)

    def _add(self, line: Line) -> None:
        self._lines.append(line)
        self._size += line.cost
        self._wake()

    def _wake(self) -> None:
        if not self._awake:
            self._awake = True
            self._messenger.has_news(self)

    # -- the worker's side ---------------------------------------------------

    def take(self) -> Rest:
        """Return what is to be stored now; nothing while the last of it is being stored.

        Whoever takes something has `stored` called.
        """
        # First: what is said from now on may not be seen any more.
        self._awake = False
        with self._lock:
            if self._flying or (self._over and not self._settles):
                return ()
            rest = self._events(PART)
            # One for the progress: there may be no lines.
            self._flying = min(PART, len(self._unstored)) + 1 if rest else 0
            return rest

    def stored(self, future: Future[Job]) -> None:
        """Take note that what was taken is stored, or could not be."""
        exception = future.exception()
        with self._lock:
            if isinstance(exception, StoreUnavailableError):
                self._fresh = self._progress is not None
            else:
                del self._unstored[: self._flying - 1]
            self._flying = 0
            more = bool(self._unstored or self._lines or self._fresh)
        if self._over:
            self._go_on(in_parts=exception is None)
        elif more:
            self._wake()

    def close(self, settle: Settle) -> None:
        """Have `settle` called with the rest, once nothing is being stored; take in nothing more.

        That may be at once, or on the writer's thread. Who comes second gets nothing.
        """
        with self._lock:
            self._finish()
            self._settles.append(settle)
        self._go_on(in_parts=True)

    def _go_on(self, *, in_parts: bool) -> None:
        """Settle, unless something is being stored: it may fail, so it is not known yet what is left.

        in_parts: first have stored what is more than a part.
        """
        with self._lock:
            if self._flying:
                return
            much = in_parts and len(self._unstored) > PART
            settles: list[Settle] = []
            if not much:
                settles, self._settles = self._settles, []
        if much:
            self._messenger.report(self)
        for settle in settles:
            with self._lock:
                rest = self._events()
                self._unstored = []
            settle(rest)

    def _finish(self) -> None:
        """Take the last lines, and say how many are missing. The lock is held."""
        if self._over:
            return
        for thread, level in list(self._begun):
            # Its thread may just have taken it.
            if begun := self._begun.pop((thread, level), ""):
                self.say("", level, last_state(begun))
        self._over = True
        self._collect()
        missing = next(self._count) - self._kept + self.dropped
        if missing and (self._full or self.dropped):
            self._unstored.append(dropped_line(missing))

    def _events(self, part: int | None = None) -> Rest:
        """Return what is not stored, that many lines of it at most. The lock is held."""
        self._collect()
        # In this order: it may be replaced meanwhile.
        fresh, self._fresh = self._fresh, False
        progress = (Progressed(self._token, self._progress),) if fresh and self._progress else ()
        lines = tuple(self._unstored[:part])
        return (*progress, Logged(self._token, lines)) if lines else progress

    def _collect(self) -> None:
        """Keep the lines that there is room for. The lock is held.

        After the first that is dropped all are, or nobody could tell where they are missing. That
        holds for those that `say` has dropped itself: it does so only when what it has taken
        in takes more than the room already, so the limit is met here before they are missed.
        """
        while self._lines:
            line = self._lines.popleft()
            self._full = self._full or line.cost > self._room
            if not self._full:
                self._room -= line.cost
                self._kept += 1
                self._unstored.append(line)
