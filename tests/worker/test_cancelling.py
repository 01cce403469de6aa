"""Cancellation of running jobs, which says what became of the code."""

import asyncio
import threading
from contextvars import Context

import pytest

from app.core import Future, FutureCancelledError, State
from app.jobs.context import checkpoint, submit
from app.jobs.errors import JobFinishedError
from app.jobs.lifecycle import CancelRequested
from app.jobs.model import Outcome, Stopped
from app.stores.base import Change, Probe
from tests.worker.house import PATIENCE


class Steps:
    """Where the code of a test's job has come to, and what it may do next."""

    def __init__(self):
        self.inside = threading.Event()
        self.go = threading.Event()
        self.seen = []

    def enter(self):
        self.inside.set()

    def wait(self):
        assert self.go.wait(PATIENCE)


@pytest.fixture
def steps():
    return Steps()


def begin(house, steps, function, **options):
    """Submit, and return the job once its code is running."""
    job = house.submit(function, **options)
    assert steps.inside.wait(PATIENCE)
    return house.wait_for_state(job, State.RUNNING)


def wait_until_told(house):
    """Return when every request so far was passed on to the code."""
    house.flush()
    house.worker.pools.stops._threads.join()


def cancelled(job, how=Stopped.COOPERATIVE):
    assert (job.state, job.outcome, job.result) == (State.CANCELLED, Outcome.CANCELLED, None)
    assert job.cancellation.outcome is how
    return True


def too_late(job, result):
    assert (job.state, job.outcome, job.result) == (State.FINISHED, Outcome.SUCCEEDED, result)
    assert job.cancellation.outcome is Stopped.TOO_LATE
    return True


# -- plain functions


def test_a_plain_function_that_looks_is_stopped_at_its_checkpoint(run, steps):
    def plain():
        steps.enter()
        while True:
            checkpoint()
            steps.go.wait(0.001)

    house = run(plain)
    job = begin(house, steps, plain)
    requested = house.cancel(job)
    assert (requested.state, requested.cancellation.outcome) == (State.RUNNING, Stopped.PENDING)
    assert cancelled(house.wait_for(job))


def test_the_checkpoint_raises_on_every_call(run, steps):
    def plain():
        steps.enter()
        steps.wait()
        for _ in range(3):
            try:
                checkpoint()
            except FutureCancelledError as exc:
                steps.seen.append(str(exc))
        return "went on"

    house = run(plain)
    job = begin(house, steps, plain)
    house.cancel(job)
    steps.go.set()
    assert too_late(house.wait_for(job), '"went on"')
    assert steps.seen == [f"job {job.id} was asked to stop"] * 3


def test_a_plain_function_that_never_looks_keeps_its_slot_and_its_result_counts(run, steps):
    def plain():
        steps.enter()
        steps.wait()
        return "result"

    def next_one():
        return "ran"

    house = run(plain, next_one, threads=1)
    job = begin(house, steps, plain)
    after = house.submit(next_one)
    house.cancel(job)
    house.flush()
    now = house.read(job)
    assert (now.state, now.cancellation.outcome) == (State.RUNNING, Stopped.PENDING)
    assert house.read(after).state is State.PENDING
    steps.go.set()
    assert too_late(house.wait_for(job), '"result"')
    assert house.wait_for(after).result == '"ran"'


def test_an_exception_after_the_request_ends_the_job_as_cancelled(run, steps):
    def plain():
        steps.enter()
        steps.wait()
        raise LookupError("whatever")

    house = run(plain)
    job = begin(house, steps, plain)
    house.cancel(job)
    steps.go.set()
    assert cancelled(house.wait_for(job))


def test_a_cancelled_error_that_nobody_asked_for_is_an_ordinary_failure(run):
    def plain():
        raise FutureCancelledError("mine")

    def generator():
        yield submit(plain)

    async def coroutine():
        raise asyncio.CancelledError("mine")

    house = run(plain, generator, coroutine)
    for function in (plain, generator, coroutine):
        job = house.run(function)
        assert (job.state, job.outcome, job.cancellation) == (State.FINISHED, Outcome.FAILED, None)
        assert (job.exception.type, job.exception.message) == ("FutureCancelledError", "mine")


def test_a_function_that_was_asked_before_it_began_is_never_called(run, steps):
    def plain():
        steps.seen.append("called")

    house = run(plain, threads=1)
    busy = house.worker.pools.jobs.submit(steps.wait)
    job = house.wait_for_state(house.submit(plain), State.RUNNING)
    house.cancel(job)
    steps.go.set()
    assert cancelled(house.wait_for(job))
    assert (busy.exception(PATIENCE), steps.seen) == (None, [])


def test_a_generator_that_was_asked_before_it_began_is_never_entered(run, steps):
    def generator():
        steps.seen.append("called")
        yield submit(int)

    house = run(generator, threads=1)
    busy = house.worker.pools.steps.submit(steps.wait)
    job = house.wait_for_state(house.submit(generator), State.RUNNING)
    house.cancel(job)
    steps.go.set()
    assert cancelled(house.wait_for(job))
    assert (busy.exception(PATIENCE), steps.seen) == (None, [])


def test_a_coroutine_that_was_asked_before_it_began_is_never_entered(run, steps):
    async def blocks():
        steps.enter()
        steps.wait()

    async def coroutine():
        steps.seen.append("called")

    house = run(blocks, coroutine)
    blocking = begin(house, steps, blocks)
    job = house.wait_for_state(house.submit(coroutine), State.RUNNING)
    house.cancel(job)
    wait_until_told(house)
    steps.go.set()
    assert cancelled(house.wait_for(job))
    assert (house.wait_for(blocking).outcome, steps.seen) == (Outcome.SUCCEEDED, [])


# -- generators


def test_a_generator_gets_the_error_at_its_yield_and_its_finally_runs(run, steps):
    waiting = Future()

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
    assert steps.seen == ["thrown in", "finally"]
    assert waiting.cancelled()


def test_a_generator_gets_the_error_once_however_often_it_is_asked(run, steps):
    caught, waiting, cleanup = threading.Event(), Future(), Future()

    def generator():
        try:
            steps.enter()
            yield waiting
        except FutureCancelledError:
            caught.set()
            yield cleanup
            return "cleaned up"

    house = run(generator)
    job = begin(house, steps, generator)
    house.cancel(job)
    assert caught.wait(PATIENCE)
    for _ in range(3):
        house.cancel(job)
    wait_until_told(house)
    assert not cleanup.done()
    cleanup.set_result(None)
    assert too_late(house.wait_for(job), '"cleaned up"')


def test_a_call_that_a_cancelled_generator_waits_for_is_cancelled_if_it_has_not_begun(run, steps):
    def never():
        steps.seen.append("called")

    def generator():
        busy, call = submit(steps.wait), submit(never)
        steps.enter()
        try:
            yield call
        finally:
            steps.seen.append(("cancelled", call.cancelled()))
            steps.go.set()
            busy.result(PATIENCE)

    house = run(generator, threads=1)
    job = begin(house, steps, generator)
    house.cancel(job)
    assert cancelled(house.wait_for(job))
    assert steps.seen == [("cancelled", True)]


def test_a_cancelled_generator_is_done_only_when_its_running_calls_have_ended(run, steps):
    left = threading.Event()

    def call():
        steps.enter()
        steps.wait()

    def generator():
        try:
            yield submit(call)
        finally:
            left.set()

    house = run(generator)
    job = begin(house, steps, generator)
    house.cancel(job)
    assert left.wait(PATIENCE)
    house.flush()
    assert house.read(job).state is State.RUNNING
    steps.go.set()
    assert cancelled(house.wait_for(job))


def test_the_checkpoint_of_a_running_call_raises(run, steps):
    def call():
        steps.enter()
        while True:
            checkpoint()
            steps.go.wait(0.001)

    def generator():
        yield submit(call)

    house = run(generator)
    job = begin(house, steps, generator)
    house.cancel(job)
    assert cancelled(house.wait_for(job))


@pytest.mark.parametrize("waits", [True, False], ids=["waited for", "beside it"])
def test_a_submitted_generator_gets_the_error_once_too_and_its_cleanup_is_left_alone(run, steps, waits):
    caught, cleanup = threading.Event(), Future()

    class SlowToCancel(Future):
        def cancel(self):
            """Return when the generator that waits here has got the error."""
            return super().cancel() and caught.wait(PATIENCE)

    waiting = SlowToCancel()

    def part():
        try:
            steps.enter()
            yield waiting
        except FutureCancelledError:
            caught.set()
            yield cleanup
            steps.seen.append("cleaned up")
            raise

    def generator():
        parting = submit(part)
        yield parting if waits else Future()

    house = run(generator)
    job = begin(house, steps, generator)
    house.cancel(job)
    assert caught.wait(PATIENCE)
    wait_until_told(house)
    cleanup.set_result(None)
    assert cancelled(house.wait_for(job))
    assert steps.seen == ["cleaned up"]


# -- coroutines


def test_a_coroutine_is_cancelled_and_its_finally_runs(run, steps):
    async def coroutine():
        try:
            steps.enter()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.seen.append("finally")

    house = run(coroutine)
    job = begin(house, steps, coroutine)
    house.cancel(job)
    assert cancelled(house.wait_for(job))
    assert steps.seen == ["finally"]


def test_a_coroutine_that_swallows_its_cancellation_ends_too_late(run, steps):
    async def coroutine():
        try:
            steps.enter()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "swallowed"

    house = run(coroutine)
    job = begin(house, steps, coroutine)
    house.cancel(job)
    assert too_late(house.wait_for(job), '"swallowed"')


def test_a_coroutine_that_awaits_a_call_is_cancelled_and_done_when_the_call_is(run, steps):
    left = threading.Event()

    def call():
        steps.enter()
        steps.wait()

    async def coroutine():
        try:
            await submit(call)
        finally:
            left.set()

    house = run(coroutine)
    job = begin(house, steps, coroutine)
    house.cancel(job)
    assert left.wait(PATIENCE)
    house.flush()
    assert house.read(job).state is State.RUNNING
    steps.go.set()
    assert cancelled(house.wait_for(job))


def test_a_submitted_coroutine_is_cancelled_with_its_job(run, steps):
    async def call():
        try:
            steps.enter()
            await asyncio.Event().wait()
        finally:
            steps.seen.append("finally")

    def plain():
        submit(call).result()

    house = run(plain)
    job = begin(house, steps, plain)
    house.cancel(job)
    assert cancelled(house.wait_for(job))
    assert steps.seen == ["finally"]


def test_a_coroutine_cancelled_with_its_first_step_due_is_never_entered_and_still_ends(run, steps):
    """asyncio throws away a coroutine that is cancelled between its creation and its first step."""
    house = run()
    coroutines = house.worker.pools.coroutines

    async def blocks():
        steps.enter()
        steps.wait()

    async def never():
        steps.seen.append("called")

    blocking, future = coroutines.future(), coroutines.future()
    blocking.start(blocks, Context())
    assert steps.inside.wait(PATIENCE)
    future.start(never, Context())
    assert future.cancel()
    steps.go.set()
    with pytest.raises(FutureCancelledError):
        future.result(PATIENCE)
    assert (blocking.result(PATIENCE), steps.seen) == (None, [])


def test_the_future_of_a_coroutine_says_whether_a_cancellation_came_in_time(run):
    house = run()

    async def returns():
        return 1

    future, never, late = (house.worker.pools.coroutines.future() for _ in range(3))
    future.start(returns, Context())
    assert (future.result(PATIENCE), future.cancel(), future.cancelled()) == (1, False, False)
    assert never.cancel()
    with pytest.raises(FutureCancelledError):
        never.result(PATIENCE)
    assert (never.cancel(), never.cancelled()) == (True, True)
    assert house.close()
    # The loop is closed by now.
    assert (late.cancel(), late.cancelled()) == (True, True)


# -- callbacks of the user's


def test_a_callback_that_never_returns_holds_up_no_other_cancellation(run, steps):
    stuck, release = threading.Event(), threading.Event()

    def callback(_):
        stuck.set()
        release.wait(PATIENCE)

    def plain():
        busy, call = submit(steps.wait), submit(int)
        call.add_done_callback(callback)
        steps.enter()
        busy.result(PATIENCE)

    async def other():
        await asyncio.Event().wait()

    house = run(plain, other, threads=1)
    job = begin(house, steps, plain)
    house.cancel(job)
    assert stuck.wait(PATIENCE)
    second = house.wait_for_state(house.submit(other), State.RUNNING)
    house.cancel(second)
    assert cancelled(house.wait_for(second))
    steps.go.set()
    assert too_late(house.wait_for(job), "null")
    release.set()


def test_a_callback_that_exits_keeps_no_call_from_being_cancelled(run, steps):
    def callback(_):
        raise SystemExit

    def plain():
        submit(steps.wait)
        steps.seen.extend(submit(int) for _ in range(5))
        for call in steps.seen:
            call.add_done_callback(callback)
        steps.enter()
        steps.wait()

    house = run(plain, threads=1)
    job = begin(house, steps, plain)
    house.cancel(job)
    wait_until_told(house)
    assert [call.cancelled() for call in steps.seen] == [True] * 5
    steps.go.set()
    assert too_late(house.wait_for(job), "null")


def test_callbacks_run_neither_on_the_writers_thread_nor_on_the_callers(run, steps):
    names = []

    def plain():
        busy, call = submit(steps.wait), submit(int)
        call.add_done_callback(lambda _: names.append(threading.current_thread().name))
        steps.enter()
        busy.result(PATIENCE)

    house = run(plain, threads=1)
    job = begin(house, steps, plain)
    house.cancel(job)
    wait_until_told(house)
    steps.go.set()
    house.wait_for(job)
    assert [name.partition("_")[0] for name in names] == ["errand-stop"]


def test_requests_that_no_thread_can_be_had_for_are_still_seen_by_checkpoints(run, steps, monkeypatch):
    busy, release = threading.Event(), threading.Event()

    def refuse(*args):
        raise RuntimeError("can't start new thread")

    def hold(_):
        busy.set()
        release.wait(PATIENCE)

    def plain():
        while True:
            checkpoint()
            steps.go.wait(0.001)

    house = run(plain, threads=2)
    jobs = [house.wait_for_state(house.submit(plain), State.RUNNING) for _ in range(2)]
    monkeypatch.setattr(house.worker.pools.stops, "submit", refuse)
    # While the writer is held up the requests gather, so that one batch has both.
    house.writer.listen(hold)
    house.writer.submit(Probe())
    assert busy.wait(PATIENCE)
    requests = [house.writer.submit(Change(job.id, (CancelRequested(),))) for job in jobs]
    release.set()
    assert [request.result(PATIENCE).state for request in requests] == [State.RUNNING] * 2
    assert all(cancelled(house.wait_for(job)) for job in jobs)


# -- the request and the end race


@pytest.mark.parametrize("kind", ["plain", "generator", "coroutine"])
def test_when_the_request_races_with_the_end_exactly_one_outcome_is_told(run, kind):
    rounds, gates = 60, {}

    def plain(n: int):
        inside, go = gates[n]
        inside.set()
        go.wait(PATIENCE)
        checkpoint()
        return n

    def generator(n: int):
        inside, go = gates[n]
        inside.set()
        return (yield submit(go.wait, PATIENCE)) and n

    async def coroutine(n: int):
        inside, go = gates[n]
        inside.set()
        await submit(go.wait, PATIENCE)
        return n

    house = run(plain, generator, coroutine)
    endings = set()
    for n in range(rounds):
        gates[n] = inside, go = threading.Event(), threading.Event()
        job = house.submit(house.registry.get(kind).fn, n)
        assert inside.wait(PATIENCE)
        pair = (go.set, lambda job=job: house.writer.submit(Change(job.id, (CancelRequested(),))))
        first, second = pair if n % 2 else reversed(pair)
        answers = [first(), second()]
        request = next(answer for answer in answers if answer is not None)
        ended = house.wait_for(job)
        endings.add(ending_of(ended, request.exception(PATIENCE), n))
    assert endings <= {"too late", "refused", "cooperative"}
    assert len(endings) >= 1


def ending_of(job, refusal, n):
    """Return how the race ended; fails when the record contradicts itself."""
    if isinstance(refusal, JobFinishedError):
        assert (job.outcome, job.result, job.cancellation) == (Outcome.SUCCEEDED, str(n), None)
        return "refused"
    assert refusal is None
    if job.outcome is Outcome.SUCCEEDED:
        assert too_late(job, str(n))
        return "too late"
    assert cancelled(job)
    return "cooperative"
