"""Rows that cannot be read: each is set aside, and harms no other job."""

import asyncio
import logging
import sqlite3
from contextlib import closing

import pytest

from app.core import State
from app.jobs.lifecycle import CancelRequested
from app.jobs.model import Hold, Slot
from app.stores.base import (
    Change,
    Claim,
    Filter,
    Insert,
    Limits,
    OperationFailedError,
    Paging,
    Promote,
    Promoted,
    QueueFullError,
    Recover,
)
from app.stores.sqlite import SqliteStore
from app.stores.writer import Writer
from tests.stores.driving import KNOWN, NOW, change, claim, get, ids, insert, new_job, one, scheduled

PATIENCE = 30
"""Seconds after which what must come has not."""

DAMAGE = {
    "no JSON": ("tags", "'{'"),
    "nested too deep": ("tags", f"'{'[' * 100_000}'"),
    "no UTF-8": ("tags", "cast(x'7bff7d' AS TEXT)"),
    "no outcome": ("outcome", "'neither'"),
    "no request": ("cancel_requested_at", "1"),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.db"


@pytest.fixture
def store(path):
    store = SqliteStore(path, lock_timeout=0)
    yield store
    store.close()


@pytest.fixture(params=DAMAGE)
def damage(request):
    return DAMAGE[request.param]


def spoil(store, job, damage=DAMAGE["no JSON"]):
    column, value = damage
    store._db.execute(f"UPDATE jobs SET {column} = {value} WHERE hex(id) = ?", (hex_of(job),))


def mend(store, job):
    sql = "UPDATE jobs SET tags = '{}', outcome = NULL, cancel_requested_at = NULL WHERE hex(id) = ?"
    store._db.execute(sql, (hex_of(job),))


def stored(store, job):
    sql = "SELECT state, hold FROM jobs WHERE hex(id) = ?"
    return store._db.execute(sql, (hex_of(job),)).fetchone()


def hex_of(job):
    return job.id.replace("-", "").upper()


def test_a_claim_takes_the_others_and_sets_aside_what_it_cannot_read(store, caplog, damage):
    before, bad, after = jobs = [new_job() for _ in range(3)]
    insert(store, *jobs)
    spoil(store, bad, damage)
    assert ids(claim(store, 9)) == [before.id, after.id]
    assert stored(store, bad) == ("pending", Hold.UNREADABLE)
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert f"job {bad.id} cannot be read" in record.getMessage()


def test_arguments_that_are_no_text_are_damage_too(store):
    bad, good = new_job(arguments='{"args":[1],"kwargs":{}}'), new_job()
    insert(store, bad, good)
    store._db.execute("UPDATE arguments SET arguments = cast(x'ff' AS TEXT) WHERE job = 1")
    assert ids(claim(store, 1)) == [good.id]
    assert stored(store, bad) == ("pending", Hold.UNREADABLE)


def test_a_slot_goes_to_the_next_job_that_can_be_read(store, caplog):
    bad, good = [new_job() for _ in range(5)], new_job()
    insert(store, *bad, good)
    for job in bad:
        spoil(store, job)
    assert ids(claim(store, 2)) == [good.id]
    assert len(caplog.records) == 5
    assert claim(store, 2) == []
    assert len(caplog.records) == 5


def test_what_is_set_aside_still_counts_as_waiting(store):
    job = new_job()
    insert(store, job)
    spoil(store, job)
    claim(store, 1)
    assert isinstance(one(store, Insert([new_job()], Limits(queue=1))), QueueFullError)


def test_a_batch_that_fails_after_all_sets_nothing_aside(store):
    job = new_job()
    insert(store, job)
    spoil(store, job)
    with pytest.raises(UnicodeEncodeError):
        store.apply([Claim("worker", {Slot.THREAD: 1}), Insert([new_job(tenant="\ud800")])], NOW)
    assert stored(store, job) == ("pending", Hold.NONE)


def test_a_promotion_makes_the_others_ready_and_is_not_kept_busy(store, damage):
    bad, good, later = scheduled(1), scheduled(1), scheduled(60)
    insert(store, bad, good, later)
    spoil(store, bad, damage)
    assert one(store, Promote(), scheduled(2).run_at) == Promoted(1, later.run_at)
    assert stored(store, bad) == ("pending", Hold.UNREADABLE)
    assert ids(claim(store, 9)) == [good.id]


def test_a_start_recovers_the_others_and_leaves_what_ran_as_it_is(store, damage):
    bad, good = new_job(), new_job()
    insert(store, bad, good)
    claim(store, 2)
    spoil(store, bad, damage)
    assert ids(one(store, Recover(KNOWN)).lost) == [good.id]
    assert stored(store, bad)[0] == "running"
    mend(store, bad)
    [lost] = one(store, Recover(KNOWN)).lost
    assert (lost.id, lost.losses, lost.hold) == (bad.id, 1, Hold.DUE_LATER)


def test_what_was_mended_runs_after_the_next_start_in_its_turn(store, damage):
    bad = new_job()
    insert(store, bad)
    spoil(store, bad, damage)
    assert claim(store, 1) == []
    mend(store, bad)
    assert claim(store, 1) == []
    insert(store, new_job())
    one(store, Recover(KNOWN))
    assert len(claim(store, 9)) == 2
    assert get(store, bad).state is State.RUNNING


def test_what_was_not_mended_is_set_aside_again(store):
    bad = new_job()
    insert(store, bad)
    spoil(store, bad)
    for _ in range(2):
        one(store, Recover(KNOWN))
        assert claim(store, 1) == []
        assert stored(store, bad) == ("pending", Hold.UNREADABLE)


def test_what_was_mended_can_be_cancelled(store):
    bad = new_job()
    insert(store, bad)
    spoil(store, bad)
    claim(store, 1)
    mend(store, bad)
    assert get(store, bad).hold is Hold.UNREADABLE
    assert change(store, bad, CancelRequested()).state is State.CANCELLED
    assert stored(store, bad) == ("cancelled", Hold.NONE)


def test_a_slot_that_no_version_knows_keeps_the_store_neither_closed_nor_the_job_back(path):
    job = new_job()
    with closing(SqliteStore(path)) as store:
        insert(store, job)
    with closing(sqlite3.connect(path)) as other:
        other.execute("UPDATE jobs SET slot = 'none of ours'")
        other.commit()
    with closing(SqliteStore(path)) as store:
        one(store, Recover(KNOWN))
        assert ids(claim(store, 1)) == [job.id]


def test_a_change_of_a_damaged_job_is_refused_by_name_and_told_once(store, caplog):
    bad, good = new_job(), new_job()
    insert(store, bad, good)
    spoil(store, bad)
    with pytest.raises(OperationFailedError, match=f"job {bad.id} cannot be read"):
        change(store, bad, CancelRequested())
    writer = Writer(store, lambda: NOW)
    futures = [writer.submit(Change(bad.id, (CancelRequested(),))) for _ in range(20)]
    assert all(isinstance(future.exception(PATIENCE), OperationFailedError) for future in futures)
    writer.submit(Change(good.id, (CancelRequested(),))).result(PATIENCE)
    writer.close()
    [record] = caplog.records
    assert bad.id in record.getMessage()
    assert record.exc_info is None


def test_a_damaged_job_hides_no_other_in_a_list(store):
    good, bad = new_job(), new_job()
    insert(store, good, bad)
    spoil(store, bad)
    page = asyncio.run(store.list("ours", Filter(), Paging()))
    assert ([job.id for job in page.jobs], page.next) == ([good.id], None)


def test_a_damaged_job_is_told_apart_from_one_that_is_not_there(store):
    job = new_job()
    insert(store, job)
    spoil(store, job)
    with pytest.raises(OperationFailedError, match=job.id):
        get(store, job)
