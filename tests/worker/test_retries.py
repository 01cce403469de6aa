"""Attempts: which failures are worth another one, when it comes, and what ends that."""

import asyncio
import logging
import os
import re
import signal
import threading

import pytest

from app.core import Future, FutureTimeoutError, State
from app.jobs.context import checkpoint, context, progress, submit
from app.jobs.lifecycle import CancelRequested, Reopened
from app.jobs.model import SECOND, Backoff, Outcome, Stopped
from app.jobs.retry import RetryLater
from app.stores.base import Caps, Recover
from tests.worker.house import AT_ONCE, PATIENCE, limited, retrying
from tests.worker.process_tasks import TASKS
from tests.worker.test_cancelling import Steps, begin, cancelled, wait_until_told
from tests.worker.test_timeouts import LONG, let_time_be_up, until_asked

HOUR = Backoff(3600, longest=3600, jitter=False)


@pytest.fixture
def steps():
    return Steps()


def waits(job):
    return job.state is State.PENDING and job.attempt > 0


def endings(job):
    """Return the type of what each earlier attempt has raised."""
    return [attempt.exception and attempt.exception.type for attempt in job.attempts]


# -- what is retried ---------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "generator", "coroutine"])
def test_a_job_that_fails_is_run_again_until_it_succeeds(run, kind):
    def plain():
        if context().attempt < 3:
            raise LookupError(f"attempt {context().attempt}")
        return context().attempt

    def generator():
        yield submit(int)
        return (yield submit(plain))

    async def coroutine():
        return await submit(plain)

    house = run(plain, generator, coroutine)
    fn = house.registry.get(kind).fn
    job = house.run(fn, attempts=3, backoff=AT_ONCE)
    assert (job.outcome, job.result, job.attempt) == (Outcome.SUCCEEDED, "3", 3)
    past = house.read(job).attempts
    assert [(one.number, one.exception.message) for one in past] == [(1, "attempt 1"), (2, "attempt 2")]


def test_without_an_attempt_left_the_last_failure_counts(run):
    def plain():
        raise LookupError(f"attempt {context().attempt}")

    job = run(plain).run(plain, attempts=2)
    assert (job.outcome, job.attempt, job.exception.message) == (Outcome.FAILED, 2, "attempt 2")


def test_a_failure_that_the_policy_does_not_cover_is_the_last(run):
    def plain(n: int):
        raise (LookupError, ValueError, KeyError)[n]

    house = run(retrying(plain, on=(LookupError,), never=(KeyError,)))
    attempts = [house.run(plain, n, attempts=2).attempt for n in range(3)]
    assert attempts == [2, 1, 1]


def test_the_next_attempt_waits_as_long_as_the_backoff_says(run):
    def plain():
        raise LookupError

    house = run(plain)
    job = house.wait_for(house.submit(plain, attempts=2, backoff=HOUR), waits)
    stored = house.read(job)
    assert stored.run_at - stored.attempts[0].finished_at == 3600 * SECOND
    house.cancel(job)


def test_code_may_say_itself_when_it_wants_to_be_run_again(run):
    def plain(seconds: float):
        if context().attempt == 1:
            raise RetryLater(seconds)
        return "again"

    house = run(retrying(plain, never=(Exception,)))
    assert house.run(plain, 0, attempts=2, backoff=HOUR).result == '"again"'
    job = house.wait_for(house.submit(plain, 60, attempts=2), waits)
    stored = house.read(job)
    assert stored.run_at - stored.attempts[0].finished_at == 60 * SECOND
    house.cancel(job)
    failed = house.run(plain, 0)
    assert (failed.outcome, failed.exception.type) == (Outcome.FAILED, "RetryLater")


def test_what_cannot_be_described_is_not_retried(run):
    class Meta(type):
        def __instancecheck__(cls, instance):
            raise SystemExit

    class UnfitError(Exception, metaclass=Meta):
        pass

    def plain():
        raise LookupError

    job = run(retrying(plain, on=(UnfitError,))).run(plain, attempts=2)
    assert (job.attempt, job.exception.message) == (1, "the exception cannot be described")


def test_a_result_that_cannot_be_kept_is_a_failure_like_any(run):
    def plain():
        return object() if context().attempt == 1 else "json"

    assert run(plain).run(plain, attempts=2).result == '"json"'


@pytest.mark.parametrize("kind", ["plain", "generator", "coroutine"])
def test_an_attempt_that_times_out_is_retried_like_any_failure(run, steps, kind):
    def plain():
        if context().attempt == 1:
            steps.enter()
            raise until_asked()
        return "in time"

    def generator():
        if context().attempt == 1:
            steps.enter()
            yield Future()
        return (yield submit(plain))

    async def coroutine():
        if context().attempt == 1:
            steps.enter()
            await asyncio.Event().wait()
        return await submit(plain)

    tasks = [retrying(fn, on=(FutureTimeoutError,)) for fn in (plain, generator, coroutine)]
    house = run(*tasks)
    job = house.submit(house.registry.get(kind).fn, attempts=2, timeout=LONG)
    assert steps.inside.wait(PATIENCE)
    let_time_be_up(house, job)
    ended = house.wait_for(job)
    assert (ended.result, endings(house.read(job))) == ('"in time"', ["FutureTimeoutError"])


def test_each_attempt_has_its_own_time(run):
    left = []

    def plain():
        left.append(context().deadline)
        raise LookupError

    run(plain).run(plain, attempts=2, timeout=LONG)
    assert left[0] < left[1]


# -- in processes ------------------------------------------------------------


def test_the_policy_is_asked_in_the_process_where_the_exception_is(run):
    house = run(*TASKS)
    lookup, value = (house.run(TASKS.get("raises_one"), name, attempts=3) for name in ("lookup", "value"))
    assert (lookup.attempt, endings(house.read(lookup))) == (3, ["LookupError"] * 2)
    assert (value.attempt, value.exception.type) == (1, "ValueError")


def test_a_job_whose_process_dies_is_run_again(run):
    house = run(*TASKS)
    job = house.run(TASKS.get("dies_at_first"), attempts=2)
    assert (job.result, endings(house.read(job))) == ('"alive"', ["ProcessDied"])
    assert house.run(TASKS.get("dies"), signal.SIGKILL, attempts=2).attempt == 2


@pytest.mark.parametrize(("name", "grace"), [("hangs_at_first", 0), ("looks_at_first", LONG)])
def test_one_whose_time_is_up_in_its_process_is_run_again(run, tmp_path, name, grace):
    house, begun = run(*TASKS, cancel_grace=grace), tmp_path / "begun"
    os.mkfifo(begun)
    job = house.submit(TASKS.get(name), str(begun), attempts=2, timeout=LONG)
    begun.open().close()
    let_time_be_up(house, job)
    assert house.wait_for(job).result == '"in time"'
    assert endings(house.read(job)) == ["FutureTimeoutError"]


# -- progress ----------------------------------------------------------------


def test_a_new_attempt_starts_with_no_progress_and_reports_its_own(run):
    second, go = threading.Event(), threading.Event()

    def plain():
        if context().attempt == 1:
            progress(7, 10, "of the first attempt")
            raise LookupError
        second.set()
        go.wait(PATIENCE)
        progress(1)

    house = run(plain)
    job = house.submit(plain, attempts=2)
    assert second.wait(PATIENCE)
    again = house.wait_for(job, lambda job: (job.state, job.attempt) == (State.RUNNING, 2))
    assert (again.progress, house.read(job).progress) == (None, None)
    go.set()
    assert house.wait_for(job).progress == (1, None, None)


# -- cancelling --------------------------------------------------------------


def test_a_job_that_waits_for_its_next_attempt_is_cancelled_as_not_started(run):
    def plain():
        raise LookupError

    house = run(plain)
    job = house.wait_for(house.submit(plain, attempts=2, backoff=HOUR), waits)
    assert cancelled(house.cancel(job), Stopped.NOT_STARTED)
    assert endings(house.read(job)) == ["LookupError"]


@pytest.mark.parametrize("kind", ["plain", "generator", "coroutine"])
def test_a_failure_after_the_request_is_the_cancellation_and_not_retried(run, steps, kind):
    def plain():
        steps.enter()
        steps.wait()
        raise LookupError

    def generator():
        try:
            steps.enter()
            yield Future()
        finally:
            raise LookupError

    async def coroutine():
        try:
            steps.enter()
            await asyncio.Event().wait()
        finally:
            raise LookupError

    house = run(plain, generator, coroutine)
    job = begin(house, steps, house.registry.get(kind).fn, attempts=2)
    house.cancel(job)
    wait_until_told(house)
    steps.go.set()
    assert cancelled(house.wait_for(job))
    assert house.read(job).attempts == ()


def test_a_process_that_is_killed_after_the_request_is_not_started_again(run, tmp_path):
    house, begun = run(*TASKS, cancel_grace=0), tmp_path / "begun"
    os.mkfifo(begun)
    job = house.submit(TASKS.get("hangs_at_first"), str(begun), attempts=2)
    begun.open().close()
    house.cancel(job)
    done = house.wait_for(job)
    assert (done.outcome, done.attempt) == (Outcome.CANCELLED, 1)


def test_a_request_that_arrives_as_the_attempt_fails_is_the_end_of_it(run):
    """Whichever of the two the store gets to know first: the job is cancelled, and never run again."""
    called = []

    def plain(n: int):
        inside, go = gates[n]
        called.append(n)
        inside.set()
        go.wait(PATIENCE)
        raise LookupError

    house, gates, hows = run(plain), {}, set()
    for n in range(60):
        gates[n] = inside, go = threading.Event(), threading.Event()
        job = house.submit(plain, n, attempts=2, backoff=HOUR)
        assert inside.wait(PATIENCE)
        if n % 2:
            go.set()
        house.change(job, CancelRequested())
        go.set()
        done = house.wait_for(job)
        hows.add(done.cancellation.outcome)
        assert (done.outcome, called.count(n)) == (Outcome.CANCELLED, 1)
        assert bool(house.read(job).attempts) == (done.cancellation.outcome is Stopped.NOT_STARTED)
    assert hows <= {Stopped.COOPERATIVE, Stopped.NOT_STARTED}


def test_a_new_run_has_all_its_attempts(run):
    def plain():
        raise LookupError

    house = run(plain)
    job = house.run(plain, attempts=2)
    house.change(job, Reopened())
    again = house.wait_for(job, lambda job: job.done and job.run == 2)
    assert (again.attempt, len(house.read(job).attempts)) == (2, 3)


# -- the log -----------------------------------------------------------------


def test_the_line_of_a_failed_attempt_says_which_it_was_and_when_the_next_comes(run, caplog):
    def plain():
        raise LookupError("not there")

    caplog.set_level(logging.DEBUG, "app.worker.record")
    house = run(plain)
    job = house.run(plain, attempts=2, backoff=Backoff(0.001, jitter=False))
    house.close()
    lines = [record.getMessage() for record in caplog.records if record.name == "app.worker.record"]
    expected = [rf"\(plain, attempt {n} of 2, \d\.\d+ s\) failed: LookupError: not there" for n in (1, 2)]
    assert re.fullmatch(rf"job {job.id} {expected[0]}; next in 0\.001 s", lines[0]), lines
    assert re.fullmatch(rf"job {job.id} {expected[1]}", lines[1]), lines


# -- limits ------------------------------------------------------------------


def test_the_store_is_told_how_many_of_a_task_may_run(build, monkeypatch):
    def each():
        pass

    def total():
        pass

    def free():
        pass

    house = build(limited(each, max_running=2), limited(total, max_running_total=3), limited(free))
    told, submit_to_writer = [], house.writer.submit
    monkeypatch.setattr(house.writer, "submit", lambda op: told.append(op) or submit_to_writer(op))
    house.start()
    [recover] = [operation for operation in told if isinstance(operation, Recover)]
    assert recover.caps == {"each": Caps(2, None), "total": Caps(None, 3)}


def test_a_job_beyond_its_tasks_limit_waits_for_a_place(run, steps):
    running = []

    def plain(n: int):
        running.append(n)
        steps.enter()
        steps.wait()

    house = run(limited(plain, max_running=1), threads=2)
    first, second = (house.submit(plain, n, limit_key="") for n in range(2))
    assert steps.inside.wait(PATIENCE)
    house.flush()
    assert (running, house.read(second).state) == ([0], State.PENDING)
    steps.go.set()
    assert house.wait_for(second).outcome is Outcome.SUCCEEDED
    assert house.wait_for(first).outcome is Outcome.SUCCEEDED


def test_a_checkpoint_of_a_later_attempt_knows_nothing_of_an_earlier_ones_end(run, steps):
    def plain():
        if context().attempt == 1:
            steps.enter()
            raise until_asked()
        checkpoint()
        return "not asked"

    house = run(plain)
    job = house.submit(plain, attempts=2, timeout=LONG)
    assert steps.inside.wait(PATIENCE)
    let_time_be_up(house, job)
    assert house.wait_for(job).result == '"not asked"'
