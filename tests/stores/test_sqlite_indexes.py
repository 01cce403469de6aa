"""Which index each of the SQLite store's statements walks: what waits must not make a claim slower."""

import pytest

from app.core import State
from app.jobs.model import Outcome
from app.stores import sqlite_batch, sqlite_routes, sqlite_statements, sqlite_work
from app.stores.base import Filter, Paging
from app.stores.sqlite import SqliteStore
from app.stores.sqlite_insert import HOLDER, KNOWN
from app.stores.sqlite_reads import COUNTS, LATEST, NEWEST, OF_JOB, OF_TENANT, Query
from app.stores.sqlite_sweep import OLD, OLD_KEYS, RESULTS
from tests.stores.driving import NOW


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = SqliteStore(tmp_path_factory.mktemp("indexes") / "jobs.db")
    yield store
    store.close()


def plan(store, sql, values):
    return " / ".join(row[3] for row in store._db.execute(f"EXPLAIN QUERY PLAN {sql}", values))


def test_a_claim_walks_the_index_of_ready_jobs_in_its_order(store):
    steps = plan(store, sqlite_batch.READY_NOW, ("thread", 5))
    assert "jobs USING INDEX jobs_ready (slot=?)" in steps
    assert "B-TREE" not in steps


@pytest.mark.parametrize(("sql", "values"), [(sqlite_batch.DUE, (NOW, 5)), (sqlite_batch.NEXT_DUE, ())])
def test_promotion_walks_the_index_of_due_times(store, sql, values):
    steps = plan(store, sql, values)
    assert "INDEX jobs_due" in steps
    assert "B-TREE" not in steps


@pytest.mark.parametrize("sql", [sqlite_routes.RUNNING, sqlite_routes.TRY_AGAIN])
def test_recovery_finds_what_ran_by_its_index(store, sql):
    assert "INDEX jobs_running" in plan(store, sql, ())


@pytest.mark.parametrize(
    ("sql", "values"),
    [(sqlite_routes.HOLD_BACK, ("{}",)), (sqlite_routes.LET_GO, ("{}",)), (sqlite_routes.COUNT_UNKNOWN, ())],
)
def test_recovery_reads_none_of_the_jobs_that_are_done(store, sql, values):
    assert "INDEX jobs_by_state (tenant=? AND state=?)" in plan(store, sql, values)


@pytest.mark.parametrize("count", sqlite_statements.SIZES)
def test_counts_that_are_zero_are_found_by_their_key(store, count):
    steps = plan(store, sqlite_statements.delete_zeros(count), ("",) * 4 * count)
    assert "PRIMARY KEY (tenant=? AND queue=? AND task=? AND state=?)" in steps
    assert "SCAN" not in steps


@pytest.mark.parametrize(
    ("sql", "index"), [(sqlite_routes.DEALS[0], "jobs_ready"), (sqlite_routes.DEALS[1], "jobs_blocked")]
)
def test_turns_are_dealt_without_reading_what_waits_for_something_else(store, sql, index):
    assert f"INDEX {index}" in plan(store, sql, ())


ORDERED = {
    "expired": (sqlite_batch.EXPIRED, (NOW, 5), "jobs_expiring"),
    "next expiry": (sqlite_batch.NEXT_EXPIRY, (), "jobs_expiring"),
    "admission": (sqlite_work.BLOCKED, ("plain/", 5), "jobs_blocked (blocked_by=?)"),
    "retention": (OLD, (NOW, 5), "jobs_done"),
    "retention of results": (RESULTS, (NOW, 0, 0, 5), "jobs_done"),
    "retention of idempotency keys": (OLD_KEYS, (NOW, 5), "idempotency_by_age"),
    "what has ended last": (LATEST, (NOW, 5), "jobs_done"),
    "history of a job": (OF_JOB, (1, 0, "", "~", 5), "events_of_job (job=? AND position>?)"),
}


@pytest.mark.parametrize("name", ORDERED)
def test_what_is_read_in_order_is_read_in_the_order_of_its_index(store, name):
    sql, values, index = ORDERED[name]
    steps = plan(store, sql, values)
    assert f"INDEX {index}" in steps
    assert "B-TREE" not in steps


def test_jobs_are_counted_without_reading_any(store):
    steps = plan(store, COUNTS, ("ours",))
    assert "counters USING PRIMARY KEY (tenant=?)" in steps
    assert " jobs" not in steps


def test_the_newest_jobs_are_read_from_the_end_of_their_table(store):
    steps = plan(store, NEWEST, (5,))
    assert steps.startswith("SCAN jobs / SEARCH results USING INTEGER PRIMARY KEY")
    assert "B-TREE" not in steps


def test_the_history_of_all_jobs_is_read_in_the_order_of_its_positions(store):
    values = {"after": 0, "upto": 10_000, "tenant": "ours", "limit": 9}
    steps = plan(store, OF_TENANT.format("tenant = :tenant"), values)
    assert "events USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in steps
    assert "B-TREE" not in steps


@pytest.mark.parametrize(
    ("sql", "values", "index"),
    [
        (HOLDER, ("ours", "plain", "k"), "jobs_by_unique_key (tenant=? AND task=? AND unique_key=?)"),
        (KNOWN, ("ours", "/jobs", "k", 0), "PRIMARY KEY (tenant=? AND route=? AND key=?)"),
        (sqlite_work.LOWEST.format("limit_key = ?"), ("plain", ""), "jobs_admitted (task=? AND limit_key=?)"),
        (sqlite_work.LOWEST.format("1"), ("plain",), "jobs_admitted (task=?"),
    ],
)
def test_keys_and_permits_are_found_by_their_index(store, sql, values, index):
    steps = plan(store, sql, values)
    assert index in steps
    assert "SCAN jobs" not in steps


@pytest.mark.parametrize(
    ("where", "index"),
    [
        (Filter(), "jobs_of_tenant (tenant=? AND rowid<?)"),
        (Filter(state=State.PENDING), "jobs_by_state (tenant=? AND state=? AND rowid<?)"),
        (Filter(task="plain"), "jobs_by_task (tenant=? AND task=? AND rowid<?)"),
        (Filter(queue="q"), "jobs_by_queue (tenant=? AND queue=? AND rowid<?)"),
        (Filter(outcome=Outcome.FAILED), "jobs_of_tenant (tenant=? AND rowid<?)"),
        (Filter(State.PENDING, None, "plain", "q"), "jobs_by_task (tenant=? AND task=? AND rowid<?)"),
        (Filter(q="0198", tags=[("a", "b")], created_after=1), "jobs_of_tenant (tenant=? AND rowid<?)"),
    ],
)
def test_a_page_is_read_in_the_order_of_its_index(store, where, index):
    query = Query("ours", where, Paging())
    values = {**query.values, "floor": 0, "examined": 9}
    for sql in (query.page, query.floor):
        steps = plan(store, sql, values).replace("key<?", "rowid<?").replace("key>? AND rowid<?", "rowid<?")
        steps = steps.replace("rowid>? AND rowid<?", "rowid<?")
        assert f"INDEX {index}" in steps
        assert "B-TREE" not in steps
