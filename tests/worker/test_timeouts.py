"""Timeouts: they travel as cancellations do, and a cancellation beats them."""

import asyncio
import os
import threading
import time

import pytest

from app.core import Future, FutureCancelledError, FutureTimeoutError, State
from app.jobs.context import checkpoint, context, submit
from app.jobs.model import Outcome, Stopped
from tests.worker.house import PATIENCE
from tests.worker.process_tasks import TASKS

SHORT = 0.01
"""Seconds: over before anything here ends by itself."""

LONG = 3600.0


def timed_out(job, seconds=SHORT):
    assert (job.state, job.outcome, job.cancellation) == (State.FINISHED, Outcome.FAILED, None)
    message = f"the job has run for longer than its {seconds:g} s"
    assert (job.exception.type, job.exception.message) == ("FutureTimeoutError", message)
    return True


def let_time_be_up(house, job):
    """Do what the job's alarm does. By itself it may go off before the function has begun."""
    house.worker._executions[job.id]._time_out()


def until_asked():
    """Return what the job is asked with."""
    while True:
        try:
            checkpoint()
        except (FutureCancelledError, FutureTimeoutError) as exc:
            return exc
        threading.Event().wait(0.001)


# -- each kind ---------------------------------------------------------------


def test_a_plain_function_is_stopped_at_its_checkpoint(run):
    def plain():
        raise until_asked()

    house = run(plain)
    assert timed_out(house.run(plain, timeout=SHORT))


def test_a_generator_gets_the_error_at_its_yield_and_its_calls_are_stopped(run):
    inside, seen = threading.Event(), []

    def call():
        inside.set()
        seen.append(type(until_asked()))

    def generator():
        try:
            yield [Future(), submit(call)]
        finally:
            seen.append("finally")

    house = run(generator)
    job = house.submit(generator, timeout=LONG)
    assert inside.wait(PATIENCE)
    let_time_be_up(house, job)
    assert timed_out(house.wait_for(job), LONG)
    assert sorted(map(str, seen)) == sorted([str(FutureTimeoutError), "finally"])


def test_a_coroutine_is_cancelled(run):
    inside, seen = threading.Event(), []

    async def coroutine():
        try:
            inside.set()
            await asyncio.Event().wait()
        finally:
            seen.append("finally")

    house = run(coroutine)
    job = house.submit(coroutine, timeout=LONG)
    assert inside.wait(PATIENCE)
    let_time_be_up(house, job)
    assert timed_out(house.wait_for(job), LONG)
    assert seen == ["finally"]


def test_a_function_in_a_process_is_killed_after_the_grace(run, tmp_path):
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    house = run(*TASKS, cancel_grace=SHORT)
    job = house.submit(TASKS.get("never_ends"), str(begun), timeout=LONG)
    with begun.open() as alive:
        let_time_be_up(house, job)
        assert timed_out(house.wait_for(job), LONG)
        assert alive.read() == ""


def test_a_function_in_a_process_may_return_after_all(run, tmp_path):
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    house = run(*TASKS, cancel_grace=LONG)
    job = house.submit(TASKS.get("returns_when_asked"), str(begun), timeout=LONG)
    begun.open().close()
    let_time_be_up(house, job)
    late = house.wait_for(job)
    assert (late.outcome, late.result, late.cancellation) == (Outcome.SUCCEEDED, '"late"', None)


def test_one_that_waits_for_its_process_is_never_called(run, tmp_path):
    busy, go = tmp_path / "busy", tmp_path / "go"
    os.mkfifo(busy)
    os.mkfifo(go)
    house = run(*TASKS, processes=1)
    occupied = house.worker.pools.processes.submit(TASKS.get("goes_on").fn, str(busy), str(go))
    busy.open().close()
    job = house.submit(TASKS.get("never_ends"), str(tmp_path / "not opened"), timeout=SHORT)
    assert timed_out(house.wait_for(job))
    go.open("w").close()
    assert occupied.result(PATIENCE) == "result"


# -- what counts ---------------------------------------------------------------


def test_a_result_that_comes_after_the_deadline_counts(run):
    inside = threading.Event()

    def plain():
        inside.set()
        return type(until_asked()).__name__

    house = run(plain)
    job = house.submit(plain, timeout=LONG)
    assert inside.wait(PATIENCE)
    let_time_be_up(house, job)
    ended = house.wait_for(job)
    assert (ended.outcome, ended.result) == (Outcome.SUCCEEDED, '"FutureTimeoutError"')


def test_an_exception_of_the_codes_own_after_the_deadline_is_told(run):
    inside = threading.Event()

    def plain():
        inside.set()
        until_asked()
        raise LookupError("while cleaning up")

    house = run(plain)
    job = house.submit(plain, timeout=LONG)
    assert inside.wait(PATIENCE)
    let_time_be_up(house, job)
    ended = house.wait_for(job)
    assert (ended.outcome, ended.exception.type) == (Outcome.FAILED, "LookupError")


@pytest.mark.parametrize("how", ["raise", "return"])
def test_a_cancellation_beats_a_timeout_that_came_first(run, how):
    inside, asked, go = threading.Event(), threading.Event(), threading.Event()

    def plain():
        inside.set()
        until_asked()
        asked.set()
        go.wait(PATIENCE)
        if how == "raise":
            checkpoint()
        return "finished first"

    house = run(plain)
    job = house.submit(plain, timeout=LONG)
    assert inside.wait(PATIENCE)
    let_time_be_up(house, job)
    assert asked.wait(PATIENCE)
    house.cancel(job)
    go.set()
    ended = house.wait_for(job)
    if how == "raise":
        assert (ended.outcome, ended.exception) == (Outcome.CANCELLED, None)
        assert ended.cancellation.outcome is Stopped.COOPERATIVE
    else:
        assert (ended.outcome, ended.cancellation.outcome) == (Outcome.SUCCEEDED, Stopped.TOO_LATE)


def test_a_cancellation_beats_a_timeout_that_comes_later(run):
    inside, go, errors = threading.Event(), threading.Event(), []

    def plain():
        inside.set()
        go.wait(PATIENCE)
        errors.append(until_asked())
        raise errors[0]

    house = run(plain)
    job = house.submit(plain, timeout=LONG)
    assert inside.wait(PATIENCE)
    house.cancel(job)
    house.flush()
    let_time_be_up(house, job)
    go.set()
    ended = house.wait_for(job)
    assert (ended.outcome, ended.cancellation.outcome) == (Outcome.CANCELLED, Stopped.COOPERATIVE)
    assert type(errors[0]) is FutureCancelledError


def test_a_job_cancelled_after_its_timeout_that_is_killed_is_cancelled(run, tmp_path):
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    house = run(*TASKS, cancel_grace=LONG)
    job = house.submit(TASKS.get("never_ends"), str(begun), timeout=LONG)
    with begun.open() as alive:
        execution = house.worker._executions[job.id]
        execution._time_out()
        house.cancel(job)
        house.flush()
        execution.kill()
        ended = house.wait_for(job)
        assert (ended.outcome, ended.cancellation.outcome) == (Outcome.CANCELLED, Stopped.KILLED)
        assert alive.read() == ""


def test_an_error_of_that_kind_before_the_deadline_is_an_ordinary_failure(run):
    def plain():
        raise FutureTimeoutError("mine")

    job = run(plain).run(plain, timeout=LONG)
    assert (job.outcome, job.exception.message) == (Outcome.FAILED, "mine")


def test_exactly_one_outcome_is_told_when_the_deadline_races_with_the_end(run):
    def plain(n: int):
        checkpoint()
        return n

    house = run(plain)
    jobs = [house.submit(plain, n, timeout=n / 20_000 + 1e-9) for n in range(60)]
    for n, job in enumerate(jobs):
        ended = house.wait_for(job)
        if ended.outcome is Outcome.SUCCEEDED:
            assert (ended.result, ended.exception) == (str(n), None)
        else:
            assert ended.exception.type == "FutureTimeoutError"


# -- what is known of it ---------------------------------------------------------


def test_the_code_knows_its_deadline(run):
    def plain():
        deadline = context().deadline
        return None if deadline is None else 0 < deadline - time.monotonic() <= LONG

    house = run(plain)
    assert house.run(plain).result == "null"
    assert house.run(plain, timeout=LONG).result == "true"


def test_nothing_is_kept_of_a_timeout_when_its_job_has_ended(run):
    def plain():
        return 1

    house = run(plain)
    house.run(plain, timeout=LONG)
    # A look at the threads may be due; it leads to no job.
    others = (None, house.worker.pools.contention._look)
    assert [call for call in house.worker._ticker._calls if call.call not in others] == []


def test_the_log_tells_it_as_a_failure(run, caplog):
    def plain():
        raise until_asked()

    house = run(plain)
    job = house.run(plain, timeout=SHORT)
    house.close()
    (line,) = [record.getMessage() for record in caplog.records if job.id in record.getMessage()]
    assert line.endswith("failed: FutureTimeoutError: the job has run for longer than its 0.01 s")
