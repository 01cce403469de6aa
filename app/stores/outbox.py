"""Outbox: hands the writer in one go what an event loop has to write."""

import asyncio
from typing import Any

from app.core import Future
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

    def submit(self, operation: Operation) -> Future[Any]:
        """Have an operation carried out; see `Writer.submit`. On the loop's thread."""
        future: Future[Any] = Future()
        if not self._gathered:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._gathered.append((operation, future))
        return future

    def _hand_over(self) -> None:
        gathered, self._gathered = self._gathered, []
        self._writer.submit_all(gathered)
