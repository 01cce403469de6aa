"""What a transaction on the SQLite store adds to the histories of jobs."""

import sqlite3
from collections import deque
from collections.abc import Sequence
from itertools import islice

from app.core import State
from app.jobs.history import RecordKind, records_of
from app.jobs.lifecycle import Event
from app.jobs.model import Job
from app.stores.rows import AS_SUBMITTED, RECORD, Row
from app.stores.sqlite_columns import MANY, insert_columns
from app.stores.sqlite_memory import Memory
from app.stores.sqlite_statements import insert_rows

PROGRESS_KEPT = 200
"""Records of progress that are kept of a job that runs; it may report some for days."""

TRIM_TO = """
    INSERT INTO trimmed VALUES (?, ?)
    ON CONFLICT DO UPDATE SET position = max(position, excluded.position)"""


STATE = str(RecordKind.STATE)
"""As plain text, which is bound sooner than what is a subclass of it; so is each kind below."""


class Histories:
    """Gathers what events have to say, and writes it together.

    Where the progress of running jobs is, it notes at once: a batch that fails leaves positions
    there that are of nothing, or of something else.
    """

    def __init__(self, db: sqlite3.Connection, memory: Memory, now: int) -> None:
        self.last_position = memory.last_position
        self._db = db
        self._progress = memory.progress
        self._now = now
        self._rows: list[Row] = []
        self._trimmed: dict[int, list[int]] = {}

    def begin(self, keys: Sequence[int]) -> None:
        """Keep the first that there is to say of new jobs: that they were submitted."""
        count = len(keys)
        positions = range(self.last_position + 1, self.last_position + count + 1)
        self.last_position = positions[-1]
        values = (positions, keys, [STATE] * count, [self._now] * count, [AS_SUBMITTED] * count)
        if count >= MANY:
            insert_columns(self._db, "events", dict(zip(RECORD, values, strict=True)))
        else:
            self._rows += zip(*values, strict=True)

    def add(self, key: int, event: Event, job: Job) -> None:
        """Keep what the event has to say."""
        for kind, at, data in records_of(event, job, self._now):
            self.last_position = position = self.last_position + 1
            self._rows.append((position, key, str(kind), at, data))
            if kind is RecordKind.PROGRESS:
                self._trim(key)
        if job.state is not State.RUNNING:
            self._progress.pop(key, None)

    def _trim(self, key: int) -> None:
        """Have the oldest records of a job's progress dropped when there are too many."""
        tail = self._progress.setdefault(key, deque())
        tail.append(self.last_position)
        if len(tail) > PROGRESS_KEPT:
            self._trimmed[key] = list(islice(tail, PROGRESS_KEPT // 2))
            self._progress[key] = deque(islice(tail, PROGRESS_KEPT // 2, None))

    def save(self) -> None:
        """Write what has gathered."""
        insert_rows(self._db, "events", RECORD, self._rows)
        self._rows = []
        for key, positions in self._trimmed.items():
            # A batch that failed may have left a position here that is another record's by now.
            self._db.execute(
                "DELETE FROM events WHERE position BETWEEN ? AND ? AND job = ? AND kind = 'progress'",
                (positions[0], positions[-1], key),
            )
            sql = "UPDATE jobs SET trimmed = ? WHERE key = ? RETURNING tenant"
            for (tenant,) in self._db.execute(sql, (positions[-1], key)).fetchall():
                self.trim_to(tenant, positions[-1])
        self._trimmed = {}

    def trim_to(self, tenant: str, position: int) -> None:
        """Take note that an event of a tenant's jobs is gone, at that position."""
        self._db.execute(TRIM_TO, (tenant, position))
