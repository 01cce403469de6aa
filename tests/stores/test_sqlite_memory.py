"""What the SQLite store keeps in memory beside the file: it must neither grow nor lie."""

import gc
import re
import sqlite3
from contextlib import closing

import pytest

from app.jobs.errors import StaleTokenError
from app.jobs.lifecycle import CancelRequested, Failed, Lost, Progressed, Released, Succeeded
from app.jobs.model import Backoff, Progress, Slot
from app.stores.base import (
    Change,
    Claim,
    Filter,
    Insert,
    Limits,
    Paging,
    Pause,
    Probe,
    Promote,
    Purge,
    Recover,
    Sweep,
)
from app.stores.sqlite import SqliteStore
from app.stores.sqlite_memory import MOST_KNOWN, SMALL
from app.stores.sqlite_work import Work
from tests.stores.driving import BROKEN, KNOWN, NOW, change, claim, get, insert, new_job, one, page


@pytest.fixture
def store(tmp_path):
    store = SqliteStore(tmp_path / "jobs.db")
    yield store
    store.close()


def test_a_transaction_leaves_nothing_to_the_garbage_collector(store):
    insert(store, *(jobs := [new_job() for _ in range(4)]))
    store.apply([Change(jobs[0].id, (CancelRequested(),))], NOW)
    cancel, erase = Change(jobs[1].id, (CancelRequested(),)), Purge(jobs[0].id, "ours")
    gc.collect()
    gc.disable()
    try:
        new, claim_two = Insert([new_job()]), Claim("worker", {Slot.THREAD: 2})
        too_many, stale = Insert([new_job()], Limits(queue=0)), Change(jobs[2].id, (Succeeded(1, "null"),))
        for operations in (
            [new, cancel, Probe(), claim_two],
            [too_many, stale],
            [erase, Promote(), Pause("ours", "default", True), Sweep(NOW, NOW), Recover(KNOWN)],
        ):
            store.apply(operations, NOW)
            assert [thing for thing in gc.get_objects() if isinstance(thing, Work)] == []
    finally:
        gc.enable()


def test_what_a_batch_counts_in_several_steps_is_counted_once_each(store):
    first = Insert([new_job() for _ in range(3)])
    # A recovery writes what was counted before it.
    store.apply([first, Recover(KNOWN), Claim("worker", {Slot.THREAD: 1})], NOW)
    assert store._memory.counters._waiting == {"default": 2}
    assert store._memory.counters._unfinished == {"ours": 3}


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


OPTIONS = {
    "plain": {},
    "all that can be given": {
        "arguments": '{"args":["to be"],"kwargs":{"n":1}}', "shown": '{"args":["***"],"kwargs":{}}',
        "queue": "loud", "priority": 3, "tags": {"of": "1603"}, "key": "hamlet", "max_attempts": 4,
        "backoff": Backoff(2, 3, 60, jitter=False), "timeout": 1.5, "expires_at": NOW + 1, "limit_key": "act",
    },
}  # fmt: skip


@pytest.fixture(params=OPTIONS.values(), ids=OPTIONS)
def begun(request, store):
    """A job that was claimed in the batch in which it came."""
    _, (job,) = store.apply([Insert([new_job(**request.param)]), Claim("w", {Slot.THREAD: 1})], NOW).outcomes
    return job


def known(store, job):
    """Return a job as the writer knows it, without reading it."""
    return store._memory.running._entries[job.id].job


def read_by(store, work):
    """Return the tables whose rows are read while that is done."""
    statements = []
    store._db.set_trace_callback(statements.append)
    work()
    store._db.set_trace_callback(None)
    return [re.search(r"FROM (\w+)", sql)[1] for sql in statements if sql.lstrip().startswith("SELECT")]


def test_a_job_that_runs_is_known_as_it_is_stored(store, begun):
    assert begun == get(store, begun)
    assert known(store, begun) == begun


def test_the_end_of_a_job_that_runs_is_stored_without_reading_it(store, begun):
    assert read_by(store, lambda: change(store, begun, Succeeded(begun.token, "5"))) == []
    assert get(store, begun).result == "5"
    assert len(store._memory.running) == 0


def test_what_happens_to_a_job_while_it_runs_is_known(store, begun):
    told = change(store, begun, Progressed(begun.token, Progress(1, 4, "a quarter")))
    asked = change(store, begun, CancelRequested())
    assert (told.progress, asked.progress) == (Progress(1, 4, "a quarter"),) * 2
    assert known(store, begun) == asked == get(store, begun)


def test_what_another_program_has_written_meanwhile_counts(store, begun, tmp_path):
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as other, other:
        other.execute("UPDATE jobs SET token = token + 1, version = 9")
    refused = change(store, begun, Succeeded(begun.token, "5"))
    assert isinstance(refused, StaleTokenError)
    assert change(store, begun, Succeeded(begun.token + 1, "6")).version == 10


def test_a_job_is_settled_by_the_batch_after_one_that_failed(store, begun):
    with pytest.raises(UnicodeEncodeError):
        store.apply([Change(begun.id, (Succeeded(begun.token, "\ud800"),))], NOW)
    assert change(store, begun, Succeeded(begun.token, "5")) == get(store, begun)


@pytest.mark.parametrize("event", [Failed, Released, Lost])
def test_a_job_that_runs_no_more_is_not_known(store, begun, event):
    change(store, begun, event(begun.token, BROKEN) if event is Failed else event(begun.token))
    assert len(store._memory.running) == 0


def test_a_start_takes_what_runs_from_those_that_are_known(store, begun):
    (lost,) = one(store, Recover(KNOWN)).lost
    assert (lost.id, len(store._memory.running)) == (begun.id, 0)


def test_later_attempts_are_read(store):
    insert(store, new_job(max_attempts=2))
    (first,) = claim(store, 1)
    change(store, first, Failed(first.token, BROKEN, 0))
    (second,) = claim(store, 1)
    assert len(store._memory.running) == 0
    done = change(store, second, Succeeded(second.token, "5"))
    assert [attempt.exception for attempt in done.attempts] == [BROKEN]


@pytest.mark.parametrize(("count", "size"), [(MOST_KNOWN + 1, 1), (1, SMALL + 1)], ids=["many", "large"])
def test_no_more_of_what_waits_is_kept_in_memory_than_that(store, count, size):
    assert claim(store, 1) == []
    insert(store, new_job())
    assert store._memory.ready.of(Slot.THREAD, {}) is not None
    store.apply([Insert([new_job(arguments="1" * size) for _ in range(count)])], NOW)
    assert store._memory.ready.of(Slot.THREAD, {}) is None
