"""Contention: tells the log when jobs that compute in threads hold up the rest of the service.

One thread at a time runs Python, and one that computes lets go of the interpreter only when it
has had it for `sys.getswitchinterval()`. So whoever answers HTTP waits at least that long each
time it has waited for anything, and longer with every other thread that computes.

Two signs are needed, because each alone would accuse the innocent. How late a timer's thread
comes is how long any thread that is woken has to wait for the interpreter; of the event loop's
own lateness a part would be its own work. The CPU clocks of the threads tell who computed
meanwhile; but code in C may compute without the interpreter, and holds up nobody.
"""

import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from statistics import median
from typing import NamedTuple, TypeVar

from app.stores.ticker import CallLater

LOGGER = logging.getLogger(__name__)

T = TypeVar("T")

INTERVAL = 0.1
"""Seconds between two looks, while functions run in threads."""

LOOKS = 20
"""Looks that are judged together: the half of them has to be late, which no single stall can bring about."""

LATE = 0.002
"""Seconds for which whoever is woken has to wait: an answer needs that several times over."""

COMPUTING = 0.3
"""What the tasks in threads together have to use of a CPU."""

NAMED = 0.1
"""What a task has to use of a CPU to be named."""

AGAIN = 600.0
"""Seconds after which a task that has been named may be named again."""

# Not on macOS, where no other thread's clock can be read.
_clock_of: Callable[[int], int] | None = getattr(time, "pthread_getcpuclockid", None)


class Look(NamedTuple):
    """late: seconds that it came late. seconds: since the last one. used: CPU seconds since, by task."""

    late: float
    seconds: float
    used: Mapping[str, float]


class Contention:
    """Watches the threads while functions of tasks run on them; with none it does nothing.

    later: has a call made, on a thread of its own. clock: of that thread's seconds. cpu_time:
    the CPU seconds of the thread with that clock; raises OSError when it has ended.
    """

    def __init__(
        self,
        later: CallLater,
        clock: Callable[[], float] = time.monotonic,
        cpu_time: Callable[[int], float] = time.clock_gettime,
    ) -> None:
        self._later = later
        self._clock = clock
        self._cpu_time = cpu_time
        self._running: dict[int, str] = {}
        """The tasks whose functions run, by the CPU clocks of their threads."""
        self._looking = threading.Lock()
        """Held from the first look to the last: whoever gets it sees to the next one. Nobody waits for it."""
        # Only who looks uses these.
        self._due = self._last = 0.0
        self._read: dict[int, float] = {}
        self._looks: deque[Look] = deque(maxlen=LOOKS)
        self._told: dict[str, float] = {}

    def run(self, task: str, calls: list[Callable[[], T]]) -> T:
        """Run the only call of a list on this thread, for a job of that task.

        It is taken out of the list: the traceback of what it raises holds this frame.
        """
        if _clock_of is None:
            return calls.pop()()
        thread = _clock_of(threading.get_ident())
        self._running[thread] = task
        self._begin_to_look()
        try:
            return calls.pop()()
        finally:
            del self._running[thread]

    # -- looking -------------------------------------------------------------

    def _begin_to_look(self) -> None:
        if self._looking.acquire(blocking=False):
            self._last = self._clock()
            self._look_later(self._last)

    def _look_later(self, now: float) -> None:
        self._due = now + INTERVAL
        self._later(INTERVAL, self._look)

    def _look(self) -> None:
        now, running = self._clock(), dict(self._running)
        if not running:
            self._end_looking()
            return
        self._looks.append(Look(now - self._due, now - self._last, self._used(running)))
        self._last = now
        if len(self._looks) == LOOKS:
            self._judge(now)
        self._look_later(self._clock())

    def _end_looking(self) -> None:
        self._looks.clear()
        self._read.clear()
        self._looking.release()
        if self._running:
            # It has begun meanwhile, and may have found somebody still looking.
            self._begin_to_look()

    def _used(self, running: Mapping[int, str]) -> Mapping[str, float]:
        """Return what each thread has used since the last look, as that of the task it runs now."""
        used: dict[str, float] = defaultdict(float)
        for thread in self._read.keys() | running.keys():
            before = self._read.pop(thread, None)
            try:
                self._read[thread] = now = self._cpu_time(thread)
            except OSError:
                # It has ended.
                continue
            if before is not None and thread in running:
                used[running[thread]] += now - before
        return used

    # -- telling -------------------------------------------------------------

    def _judge(self, now: float) -> None:
        late = median(look.late for look in self._looks)
        if late < LATE:
            return
        shares = self._shares()
        named = {task: share for task, share in shares.items() if share >= NAMED}
        if sum(shares.values()) >= COMPUTING and any(self._is_news(task, now) for task in named):
            self._told.update(dict.fromkeys(named, now))
            self._warn(late, named)

    def _shares(self) -> Mapping[str, float]:
        """Return what each task has used of a CPU, the greatest first."""
        seconds = sum(look.seconds for look in self._looks)
        tasks = {task for look in self._looks for task in look.used}
        shares = {task: sum(look.used.get(task, 0) for look in self._looks) / seconds for task in tasks}
        return dict(sorted(shares.items(), key=lambda item: item[1], reverse=True))

    def _is_news(self, task: str, now: float) -> bool:
        return now - self._told.get(task, float("-inf")) >= AGAIN

    def _warn(self, late: float, named: Mapping[str, float]) -> None:
        LOGGER.warning(
            "HTTP waits some %.0f ms for the interpreter at every step, because tasks compute in threads: "
            '%s; what computes for long should run in a process: @task(executor="process")',
            late * 1e3,
            ", ".join(f"{task} ({share:.0%} of a CPU)" for task, share in named.items()),
        )
