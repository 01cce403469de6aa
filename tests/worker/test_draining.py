import asyncio
import threading

import pytest

from app.core import Future, State
from app.jobs.context import submit
from app.jobs.model import Hold, Outcome, Slot, Stopped
from app.stores.base import Claim, Insert
from app.worker.execution import Execution
from tests.worker.house import PATIENCE


class Drain(threading.Thread):
    def __init__(self, house, seconds=PATIENCE):
        super().__init__()
        self.house, self.seconds = house, seconds
        begun, stop_claiming = threading.Event(), house.worker.stop_claiming
        house.worker.stop_claiming = lambda: (stop_claiming(), begun.set())
        self.start()
        # Claiming stops first; what a test does next comes after that.
        assert begun.wait(PATIENCE)

    def run(self):
        self.house.worker.drain(self.seconds)


def put_back(job):
    assert (job.state, job.hold, job.attempt, job.losses) == (State.PENDING, Hold.NONE, 0, 0)
    assert (job.token, job.worker, job.started_at, job.progress) == (None, None, None, None)
    return True


def test_what_ends_in_time_counts(run):
    gate = threading.Event()

    def plain():
        gate.wait(PATIENCE)
        return "in time"

    house = run(plain)
    job = house.wait_for_state(house.submit(plain), State.RUNNING)
    draining = Drain(house)
    gate.set()
    draining.join()
    assert house.read(job).result == '"in time"'
    assert house.worker.close()


def test_nothing_is_claimed_during_a_drain(run):
    gate = threading.Event()

    def plain():
        gate.wait(PATIENCE)

    house = run(plain, threads=2)
    house.wait_for_state(house.submit(plain), State.RUNNING)
    draining = Drain(house)
    assert not house.worker.claiming
    late = house.submit(plain)
    gate.set()
    draining.join()
    house.flush()
    assert house.read(late).state is State.PENDING


@pytest.mark.parametrize("kind", ["plain", "generator", "coroutine"])
def test_what_does_not_end_in_time_is_put_back_at_no_cost(run, kind):
    waiting = Future()

    def plain():
        waiting.result(PATIENCE)

    def generator():
        yield waiting

    async def coroutine():
        await waiting

    house = run(plain, generator, coroutine)
    job = house.wait_for_state(house.submit(house.registry.get(kind).fn), State.RUNNING)
    house.worker.drain(0)
    assert put_back(house.read(job))
    waiting.set_result(None)
    assert house.close() is False


def test_a_job_that_was_put_back_runs_in_the_next_process(build):
    gate, attempts = threading.Event(), []

    def plain():
        attempts.append(1)
        gate.wait(PATIENCE)
        return len(attempts)

    house = build(plain).start()
    job = house.wait_for_state(house.submit(plain), State.RUNNING)
    house.worker.drain(0)
    gate.set()
    assert house.close() is False
    again = build(plain).start()
    ended = again.wait_for(job)
    assert (ended.result, ended.attempt, ended.losses) == ("2", 1, 0)
    assert again.recovered.lost == []


def test_a_cancellation_during_the_drain_reaches_the_code(run):
    waiting = Future()

    def generator():
        yield waiting

    house = run(generator)
    job = house.wait_for_state(house.submit(generator), State.RUNNING)
    draining = Drain(house)
    house.cancel(job)
    draining.join()
    ended = house.read(job)
    assert (ended.state, ended.cancellation.outcome) == (State.CANCELLED, Stopped.COOPERATIVE)


def test_a_job_that_ignores_its_cancellation_until_the_drain_is_over_ends_as_killed(run):
    gate = threading.Event()

    def plain():
        gate.wait(PATIENCE)

    house = run(plain)
    job = house.wait_for_state(house.submit(plain), State.RUNNING)
    house.cancel(job)
    house.worker.drain(0)
    ended = house.read(job)
    assert (ended.state, ended.outcome) == (State.CANCELLED, Outcome.CANCELLED)
    assert ended.cancellation.outcome is Stopped.KILLED
    gate.set()
    assert house.close() is False


def test_hurry_ends_a_drain_now(run):
    gate = threading.Event()

    def plain():
        gate.wait(PATIENCE)

    house = run(plain)
    job = house.wait_for_state(house.submit(plain), State.RUNNING)
    draining = Drain(house)
    house.worker.hurry()
    draining.join()
    assert put_back(house.read(job))
    gate.set()
    assert house.close() is False


def test_a_job_whose_claim_was_under_way_when_claiming_stopped_is_put_back(run):
    called = []

    def plain():
        called.append(1)

    house = run(plain)
    house.worker.stop_claiming()
    job = house.submit(plain)
    claimed = house.writer.submit(Claim("tests", {Slot.THREAD: 1})).result(PATIENCE)
    house.worker.take(claimed)
    house.flush()
    assert put_back(house.read(job))
    assert (called, house.worker._executions) == ([], {})


def test_a_close_without_a_drain_puts_back_what_runs_and_fails_nothing(run):
    waiting = Future()

    def generator():
        yield waiting

    async def coroutine():
        await waiting

    house = run(generator, coroutine)
    jobs = [house.wait_for_state(house.submit(fn), State.RUNNING) for fn in (generator, coroutine)]
    assert house.worker.close() is False
    house.flush()
    assert all(put_back(house.read(job)) for job in jobs)
    assert house.close() is False


def test_closing_says_so_when_code_is_left_although_its_job_has_ended(run):
    stuck, release = threading.Event(), threading.Event()

    def callback(_):
        stuck.set()
        release.wait(PATIENCE)

    def plain():
        gate = threading.Event()
        call = submit(gate.wait, PATIENCE)
        call.add_done_callback(callback)
        gate.set()

    house = run(plain)
    assert house.run(plain).outcome is Outcome.SUCCEEDED
    assert stuck.wait(PATIENCE)
    house.worker.drain(PATIENCE)
    ended = house.close()
    release.set()
    assert ended is False


def test_closing_says_so_when_a_coroutine_blocks_the_loop(run):
    stuck, release = threading.Event(), threading.Event()

    async def coroutine():
        stuck.set()
        release.wait(PATIENCE)

    house = run(coroutine)
    job = house.submit(coroutine)
    assert stuck.wait(PATIENCE)
    house.worker.drain(0)
    assert put_back(house.read(job))
    ended = house.close()
    release.set()
    assert ended is False


def test_no_thread_is_left_when_all_code_has_ended(run):
    def plain():
        return submit(int).result()

    def generator():
        yield submit(int)

    async def coroutine():
        def part():
            yield submit(int)

        return await submit(part)

    before = set(threading.enumerate())
    house = run(plain, generator, coroutine)
    for function in (plain, generator, coroutine):
        assert house.run(function).outcome is Outcome.SUCCEEDED
    assert house.close()
    assert [thread for thread in set(threading.enumerate()) - before if thread.is_alive()] == []


def test_a_worker_that_never_started_can_be_closed(build):
    house = build()
    assert house.close()
    assert not house.worker.claiming


def test_code_that_still_runs_when_the_worker_is_closed_cannot_submit_any_more(run):
    gate, refused = threading.Event(), []

    async def coroutine():
        pass

    def generator():
        yield submit(int)

    def plain():
        gate.wait(PATIENCE)
        for function in (int, coroutine):
            try:
                submit(function)
            except RuntimeError as exc:
                refused.append(str(exc))
        refused.append(type(submit(generator).exception(PATIENCE)).__name__)

    house = run(plain)
    house.wait_for_state(house.submit(plain), State.RUNNING)
    assert house.close() is False
    gate.set()
    house.worker.pools.jobs.shutdown()
    assert refused == [
        "cannot schedule new futures after shutdown",
        "cannot run new coroutines after shutdown",
        "RuntimeError",
    ]


def test_closing_says_so_when_a_coroutine_left_a_thread_behind(run):
    stuck, release = threading.Event(), threading.Event()

    def blocks():
        stuck.set()
        release.wait(PATIENCE)

    async def coroutine():
        await asyncio.to_thread(blocks)

    house = run(coroutine)
    job = house.submit(coroutine)
    assert stuck.wait(PATIENCE)
    house.cancel(job)
    assert house.wait_for(job).cancellation.outcome is Stopped.COOPERATIVE
    ended = house.close()
    release.set()
    assert ended is False


def test_a_callback_that_exits_while_the_worker_is_closed_stops_nothing(run):
    others = set(threading.enumerate())
    gate = threading.Event()

    def exits(_):
        raise SystemExit

    async def coroutine():
        await Future()

    def plain():
        submit(gate.wait, PATIENCE)
        submit(coroutine)
        call = submit(int)
        call.add_done_callback(exits)
        call.add_done_callback(lambda _: gate.set())

    house = run(plain, threads=1)
    house.wait_for_state(house.submit(plain), State.RUNNING)
    house.worker.pools.jobs.submit(int).result(PATIENCE)
    ours = set(threading.enumerate()) - others
    assert house.close() is False
    assert [thread.name for thread in ours if thread.name.startswith("errand") and thread.is_alive()] == []


def two_to_begin(run):
    """Return a house, two jobs for one batch, and who of them has run."""
    started = []

    def plain(n):
        started.append(n)

    house = run(plain)
    return house, [house.job(plain, n) for n in (1, 2)], started


def test_what_is_put_back_before_it_could_start_does_not_start(run, monkeypatch):
    house, (first, second), started = two_to_begin(run)
    begin = Execution.start

    def start(execution):
        monkeypatch.setattr(Execution, "start", begin)
        house.worker.stop_claiming()
        # As by a second signal, while the writer's thread is at the first of two jobs.
        house.worker.hurry()
        begin(execution)

    monkeypatch.setattr(Execution, "start", start)
    house.writer.submit(Insert([first, second])).result(PATIENCE)
    assert put_back(house.wait_for(second, lambda job: job.version == 3))
    house.close()
    assert started == [1]


def test_a_log_that_fails_while_jobs_are_begun_keeps_none_from_its_end(run, monkeypatch):
    house, (first, second), started = two_to_begin(run)
    begin = Execution.start
    failures = ["the log fails"]

    def start(execution):
        if execution.job.id == first.id:
            raise RuntimeError("no thread can be had")
        begin(execution)

    def fail_once(*_):
        if failures:
            raise OSError(failures.pop())

    monkeypatch.setattr(Execution, "start", start)
    monkeypatch.setattr("app.worker.worker.LOGGER.exception", fail_once)
    house.writer.submit(Insert([first, second])).result(PATIENCE)
    assert house.wait_for(first).outcome is Outcome.FAILED
    assert house.wait_for(second).outcome is Outcome.SUCCEEDED
    assert (started, failures) == ([2], [])
