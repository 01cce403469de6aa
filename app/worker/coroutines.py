"""An event loop for the coroutines of jobs, on a thread of its own, away from the API's."""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from typing import Any, cast

from app.core import Future, FutureCancelledError
from app.core.executor import fail

LOGGER = logging.getLogger(__name__)

CLOSE_TIMEOUT = 1.0
"""Seconds that coroutines get to end by their cancellation when the loop is closed."""


class CoroutineFuture(Future[Any]):
    """The future of a coroutine on another thread's loop.

    As with a Task, `cancel()` of a running one returns True: it is cancelled in asyncio's
    way, once however often it is asked, and ends when the coroutine does. `result()` and
    `exception()` raise RuntimeError where they would block the loop that the coroutine needs.
    """

    __slots__ = ("_loop", "_task", "_told")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self._told = False

    @property
    def told(self) -> bool:
        """Whether the coroutine was cancelled: from then on it cleans up. Changes on the loop only."""
        return self._told

    def start(self, coroutine: Callable[[], Coroutine[Any, Any, Any]], context: Context) -> None:
        """Have the coroutine run in that context; from any thread, once."""
        self._loop.call_soon_threadsafe(self._begin, coroutine, context)

    def cancel(self) -> bool:
        """Ask the coroutine to stop; False when it has finished."""
        # When the loop is closed it is too late to tell the coroutine, and to start it.
        return self.cancel_soon() or super().cancel()

    def cancel_soon(self) -> bool:
        """Have the loop's thread ask the coroutine to stop; no callback runs on this one.

        Returns False, and has done nothing, when it is done or the loop is closed.
        """
        if self.done():
            return False
        with self._lock:
            asked, self._cancel_requested = self._cancel_requested, True
        if asked:
            # The job's request may come here twice, by a Task that waits for this too. The
            # second error would be raised in the cleanup that follows the first.
            return not self._loop.is_closed()
        try:
            self._loop.call_soon_threadsafe(self._cancel_on_loop)
        except RuntimeError:
            return False
        return True

    def _begin(self, coroutine: Callable[[], Coroutine[Any, Any, Any]], context: Context) -> None:
        self._task = self._loop.create_task(self._drive(coroutine), context=context)

    def _cancel_on_loop(self) -> None:
        if self._task is not None and self.running():
            self._told = True
            self._task.cancel()
        else:
            # asyncio never enters a coroutine that is cancelled before its first step, so
            # nothing in `_drive` would complete this future.
            super().cancel()

    async def _drive(self, coroutine: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        # Nothing may escape: SystemExit would go through the loop's `run_forever`.
        try:
            if self.set_running_or_notify_cancel():
                await self._run(coroutine)
        except BaseException:
            LOGGER.exception("a callback of a job's coroutine raised")

    async def _run(self, coroutine: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        try:
            result = await coroutine()
        except asyncio.CancelledError as exc:
            fail(self, _as_ours(exc))
        except BaseException as exc:  # noqa: BLE001  (SystemExit too is the coroutine's outcome)
            fail(self, exc)
        else:
            self.set_result(result)
        finally:
            # The traceback holds this frame: without this they would keep each other alive.
            del self, coroutine

    def _await_done(self, timeout: float | None) -> None:
        if not self.done() and (timeout is None or timeout > 0) and self._is_on_loop():
            msg = "this would block the event loop that runs the coroutine; await the future instead"
            raise RuntimeError(msg)
        super()._await_done(timeout)

    def _is_on_loop(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False


def _as_ours(exc: asyncio.CancelledError) -> FutureCancelledError:
    cancelled = FutureCancelledError(*exc.args)
    cancelled.__cause__ = exc
    return cancelled


class Coroutines:
    """The loop and its thread, which begins with the first coroutine."""

    def __init__(self) -> None:
        # Reentrant: the garbage collector may run under it, and a finalizer of the user's may submit.
        self._lock = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closing = False

    def future(self) -> CoroutineFuture:
        """Return the future of a coroutine that is yet to be started; from any thread.

        Raises RuntimeError after `close`, and when no thread can be had.
        """
        return CoroutineFuture(self._running_loop())

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closing:
                msg = "cannot run new coroutines after shutdown"
                raise RuntimeError(msg)
            if self._loop is None:
                self._begin(asyncio.new_event_loop())
            # There is one now: `_begin` has raised otherwise.
            return cast("asyncio.AbstractEventLoop", self._loop)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        thread = threading.Thread(target=self._run, args=(loop,), name="errand-loop", daemon=True)
        if self._loop is not None:
            # A finalizer was quicker, on this very thread.
            loop.close()
            return
        self._loop, self._thread = loop, thread
        try:
            thread.start()
        except BaseException:
            # No thread can be had. The next coroutine tries again.
            self._loop = self._thread = None
            loop.close()
            raise

    def catch_up(self, timeout: float) -> None:
        """Wait until the loop has done what it was given so far, for `timeout` seconds at most."""
        loop, caught_up = self._loop, threading.Event()
        # RuntimeError: it is closed.
        with suppress(RuntimeError):
            if loop is not None:
                loop.call_soon_threadsafe(caught_up.set)
                caught_up.wait(timeout)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            while not self._closing:
                self._run_shielded(loop)
            self._end_all(loop)
        finally:
            loop.close()

    def _run_shielded(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run until somebody stops the loop: the code of a job can, and can raise SystemExit in it."""
        try:
            loop.run_forever()
        except BaseException:
            LOGGER.exception("the loop of the jobs' coroutines goes on after an error")

    def _end_all(self, loop: asyncio.AbstractEventLoop) -> None:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=CLOSE_TIMEOUT))
        loop.run_until_complete(loop.shutdown_asyncgens())
        # The threads of `asyncio.to_thread`: the interpreter would wait for them at its exit.
        loop.run_until_complete(loop.shutdown_default_executor())

    def close(self) -> None:
        """Cancel what still runs, and return when the thread has ended: never, if a coroutine blocks it."""
        with self._lock:
            self._closing = True
            loop, thread = self._loop, self._thread
        if loop is not None and thread is not None and thread.is_alive():
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
