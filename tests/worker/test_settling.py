"""Results while the store cannot be written, and settlements that come late."""

import sqlite3
import threading
from contextlib import closing, contextmanager

import pytest

from app.core import Future, State
from app.jobs.context import SCOPE
from app.jobs.errors import StaleTokenError
from app.jobs.lifecycle import Failed, Released, Succeeded
from app.jobs.model import Failure, Outcome, Progress
from app.stores.base import Change, Probe, StoreUnavailableError
from app.worker import worker as worker_module
from tests.worker.house import PATIENCE


@contextmanager
def locked(house):
    """Keep the database from being written: another program has locked it."""
    house.store._db.execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(house.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def wait_for_failed_settlements(house, number):
    """Return when the store has refused so many, and none of them is being tried again."""
    while len(house.worker._settler._kept) < number:
        # The writer answers in order.
        house.writer.submit(Probe()).exception(PATIENCE)


def wait_for_failed_reports(house, job):
    """Have what the job has said reported, as the ticker does, and return when the store has refused that."""
    said = house.worker._executions[job.id].said
    while True:
        if events := said.take():
            report = house.writer.submit(Change(job.id, events))
            report.add_done_callback(said.stored)
            assert isinstance(report.exception(PATIENCE), StoreUnavailableError)
            house.writer.submit(Probe()).exception(PATIENCE)
            return
        house.writer.submit(Probe()).exception(PATIENCE)


@pytest.mark.parametrize("outcome", ["result", "exception"])
def test_a_settlement_is_tried_again_until_the_store_takes_it(run, outcome):
    gate = threading.Event()

    def plain():
        gate.wait(PATIENCE)
        if outcome == "exception":
            raise LookupError("kept")
        return "kept"

    house = run(plain)
    job = house.wait_for_state(house.submit(plain), State.RUNNING)
    with locked(house):
        gate.set()
        wait_for_failed_settlements(house, 1)
        assert house.read(job).state is State.RUNNING
    ended = house.wait_for(job)
    assert (ended.result, ended.exception and ended.exception.message) in {('"kept"', None), (None, "kept")}


def test_all_settlements_that_the_store_could_not_take_are_tried_again(run):
    waiting = Future()

    def generator(n: int):
        yield waiting
        return n

    house = run(generator, coroutines=5)
    jobs = [house.wait_for_state(house.submit(generator, n), State.RUNNING) for n in range(5)]
    with locked(house):
        waiting.set_result(None)
        wait_for_failed_settlements(house, 5)
    assert [house.wait_for(job).result for job in jobs] == list("01234")


def test_jobs_are_claimed_again_when_the_store_can_be_written_again(run):
    gate = threading.Event()

    def plain(n: int):
        gate.wait(PATIENCE)
        return n

    house = run(plain, threads=1)
    first, second = house.submit(plain, 1), house.submit(plain, 2)
    house.wait_for_state(first, State.RUNNING)
    with locked(house):
        gate.set()
        wait_for_failed_settlements(house, 1)
        assert isinstance(house.writer.submit(Probe()).exception(PATIENCE), StoreUnavailableError)
    assert (house.wait_for(first).result, house.wait_for(second).result) == ("1", "2")


def test_a_drain_waits_for_the_settlement_that_the_store_could_not_take(run, monkeypatch):
    # What a drain waits at its end, for what it has put back, is another matter.
    monkeypatch.setattr(worker_module, "FLUSH_TIMEOUT", 0)
    gate, drained = threading.Event(), threading.Event()

    def plain():
        gate.wait(PATIENCE)
        return "kept"

    house = run(plain)
    job = house.wait_for_state(house.submit(plain), State.RUNNING)

    def drain():
        house.worker.drain(PATIENCE)
        drained.set()

    with locked(house):
        gate.set()
        wait_for_failed_settlements(house, 1)
        draining = threading.Thread(target=drain)
        draining.start()
        wait_for_failed_settlements(house, 1)
        assert not drained.is_set()
    draining.join()
    assert house.read(job).result == '"kept"'


def test_a_settlement_still_open_at_the_end_gets_one_more_attempt(run):
    gate = threading.Event()

    def plain():
        gate.wait(PATIENCE)
        return "kept"

    house = run(plain)
    job = house.wait_for_state(house.submit(plain), State.RUNNING)
    with locked(house):
        gate.set()
        wait_for_failed_settlements(house, 1)
        # The ticker comes to its end without another attempt.
        house.worker._ticker.close()
    assert house.worker.close()
    house.flush()
    assert house.read(job).result == '"kept"'


@pytest.mark.parametrize("event", [Succeeded, Failed], ids=["result", "exception"])
def test_a_settlement_after_the_job_was_put_back_is_refused_and_changes_nothing(run, event):
    waiting = Future()

    def generator():
        yield waiting

    house = run(generator)
    job = house.wait_for_state(house.submit(generator), State.RUNNING)
    house.change(job, Released(job.token))
    house.worker.stop_claiming()
    house.flush()
    # The batch of the release may have claimed it again already.
    before = house.read(job)
    payload = '"late"' if event is Succeeded else Failure("E", "late", "")
    refused = house.writer.submit(Change(job.id, (event(job.token, payload),))).exception(PATIENCE)
    assert isinstance(refused, StaleTokenError)
    assert house.read(job) == before
    waiting.set_result(None)


def test_code_that_ends_when_its_job_runs_again_ends_neither_that_run_nor_its_slot(run):
    gates, begun = [threading.Event(), threading.Event()], threading.Semaphore(0)
    attempts = iter(range(2))

    def plain():
        attempt = next(attempts)
        begun.release()
        gates[attempt].wait(PATIENCE)
        return attempt

    house = run(plain, threads=2)
    job = house.wait_for_state(house.submit(plain), State.RUNNING)
    assert begun.acquire(timeout=PATIENCE)
    # Somebody else takes it for lost; the batch that says so claims it for the second thread.
    house.change(job, Released(job.token))
    assert begun.acquire(timeout=PATIENCE)
    gates[0].set()
    with house.worker._moved:
        assert house.worker._moved.wait_for(lambda: house.worker._free["thread"] == 1, PATIENCE)
    house.flush()
    assert house.read(job).state is State.RUNNING
    assert list(house.worker._executions) == [job.id]
    gates[1].set()
    assert house.wait_for(job).result == "1"
    house.flush()
    assert (house.worker._free["thread"], house.worker._executions) == (2, {})


def test_code_that_ends_after_its_job_was_put_back_changes_nothing(run):
    gate = threading.Event()

    def plain():
        gate.wait(PATIENCE)
        return "late"

    house = run(plain)
    job = house.wait_for_state(house.submit(plain), State.RUNNING)
    house.worker.drain(0)
    before = house.read(job)
    assert (before.state, before.attempt) == (State.PENDING, 0)
    gate.set()
    house.worker.pools.jobs.shutdown()
    house.flush()
    assert house.read(job) == before
    assert house.close() is False


def test_an_outcome_that_no_store_can_keep_fails_the_job_instead_of_being_tried_for_ever(run):
    def plain():
        # Past the check that `progress` makes.
        SCOPE.get().progress(Progress(object()))
        return "result"

    house = run(plain)
    job = house.run(plain)
    assert (job.outcome, job.result) == (Outcome.FAILED, None)
    assert job.exception.message == "the store cannot keep what the job has returned, raised or reported"
    house.flush()
    assert house.worker._settling == 0


def test_a_job_is_put_back_though_no_store_can_keep_what_it_has_said(run):
    gate = threading.Event()

    def plain():
        SCOPE.get().progress(Progress(object()))
        gate.wait(PATIENCE)

    house = run(plain)
    job = house.wait_for_state(house.submit(plain), State.RUNNING)
    while house.worker._executions[job.id].said._progress is None:
        house.flush()
    house.worker.drain(0)
    stored = house.read(job)
    assert (stored.state, stored.attempt, house.worker._settling) == (State.PENDING, 0, 0)
    gate.set()
    assert house.close() is False
