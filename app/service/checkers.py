"""Threads for what takes its time: validators that the user wrote, large bodies, thousands of submissions."""

from collections.abc import Callable
from typing import Any, TypeVar

from app.core import Future, ThreadPoolExecutor

T = TypeVar("T")

CHECKERS = 8
"""Threads: their own, so that a validator that hangs holds up nothing but submissions."""


class Checkers:
    """A pool that an event loop awaits, and that knows whether anything on it still runs."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(CHECKERS, "errand-check")
        self._running: set[Future[Any]] = set()

    async def run(self, fn: Callable[..., T], *args: Any) -> T:
        """Return what the function returns, called on one of the threads.

        It must raise no other than an Exception: SystemExit, awaited, would end the loop.
        """
        call = self._pool.submit(fn, *args)
        self._running.add(call)
        call.add_done_callback(self._running.discard)
        try:
            return await call
        finally:
            # Its callbacks may still be on their way; and who awaits it may be cancelled before it ends.
            if call.done():
                self._running.discard(call)

    def close(self) -> bool:
        """Let go of the threads. Return whether everything on them has ended."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        return not self._running
