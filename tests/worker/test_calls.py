"""`submit` within a job."""

import asyncio
import contextvars
import threading

import pytest

from app.core import Future, State, gather
from app.jobs.context import context, submit
from app.jobs.model import Outcome
from tests.worker.house import PATIENCE


def add(a, b):
    return a + b


def add_by_generator(a, b):
    a, b = yield [submit(abs, a), submit(abs, b)]
    return a + b


async def add_by_coroutine(a, b):
    await asyncio.sleep(0)
    return a + b


CALLED = [add, add_by_generator, add_by_coroutine]


def fails():
    raise LookupError("inner")


def test_a_plain_function_gets_results_and_exceptions_of_its_calls(run):
    def plain():
        failure = submit(fails).exception()
        return [[submit(fn, 1, b=2).result() for fn in CALLED], repr(failure)]

    assert run(plain).run(plain).result == """[[3,3,3],"LookupError('inner')"]"""


def test_a_generator_gets_results_and_exceptions_of_its_calls(run):
    def generator():
        try:
            yield submit(fails)
        except LookupError as exc:
            return [(yield [submit(fn, 1, b=2) for fn in CALLED]), str(exc)]

    assert run(generator).run(generator).result == '[[3,3,3],"inner"]'


def test_a_coroutine_gets_results_and_exceptions_of_its_calls(run):
    async def coroutine():
        try:
            await submit(fails)
        except LookupError as exc:
            return [[await submit(fn, 1, b=2) for fn in CALLED], str(exc)]

    assert run(coroutine).run(coroutine).result == '[[3,3,3],"inner"]'


@pytest.mark.parametrize("called", CALLED)
def test_arguments_that_do_not_fit_are_the_calls_failure(run, called):
    def plain():
        return type(submit(called, 1).exception(PATIENCE)).__name__

    assert run(plain).run(plain).result == '"TypeError"'


def test_gather_collects_calls_in_all_kinds(run):
    def plain():
        return gather(submit(add, 1, 2), submit(add, 3, 4)).result()

    def generator():
        return (yield gather([submit(add, 1, 2), submit(add, 3, 4)]))

    async def coroutine():
        return await gather(submit(add, 1, 2), submit(add, 3, 4))

    house = run(plain, generator, coroutine)
    assert {house.run(fn).result for fn in (plain, generator, coroutine)} == {"[3,7]"}


def test_an_uncaught_failure_of_a_call_fails_the_job(run):
    def generator():
        yield submit(fails)

    job = run(generator).run(generator)
    assert (job.outcome, job.exception.type) == (Outcome.FAILED, "LookupError")


def test_a_failure_of_a_call_that_nobody_asks_for_does_not_fail_the_job(run):
    def plain():
        submit(fails)
        return "done"

    assert run(plain).run(plain).result == '"done"'


# -- nesting


def test_a_submit_within_a_call_runs_inline(run):
    def plain():
        def outer():
            return [threading.get_ident(), submit(threading.get_ident).result()]

        return submit(outer).result()

    outer, inner = run(plain).run(plain).result.strip("[]").split(",")
    assert outer == inner


def test_a_submitted_generators_own_calls_run_inline_and_it_gets_their_results(run):
    def plain():
        def part():
            return (yield [submit(fn, 1, 2) for fn in CALLED])

        return submit(part).result()

    assert run(plain, threads=1).run(plain).result == "[3,3,3]"


def test_a_submitted_coroutines_own_calls_leave_the_loop_free(run):
    gate, inside = threading.Event(), threading.Event()

    def slow():
        inside.set()
        return gate.wait(PATIENCE)

    async def part():
        return await submit(slow)

    async def coroutine():
        return await submit(part)

    async def other():
        return "ran"

    house = run(coroutine, other)
    job = house.submit(coroutine)
    assert inside.wait(PATIENCE)
    assert house.run(other).result == '"ran"'
    gate.set()
    assert house.wait_for(job).result == "true"


# -- nothing waits for a thread that waits for it


@pytest.mark.parametrize("called", CALLED)
def test_no_deadlock_when_every_threads_job_blocks_on_a_call(run, called):
    together = threading.Barrier(2)

    def plain():
        together.wait(PATIENCE)
        return submit(called, 1, 2).result()

    house = run(plain, threads=2)
    assert [house.wait_for(job).result for job in [house.submit(plain) for _ in range(4)]] == ["3"] * 4


@pytest.mark.parametrize("called", CALLED)
def test_no_deadlock_when_every_generators_step_blocks_on_a_call(run, called):
    together = threading.Barrier(2)

    def generator():
        together.wait(PATIENCE)
        first = submit(called, 1, 2).result()
        second = yield submit(called, 3, 4)
        return [first, second]

    house = run(generator, threads=2, coroutines=10)
    assert [house.wait_for(job).result for job in [house.submit(generator) for _ in range(4)]] == [
        "[3,7]"
    ] * 4


@pytest.mark.parametrize("called", [add, add_by_generator])
def test_no_deadlock_when_a_coroutine_blocks_the_loop_on_a_call(run, called):
    async def coroutine():
        return submit(called, 1, 2).result()

    assert run(coroutine, threads=1).run(coroutine).result == "3"


def test_no_deadlock_when_every_call_waits_for_a_submitted_generator(run):
    def combine(future):
        return future.result()

    def slow_part(gate):
        yield gate
        return 1

    def plain():
        gates = [Future() for _ in range(3)]
        parts = [submit(slow_part, gate) for gate in gates]
        combined = [submit(combine, part) for part in parts]
        for gate in gates:
            gate.set_result(None)
        return sum(future.result() for future in combined)

    assert run(plain, threads=1).run(plain).result == "3"


# -- what travels along


def test_the_context_of_the_job_and_its_variables_travel_into_calls(run):
    variable = contextvars.ContextVar("variable", default="unset")

    def look():
        return [context().id, variable.get()]

    def look_by_generator():
        yield submit(int)
        return look()

    async def look_by_coroutine():
        return look()

    def plain():
        variable.set("set")
        return [submit(fn).result() for fn in (look, look_by_generator, look_by_coroutine)]

    async def coroutine():
        variable.set("set")
        return [await submit(fn) for fn in (look, look_by_generator, look_by_coroutine)]

    house = run(plain, coroutine)
    for function in (plain, coroutine):
        job = house.run(function)
        seen = f'["{job.id}","set"]'
        assert job.result == f"[{seen},{seen},{seen}]"


def test_a_variable_set_in_a_call_is_not_seen_outside(run):
    variable = contextvars.ContextVar("variable", default="unset")

    def plain():
        submit(variable.set, "set").result()
        return variable.get()

    assert run(plain).run(plain).result == '"unset"'


# -- the job and its calls end together


@pytest.mark.parametrize("kind", ["plain", "generator", "coroutine"])
def test_the_job_ends_only_when_its_calls_have(run, kind):
    gate, inside = threading.Event(), threading.Event()

    def slow():
        inside.set()
        gate.wait(PATIENCE)

    def plain():
        submit(slow)
        return "done"

    def generator():
        submit(slow)
        yield submit(int)
        return "done"

    async def coroutine():
        submit(slow)
        return "done"

    house = run(plain, generator, coroutine)
    job = house.submit(house.registry.get(kind).fn)
    assert inside.wait(PATIENCE)
    house.flush()
    assert house.read(job).state is State.RUNNING
    gate.set()
    assert house.wait_for(job).result == '"done"'


def test_a_thread_of_the_functions_own_may_submit_while_a_call_keeps_the_job_open(run):
    release, outcome, over = threading.Event(), [], threading.Event()

    def later(scope):
        scope.run(lambda: outcome.append(submit(add, 1, 2).result()))
        over.set()

    def plain():
        submit(release.wait, PATIENCE)
        threading.Thread(target=later, args=(contextvars.copy_context(),)).start()
        return "done"

    house = run(plain)
    job = house.submit(plain)
    assert over.wait(PATIENCE)
    assert outcome == [3]
    assert house.read(job).state is State.RUNNING
    release.set()
    assert house.wait_for(job).result == '"done"'
