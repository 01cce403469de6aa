"""What is kept when the work is done: nothing.

Counts of objects and of traced bytes, after the garbage collector has been; no time is measured.
100,000 futures (and pools of 50,000 calls) stand for the million that is promised, which would take
minutes under a tracer: what may stay is a fixed amount, a fifth of a byte for each.
"""

import gc
import threading
import tracemalloc
import weakref

import pytest

from app.core import Future, Task, ThreadPoolExecutor, as_completed, gather, wait
from tests.core.future_contract import SOON

MANY = 100_000
# Caches of the interpreter (free lists, a thread's first frames) take some, whatever the number.
CACHES = 20_000


def nothing():
    pass


class Thing:
    """A result that tells when it is gone."""


def count_of(kind):
    gc.collect()
    return sum(type(thing) is kind for thing in gc.get_objects())


def bytes_kept_by(work):
    """Return how many bytes more there are after the work; it has run once before, to fill the caches."""
    work()
    gc.collect()
    tracemalloc.start()
    try:
        work()
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        work()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        return after - before
    finally:
        tracemalloc.stop()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as pool:
        yield pool


def until_each_thread_has_let_go(pool):
    """Return when all threads have taken another call: a thread drops the last one before it does."""
    barrier = threading.Barrier(pool._crew._limit)
    for future in [pool.submit(barrier.wait, SOON) for _ in range(pool._crew._limit)]:
        future.result(SOON)


def test_finished_futures_that_are_dropped_leave_nothing():
    def finish_many():
        futures = [Future() for _ in range(MANY)]
        for future in futures:
            future.set_result(None)

    before = count_of(Future)
    assert bytes_kept_by(finish_many) < CACHES
    assert count_of(Future) == before


def test_finished_futures_are_freed_without_the_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        futures = [Future() for _ in range(MANY)]
        results = [Thing() for _ in futures]
        for future, result in zip(futures, results, strict=True):
            future.add_done_callback(lambda done: done.result())
            future.set_result(result)
        del future, result
        gone = [weakref.ref(thing) for thing in (*futures, *results)]
        del futures, results
        assert sum(ref() is not None for ref in gone) == 0
    finally:
        gc.enable()


def test_a_pool_that_has_run_many_calls_has_not_grown(pool):
    def run_many():
        futures = [pool.submit(nothing) for _ in range(MANY // 2)]
        while futures:
            futures.pop().result(SOON)
        until_each_thread_has_let_go(pool)

    run_many()
    before = count_of(Future)
    assert bytes_kept_by(run_many) < CACHES
    # The calls of the barrier are the last ones, and each thread may hold its own.
    assert count_of(Future) <= before + pool._crew._limit
    assert len(pool._crew._calls) == 0
    assert len(pool._crew._threads) == pool._crew._limit


def test_calls_that_nobody_waits_for_leave_nothing(pool):
    def run_many():
        for _ in range(MANY // 2):
            pool.submit(nothing)
        until_each_thread_has_let_go(pool)

    assert bytes_kept_by(run_many) < CACHES


def test_waiting_leaves_nothing_behind_on_a_future_that_is_not_done():
    pending, done = Future(), Future()
    done.set_result(None)

    def wait_often():
        for _ in range(MANY // 50):
            wait([pending, done], 0)
            assert next(as_completed([pending, done])) is done
            with pytest.raises(TimeoutError):
                pending.result(0)

    assert bytes_kept_by(wait_often) < CACHES
    assert not pending._wakes
    assert pending._callbacks is None


def test_tasks_and_gatherings_that_have_ended_leave_nothing():
    def hop(future):
        yield future
        yield [future, future]

    def run_many():
        for _ in range(MANY // 50):
            future = Future()
            task = Task(hop(future))
            task.step()
            both = gather(task, future)
            future.set_result(None)
            assert both.result(SOON) == [None, None]

    before = count_of(Task)
    assert bytes_kept_by(run_many) < CACHES
    assert count_of(Task) == before
