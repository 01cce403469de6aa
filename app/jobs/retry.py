"""When a job that has failed runs again: `Retry`, the policy of a task, and `RetryLater`, one job's own wish.

Retries are opt-in: a job has one attempt unless its task or its submission grants more.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from app.jobs.model import SECOND, Backoff

MAX_ATTEMPTS = 1000
"""Attempts that may be granted to one run of a job."""

MAX_SECONDS = 31_536_000
"""Seconds that a job may wait for its next attempt at most: a year."""


class RetryLater(Exception):  # noqa: N818  (it is raised as a request, and read as one)
    """Raised by a task's function: run me again in so many seconds, whatever the policy says.

    It takes an attempt like any failure; without one left, the job fails with it. seconds:
    from 0 to a year. Raises ValueError for any other.
    """

    def __init__(self, seconds: float, message: str = "") -> None:
        if not _is_seconds(seconds):
            raise ValueError(f"a job is run again in 0 to {MAX_SECONDS} seconds, not {seconds!r}")
        super().__init__(message or f"run again in {seconds:g} s")
        self.seconds = seconds

    def __reduce__(self) -> tuple[type["RetryLater"], tuple[float, str]]:
        """Pickle it by what it was made of: `args` has the message only."""
        return type(self), (self.seconds, str(self))


@dataclass(frozen=True)
class Retry:
    """How often and when a failed job is run again.

    max_attempts: executions in all, the first included. backoff: seconds before the second
    one; each further wait is `factor` times as long, up to max_backoff seconds. jitter: takes
    off up to half of each wait, so that jobs that failed together do not return together.
    on: exception classes that are worth it; none means any. never: classes that are not,
    even if `on` has them. Raises ValueError, or TypeError for what is no exception class.
    """

    max_attempts: int = 3
    backoff: float = 1.0
    factor: float = 2.0
    max_backoff: float = 300.0
    jitter: bool = True
    on: tuple[type[BaseException], ...] = ()
    never: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        """Check the values."""
        if type(self.max_attempts) is not int or not 1 <= self.max_attempts <= MAX_ATTEMPTS:
            raise ValueError(f"max_attempts is from 1 to {MAX_ATTEMPTS}, not {self.max_attempts!r}")
        for name in ("backoff", "max_backoff"):
            if not _is_seconds(getattr(self, name)):
                raise ValueError(f"{name} is from 0 to {MAX_SECONDS} seconds, not {getattr(self, name)!r}")
        if not (_is_number(self.factor) and 1 <= self.factor <= MAX_SECONDS):
            raise ValueError(f"factor is at least 1, not {self.factor!r}")
        for cls in (*self.on, *self.never):
            if not (isinstance(cls, type) and issubclass(cls, BaseException)):
                raise TypeError(f"on and never name exception classes, and {cls!r} is none")

    @cached_property
    def waits(self) -> Backoff:
        """The part that travels with a job."""
        return Backoff(self.backoff, self.factor, self.max_backoff, self.jitter)

    def covers(self, exception: BaseException) -> bool:
        """Tell whether an attempt that ended by this is worth another."""
        return not isinstance(exception, self.never) and (not self.on or isinstance(exception, self.on))


Verdict = bool | float
"""Whether a failed attempt is worth another: False, True, or after so many seconds, as the code asked."""


def verdict_on(policy: Retry, exception: BaseException) -> Verdict:
    """Return what is to become of a job whose function has raised this."""
    if isinstance(exception, RetryLater):
        # Not `exception.seconds` as it stands: a subclass, or the code itself, may have made anything of it.
        seconds = getattr(exception, "seconds", None)
        return float(seconds) if _is_seconds(seconds) else True  # type: ignore[arg-type]
    try:
        return policy.covers(exception)
    except Exception:  # noqa: BLE001  (a metaclass of the user's own decides what is an instance, and failed)
        return False


def wait_before(
    backoff: Backoff, attempt: int, verdict: Verdict, chance: Callable[[], float] = random.random
) -> int | None:
    """Return the microseconds before the next attempt; None when there shall be none.

    attempt: the number of the one that failed, from 1. chance: returns a number from 0 to
    1, evenly distributed, for the jitter.
    """
    if verdict is False:
        return None
    if verdict is not True:
        return round(verdict * SECOND)
    # Zero stays zero, even times infinity.
    grown = backoff.first and backoff.first * _power(backoff.factor, attempt - 1)
    seconds = min(backoff.longest, grown)
    if backoff.jitter:
        seconds *= 1 - chance() / 2
    return round(seconds * SECOND)


def _power(factor: float, exponent: int) -> float:
    try:
        return float(factor**exponent)
    except OverflowError:
        return math.inf


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _is_seconds(value: object) -> bool:
    # NaN is in no range, and True is no number of seconds.
    return _is_number(value) and 0 <= value <= MAX_SECONDS  # type: ignore[operator]


ONCE = Retry(max_attempts=1)
"""The policy of a task that has none; a submission may grant its job more."""
