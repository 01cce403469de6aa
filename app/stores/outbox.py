"""Outbox: hands the writer in one go what an event loop has to write."""

import asyncio
from typing import Any

from app.core.awaiting import WakeUps, wake_ups
from app.stores.base import Operation
from app.stores.writer import Item, Writer


class Outbox:
    """Gathers operations until the event loop has called everything that was due.

    Requests that arrive together then share a commit. Handed over one by one, the first
    would be committed alone, and what the writer's thread and the loop's take of the
    interpreter meanwhile they would take from each other. One event loop uses it.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._gathered: list[Item] = []

    def submit(self, operation: Operation) -> "asyncio.Future[Any]":
        """Have an operation carried out; see `Writer.submit`. On the loop's thread.

        Cancelling the future leaves the operation to be carried out.
        """
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Any] = loop.create_future()
        if not self._gathered:
            loop.call_soon(self._hand_over)
        self._gathered.append((operation, _Reply(waiter, wake_ups(loop))))
        return waiter

    def _hand_over(self) -> None:
        gathered, self._gathered = self._gathered, []
        self._writer.submit_all(gathered)


class _Reply:
    """Has a coroutine told what becomes of its operation: a Future of ours would have to be awaited first."""

    __slots__ = ("_waiter", "_wake_ups")

    def __init__(self, waiter: "asyncio.Future[Any]", wakes: WakeUps) -> None:
        self._waiter = waiter
        self._wake_ups = wakes

    def set_running_or_notify_cancel(self) -> bool:
        return True

    def set_result(self, result: Any) -> None:
        self._wake_ups.add(self._waiter, result)

    def set_exception(self, exception: BaseException) -> None:
        self._wake_ups.add(self._waiter, None, exception)
