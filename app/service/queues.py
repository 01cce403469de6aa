"""Queues: how they stand, and whether their jobs run."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from app.jobs.model import SECOND, Clock
from app.service.errors import StoreDownError, translated
from app.stores.base import Pause, Queue, Store
from app.stores.writer import Writer


class QueueStatus(NamedTuple):
    """A tenant's queue. oldest_age: seconds that its oldest job has been due; None when none waits."""

    name: str
    paused: bool
    pending: int
    running: int
    oldest_age: float | None


class Queues:
    """The use cases of queues, on the service's event loop."""

    def __init__(self, store: Store, writer: Writer, clock: Clock) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock
        self._moving: set[asyncio.Task[None]] = set()

    async def list(self, tenant: str) -> Sequence[QueueStatus]:
        """Return the queues that have jobs waiting or running, or are paused. Raises StoreDownError."""
        with translated():
            queues = await self._store.queues(tenant)
        return [_status_of(queue, self._clock()) for queue in queues]

    async def pause(self, tenant: str, queue: str, *, paused: bool) -> QueueStatus:
        """Have jobs of a queue run no more, or again, and return how it stands. Raises StoreDownError."""
        operation = Pause(tenant, queue, paused)
        if await self._move(operation):
            # It holds from now on; whoever asked for it need not wait until each job knows.
            moving = asyncio.create_task(self._move_rest(operation))
            self._moving.add(moving)
            moving.add_done_callback(self._moving.discard)
        for status in await self.list(tenant):
            if status.name == queue:
                return status
        # Not paused, and nothing in it: then the store knows nothing of it.
        return QueueStatus(queue, False, 0, 0, None)

    async def _move(self, operation: Pause) -> bool:
        """Have a part of the queue's jobs held back or let go; return whether some are left."""
        with translated():
            left: bool = await self._writer.submit(operation)
        return left

    async def _move_rest(self, operation: Pause) -> None:
        """Move the others, for as long as the service runs; the next start would do it too."""
        left = True
        while left:
            try:
                left = await self._move(operation)
            except StoreDownError as exc:
                await asyncio.sleep(exc.retry_after)


def _status_of(queue: Queue, now: int) -> QueueStatus:
    # A clock that was set back makes nothing younger than new.
    age = None if queue.oldest is None else max(0, now - queue.oldest) / SECOND
    return QueueStatus(queue.name, queue.paused, queue.pending, queue.running, age)
