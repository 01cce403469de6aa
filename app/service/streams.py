"""What happens to jobs, told to those who follow them, each at its own pace.

Nothing is kept for a reader but its position in the store: a commit wakes those whom it
concerns, and each reads on from where it is, a page at a time, when it has got rid of the
page before. So one that is slow holds up nobody, and costs no more memory than a page.
"""

import asyncio
import json
import math
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from app.core import State
from app.jobs.history import Record, RecordKind
from app.service.cursors import from_cursor, to_cursor
from app.service.errors import InvalidCursorError, NoSuchJobError, translated
from app.service.waiters import Signal, Waiters
from app.stores.base import Filter, Records, Store, StoredRecord

PAGE = 100
"""Records that are read at a time. What a function logs is cut into lines of 8 KiB at most."""

BEAT = 15.0
"""Seconds between two signs of life, whatever else is told: proxies give up a silent connection after 60."""

LONGEST_PAUSE = 0.05
"""Seconds between two reads of one that has caught up, at most: quick commits are read together."""

PAUSE_PER_WORK = 4.0
"""Seconds of pause for each that reading and telling took: a reader is at work for a fifth of its time.

The more readers there are, the longer each takes, and the longer all of them pause.
"""

LAST_READS = 1.0
"""Seconds that a reader who lags behind may read on when the service stops."""

FINAL = {State.FINISHED, State.CANCELLED}


class Entry(NamedTuple):
    """Something that has happened to a job. cursor: to go on after it."""

    cursor: str
    job_id: str
    task: str
    queue: str
    record: Record


class Part(NamedTuple):
    """What a reader is told at a time; a sign of life if it is nothing.

    cursor: to go on after all of it. gap: where the entries begin, if some that came before them are
    gone; otherwise None. stopping: whether the service stops, and this is the last part.
    """

    cursor: str
    entries: Sequence[Entry] = ()
    gap: str | None = None
    stopping: bool = False


Stream = AsyncGenerator[Part, None]
"""Who has begun to read it has to close it, unless it ends by itself."""

Listening = AbstractContextManager[Signal]
"""Listens as long as it is entered."""


class Streams:
    """The histories of jobs, for those who follow them. Runs on the service's event loop.

    beat: seconds between two signs of life. pause: seconds of a reader's pause at most.
    per_work: seconds of it for each second of work.
    """

    def __init__(
        self,
        store: Store,
        waiters: Waiters,
        *,
        beat: float = BEAT,
        pause: float = LONGEST_PAUSE,
        per_work: float = PAUSE_PER_WORK,
    ) -> None:
        self._store = store
        self._waiters = waiters
        self._beat = beat
        self._pause = pause
        self._per_work = per_work

    async def of_job(self, tenant: str, job_id: str, cursor: str | None = None) -> Stream | None:
        """Return what has happened to a job, and happens until it is done.

        cursor: of what is known already; None: nothing is. Returns None for one who knows the end.
        Raises NoSuchJobError, InvalidCursorError, StoreDownError; the stream raises StoreDownError.
        """
        with translated():
            after = 0 if cursor is None else await self._position(cursor)
            job = await self._store.get(tenant, job_id)
            if job is None:
                raise NoSuchJobError(job_id)
            reader = _JobReader(self._store, tenant, job.id)
            if cursor is not None and job.done:
                # After the job was read: a new run may have begun meanwhile.
                page = await self._store.records(tenant, after, 1, job_id=job.id)
                if not page.records and not page.trimmed:
                    return None
        return self._tell(reader, self._waiters.waiting(job.id, any_change=True), after)

    async def of_tenant(self, tenant: str, where: Filter, cursor: str | None = None) -> Stream:
        """Return what happens to the jobs that fit, without end.

        cursor: of what is known already; None: from now on. The first part only says where it begins.
        Raises InvalidCursorError, StoreDownError; the stream raises StoreDownError.
        """
        with translated():
            after = await (self._store.last_position() if cursor is None else self._position(cursor))
        reader = _TenantReader(self._store, tenant, where)
        return self._tell(reader, self._waiters.following(tenant), after, opening=cursor is None)

    async def log(self, tenant: str, job_id: str) -> Sequence[Record]:
        """Return what a job has logged. Raises NoSuchJobError, StoreDownError."""
        with translated():
            found = await self._store.log(tenant, job_id)
            if not found and await self._store.get(tenant, job_id) is None:
                raise NoSuchJobError(job_id)
        return [stored.record for stored in found]

    async def _position(self, cursor: str) -> int:
        position = from_cursor(cursor)
        # Of another database: who goes on from there would miss what happens until it is reached.
        if position > await self._store.last_position():
            raise InvalidCursorError(cursor)
        return position

    async def _tell(
        self, reader: "_Reader", listening: Listening, after: int, *, opening: bool = False
    ) -> Stream:
        stop_by, trimmed = math.inf, False
        # Listens before it reads: a change is either in what is read, or heard of.
        with listening as signal:
            pace = _Pace(signal, self._beat, self._pause, self._per_work)
            if opening:
                yield Part(to_cursor(after))
            while True:
                # Looked at before the read: whatever was stored until the service let go is told.
                stopping = self._waiters.released
                page = await reader.read(after)
                # Said once: each page says so until the reader has come past what is gone.
                part = _part(page, gap=page.trimmed and not trimmed)
                after, trimmed = page.position, page.trimmed
                if part.entries or part.gap or pace.beats():
                    yield part
                if stopping:
                    stop_by = min(stop_by, time.monotonic() + LAST_READS)
                if page.more and time.monotonic() < stop_by:
                    continue
                if reader.over or stopping:
                    break
                await pace.wait()
        if not reader.over:
            yield Part(to_cursor(after), stopping=True)


def _part(page: Records, *, gap: bool) -> Part:
    entries = [_entry(stored) for stored in page.records]
    # One place before the first that is left: who goes on from there misses none.
    begins = page.records[0].position - 1 if page.records else page.position
    return Part(to_cursor(page.position), entries, to_cursor(begins) if gap else None)


def _entry(stored: StoredRecord) -> Entry:
    return Entry(to_cursor(stored.position), stored.job_id, stored.task, stored.queue, stored.record)


class _Pace:
    """When a reader that has caught up reads again, and when it is to give a sign of life."""

    def __init__(self, signal: Signal, beat: float, pause: float, per_work: float) -> None:
        self._signal = signal
        self._beat = beat
        self._pause = pause
        self._per_work = per_work
        # Since when it is at work. A client that is slow to take what it is told counts as work too.
        self._began = time.monotonic()
        self._next_beat = self._began + beat

    def beats(self) -> bool:
        """Tell whether a sign of life is due. The time to the next one runs from then."""
        now = time.monotonic()
        if now < self._next_beat:
            return False
        self._next_beat = now + self._beat
        return True

    async def wait(self) -> None:
        """Return when there may be something new to read, or a sign of life is due."""
        now = time.monotonic()
        earliest = now + min(self._pause, self._per_work * (now - self._began))
        await self._signal.wait(self._next_beat - now)
        await asyncio.sleep(earliest - time.monotonic())
        # What came during the pause will be read now.
        self._signal.clear()
        self._began = time.monotonic()


class _Reader(Protocol):
    """Reads records. over: whether nothing can come after what was read, if it was all."""

    @property
    def over(self) -> bool: ...

    async def read(self, after: int) -> Records:
        """Return the next records. Raises StoreDownError."""


class _TenantReader:
    """Reads what happens to a tenant's jobs."""

    over = False

    def __init__(self, store: Store, tenant: str, where: Filter) -> None:
        self._store = store
        self._tenant = tenant
        self._where = where

    async def read(self, after: int) -> Records:
        """See _Reader.read."""
        with translated():
            return await self._store.records(self._tenant, after, PAGE, where=self._where)


class _JobReader:
    """Reads what happens to one job, until it is done or erased."""

    def __init__(self, store: Store, tenant: str, job_id: str) -> None:
        self.over = False
        self._store = store
        self._tenant = tenant
        self._job_id = job_id

    async def read(self, after: int) -> Records:
        """See _Reader.read."""
        with translated():
            page = await self._page(after)
            # No news, or what told of the end is gone, perhaps with the job itself: erased jobs wake nobody.
            if not page.records and not self.over:
                job = await self._store.get(self._tenant, self._job_id)
                self.over = job is None or job.done
                if self.over:
                    # What has come between the two reads.
                    page = await self._page(after)
        return page

    async def _page(self, after: int) -> Records:
        page = await self._store.records(self._tenant, after, PAGE, job_id=self._job_id)
        states = [stored.record for stored in page.records if stored.record.kind is RecordKind.STATE]
        if states:
            # A later run may follow: then it is not over yet, for one who has read so far.
            self.over = json.loads(states[-1].data)["state"] in FINAL
        return page
