"""Ticker: a thread that calls what has been put off, when its time has come. Retry: has a call made again."""

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from functools import partial

LOGGER = logging.getLogger(__name__)

RETRY_INTERVAL = 0.5
"""Seconds after which what the store could not take is tried again."""

CallLater = Callable[[float, Callable[[], object]], object]
"""Has a call made in so many seconds: `Ticker.call_later`, or what leads to it."""

FEW = 100
"""Calls that are taken back may wait for their time in such numbers; more are cleared away."""


class _Call:
    """A call that is due at a time."""

    __slots__ = ("at", "call", "number")

    def __init__(self, at: float, number: int, call: Callable[[], object]) -> None:
        self.at = at
        self.number = number
        self.call: Callable[[], object] | None = call

    def __lt__(self, other: "_Call") -> bool:
        return (self.at, self.number) < (other.at, other.number)


class Ticker:
    """Makes calls later. It sleeps until the first is due; without any, until there is one."""

    def __init__(self, name: str) -> None:
        # Its lock is reentrant: the garbage collector may run under it, and a finalizer may come here.
        self._news = threading.Condition()
        self._calls: list[_Call] = []
        """A heap."""
        self._taken_back = 0
        """How many of them were."""
        self._numbers = itertools.count()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin. What was put off before is not forgotten."""
        self._thread.start()

    def is_alive(self) -> bool:
        """Tell whether calls are made."""
        return self._thread.is_alive()

    def call_later(self, seconds: float, call: Callable[[], object]) -> Callable[[], None]:
        """Have `call` called in so many seconds, on the ticker's thread; it must be quick.

        After `close` it never is. Returns a function that takes it back, at any time.
        """
        entry = _Call(time.monotonic() + seconds, next(self._numbers), call)
        with self._news:
            heapq.heappush(self._calls, entry)
            if self._calls[0] is entry:
                self._news.notify()
        return partial(self._take_back, entry)

    def _take_back(self, entry: _Call) -> None:
        with self._news:
            # Not kept until its time: it may lead to a job with all its arguments.
            taken, entry.call = entry.call, None
            self._taken_back += taken is not None
            if self._taken_back > max(FEW, len(self._calls) // 2):
                self._calls = [entry for entry in self._calls if entry.call is not None]
                heapq.heapify(self._calls)
                self._taken_back = 0

    def close(self) -> None:
        """End the thread, and forget what is not due yet."""
        with self._news:
            self._closed = True
            self._news.notify()
        self.join()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the thread has ended, if it was started; for `timeout` seconds at most."""
        # A call may close it, and so may a finalizer that happens to run in here.
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        while (call := self._next()) is not None:
            try:
                call()
            except Exception:
                LOGGER.exception("the ticker goes on after an error")
            # The next one may be long in coming.
            del call

    def _next(self) -> Callable[[], object] | None:
        """Wait for the next call to be due; None at the end."""
        with self._news:
            while not self._closed:
                seconds = self._calls[0].at - time.monotonic() if self._calls else None
                if seconds is None or seconds > 0:
                    self._news.wait(None if seconds is None else min(seconds, threading.TIMEOUT_MAX))
                elif (call := self._pop()) is not None:
                    return call
            return None

    def _pop(self) -> Callable[[], object] | None:
        entry = heapq.heappop(self._calls)
        call, entry.call = entry.call, None
        self._taken_back -= call is None
        return call


class Retry:
    """Makes a call again after RETRY_INTERVAL: one, however often it is asked for meanwhile.

    It has no lock, for the sake of those who may wait for none: at worst two that ask at once
    get two calls.
    """

    def __init__(self, call_later: CallLater, call: Callable[[], object]) -> None:
        self._call_later = call_later
        self._call = call
        self._asked = False

    def soon(self) -> None:
        """Have the call made in a while; from any thread."""
        if not self._asked:
            self._asked = True
            self._call_later(RETRY_INTERVAL, self._make)

    def _make(self) -> None:
        # First: who asks from now on may ask for what this call does not see any more.
        self._asked = False
        self._call()
