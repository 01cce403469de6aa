"""What happens by the clock. The wall clock is the test's own; nothing here waits for real time to pass."""

import threading
import weakref
from functools import partial

import pytest

from app.core import State, wait
from app.jobs.model import SECOND, Hold
from app.stores.base import Insert, Promote
from app.worker import worker as worker_module
from app.worker.ticker import FEW, Ticker
from tests.worker.house import PATIENCE, ManualClock

HOUR = 3600 * SECOND


@pytest.fixture(autouse=True)
def looks_often(monkeypatch):
    """The test's clock jumps without a word, as a wall clock does; the ticker shall see it soon."""
    monkeypatch.setattr(worker_module, "CLOCK_CHECK", 0.01)


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
    wait([house.writer.submit(Insert(job)) for job in jobs])
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


# -- the ticker by itself ------------------------------------------------------


@pytest.fixture
def ticker():
    made = Ticker("test-ticker")
    yield made
    made.close()
    assert not made.is_alive()


def live(ticker):
    return [entry for entry in ticker._calls if entry.call is not None]


def test_calls_are_made_in_the_order_of_their_times_and_else_in_that_of_asking(ticker):
    made, done = [], threading.Event()
    for name, seconds in (("third", 0.02), ("first", -1), ("fourth", 0.02), ("second", 0)):
        ticker.call_later(seconds, partial(made.append, name))
    ticker.call_later(0.03, done.set)
    assert not ticker.is_alive()
    ticker.start()
    assert done.wait(PATIENCE)
    assert made == ["first", "second", "third", "fourth"]


def test_an_earlier_call_wakes_it_from_its_wait_for_a_later_one(ticker):
    ticker.start()
    ticker.call_later(threading.TIMEOUT_MAX * 2, int)
    earlier = threading.Event()
    ticker.call_later(0, earlier.set)
    assert earlier.wait(PATIENCE)


def test_a_call_that_is_taken_back_is_not_made_nor_kept(ticker):
    made, done = [], threading.Event()

    class Thing:
        def __call__(self):
            made.append(self)

    thing = Thing()
    kept = weakref.ref(thing)
    take_back = ticker.call_later(0, thing)
    take_back()
    take_back()
    del thing
    assert kept() is None
    ticker.call_later(0, done.set)
    ticker.start()
    assert done.wait(PATIENCE)
    assert made == []


def test_a_call_may_be_taken_back_after_it_was_made(ticker):
    done = threading.Event()
    ticker.start()
    take_back = ticker.call_later(0, done.set)
    assert done.wait(PATIENCE)
    take_back()
    assert ticker._taken_back == 0


def test_many_calls_that_are_taken_back_are_cleared_away_and_the_others_stay_in_order(ticker):
    made, done = [], threading.Event()
    for n in range(3):
        ticker.call_later(n / 1000, partial(made.append, n))
    ticker.call_later(0.005, done.set)
    for _ in range(20 * FEW):
        ticker.call_later(3600, int)()
    assert len(live(ticker)) == 4
    assert len(ticker._calls) <= 2 * FEW
    ticker.start()
    assert done.wait(PATIENCE)
    assert made == [0, 1, 2]


def test_it_goes_on_after_an_error_and_logs_it(ticker, caplog):
    done = threading.Event()
    ticker.call_later(0, lambda: 1 / 0)
    ticker.call_later(0, done.set)
    ticker.start()
    assert done.wait(PATIENCE)
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


def test_a_call_may_ask_for_another(ticker):
    done = threading.Event()
    ticker.start()
    ticker.call_later(0, lambda: ticker.call_later(0, done.set))
    assert done.wait(PATIENCE)


def test_after_its_end_nothing_is_called():
    made = []
    ticker = Ticker("test-ticker")
    ticker.start()
    ticker.call_later(3600, partial(made.append, 1))
    ticker.close()
    ticker.call_later(0, partial(made.append, 2))
    assert (ticker.is_alive(), made) == (False, [])
    ticker.close()
