"""What the SQLite store keeps in memory beside the file: it must neither grow nor lie."""

import pytest

from app.jobs.lifecycle import CancelRequested
from app.jobs.model import Slot
from app.stores.base import Change, Claim, Filter, Insert, Paging
from app.stores.sqlite import SqliteStore
from tests.stores.driving import NOW, change, claim, insert, new_job, one, page


@pytest.fixture
def store(tmp_path):
    store = SqliteStore(tmp_path / "jobs.db")
    yield store
    store.close()


def test_queues_that_are_empty_again_are_not_kept_in_memory(store):
    jobs = [new_job(queue=f"q{n}", tenant=f"t{n}") for n in range(50)]
    insert(store, *jobs)
    for job in jobs:
        change(store, job, CancelRequested())
    assert (store._memory.counters._waiting, store._memory.counters._unfinished) == ({}, {})


def test_queues_that_are_empty_again_are_not_kept_in_the_file(store):
    jobs = [new_job(queue=f"q{n}", tenant=f"t{n}") for n in range(300)]
    insert(store, *jobs)
    store.apply([Change(job.id, (CancelRequested(),)) for job in jobs[1:]], NOW)
    rows = store._db.execute("SELECT queue, state, n FROM counters ORDER BY queue LIMIT 2").fetchall()
    assert rows == [("q0", "pending", 1), ("q1", "cancelled", 1)]
    assert store._db.execute("SELECT count(*) FROM counters").fetchone() == (300,)


def test_lanes_that_have_nothing_waiting_are_forgotten(store, monkeypatch):
    lanes = store._memory.lanes
    monkeypatch.setattr("app.stores.lanes.PRUNE_AT", 5)
    monkeypatch.setattr(lanes, "_prune_at", 5)
    for n in range(40):
        one(store, Insert([new_job(queue=f"q{n}")]))
        claim(store, 1)
        assert len(lanes.last) <= 6


def test_lanes_that_have_something_waiting_are_kept_and_not_looked_at_each_time(store, monkeypatch):
    lanes = store._memory.lanes
    monkeypatch.setattr("app.stores.lanes.PRUNE_AT", 5)
    monkeypatch.setattr(lanes, "_prune_at", 5)
    insert(store, *[new_job(queue=f"w{n}") for n in range(20)])
    assert len(lanes.last) == 20
    assert lanes._prune_at == 40


def test_a_batch_that_failed_leaves_no_trace_in_memory(store):
    memory = store._memory
    insert(store, new_job())
    before = (
        memory.last_key,
        dict(memory.lanes.last),
        dict(memory.lanes.serving),
        memory.counters.waiting("default"),
    )
    with pytest.raises(UnicodeEncodeError):
        store.apply([Insert([new_job()]), Claim("\ud800", {Slot.THREAD: 1})], NOW)
    assert before == (
        memory.last_key,
        memory.lanes.last,
        memory.lanes.serving,
        memory.counters.waiting("default"),
    )
    assert len(page(store, Filter(), Paging()).jobs) == 1
