"""Calls of many jobs on one pool: each job has its turn."""

import threading

import pytest

from app import submit
from app.core import wait
from app.worker.lanes import LanePool

PATIENCE = 30


@pytest.fixture
def pool():
    pool = LanePool(1, "lanes")
    yield pool
    pool.shutdown(cancel_futures=True)


@pytest.fixture
def busy(pool):
    """Occupies the only thread until it is set."""
    begun, gate = threading.Event(), threading.Event()

    def occupy():
        begun.set()
        gate.wait(PATIENCE)

    pool.lane("busy").submit(occupy)
    assert begun.wait(PATIENCE)
    yield gate
    gate.set()


def test_lanes_take_turns_and_each_keeps_its_order(pool, busy):
    order = []
    flood = [pool.lane("a").submit(order.append, f"a{n}") for n in range(4)]
    others = [pool.lane(key).submit(order.append, f"{key}0") for key in "bc"]
    others.append(pool.lane("b").submit(order.append, "b1"))
    busy.set()
    wait([*flood, *others], PATIENCE)
    assert order == ["a0", "b0", "c0", "a1", "b1", "a2", "a3"]


def test_a_lane_that_has_nothing_left_is_forgotten(pool):
    assert pool.lane("a").submit(pow, 2, 3).result(PATIENCE) == 8
    assert pool.lane("a").submit(pow, 2, 4).result(PATIENCE) == 16
    assert (pool._lanes, list(pool._next)) == ({}, [])


def test_a_cancelled_call_takes_its_turn_for_nothing(pool, busy):
    order = []
    calls = [pool.lane("a").submit(order.append, n) for n in range(3)]
    assert calls[1].cancel()
    busy.set()
    wait(calls, PATIENCE)
    assert order == [0, 2]


def test_after_the_shutdown_nothing_is_accepted_and_what_waited_is_cancelled(pool, busy):
    waiting = [pool.lane(key).submit(int) for key in "ab"]
    pool.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.lane("a").submit(int)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.lane("new").submit(int)
    assert all(call.cancelled() for call in waiting)
    assert "new" not in pool._lanes


def test_what_was_accepted_is_run_after_a_shutdown_without_cancelling(pool, busy):
    waiting = [pool.lane(key).submit(int) for key in "ab"]
    pool.shutdown(wait=False)
    busy.set()
    assert [call.result(PATIENCE) for call in waiting] == [0, 0]


def test_shutting_a_lane_down_leaves_the_pool_to_the_others(pool):
    pool.lane("a").shutdown()
    assert pool.lane("b").submit(int).result(PATIENCE) == 0


def test_a_job_that_floods_submit_does_not_hold_up_the_call_of_another(run):
    gate, flooded = threading.Event(), threading.Event()

    def flood():
        calls = [submit(gate.wait, PATIENCE) for _ in range(1000)]
        flooded.set()
        return len(calls)

    def other():
        return submit(int, "7").result()

    house = run(flood, other, threads=2)
    job = house.submit(flood)
    assert flooded.wait(PATIENCE)
    later = house.submit(other)
    gate.set()
    assert house.wait_for(later).result == "7"
    assert house.wait_for(job).result == "1000"
