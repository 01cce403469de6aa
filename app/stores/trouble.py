"""Trouble: tells the log of what fails again and again, without a line for each time."""

import logging
import time

APART = 2.0
"""Seconds between two tellings at least, whatever changes."""

REMINDER = 10.0
"""Seconds after which a trouble that lasts is told again."""


class Trouble:
    """Something that may fail for a while. what: how the log puts it. To be used by one thread at a time."""

    def __init__(self, logger: logging.Logger, what: str) -> None:
        self._logger = logger
        self._what = what
        self._reason: str | None = None
        """Why it is in trouble, as told; None when it is not."""
        self._told = float("-inf")
        self._times = 0
        """How often it was met and not told since."""

    def met(self, reason: str) -> None:
        """Take note of a failure: of one that lasts, a line now and then."""
        missed = self._times
        if self.is_news(reason):
            again = f" ({missed} times more since the last such line)" if missed else ""
            self._logger.error("%s: %s%s", self._what, reason, again)

    def is_news(self, reason: str) -> bool:
        """Take note of a failure, and return whether it is to be told now; for who tells it otherwise."""
        now = time.monotonic()
        if now - self._told < (REMINDER if reason == self._reason else APART):
            self._times += 1
            return False
        self._reason, self._told, self._times = reason, now, 0
        return True

    def over(self) -> None:
        """Take note that it works."""
        if self._reason is not None:
            self._logger.info("%s: this is over", self._what)
            self._reason = None
