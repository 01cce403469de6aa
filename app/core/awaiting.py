"""How a thread that completes futures wakes the coroutines that await them."""

from collections import deque
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    # Not when it runs: asyncio doubles the import time of a library that most use without it.
    import asyncio


class WakeUps:
    """Wakes the awaiters of one event loop; completions close together share one wake-up.

    `call_soon_threadsafe` writes to a socket each time, four times the cost of all
    the rest. No lock is needed: `add` appends and then looks at the mark, a drain
    resets the mark and then looks at what is there. So an awaiter is either seen by
    a drain to come or sees no mark, and schedules one. Two that see none at the same
    time schedule two, and the second finds nothing.
    """

    def __init__(self) -> None:
        # No reference to the loop: it is the weak key that this object hangs on.
        self._ready: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._scheduled = False

    def add(
        self, waiter: "asyncio.Future[Any]", result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Have `waiter` completed on its loop's thread, unless it was cancelled. Called from any thread.

        exception: set in place of the result; with None, the result is set.
        """
        self._ready.append((waiter, result, exception))
        if self._scheduled:
            return
        self._scheduled = True
        try:
            waiter.get_loop().call_soon_threadsafe(self._drain)
        except RuntimeError:
            # The loop is closed: nobody awaits there any more.
            self._ready.clear()
            self._scheduled = False

    def _drain(self) -> None:
        self._scheduled = False
        # No more than is there now: what comes later has scheduled a drain of its own.
        for _ in range(len(self._ready)):
            waiter, result, exception = self._ready.popleft()
            if waiter.done():
                continue
            if exception is None:
                waiter.set_result(result)
            else:
                waiter.set_exception(exception)


_WAKE_UPS: "WeakKeyDictionary[asyncio.AbstractEventLoop, WakeUps]" = WeakKeyDictionary()


def wake_ups(loop: "asyncio.AbstractEventLoop") -> WakeUps:
    """Return the loop's own wake-ups. Only the loop's own thread asks for them."""
    found = _WAKE_UPS.get(loop)
    if found is None:
        _forget_closed_loops()
        found = _WAKE_UPS[loop] = WakeUps()
    return found


def _forget_closed_loops() -> None:
    """Let go of loops that were closed before a drain: their awaiters, left here, would keep them alive."""
    for key in _WAKE_UPS.keyrefs():
        loop = key()
        if loop is not None and loop.is_closed():
            _WAKE_UPS.pop(loop, None)
