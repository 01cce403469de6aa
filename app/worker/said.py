"""What the code of an attempt has said, its progress and its lines, on its way to the store."""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence

from app.core import Future
from app.jobs.lifecycle import Logged, Progressed
from app.jobs.model import Job, Line, Progress
from app.jobs.output import LIMIT, dropped_line, line_of
from app.jobs.process import Report
from app.jobs.streams import last_state, whole_lines
from app.stores.base import StoreUnavailableError

Rest = tuple[Progressed | Logged, ...]
Settle = Callable[[Rest], object]
"""Takes what is left to be stored, as events that come before the one that ends the attempt."""


class Said:
    """Gathers it; the worker takes it from here a few times a second, and the rest with the end.

    news: called with this when there is something to be taken. There may be a great many lines of
    which the limit lets few pass: those beyond it are only counted.

    The code's side has no lock: a finalizer may print wherever the garbage collector comes
    in, and may wait for a thread that prints too. So it does nothing but what is atomic.
    Each thread has a line of its own that has begun. What is a matter of order, and how
    many characters the lines take exactly, is left to whoever collects them.
    """

    def __init__(self, job: Job, news: Callable[["Said"], object]) -> None:
        self.job_id = job.id
        self._token = job.token or 0
        self._news = news
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
        lines, rest = whole_lines(self._begun.pop(key, ""), text)
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
            self._news(self)

    # -- the worker's side ---------------------------------------------------

    def take(self) -> Rest:
        """Return what is to be stored now; nothing while the last of it is being stored.

        Whoever takes something has `stored` called.
        """
        # First: what is said from now on may not be seen any more.
        self._awake = False
        with self._lock:
            if self._flying or self._over:
                return ()
            rest = self._events()
            # One for the progress: there may be no lines.
            self._flying = len(self._unstored) + 1 if rest else 0
            return rest

    def stored(self, future: Future[Job]) -> None:
        """Take note that what was taken is stored, or could not be."""
        with self._lock:
            if isinstance(future.exception(), StoreUnavailableError):
                self._fresh = self._progress is not None
            else:
                del self._unstored[: self._flying - 1]
            self._flying = 0
            settles, self._settles = self._settles, []
            more = bool(self._unstored or self._lines or self._fresh)
        self._settle(settles)
        if more and not settles:
            self._wake()

    def close(self, settle: Settle) -> None:
        """Have `settle` called with the rest, as soon as nothing is being stored; take in nothing more.

        That may be at once, or on the writer's thread. Who comes second gets nothing.
        """
        with self._lock:
            self._finish()
            if self._flying:
                # It may not come to be stored. Until that is known it cannot be said what is left.
                self._settles.append(settle)
                return
        self._settle([settle])

    def _settle(self, settles: Sequence[Settle]) -> None:
        for settle in settles:
            with self._lock:
                rest = self._events()
                self._unstored = []
            settle(rest)

    def _finish(self) -> None:
        """Take the last lines, and say how many are missing. The lock is held."""
        if self._over:
            return
        for (thread, level), text in list(self._begun.items()):
            del self._begun[thread, level]
            self.say("", level, last_state(text))
        self._over = True
        self._collect()
        missing = next(self._count) - self._kept + self.dropped
        if missing and (self._full or self.dropped):
            self._unstored.append(dropped_line(missing))

    def _events(self) -> Rest:
        """Return what is not stored. The lock is held."""
        self._collect()
        # In this order: it may be replaced meanwhile.
        fresh, self._fresh = self._fresh, False
        progress = (Progressed(self._token, self._progress),) if fresh and self._progress else ()
        return (*progress, Logged(self._token, tuple(self._unstored))) if self._unstored else progress

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
