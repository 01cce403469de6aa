import asyncio
import contextvars
import threading
from datetime import date

import pytest

from app.core import Future, State
from app.jobs.context import context, submit
from app.jobs.lifecycle import Succeeded
from app.jobs.model import Hold, Outcome, Stopped
from app.stores.base import Change
from tests.worker.house import PATIENCE


def double(n: int, *, plus: int = 0):
    return n * 2 + plus


def double_by_generator(n: int, *, plus: int = 0):
    doubled = yield submit(double, n)
    return doubled + plus


async def double_by_coroutine(n: int, *, plus: int = 0):
    await asyncio.sleep(0)
    return n * 2 + plus


def broken(n: int):
    raise LookupError(f"no {n}")


def broken_generator(n: int):
    yield submit(broken, n)


async def broken_coroutine(n: int):
    await asyncio.sleep(0)
    raise LookupError(f"no {n}")


KINDS = [double, double_by_generator, double_by_coroutine]
BROKEN = [broken, broken_generator, broken_coroutine]


@pytest.mark.parametrize("function", KINDS)
def test_a_function_of_each_kind_gets_its_arguments_and_its_result_is_stored(run, function):
    house = run(function)
    job = house.read(house.run(function, 20, plus=2))
    assert (job.state, job.outcome, job.result) == (State.FINISHED, Outcome.SUCCEEDED, "42")
    assert job.attempt == 1
    assert job.created_at <= job.started_at <= job.finished_at


@pytest.mark.parametrize("function", KINDS)
def test_arguments_are_coerced_where_the_function_runs(run, function):
    assert run(function).run(function, "20").result == "40"


@pytest.mark.parametrize("function", BROKEN)
def test_what_a_function_of_each_kind_raises_is_stored(run, function):
    house = run(function)
    job = house.read(house.run(function, 7))
    assert (job.state, job.outcome, job.result) == (State.FINISHED, Outcome.FAILED, None)
    assert (job.exception.type, job.exception.message) == ("LookupError", "no 7")
    assert "test_running.py" in job.exception.traceback


@pytest.mark.parametrize("function", KINDS)
def test_arguments_that_do_not_fit_any_more_fail_the_job(run, function):
    job = run(function).run(function, "twenty")
    assert (job.outcome, job.exception.type) == (Outcome.FAILED, "InvalidArgumentsError")


def test_results_are_turned_into_json_as_pydantic_does(run):
    def things():
        return {"days": (date(2024, 2, 29),), "set": {1}}

    assert run(things).run(things).result == '{"days":["2024-02-29"],"set":[1]}'


@pytest.mark.parametrize("kind", ["plain", "generator", "coroutine"])
def test_the_function_sees_its_job_in_context(run, kind):
    def plain():
        return [context().id, context().attempt, context().deadline, dict(context().tags)]

    def generator():
        yield submit(int)
        return plain()

    async def coroutine():
        await asyncio.sleep(0)
        return plain()

    house = run(plain, generator, coroutine)
    job = house.wait_for(house.submit(house.registry.get(kind).fn, tags={"team": "books"}))
    assert job.result == f'["{job.id}",1,null,{{"team":"books"}}]'


def test_a_variable_that_one_job_sets_is_not_seen_by_the_next(run):
    variable = contextvars.ContextVar("variable", default="unset")

    def plain(value: str):
        before = variable.get()
        variable.set(value)
        return [before, threading.get_ident()]

    house = run(plain, threads=1)
    first, second = (house.run(plain, value).result.strip("[]").split(",") for value in "ab")
    assert first == second == ['"unset"', first[1]]


def test_a_generator_may_wait_for_coroutines_and_for_other_generators(run):
    def whole(n: int):
        return (yield [submit(double_by_coroutine, n), submit(double_by_generator, n)])

    assert run(whole).run(whole, 4).result == "[8,8]"


def test_a_coroutine_may_await_a_call_of_any_kind(run):
    async def whole(n: int):
        return [await submit(function, n) for function in KINDS]

    assert run(whole).run(whole, 4).result == "[8,8,8]"


# -- what is run, and when


def test_the_highest_priority_runs_first_and_then_the_oldest(run):
    order, gate = [], threading.Event()

    def plain(name: str):
        order.append(name)
        gate.wait(PATIENCE)

    house = run(plain, threads=1)
    house.wait_for_state(house.submit(plain, "first"), State.RUNNING)
    later = [
        house.submit(plain, name, priority=priority)
        for name, priority in (("low", -5), ("older", 0), ("younger", 0), ("high", 5))
    ]
    gate.set()
    for job in later:
        house.wait_for(job)
    assert order == ["first", "high", "older", "younger", "low"]


def test_a_job_of_an_unknown_task_is_held_back_and_reported_and_runs_when_the_task_is_there(build):
    house = build()
    job = house.submit("double", 4)
    other = house.submit("nowhere")
    house.start()
    assert house.recovered.unknown == {"double": 1, "nowhere": 1}
    assert (house.read(job).state, house.read(job).hold) == (State.PENDING, Hold.UNKNOWN_TASK)
    assert house.close()

    again = build(double).start()
    assert again.recovered.unknown == {"nowhere": 1}
    assert again.wait_for(job).result == "8"
    assert again.read(other).state is State.PENDING


def test_a_claimed_job_of_an_unknown_task_fails_and_the_claimed_ones_beside_it_run(run):
    house = run(double, threads=2)
    lost = house.submit("nowhere")
    job = house.run(double, 3)
    assert job.result == "6"
    assert house.wait_for(lost).exception.type == "UnknownTaskError"


def test_a_job_that_no_thread_can_be_had_for_fails_and_its_slot_is_free_again(run, monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError("can't start new thread")

    house = run(double, threads=1)
    with monkeypatch.context() as patch:
        patch.setattr(house.worker.pools.jobs, "submit", refuse)
        job = house.run(double, 3)
    assert (job.outcome, job.exception.message) == (Outcome.FAILED, "can't start new thread")
    assert house.run(double, 3).result == "6"


def test_a_settlement_with_another_token_changes_nothing(run):
    waiting = Future()

    def generator():
        return (yield waiting)

    house = run(generator)
    job = house.wait_for_state(house.submit(generator), State.RUNNING)
    refused = house.writer.submit(Change(job.id, (Succeeded(job.token + 1, '"forged"'),))).exception(PATIENCE)
    assert type(refused).__name__ == "StaleTokenError"
    waiting.set_result("true")
    assert house.wait_for(job).result == '"true"'


def test_a_job_cancelled_while_it_waits_for_a_slot_has_not_started(run):
    gate, ran = threading.Event(), []

    def plain(name: str):
        ran.append(name)
        gate.wait(PATIENCE)

    house = run(plain, threads=1)
    first = house.wait_for_state(house.submit(plain, "first"), State.RUNNING)
    second = house.cancel(house.submit(plain, "second"))
    assert (second.state, second.cancellation.outcome) == (State.CANCELLED, Stopped.NOT_STARTED)
    gate.set()
    house.wait_for(first)
    house.run(plain, "third")
    assert ran == ["first", "third"]
