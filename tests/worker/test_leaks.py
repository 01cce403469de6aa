"""What a job leaves behind in memory: nothing. Without the garbage collector, so that circles show."""

import gc
import threading
import weakref
from contextvars import Context

import pytest

from app.core import Future
from app.jobs.context import progress, submit
from app.jobs.model import Outcome
from tests.worker.house import PATIENCE


class Parcel(list):
    """JSON that can be weakly referenced."""


class ParcelError(Exception):
    pass


@pytest.fixture
def parcels():
    return []


@pytest.fixture
def no_gc():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


THREADS = 2
"""Those of a house's pools, as long as it is not told otherwise."""


def quiet(house):
    """Return when the threads have put down what they had in hand."""

    def nothing():
        pass

    pools = house.worker.pools
    for pool in (pools.jobs, pools.steps, pools.calls.lane("quiet"), pools.parts.lane("quiet")):
        done = [pool.submit(nothing) for _ in range(THREADS)]
        for future in done:
            future.result(PATIENCE)
    house.flush()
    house.flush()


@pytest.mark.parametrize("kind", ["plain", "generator", "coroutine"])
def test_a_result_is_let_go_of_when_the_job_has_ended(run, no_gc, parcels, kind):
    def make():
        parcel = Parcel([1])
        parcels.append(weakref.ref(parcel))
        return parcel

    def plain():
        progress(1)
        return make()

    def generator():
        progress(1)
        yield submit(make)
        return make()

    async def coroutine():
        progress(1)
        await submit(make)
        return make()

    house = run(plain, generator, coroutine, threads=1)
    assert house.run(house.registry.get(kind).fn).result == "[1]"
    quiet_loop(house)
    quiet(house)
    assert [parcel() for parcel in parcels] == [None] * len(parcels)


@pytest.mark.parametrize("kind", ["plain", "generator", "coroutine"])
def test_an_exception_is_let_go_of_when_the_job_has_ended(run, no_gc, parcels, kind):
    def fail():
        error = ParcelError("gone")
        parcels.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    def plain():
        fail()

    def generator():
        yield submit(int)
        fail()

    async def coroutine():
        await submit(int)
        fail()

    house = run(plain, generator, coroutine, threads=1)
    assert house.run(house.registry.get(kind).fn).outcome is Outcome.FAILED
    quiet_loop(house)
    quiet(house)
    assert [parcel() for parcel in parcels] == [None]


def quiet_loop(house):
    """Return when the loop of the coroutines has come round twice."""

    async def nothing():
        pass

    for _ in range(2):
        future = house.worker.pools.coroutines.future()
        future.start(nothing, Context())
        future.result(PATIENCE)


def test_a_calls_result_is_let_go_of_while_the_job_goes_on(run, no_gc, parcels):
    taken, gate = threading.Event(), Future()

    def make():
        parcel = Parcel([1])
        parcels.append(weakref.ref(parcel))
        return parcel

    def generator():
        yield submit(make)
        taken.set()
        yield gate

    house = run(generator, threads=1)
    job = house.submit(generator)
    assert taken.wait(PATIENCE)
    quiet(house)
    left = [parcel() for parcel in parcels]
    gate.set_result(None)
    assert house.wait_for(job).outcome is Outcome.SUCCEEDED
    assert left == [None]


def test_nothing_of_ended_jobs_is_kept(run):
    def plain():
        progress(1)
        return [submit(abs, -n).result() for n in range(3)]

    def generator():
        yield [submit(abs, -n) for n in range(3)]

    async def coroutine():
        await submit(abs, -1)

    gate = threading.Event()

    def reports():
        progress(2)
        gate.wait(PATIENCE)

    house = run(plain, generator, coroutine, reports)
    for job in [house.submit(fn) for _ in range(30) for fn in (plain, generator, coroutine)]:
        assert house.wait_for(job).outcome is Outcome.SUCCEEDED
    # A report takes along all that were due, those of jobs that have ended too.
    last = house.wait_for(house.submit(reports), lambda job: job.progress is not None)
    worker = house.worker
    assert list(worker._executions) == [last.id]
    assert list(worker._news) == []
    gate.set()
    house.wait_for(last)
    house.flush()
    assert (worker._executions, worker._settling, list(worker._settler._kept)) == ({}, 0, [])
