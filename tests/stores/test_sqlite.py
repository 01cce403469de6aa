"""SQLite: the contract of stores, and what is its own."""

import tempfile
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from hypothesis import settings

from app.stores.rows import JOB, job_of, turn_of, with_call
from app.stores.sqlite import SqliteStore
from app.stores.sqlite_batch import READY_NOW
from tests.stores.driving import QUICK
from tests.stores.store_contract import StoreContract
from tests.stores.store_machine import StoreMachine


@contextmanager
def database():
    with tempfile.TemporaryDirectory() as folder:
        yield partial(SqliteStore, Path(folder) / "jobs.db")


class TestSqliteStore(StoreContract):
    def database(self):
        return database()


class SqliteMachine(StoreMachine):
    def database(self):
        return database()

    def check_inside(self):
        db = self.store._db
        counted = Counter(
            {
                tuple(key): n
                for *key, n in db.execute(
                    "SELECT tenant, queue, task, state, count(*) FROM jobs GROUP BY 1, 2, 3, 4"
                )
            }
        )
        kept = {tuple(key): n for *key, n in db.execute("SELECT tenant, queue, task, state, n FROM counters")}
        assert kept == counted
        assert held_permits(db, self.caps) == self.store._memory.permits.held
        ready = "SELECT count(*) FROM jobs {} WHERE state = 'pending' AND hold = 0 AND slot <> ''"
        indexed, counted = (
            db.execute(ready.format(by)).fetchone() for by in ("INDEXED BY jobs_ready", "NOT INDEXED")
        )
        assert indexed == counted
        assert db.execute(f"SELECT count(*) FROM jobs WHERE {STRANGE}").fetchone() == (0,)
        self.check_known()

    def check_known(self):
        """What is known without asking is what a query finds."""
        memory = self.store._memory
        pausing = memory.moving.keys() & memory.paused
        for slot, known in memory.ready._by_slot.items():
            rows = self.store._db.execute(READY_NOW, (slot, -1)).fetchall()
            found = [
                (turn_of(row), with_call(job_of(row[: len(JOB)]), *row[-2:]))
                for row in rows
                # Those of a queue that is being paused are passed over.
                if (row[JOB.index("tenant")], row[JOB.index("queue")]) not in pausing
            ]
            kept = [
                (entry.turn, entry.job)
                for entry in sorted(known.values(), key=place)
                if (entry.job.tenant, entry.job.queue) not in pausing
            ]
            assert kept == found


def place(entry):
    return -entry.job.priority, entry.turn, entry.key


STRANGE = """
    state <> 'pending' AND hold
    OR hold & 24 AND hold NOT IN (8, 16)
    OR (hold = 16) <> (blocked_by IS NOT NULL)
    OR state = 'pending' AND hold IN (0, 16) AND turn < 1
    OR hold = 8 AND (tenant, queue) NOT IN (SELECT tenant, queue FROM pauses)"""


def held_permits(db, caps):
    """Count the permits that jobs have, as the rows say."""
    held = Counter()
    rows = db.execute(
        "SELECT task, limit_key, state = 'running' OR hold = 0, blocked_by = '/' || task FROM jobs "
        "WHERE state IN ('pending', 'running') AND limit_key IS NOT NULL"
    ).fetchall()
    for task, key, whole, first in rows:
        each, all_ = caps.get(task, (None, None))
        held[f"{task}/{key}"] += each is not None and bool(whole or first)
        held[f"/{task}"] += all_ is not None and bool(whole)
    return +held


TestSqliteHistory = SqliteMachine.TestCase
TestSqliteHistory.settings = settings(QUICK, max_examples=30, stateful_step_count=30)
