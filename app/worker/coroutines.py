"""An event loop for the coroutines of jobs, on a thread of its own, away from the API's."""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from app.core import Future, FutureCancelledError
from app.core.executor import fail

LOGGER = logging.getLogger(__name__)

CLOSE_TIMEOUT = 1.0
"""Seconds that coroutines get to end by their cancellation when the loop is closed."""


class CoroutineFuture(Future[Any]):
    """The future of a coroutine on another thread's loop.

    As with a Task, `cancel()` of a running one returns True: it is cancelled in asyncio's
    way, and ends when the coroutine does.
    """

    __slots__ = ("_loop", "_task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._task: asyncio.Task[None] | None = None

    def cancel(self) -> bool:
        """Ask the coroutine to stop; False when it has finished."""
        if self.done():
            return self.cancelled()
        self._cancel_requested = True
        try:
            self._loop.call_soon_threadsafe(self._cancel_task)
        except RuntimeError:
            LOGGER.debug("the loop is closed; its coroutines have ended")
        return True

    def start(self, coroutine: Callable[[], Coroutine[Any, Any, Any]], context: Context) -> None:
        """Begin; on the loop's thread."""
        self._task = self._loop.create_task(self._drive(coroutine), context=context)

    def _cancel_task(self) -> None:
        # `start` was scheduled before any `cancel` could be, so the task is there.
        if self._task is not None:
            self._task.cancel()

    async def _drive(self, coroutine: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        # Nothing may escape: SystemExit would end the loop, and every other job's coroutine with it.
        self.set_running_or_notify_cancel()
        try:
            result = await coroutine()
        except asyncio.CancelledError as exc:
            cancelled = FutureCancelledError(*exc.args)
            cancelled.__cause__ = exc
            fail(self, cancelled)
        except BaseException as exc:  # noqa: BLE001
            fail(self, exc)
        else:
            self.set_result(result)


class Coroutines:
    """The loop and its thread, which begins with the first coroutine."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def submit(self, coroutine: Callable[[], Coroutine[Any, Any, Any]], context: Context) -> CoroutineFuture:
        """Run a coroutine in that context, and return its future; from any thread."""
        loop = self._running_loop()
        future = CoroutineFuture(loop)
        loop.call_soon_threadsafe(future.start, coroutine, context)
        return future

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._run, args=(self._loop,), name="errand-loop", daemon=True)
                self._thread.start()
            return self._loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            self._cancel_all(loop)
        finally:
            loop.close()

    def _cancel_all(self, loop: asyncio.AbstractEventLoop) -> None:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=CLOSE_TIMEOUT))
        loop.run_until_complete(loop.shutdown_asyncgens())

    def close(self) -> None:
        """Cancel what still runs and end the thread, unless a coroutine blocks it."""
        with self._lock:
            loop, thread = self._loop, self._thread
        if loop is not None and thread is not None and thread.is_alive():
            loop.call_soon_threadsafe(loop.stop)
            thread.join(2 * CLOSE_TIMEOUT)
