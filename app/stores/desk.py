"""Desk: a thread that makes calls for those who must not make them on their own."""

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

LOGGER = logging.getLogger(__name__)


class Desk:
    """A thread that makes the calls posted to it: in order, or at their time."""

    def __init__(self, name: str) -> None:
        self._posted: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._later: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def post(self, call: Callable[..., object], *args: Any) -> None:
        """Have a call made soon. Nothing is made after `close`."""
        self._posted.put(partial(call, *args))

    def post_in(self, seconds: float, call: Callable[[], object]) -> None:
        """Have a call made after so many seconds, or at the end if that comes first."""
        self.post(heapq.heappush, self._later, (time.monotonic() + seconds, next(self._numbers), call))

    def close(self) -> None:
        """Make the calls posted so far, then end the thread."""
        self._posted.put(None)
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while self._make_one():
            pass
        for _, _, call in sorted(self._later):
            _shielded(call)

    def _make_one(self) -> bool:
        # A frame of its own, which keeps no call alive while it waits for the next one.
        call = self._next()
        if call is not None:
            _shielded(call)
        return call is not None

    def _next(self) -> Callable[[], object] | None:
        if not self._later:
            return self._posted.get()
        seconds = self._later[0][0] - time.monotonic()
        try:
            # What is due comes first, or under a steady stream its time would never come.
            if seconds > 0:
                return self._posted.get(timeout=seconds)
        except Empty:
            pass
        return heapq.heappop(self._later)[2]


def _shielded(call: Callable[[], object]) -> None:
    """Make a call of which nothing may escape: callbacks of users run in here, and the others wait."""
    try:
        call()
    except BaseException:
        LOGGER.exception("the desk goes on after an error")
