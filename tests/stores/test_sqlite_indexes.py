"""Which index each of the SQLite store's statements walks: what waits must not make a claim slower."""

import pytest

from app.core import State
from app.jobs.model import Outcome
from app.stores import rows, sqlite_batch
from app.stores.base import Filter, Paging
from app.stores.sqlite import SqliteStore, _Query
from tests.stores.driving import NOW


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = SqliteStore(tmp_path_factory.mktemp("indexes") / "jobs.db")
    yield store
    store.close()


def plan(store, sql, values):
    return " / ".join(row[3] for row in store._db.execute(f"EXPLAIN QUERY PLAN {sql}", values))


def test_a_claim_walks_the_index_of_ready_jobs_in_its_order(store):
    steps = plan(store, sqlite_batch.READY, ("thread", 5))
    assert "jobs USING INDEX jobs_ready (slot=?)" in steps
    assert "B-TREE" not in steps


@pytest.mark.parametrize(("sql", "values"), [(sqlite_batch.DUE, (NOW, 5)), (sqlite_batch.NEXT_DUE, ())])
def test_promotion_walks_the_index_of_due_times(store, sql, values):
    steps = plan(store, sql, values)
    assert "INDEX jobs_due" in steps
    assert "B-TREE" not in steps


@pytest.mark.parametrize("sql", [sqlite_batch.RUNNING, sqlite_batch.TRY_AGAIN])
def test_recovery_finds_what_ran_by_its_index(store, sql):
    assert "INDEX jobs_running" in plan(store, sql, ())


@pytest.mark.parametrize(
    ("sql", "values"),
    [(sqlite_batch.HOLD_BACK, ("{}",)), (sqlite_batch.LET_GO, ("{}",)), (sqlite_batch.COUNT_UNKNOWN, ())],
)
def test_recovery_reads_none_of_the_jobs_that_are_done(store, sql, values):
    assert "INDEX jobs_by_state (tenant=? AND state=?)" in plan(store, sql, values)


@pytest.mark.parametrize("count", rows.SIZES)
def test_counts_that_are_zero_are_found_by_their_key(store, count):
    steps = plan(store, rows.delete_zeros(count), ("",) * 4 * count)
    assert "PRIMARY KEY (tenant=? AND queue=? AND task=? AND state=?)" in steps
    assert "SCAN" not in steps


def test_turns_are_dealt_without_reading_what_is_not_ready(store):
    steps = plan(store, sqlite_batch.DEAL_TURNS, ())
    assert "INDEX jobs_ready" in steps


@pytest.mark.parametrize(
    ("where", "index"),
    [
        (Filter(), "jobs_of_tenant (tenant=? AND rowid<?)"),
        (Filter(state=State.PENDING), "jobs_by_state (tenant=? AND state=? AND rowid<?)"),
        (Filter(task="plain"), "jobs_by_task (tenant=? AND task=? AND rowid<?)"),
        (Filter(queue="q"), "jobs_by_queue (tenant=? AND queue=? AND rowid<?)"),
        (Filter(outcome=Outcome.FAILED), "jobs_of_tenant (tenant=? AND rowid<?)"),
        (Filter(State.PENDING, None, "plain", "q"), "jobs_by_task (tenant=? AND task=? AND rowid<?)"),
    ],
)
def test_a_page_is_read_in_the_order_of_its_index(store, where, index):
    query = _Query("ours", where, Paging())
    values = {**query.values, "floor": 0, "examined": 9}
    for sql in (query.page, query.floor):
        steps = plan(store, sql, values).replace("key<?", "rowid<?").replace("key>? AND rowid<?", "rowid<?")
        steps = steps.replace("rowid>? AND rowid<?", "rowid<?")
        assert f"INDEX {index}" in steps
        assert "B-TREE" not in steps
