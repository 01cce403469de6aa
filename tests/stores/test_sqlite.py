"""SQLite: the contract of stores, and what is its own."""

import tempfile
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from hypothesis import settings

from app.stores.sqlite import SqliteStore
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
        ready = "SELECT count(*) FROM jobs {} WHERE state = 'pending' AND hold = 0 AND slot <> ''"
        model = sum(job.ready for job in self.jobs.values())
        assert db.execute(ready.format("INDEXED BY jobs_ready")).fetchone() == (model,)
        assert db.execute(ready.format("NOT INDEXED")).fetchone() == (model,)
        strange = "state <> 'pending' AND hold OR state = 'pending' AND NOT hold AND turn < 1"
        assert db.execute(f"SELECT count(*) FROM jobs WHERE {strange}").fetchone() == (0,)


TestSqliteHistory = SqliteMachine.TestCase
TestSqliteHistory.settings = settings(QUICK, max_examples=30, stateful_step_count=30)
