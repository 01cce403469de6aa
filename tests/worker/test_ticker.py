"""What happens by the clock. The wall clock is the test's own; nothing here waits for real time to pass."""

import threading

import pytest

from app.core import State, wait
from app.jobs.model import SECOND, Hold
from app.stores import due as due_module
from app.stores.base import Insert, Promote
from tests.worker.house import PATIENCE, ManualClock

HOUR = 3600 * SECOND


@pytest.fixture(autouse=True)
def looks_often(monkeypatch):
    """The test's clock jumps without a word, as a wall clock does; the ticker shall see it soon."""
    monkeypatch.setattr(due_module, "CLOCK_CHECK", 0.01)


def plain(n: int = 0):
    return n


def test_a_delayed_job_runs_when_its_time_has_come_and_not_before(run):
    clock = ManualClock()
    house = run(plain, clock=clock)
    job = house.submit(plain, 1, due_in=HOUR)
    clock.now += HOUR - 1
    assert house.run(plain).result == "0"
    assert (house.read(job).state, house.read(job).hold) == (State.PENDING, Hold.DUE_LATER)
    clock.now += 1
    ended = house.wait_for(job)
    assert (ended.result, ended.started_at) == ("1", clock.now)


def test_jobs_due_one_after_the_other_run_each_in_its_time(run):
    clock = ManualClock()
    house = run(plain, clock=clock)
    jobs = [house.submit(plain, n, due_in=n * HOUR) for n in (3, 1, 2)]
    for n, job in zip((1, 2, 3), sorted(jobs, key=lambda job: job.run_at), strict=True):
        clock.now += HOUR
        assert house.wait_for(job).result == str(n)
        house.flush()
        assert sum(house.read(job).done for job in jobs) == n


def test_more_jobs_due_at_once_than_one_promotion_takes_all_run(run):
    clock = ManualClock()
    house = run(plain, clock=clock)
    jobs = [house.job(plain, n, due_in=HOUR) for n in range(Promote().limit + 100)]
    wait([house.writer.submit(Insert([job])) for job in jobs])
    clock.now += HOUR
    assert {house.wait_for(job).state for job in jobs} == {State.FINISHED}


def test_a_delayed_job_stored_by_an_earlier_process_runs_in_its_time(build):
    clock = ManualClock()
    house = build(plain, clock=clock)
    job = house.submit(plain, 5, due_in=HOUR)
    assert house.close()
    again = build(plain, clock=clock).start()
    again.flush()
    assert again.read(job).state is State.PENDING
    clock.now += HOUR
    assert again.wait_for(job).result == "5"


def test_a_wall_clock_that_steps_back_strands_nothing_that_is_due_at_once(run):
    gate, clock = threading.Event(), ManualClock()

    def blocks():
        gate.wait(PATIENCE)

    house = run(plain, blocks, threads=1, clock=clock)
    blocking, waiting = house.submit(blocks), house.submit(plain, 1)
    clock.now -= 24 * HOUR
    after = house.submit(plain, 2)
    gate.set()
    assert house.wait_for(waiting).result == "1"
    assert house.wait_for(after).result == "2"
    assert house.wait_for(blocking).finished_at < blocking.created_at


def test_a_wall_clock_that_steps_back_while_a_job_is_due_later_does_not_lose_it(run):
    clock = ManualClock()
    house = run(plain, clock=clock)
    job = house.submit(plain, 1, due_in=HOUR)
    clock.now -= 24 * HOUR
    assert house.run(plain).result == "0"
    clock.now += 25 * HOUR
    assert house.wait_for(job).result == "1"


def test_the_ticker_rests_until_there_is_something_to_do(run):
    looks = []

    class CountingClock(ManualClock):
        def __call__(self):
            if threading.current_thread().name == "errand-ticker":
                looks.append(1)
            return super().__call__()

    house = run(plain, clock=CountingClock())
    for _ in range(50):
        house.run(plain)
    assert looks == []


def test_a_promotion_that_the_store_could_not_carry_out_is_tried_again(run):
    clock = ManualClock()
    house = run(plain, clock=clock)
    job = house.submit(plain, 1, due_in=HOUR)
    failed = threading.Event()
    apply = house.store.apply

    def apply_once_broken(operations, now):
        house.store._db.execute("PRAGMA query_only = ON")
        house.store.apply = apply
        try:
            return apply(operations, now)
        finally:
            house.store._db.execute("PRAGMA query_only = OFF")
            failed.set()

    house.flush()
    house.store.apply = apply_once_broken
    clock.now += HOUR
    assert failed.wait(PATIENCE)
    clock.now += HOUR
    assert house.wait_for(job).result == "1"
