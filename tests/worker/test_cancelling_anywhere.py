"""Cancellation where a job has not begun, while the service stops, and in the job's history."""

import asyncio
import json
import os
import threading
from contextlib import suppress

import pytest

from app.core import Future, FutureCancelledError, State
from app.jobs.context import checkpoint, submit
from app.jobs.errors import JobFinishedError
from app.jobs.history import RecordKind
from app.jobs.model import SECOND, Backoff, Outcome, Stopped
from tests.worker.house import PATIENCE
from tests.worker.process_tasks import TASKS
from tests.worker.test_cancelling import Steps, begin, cancelled
from tests.worker.test_draining import Drain


@pytest.fixture
def steps():
    return Steps()


def states(house, job):
    """Return what the job's history says of its states: state, outcome, and what became of a request."""
    records = asyncio.run(house.store.records("tests", 0, 1000, job_id=job.id)).records
    told = [json.loads(one.record.data) for one in records if one.record.kind is RecordKind.STATE]
    return [
        (one["state"], one["outcome"], one["cancellation"] and one["cancellation"]["outcome"]) for one in told
    ]


# -- before it has begun -----------------------------------------------------


@pytest.mark.parametrize("due_in", [0, 3600 * SECOND], ids=["waits for a slot", "is due later"])
def test_a_pending_job_is_cancelled_at_once_and_its_function_is_never_called(run, steps, due_in):
    def busy():
        steps.enter()
        steps.wait()

    def plain():
        steps.seen.append("called")

    house = run(busy, plain, threads=1)
    first = begin(house, steps, busy)
    job = house.submit(plain, due_in=due_in)
    assert cancelled(house.cancel(job), Stopped.NOT_STARTED)
    # Once more changes nothing.
    assert house.cancel(job).version == 2
    steps.go.set()
    house.wait_for(first)
    house.flush()
    assert steps.seen == []
    assert states(house, job) == [("pending", None, None), ("cancelled", "cancelled", "not_started")]


# -- generators --------------------------------------------------------------


def test_all_futures_that_a_generator_waits_for_are_cancelled_and_its_finally_runs(run, steps):
    waiting = [Future(), Future()]

    def generator():
        try:
            steps.enter()
            yield waiting
        except FutureCancelledError:
            steps.seen.append("thrown in")
            raise
        finally:
            steps.seen.append("finally")

    house = run(generator)
    job = begin(house, steps, generator)
    house.cancel(job)
    assert cancelled(house.wait_for(job))
    assert (steps.seen, [future.cancelled() for future in waiting]) == (
        ["thrown in", "finally"],
        [True, True],
    )
    assert states(house, job)[-2:] == [
        ("running", None, "pending"),
        ("cancelled", "cancelled", "cooperative"),
    ]


# -- while the service stops --------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "generator", "coroutine"])
def test_during_a_drain_a_request_reaches_the_code_of_every_kind(run, steps, kind):
    def plain():
        steps.enter()
        while True:
            checkpoint()
            steps.go.wait(0.001)

    def generator():
        try:
            steps.enter()
            yield Future()
        finally:
            steps.seen.append("finally")

    async def coroutine():
        try:
            steps.enter()
            await asyncio.Event().wait()
        finally:
            steps.seen.append("finally")

    house = run(plain, generator, coroutine)
    job = begin(house, steps, house.registry.get(kind).fn)
    draining = Drain(house)
    house.cancel(job)
    draining.join()
    assert cancelled(house.read(job))
    assert steps.seen == ["finally"] * (kind != "plain")


def test_during_a_drain_a_process_is_asked_and_then_killed(run, tmp_path):
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    house = run(*TASKS, cancel_grace=0.01)
    job = house.submit(TASKS.get("never_ends"), str(begun))
    with begun.open() as alive:
        draining = Drain(house)
        house.cancel(job)
        draining.join()
        assert alive.read() == ""
    assert cancelled(house.read(job), Stopped.KILLED)


def test_during_a_drain_a_pending_job_is_cancelled_as_not_started(run, steps):
    def plain():
        steps.enter()
        steps.wait()

    house = run(plain, threads=1)
    begin(house, steps, plain)
    waiting = house.submit(plain)
    draining = Drain(house)
    assert cancelled(house.cancel(waiting), Stopped.NOT_STARTED)
    steps.go.set()
    draining.join()


def test_a_failure_during_a_drain_is_retried_by_the_next_process_or_cancelled_before(run, steps):
    def plain():
        steps.enter()
        steps.wait()
        raise LookupError

    house = run(plain)
    job = begin(house, steps, plain, attempts=2, backoff=Backoff(0))
    draining = Drain(house)
    steps.go.set()
    draining.join()
    stored = house.read(job)
    assert (stored.state, stored.attempt, len(stored.attempts)) == (State.PENDING, 1, 1)
    assert cancelled(house.cancel(job), Stopped.NOT_STARTED)


def test_a_thread_that_never_looks_is_put_back_as_killed_when_the_drain_is_over(run, steps):
    def plain():
        steps.enter()
        steps.wait()

    house = run(plain)
    job = begin(house, steps, plain, attempts=2)
    house.cancel(job)
    house.worker.drain(0)
    assert cancelled(house.read(job), Stopped.KILLED)
    steps.go.set()
    assert house.close() is False


# -- a request and the end race ----------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "generator", "coroutine", "process"])
def test_whichever_wins_the_race_the_history_ends_in_that_one_outcome(run, kind):
    def plain():
        checkpoint()
        return 1

    def generator():
        return (yield submit(int)) or 1

    async def coroutine():
        await asyncio.sleep(0)
        return 1

    house = run(plain, generator, coroutine, TASKS.get("echo"), cancel_grace=0)
    fn = TASKS.get("echo") if kind == "process" else house.registry.get(kind).fn
    told = set()
    for n in range(40):
        job = house.submit(fn, attempts=2)
        if n % 2:
            house.wait_for(job, lambda job: job.state is not State.PENDING)
        with suppress(JobFinishedError):
            house.cancel(job)
        done = house.wait_for(job)
        how = done.cancellation and done.cancellation.outcome
        assert (done.outcome is Outcome.SUCCEEDED) == (how in (None, Stopped.TOO_LATE))
        history = states(house, job)
        assert history[-1] == (done.state, done.outcome, how)
        assert [state for state, *_ in history].count(done.state) == 1
        told.add(how)
    assert told <= {None, Stopped.TOO_LATE, Stopped.COOPERATIVE, Stopped.KILLED, Stopped.NOT_STARTED}


def test_a_request_that_comes_while_the_end_waits_for_a_report_is_the_end(run, steps):
    """The attempt has failed, and is not settled yet: it is cancelled, and not retried."""

    def plain():
        print("said")
        steps.enter()
        steps.wait()
        raise LookupError

    house = run(plain)
    job = begin(house, steps, plain, attempts=2, backoff=Backoff(3600, longest=3600))
    said = house.worker._executions[job.id].said
    while not said.take():
        house.flush()
    stored, ended = Future(), threading.Event()
    stored.add_done_callback(said.stored)
    settles = said.close
    said.close = lambda settle: (settles(settle), ended.set())
    steps.go.set()
    assert ended.wait(PATIENCE)
    assert house.cancel(job).cancellation.outcome is Stopped.PENDING
    stored.set_result(None)
    assert cancelled(house.wait_for(job))
    assert house.read(job).attempts == ()
