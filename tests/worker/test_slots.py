import threading

from app.core import Future, State
from app.jobs.context import submit
from app.jobs.model import Slot
from app.stores.base import Claim, Probe, StoreUnavailableError
from tests.worker.house import PATIENCE


class Crowd:
    """Counts how many are inside, and lets them out one by one."""

    def __init__(self):
        self.inside = self.peak = 0
        self.came = threading.Semaphore(0)
        self.out = threading.Semaphore(0)
        self._lock = threading.Lock()

    def enter(self):
        with self._lock:
            self.inside += 1
            self.peak = max(self.peak, self.inside)
        self.came.release()

    def leave(self):
        with self._lock:
            self.inside -= 1

    def wait_for(self, number):
        for _ in range(number):
            assert self.came.acquire(timeout=PATIENCE)

    def let_out(self, number):
        self.out.release(number)


def states(house, jobs):
    return [house.read(job).state for job in jobs]


def test_never_more_plain_functions_run_than_there_are_slots(run):
    crowd = Crowd()

    def plain():
        crowd.enter()
        crowd.out.acquire()
        crowd.leave()

    house = run(plain, threads=3)
    jobs = [house.submit(plain) for _ in range(10)]
    crowd.wait_for(3)
    house.flush()
    assert states(house, jobs).count(State.RUNNING) == 3
    crowd.let_out(10)
    for job in jobs:
        house.wait_for(job)
    assert crowd.peak == 3


def test_never_more_coroutines_and_generators_run_than_there_are_slots_for_both(run):
    waiting = [Future() for _ in range(6)]

    async def coroutine(n: int):
        await waiting[n]

    def generator(n: int):
        yield waiting[n]

    house = run(coroutine, generator, coroutines=4)
    jobs = [house.submit((coroutine, generator)[n % 2], n) for n in range(6)]
    house.flush()
    assert states(house, jobs) == [State.RUNNING] * 4 + [State.PENDING] * 2
    waiting[1].set_result(None)
    house.wait_for_state(jobs[4], State.RUNNING)
    house.flush()
    assert states(house, jobs)[4:] == [State.RUNNING, State.PENDING]
    for n in (0, 2, 3, 4, 5):
        waiting[n].set_result(None)
    assert {house.wait_for(job).state for job in jobs} == {State.FINISHED}


def test_kinds_do_not_take_each_others_slots(run):
    gate = threading.Event()

    def plain():
        gate.wait(PATIENCE)

    async def coroutine():
        return "ran"

    house = run(plain, coroutine, threads=1)
    blocked = [house.submit(plain) for _ in range(3)]
    assert house.run(coroutine).result == '"ran"'
    gate.set()
    assert {house.wait_for(job).state for job in blocked} == {State.FINISHED}


def test_a_freed_slot_is_filled_in_the_batch_that_settles(run):
    gate = threading.Event()

    def plain(n: int):
        gate.wait(PATIENCE)

    house = run(plain, threads=1)
    first, second = house.submit(plain, 1), house.submit(plain, 2)
    house.flush()
    gate.set()
    house.wait_for(second)
    settling = next(
        batch
        for batch in house.batches
        if (first.id, State.FINISHED) in {(job.id, job.state) for job in batch}
    )
    assert (second.id, State.RUNNING) in {(job.id, job.state) for job in settling}


def test_a_job_that_finds_a_free_slot_is_claimed_in_the_transaction_that_inserts_it(run):
    def plain():
        pass

    house = run(plain)
    job = house.run(plain)
    first_seen = next(found for batch in house.batches for found in batch if found.id == job.id)
    assert first_seen.state is State.RUNNING


def test_more_generators_wait_than_there_are_threads(run):
    arrived, waiting = threading.Semaphore(0), [Future() for _ in range(20)]

    def generator(n: int):
        arrived.release()
        return (yield waiting[n])

    house = run(generator, threads=1, coroutines=20)
    jobs = [house.submit(generator, n) for n in range(20)]
    for _ in jobs:
        assert arrived.acquire(timeout=PATIENCE)
    for n, future in enumerate(waiting):
        future.set_result(n)
    assert [house.wait_for(job).result for job in jobs] == [str(n) for n in range(20)]


def test_a_slot_is_kept_until_the_calls_of_the_job_have_ended(run):
    gate = threading.Event()

    def plain():
        submit(gate.wait, PATIENCE)
        return "done"

    def next_one():
        return "ran"

    house = run(plain, next_one, threads=1)
    job, after = house.submit(plain), house.submit(next_one)
    house.wait_for_state(job, State.RUNNING)
    house.flush()
    assert states(house, [job, after]) == [State.RUNNING, State.PENDING]
    gate.set()
    assert (house.wait_for(job).result, house.wait_for(after).result) == ('"done"', '"ran"')


def test_nothing_is_claimed_of_a_kind_that_no_task_has(run):
    def plain():
        pass

    house = run(plain)
    assert house.worker.request() == Claim(house.worker.name, {Slot.THREAD: 2})


def test_all_slots_are_free_again_whatever_has_become_of_their_jobs(run):
    def succeed():
        return 1

    def fail():
        raise ValueError

    def unserializable():
        return object()

    async def coroutine():
        raise SystemExit

    def generator():
        yield 5

    house = run(succeed, fail, unserializable, coroutine, generator, threads=2, coroutines=2)
    jobs = [
        house.submit(fn) for fn in (succeed, fail, unserializable, coroutine, generator) for _ in range(10)
    ]
    assert all(house.wait_for(job).done for job in jobs)
    house.flush()
    assert house.worker._free == {"thread": 2, "coroutine": 2}
    assert house.worker._executions == {}


def test_a_claim_that_fails_with_its_batch_costs_no_slot(run):
    def plain():
        return 1

    house = run(plain, threads=1)
    house.store._db.execute("PRAGMA query_only = ON")
    failure = house.writer.submit(Probe()).exception(PATIENCE)
    house.store._db.execute("PRAGMA query_only = OFF")
    assert isinstance(failure, StoreUnavailableError)
    assert house.worker._free["thread"] == 1
    assert house.run(plain).result == "1"
