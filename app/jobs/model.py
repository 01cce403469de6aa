"""The job as a value, and the values it is made of.

Times are integers, microseconds since the epoch, UTC. JSON documents (arguments,
result) are carried as text, exactly as they are stored: no layer between the one
that writes them and the one that reads them parses them again.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from enum import IntFlag, StrEnum
from functools import partial
from typing import Any, NamedTuple

from app.core import State
from app.jobs.entropy import Entropy

Clock = Callable[[], int]
"""Returns the wall clock's time in microseconds since the epoch."""

SECOND = 1_000_000
"""A second, in microseconds."""


def wall_clock() -> int:
    """Return the time now, in microseconds since the epoch."""
    return time.time_ns() // 1000


JobState = State
"""A job's states are the Future's own. Under this name for layers that do not import the core."""


class Outcome(StrEnum):
    """How a job that is done has ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Stopped(StrEnum):
    """What became of the code of a job that somebody wants cancelled."""

    PENDING = "pending"  # asked; it still runs
    NOT_STARTED = "not_started"
    COOPERATIVE = "cooperative"  # it noticed, and ended
    KILLED = "killed"
    TOO_LATE = "too_late"  # it had finished first


class Slot(StrEnum):
    """What a running job occupies. A suspended generator counts as a coroutine."""

    THREAD = "thread"
    PROCESS = "process"
    COROUTINE = "coroutine"


class Hold(IntFlag):
    """Why a pending job is not ready; zero means ready. A claim looks at ready jobs only."""

    NONE = 0
    DUE_LATER = 1
    UNKNOWN_TASK = 2
    UNREADABLE = 4  # what is stored of it is damaged; tried again at the next start
    PAUSED = 8  # its queue is
    LIMITED = 16  # as many of its kind are running, or about to, as may


GATES = Hold.PAUSED | Hold.LIMITED
"""The store's own: set and cleared without an event or a new version, when nothing else holds a job."""


class Failure(NamedTuple):
    """An exception as data: its class's name, its text, and the traceback as printed."""

    type: str
    message: str
    traceback: str


class Attempt(NamedTuple):
    """One execution of the function that is over, and was not the last. exception: None if it was stopped."""

    run: int
    number: int
    worker: str | None
    started_at: int | None
    finished_at: int | None
    exception: Failure | None


class Backoff(NamedTuple):
    """How long a job waits after a failed attempt; see `app.jobs.retry`. Seconds, but for the factor."""

    first: float = 1.0
    factor: float = 2.0
    longest: float = 300.0
    jitter: bool = True


LINE_COST = 32
"""Characters that a line counts for beside its own: empty ones are work too."""


class Line(NamedTuple):
    """Something that the function printed or logged.

    logger: its name, or empty for what was printed. level: as in `logging`; INFO for stdout,
    WARNING for stderr. at: seconds since the epoch.
    """

    logger: str
    level: int
    at: float
    text: str

    @property
    def cost(self) -> int:
        """Characters that it counts for when there is a limit."""
        return len(self.text) + LINE_COST


class Progress(NamedTuple):
    """How far a running job has come, in its own units. total: None when it is not known."""

    done: float
    total: float | None = None
    message: str | None = None


class Cancellation(NamedTuple):
    """A request to cancel, and what it came to. reason: None when a caller asked."""

    requested_at: int
    outcome: Stopped
    reason: str | None = None


# On Python 3.11 it takes five times as long to find a member by its enumeration as by a name, and these
# are asked for a dozen times in a job's life.
_PENDING, _RUNNING = State.PENDING, State.RUNNING
_CANCELLED, _FINISHED = State.CANCELLED, State.FINISHED

NO_ARGUMENTS = '{"args":[],"kwargs":{}}'
"""The arguments of a call that has none, as they are stored."""


class Job(NamedTuple):
    """A submitted call and all that became of it.

    A tuple rather than a frozen dataclass: with this many fields a dataclass takes
    ten times as long to build, and every read of the store builds one.
    """

    id: str  # UUIDv7 (RFC 9562), canonical lower case
    tenant: str
    task: str
    slot: Slot
    created_at: int
    run_at: int
    arguments: str = NO_ARGUMENTS
    shown: str | None = None  # the arguments as others than the function may see them; None: as they are
    queue: str = "default"
    priority: int = 0
    tags: Mapping[str, str] = {}  # never changed in place
    key: str | None = None
    state: State = State.PENDING
    outcome: Outcome | None = None
    hold: Hold = Hold.NONE
    run: int = 1
    attempt: int = 0
    max_attempts: int = 1
    losses: int = 0
    backoff: Backoff = Backoff()
    limit_key: str | None = None  # whom its task's limit counts it with; None: it has no limit
    timeout: float | None = None
    started_at: int | None = None
    finished_at: int | None = None
    expires_at: int | None = None
    progress: Progress | None = None
    cancellation: Cancellation | None = None
    result: str | None = None
    exception: Failure | None = None
    worker: str | None = None
    token: int | None = None
    parent: str | None = None
    root: str | None = None
    step: int | None = None
    traceparent: str | None = None
    attempts: tuple[Attempt, ...] = ()  # those before the one that runs, or was the last
    logged: int = 0  # what is stored of its log, by the cost of its lines
    version: int = 1

    @property
    def done(self) -> bool:
        """Whether it has reached a final state."""
        return self.state is _FINISHED or self.state is _CANCELLED

    @property
    def ready(self) -> bool:
        """Whether a free slot may run it now."""
        return self.state is _PENDING and not self.hold

    @property
    def asked_to_stop(self) -> bool:
        """Whether it runs although somebody has asked it to stop."""
        return self.cancellation is not None and self.state is _RUNNING


# As `Job._make`, without counting the values: `_replace` has as many as the job had.
_made_of: Callable[[Sequence[Any]], Job] = partial(tuple.__new__, Job)

_PLACES = {name: place for place, name in enumerate(Job._fields)}


def _replace(self: Job, /, **changes: Any) -> Job:
    """Return the job with these fields changed.

    Every event makes a job of another, and with this many fields the `_replace` that comes with
    a named tuple takes twice as long. Raises TypeError for a name that is no field's.
    """
    values = list(self)
    try:
        for name, value in changes.items():
            values[_PLACES[name]] = value
    except KeyError as exc:
        msg = f"a job has no field {exc}"
        raise TypeError(msg) from None
    return _made_of(values)


# A named tuple's class takes no method of this name.
Job._replace = _replace  # type: ignore[method-assign, assignment]

_ENTROPY = Entropy(10)


def new_id(now: int, entropy: Callable[[], bytes] = _ENTROPY) -> str:
    """Return a new UUIDv7 (RFC 9562, section 5.7) of the time `now`, in microseconds.

    entropy: returns ten random bytes.
    """
    return _uuid(_head(now), entropy().hex())


def new_ids(now: int, count: int) -> list[str]:
    """Return as many as `new_id` does in as many calls, in ascending order (RFC 9562, section 6.2).

    So what is stored in this order is appended to an index of them.
    """
    head = _head(now)
    return sorted([_uuid(head, tail.hex()) for tail in _ENTROPY.draw(count)])


def _head(now: int) -> str:
    millis = f"{now // 1000 & 0xFFFF_FFFF_FFFF:012x}"
    return f"{millis[:8]}-{millis[8:]}-7"


_VARIANTS = {digit: "89ab"[int(digit, 16) & 0b11] for digit in "0123456789abcdef"}
"""The digit that says that it is a UUID of the RFC, with two bits of a random one."""


def _uuid(head: str, tail: str) -> str:
    return f"{head}{tail[1:4]}-{_VARIANTS[tail[4]]}{tail[5:8]}-{tail[8:]}"
