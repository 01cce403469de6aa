"""Calls of a job that is asked to stop: which are told, which are not begun, which are left alone."""

import asyncio
import threading

import pytest

from app.core import Future, FutureCancelledError, State
from app.jobs.context import checkpoint, submit
from app.worker import execution
from tests.worker.house import PATIENCE
from tests.worker.test_cancelling import Steps, begin, cancelled, too_late, wait_until_told

KINDS = ["plain", "generator", "coroutine"]


@pytest.fixture
def steps():
    return Steps()


def endless(steps):
    """Return calls that end only when they are told."""

    def plain():
        steps.seen.append("begun")
        while True:
            checkpoint()
            steps.inside.wait(0.001)

    def generator():
        steps.seen.append("begun")
        yield Future()

    async def coroutine():
        steps.seen.append("begun")
        await asyncio.Event().wait()

    return dict(zip(KINDS, (plain, generator, coroutine), strict=True))


def short(steps):
    """Return calls that do something at once, and others that only submit those."""

    def plain():
        steps.seen.append("cleaned up")

    def generator():
        yield submit(plain)

    async def coroutine():
        await submit(plain)

    return dict(zip(KINDS, (plain, generator, coroutine), strict=True))


def ask(house, job):
    """Cancel, and return when the execution knows."""
    house.cancel(job)
    house.flush()


# -- code that has not been told


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_that_a_plain_function_submits_after_the_request_is_not_begun(run, steps, kind):
    call = endless(steps)[kind]

    def plain():
        steps.enter()
        steps.wait()
        submit(call).result()

    house = run(plain)
    job = begin(house, steps, plain)
    ask(house, job)
    steps.go.set()
    assert cancelled(house.wait_for(job))
    assert steps.seen == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_that_a_plain_function_has_submitted_before_the_request_is_told(run, steps, kind):
    call = endless(steps)[kind]

    def plain():
        future = submit(call)
        steps.enter()
        future.result()

    house = run(plain)
    job = begin(house, steps, plain)
    ask(house, job)
    assert cancelled(house.wait_for(job))


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_that_is_being_submitted_when_the_request_comes_is_told(run, steps, kind, monkeypatch):
    call = endless(steps)[kind]

    def plain():
        steps.enter()
        steps.wait()
        submit(call).result()

    house = run(plain)
    job = begin(house, steps, plain)
    pools = house.worker.pools

    def asking_first(make):
        def made(*args):
            ask(house, job)
            return make(*args)

        return made

    monkeypatch.setattr(pools.calls, "put", asking_first(pools.calls.put))
    monkeypatch.setattr(pools.coroutines, "future", asking_first(pools.coroutines.future))
    monkeypatch.setattr(execution, "make_task", asking_first(execution.make_task))
    steps.go.set()
    assert cancelled(house.wait_for(job))


def test_a_plain_call_submits_nothing_more_after_the_request_either(run, steps):
    def call():
        steps.enter()
        steps.wait()
        submit(endless(steps)["generator"]).result()

    def plain():
        submit(call).result()

    house = run(plain)
    job = begin(house, steps, plain)
    ask(house, job)
    steps.go.set()
    assert cancelled(house.wait_for(job))
    assert steps.seen == []


def test_a_function_may_go_on_without_the_calls_that_are_refused(run, steps):
    def plain():
        steps.enter()
        steps.wait()
        return [submit(int).cancelled() for _ in range(3)]

    house = run(plain)
    job = begin(house, steps, plain)
    ask(house, job)
    steps.go.set()
    assert too_late(house.wait_for(job), "[true,true,true]")


@pytest.mark.parametrize("kind", KINDS)
def test_a_generator_asked_within_a_step_begins_no_more_calls_and_is_told_at_its_yield(run, steps, kind):
    calls = endless(steps)

    def generator():
        steps.enter()
        steps.wait()
        beside = submit(calls[kind])
        try:
            yield Future()
        except FutureCancelledError:
            yield submit(steps.seen.append, f"cleaned up, {beside.cancelled()}")
            raise

    house = run(generator)
    job = begin(house, steps, generator)
    ask(house, job)
    wait_until_told(house)
    steps.go.set()
    assert cancelled(house.wait_for(job))
    assert steps.seen == ["cleaned up, True"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_that_blocks_on_a_call_submitted_after_the_request_goes_on(run, steps, kind):
    calls = endless(steps)

    def generator():
        steps.enter()
        steps.wait()
        submit(calls[kind]).result()
        yield Future()

    house = run(generator)
    job = begin(house, steps, generator)
    ask(house, job)
    steps.go.set()
    assert cancelled(house.wait_for(job))


# -- code that has been told cleans up


@pytest.mark.parametrize("kind", KINDS)
def test_the_cleanup_of_a_generator_may_submit(run, steps, kind):
    calls = short(steps)

    def generator():
        try:
            steps.enter()
            yield Future()
        finally:
            submit(calls[kind])
            yield submit(calls[kind])
            submit(calls[kind]).result(PATIENCE)

    house = run(generator)
    job = begin(house, steps, generator)
    ask(house, job)
    assert cancelled(house.wait_for(job))
    assert steps.seen == ["cleaned up"] * 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("submitted", [False, True], ids=["job", "call"])
def test_the_cleanup_of_a_coroutine_may_submit(run, steps, kind, submitted):
    calls = short(steps)

    async def coroutine():
        try:
            steps.enter()
            await asyncio.Event().wait()
        finally:
            submit(calls[kind])
            await submit(calls[kind])

    def plain():
        submit(coroutine).result()

    function = plain if submitted else coroutine
    house = run(function)
    job = begin(house, steps, function)
    ask(house, job)
    assert cancelled(house.wait_for(job))
    assert steps.seen == ["cleaned up"] * 2


def test_the_cleanup_of_a_submitted_generator_may_submit(run, steps):
    calls = short(steps)

    def part():
        try:
            steps.enter()
            yield Future()
        finally:
            yield [submit(calls[kind]) for kind in KINDS]

    def plain():
        submit(part).result()

    house = run(plain)
    job = begin(house, steps, plain)
    ask(house, job)
    assert cancelled(house.wait_for(job))
    assert steps.seen == ["cleaned up"] * 3


# -- once per request


@pytest.mark.parametrize("kind", ["generator", "coroutine"])
def test_a_call_in_its_cleanup_gets_no_second_error_from_the_generator_that_comes_to_wait(run, steps, kind):
    begun, caught, cleanup = threading.Event(), threading.Event(), Future()

    def generator():
        try:
            begun.set()
            yield Future()
        finally:
            caught.set()
            yield cleanup
            steps.seen.append("cleaned up")

    async def coroutine():
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            caught.set()
            await cleanup
            steps.seen.append("cleaned up")

    def driver():
        call = submit({"generator": generator, "coroutine": coroutine}[kind])
        # One that has not begun would have no cleanup.
        assert begun.wait(PATIENCE)
        steps.enter()
        steps.wait()
        yield call

    house = run(driver, threads=1)
    job = begin(house, steps, driver)
    ask(house, job)
    assert caught.wait(PATIENCE)
    wait_until_told(house)
    steps.go.set()
    # The only thread for steps has come round: the generator waits for the call by now.
    house.worker.pools.steps.submit(int).result(PATIENCE)
    assert not cleanup.done()
    cleanup.set_result(None)
    assert cancelled(house.wait_for(job))
    assert steps.seen == ["cleaned up"]


@pytest.mark.parametrize(
    ("kind", "when"),
    # Without a plain call from before: that ends by its own checkpoint, whatever the coroutine does.
    [(kind, when) for kind in KINDS for when in ("before", "after") if (kind, when) != ("plain", "before")],
)
def test_a_coroutine_asked_within_a_step_gets_its_own_cancellation_only(run, steps, kind, when, monkeypatch):
    monkeypatch.setattr(execution, "LOOP_PATIENCE", PATIENCE)
    calls = endless(steps)

    async def coroutine():
        call = submit(calls[kind]) if when == "before" else None
        steps.enter()
        steps.wait()
        try:
            await (call or submit(calls[kind]))
        except BaseException as exc:
            steps.seen.append(type(exc))
            await submit(int)
            steps.seen.append("cleaned up")
            raise

    house = run(coroutine)
    job = begin(house, steps, coroutine)
    ask(house, job)
    steps.go.set()
    assert cancelled(house.wait_for(job))
    assert [seen for seen in steps.seen if seen != "begun"] == [asyncio.CancelledError, "cleaned up"]


def test_a_call_is_told_although_a_coroutine_blocks_the_loop_on_it(run, steps, monkeypatch):
    monkeypatch.setattr(execution, "LOOP_PATIENCE", 0.01)
    call = endless(steps)["generator"]

    async def coroutine():
        future = submit(call)
        steps.enter()
        future.result()

    house = run(coroutine)
    job = begin(house, steps, coroutine)
    ask(house, job)
    assert cancelled(house.wait_for(job))


# -- threads


def test_coroutines_are_cancelled_without_a_thread(run, steps, monkeypatch):
    def refuse(*args):
        raise AssertionError("a thread for it")

    async def call():
        await asyncio.Event().wait()

    async def coroutine():
        await submit(call)

    house = run(coroutine, coroutines=50)
    monkeypatch.setattr(house.worker.pools.stops, "submit", refuse)
    jobs = [house.submit(coroutine) for _ in range(50)]
    for job in jobs:
        house.wait_for_state(job, State.RUNNING)
        house.cancel(job)
    assert all(cancelled(house.wait_for(job)) for job in jobs)


def test_callbacks_of_cancelled_coroutines_run_on_their_loop(run, steps):
    names = []

    async def call():
        await asyncio.Event().wait()

    def plain():
        future = submit(call)
        future.add_done_callback(lambda _: names.append(threading.current_thread().name))
        steps.enter()
        future.result()

    house = run(plain)
    job = begin(house, steps, plain)
    ask(house, job)
    assert cancelled(house.wait_for(job))
    assert names == ["errand-loop"]


def test_a_coroutine_whose_loop_is_closed_is_not_cancelled_on_the_callers_thread(run):
    house = run()
    future, called = house.worker.pools.coroutines.future(), []
    future.add_done_callback(called.append)
    assert house.close()
    assert (future.cancel_soon(), called) == (False, [])
    assert (future.cancel_soon(), called) == (False, [])
    assert (future.cancel(), called) == (True, [future])
    assert future.cancel_soon() is False
