"""What is claimed in the batch in which it comes: written as running at once, and as if it had waited."""

import sqlite3
from contextlib import closing

import pytest

from app.core import State
from app.jobs.errors import StaleTokenError
from app.jobs.lifecycle import CancelRequested, Edited, Released
from app.jobs.model import SECOND, Hold, Slot
from app.stores.base import Caps, Change, Claim, Insert, Pause, Probe, Purge, Recover
from app.stores.sqlite import SqliteStore
from app.stores.sqlite_memory import MOST_KNOWN, SMALL
from tests.stores.driving import KNOWN, NOW, change, claim, get, insert, new_job, one, scheduled


@pytest.fixture
def store(tmp_path):
    """A store whose writer knows that no job is ready: its last claim has found none."""
    store = SqliteStore(tmp_path / "jobs.db")
    assert claim(store, threads=1, coroutines=1) == []
    yield store
    store.close()


def come(store, *jobs, free=9, before=()):
    """Submit jobs and claim in one batch; return what was claimed."""
    operations = [*before, *(Insert([job]) for job in jobs), Claim("worker", {Slot.THREAD: free})]
    claimed = store.apply(operations, NOW).outcomes[-1]
    for job in claimed:
        assert get(store, job, job.tenant) == job
        assert (job.state, job.attempt, job.started_at) == (State.RUNNING, 1, NOW)
    return [job.id for job in claimed]


def statements_of(store, work):
    """Return how each statement begins that reads or writes tables while that is done."""
    statements = []
    store._db.set_trace_callback(statements.append)
    work()
    store._db.set_trace_callback(None)
    words = [" ".join(sql.split()[:3]) for sql in statements]
    return [of for of in words if of.startswith(("SELECT", "INSERT", "UPDATE", "DELETE"))]


def test_it_is_written_once_and_nothing_is_asked(store):
    jobs = [new_job(), new_job()]
    claimed = []
    assert statements_of(store, lambda: claimed.extend(come(store, *jobs))) == [
        "INSERT INTO jobs",
        "INSERT INTO events",
        "INSERT INTO counters",
    ]
    assert claimed == [job.id for job in jobs]


def test_it_has_the_history_of_one_that_has_waited(store):
    (straight,) = come(store, new_job())
    insert(store, later := new_job())
    claim(store, threads=1)
    told = store._db.execute("SELECT job, kind, at, data FROM events ORDER BY position").fetchall()
    assert [record[1:] for record in told[:2]] == [record[1:] for record in told[2:]]
    assert get(store, straight)._replace(id=later.id, token=None) == get(store, later)._replace(token=None)


def test_the_first_by_priority_are_claimed_when_there_are_more_than_slots(store):
    low, high, middle = new_job(), new_job(priority=2), new_job(priority=1)
    assert come(store, low, high, middle, free=2) == [high.id, middle.id]
    assert come(store) == [low.id]


def test_all_are_claimed_in_the_order_of_their_priorities(store):
    low, high, middle = new_job(), new_job(priority=2), new_job(priority=1)
    assert come(store, low, high, middle, free=3) == [high.id, middle.id, low.id]


def test_one_that_was_there_before_comes_first(store):
    insert(store, first := new_job())
    second = new_job()
    assert come(store, second, free=1) == [first.id]
    assert come(store) == [second.id]


def test_one_that_was_left_over_comes_first(store):
    jobs = [new_job() for _ in range(3)]
    assert come(store, *jobs[:2], free=1) == [jobs[0].id]
    assert come(store, jobs[2], free=1) == [jobs[1].id]


def test_one_that_is_put_back_in_the_same_batch_keeps_its_turn(store):
    (first,) = come(store, new_job())
    put_back = Change(first, (Released(get(store, first).token),))
    second = new_job()
    assert come(store, second, free=1, before=[put_back]) == [first]
    assert come(store) == [second.id]


def test_two_claims_of_one_batch_share_what_comes(store):
    claims = [Claim("worker", {Slot.THREAD: 1})] * 2
    *_, first, second = store.apply([Insert([job := new_job()]), *claims], NOW).outcomes
    assert ([found.id for found in first], second) == ([job.id], [])


def test_one_that_gets_the_permit_of_one_that_came_too_late_is_found_whatever_its_slot(store):
    one(store, Recover(KNOWN, {"plain": Caps(1, None)}))
    late, waiting = new_job(slot=Slot.COROUTINE, expires_at=NOW), new_job()
    store.apply([Insert([late]), Insert([waiting])], NOW)
    assert claim(store, threads=1, coroutines=1) == []
    assert come(store) == [waiting.id]


def test_what_is_not_ready_is_not_claimed(store):
    one(store, Pause("ours", "shut", paused=True, limit=9))
    assert claim(store, threads=1) == []
    jobs = [
        scheduled(5),
        new_job(queue="shut"),
        new_job(hold=Hold.UNKNOWN_TASK),
        new_job(slot=Slot.COROUTINE),
    ]
    assert come(store, *jobs) == []
    assert [get(store, job).state for job in jobs] == [State.PENDING] * 4


def test_limits_hold(store):
    one(store, Recover(KNOWN, {"plain": Caps(1, None)}))
    assert claim(store, threads=1) == []
    first, second, free = new_job(), new_job(), new_job(task="other")
    assert set(come(store, first, second, free)) == {first.id, free.id}
    assert get(store, second).hold == Hold.LIMITED


def test_one_that_comes_too_late_is_not_begun(store):
    late, fine = new_job(expires_at=NOW), new_job()
    assert come(store, late, fine) == [fine.id]
    assert get(store, late).state is State.CANCELLED


def test_what_another_program_has_made_ready_is_found(store, tmp_path):
    insert(store, first := scheduled(5))
    assert claim(store, threads=1) == []
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as other, other:
        other.execute("UPDATE jobs SET hold = 0")
    second = new_job()
    assert set(come(store, second)) == {first.id, second.id}


def test_after_a_batch_that_failed_the_writer_knows_no_more_than_before(store):
    twin = new_job()
    insert(store, twin)
    assert come(store) == [twin.id]
    with pytest.raises(sqlite3.IntegrityError):
        come(store, new_job(), twin)
    assert come(store, last := new_job()) == [last.id]
    (n,) = store._db.execute("SELECT count(*) FROM jobs").fetchone()
    assert n == 2


def test_what_waits_is_claimed_without_asking(store):
    jobs = [new_job(), new_job(), new_job(priority=1)]
    assert come(store, *jobs, free=1) == [jobs[2].id]
    claimed = []
    said = statements_of(store, lambda: claimed.extend(claim(store, threads=2)))
    assert [job.id for job in claimed] == [jobs[0].id, jobs[1].id]
    assert [of for of in said if of.startswith("SELECT")] == []
    assert [get(store, job) for job in claimed] == claimed


def test_what_waits_is_cancelled_without_reading_it_and_not_claimed(store):
    insert(store, gone := new_job(), left := new_job())
    said = statements_of(store, lambda: change(store, gone, CancelRequested()))
    assert [of for of in said if of.startswith("SELECT")] == []
    assert get(store, gone).state is State.CANCELLED
    assert come(store) == [left.id]


def test_one_that_has_been_edited_is_claimed_in_its_new_place(store):
    insert(store, first := new_job(), second := new_job())
    change(store, second, Edited(priority=5))
    assert come(store, free=1) == [second.id]
    assert come(store) == [first.id]


@pytest.mark.parametrize("arguments", [1, SMALL + 1])
@pytest.mark.parametrize("count", [3, MOST_KNOWN + 1])
def test_all_are_claimed_in_their_order_however_many_and_large_they_are(store, count, arguments):
    jobs = [new_job(arguments="1" * arguments) for _ in range(count)]
    insert(store, *jobs)
    assert come(store, last := new_job(), free=2) == [jobs[0].id, jobs[1].id]
    assert come(store, free=count) == [job.id for job in (*jobs[2:], last)]
    assert come(store, one_more := new_job()) == [one_more.id]


def test_one_whose_queue_is_being_paused_is_not_claimed_although_an_event_came_in_vain(store):
    insert(store, first := new_job(queue="shut"), second := new_job(queue="shut"))
    assert one(store, Pause("ours", "shut", paused=True, limit=1))
    assert claim(store, threads=1) == []
    assert isinstance(change(store, second, Released(1)), StaleTokenError)
    assert come(store) == []
    assert [get(store, job).state for job in (first, second)] == [State.PENDING] * 2


def test_what_waited_is_found_after_a_batch_that_failed(store):
    insert(store, waiting := new_job())
    with pytest.raises(sqlite3.IntegrityError):
        come(store, waiting)
    assert come(store) == [waiting.id]


def test_what_was_erased_in_the_batch_in_which_it_came_is_not_claimed_later(store):
    job = new_job()
    gone = [Insert([job]), Change(job.id, (CancelRequested(),)), Purge(job.id, job.tenant)]
    store.apply([*gone, Claim("worker", {Slot.THREAD: 1})], NOW)
    assert claim(store, threads=1) == []


@pytest.mark.parametrize(
    ("recovery", "left"),
    [(Recover(KNOWN, {"plain": Caps(1, None)}), 1), (Recover({}), 0)],
    ids=["limit", "unknown"],
)
def test_what_a_start_holds_back_in_the_batch_in_which_it_came_is_not_claimed(store, recovery, left):
    jobs = [new_job(limit_key="") for _ in range(3)]
    *_, claimed = store.apply([Insert(jobs), recovery, Claim("worker", {Slot.THREAD: 9})], NOW).outcomes
    assert len(claimed) == left
    assert claim(store, threads=9) == []


@pytest.mark.parametrize("event", [CancelRequested(), Edited(priority=1)], ids=["cancelled", "edited"])
def test_one_that_gives_up_its_permit_in_the_batch_of_its_own_event_has_it_no_more(store, event):
    one(store, Recover(KNOWN, {"plain": Caps(1, None)}))
    insert(store, low := new_job(limit_key=""))
    (claimed,) = claim(store, threads=9)
    change(store, claimed, Released(claimed.token))
    assert claim(store, threads=0) == []
    high = new_job(limit_key="", priority=5)
    store.apply([Insert([high]), Change(low.id, (event,))], NOW)
    insert(store, new_job(limit_key=""))
    assert [job.id for job in claim(store, threads=9)] == [high.id]


def test_a_claim_beside_a_probe_asks_nothing(store):
    insert(store, new_job())
    free = Claim("worker", {Slot.THREAD: 2})
    said = statements_of(store, lambda: store.apply([Probe(), free], NOW))
    assert [of for of in said if of.startswith("SELECT")] == []


def test_an_event_finds_a_job_that_came_in_the_same_batch(store):
    job = new_job()
    gone = [Insert([job]), Change(job.id, (Released(1),))]
    *_, refused, claimed = store.apply([*gone, Claim("worker", {Slot.THREAD: 1})], NOW).outcomes
    assert isinstance(refused, StaleTokenError)
    assert [found.id for found in claimed] == [job.id]


def test_what_comes_as_its_task_is_limited_is_told_of_as_it_has_become(store):
    job = new_job(run_at=NOW + SECOND, hold=Hold.DUE_LATER)
    slots = {"plain": Slot.THREAD}
    applied = store.apply([Insert([job]), Recover(slots, {"plain": Caps(each=None, all=2)})], NOW)
    assert [(told.id, told.limit_key) for told in applied.changed] == [(job.id, "")]
    assert get(store, job).limit_key == ""
