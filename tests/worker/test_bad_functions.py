"""What badly behaved functions do to their own job, and to nothing else."""

import asyncio
import sys
import threading

import pytest
from pydantic import BaseModel, field_serializer

from app.core import Future, ThreadPoolExecutor
from app.jobs.context import SCOPE, submit
from app.jobs.model import Outcome, Progress
from tests.worker.house import PATIENCE


class UnspeakableError(Exception):
    def __str__(self):
        raise ValueError("no words")


class Nameless(type):
    @property
    def __name__(cls):
        raise ValueError("no name")


class NamelessError(Exception, metaclass=Nameless):
    pass


def raiser(exception):
    def plain():
        raise exception()

    return plain


def raise_it(exception):
    raise exception()


def returner(make):
    def plain():
        return make()

    return plain


def recursive():
    return recursive()


def recursive_generator():
    yield submit(int)
    return recursive()


async def recursive_coroutine():
    return recursive()


def coroutine_of(exception):
    async def coroutine():
        await asyncio.sleep(0)
        raise exception()

    return coroutine


def generator_of(exception):
    def generator():
        yield submit(int)
        raise exception()

    return generator


def ident():
    return threading.get_ident()


async def loop_ident():
    return threading.get_ident()


def step_ident():
    yield submit(int)
    return threading.get_ident()


def failed(job, kind, text):
    assert job.outcome is Outcome.FAILED
    assert job.exception.type == kind
    assert text in job.exception.message
    return True


# -- results that cannot be kept


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (object, "of type object, cannot be turned into JSON"),
        (lambda: float("nan"), "of type float, cannot be turned into JSON"),
        (lambda: [float("inf")], "of type list, cannot be turned into JSON"),
        (lambda: "\ud800", "of type str, cannot be turned into JSON"),
        (lambda: "x" * 100_000_000, "the result takes 100000002 bytes as JSON, and 1048576 are allowed"),
    ],
    ids=["object", "nan", "infinity", "surrogate", "100 MB"],
)
def test_a_result_that_cannot_be_kept_fails_the_job_and_the_next_one_runs(run, make, text):
    plain = returner(make)
    house = run(plain, ident, threads=1)
    assert failed(house.run(plain), "ResultError", text)
    assert house.run(ident).outcome is Outcome.SUCCEEDED


def test_a_result_that_contains_itself_fails_the_job(run):
    def plain():
        endless = []
        endless.append(endless)
        return endless

    assert failed(run(plain).run(plain), "ResultError", "cannot be turned into JSON")


def test_the_limit_of_results_counts_bytes(run):
    def plain(text: str):
        return text

    house = run(plain, max_result_bytes=10)
    assert house.run(plain, "12345678").outcome is Outcome.SUCCEEDED
    assert failed(house.run(plain, "éééééé"), "ResultError", "takes 14 bytes as JSON, and 10 are allowed")


def test_a_serializer_that_exits_fails_the_job(run):
    class Exits(BaseModel):
        value: int = 1

        @field_serializer("value")
        def serialize(self, value):
            sys.exit(4)

    def plain():
        return Exits()

    async def coroutine():
        return Exits()

    house = run(plain, coroutine, ident, loop_ident, threads=1)
    assert failed(house.run(plain), "ResultError", "SystemExit: 4")
    assert failed(house.run(coroutine), "ResultError", "SystemExit: 4")
    assert house.run(ident).outcome is house.run(loop_ident).outcome is Outcome.SUCCEEDED


# -- exceptions of all sorts


BAD = [SystemExit, KeyboardInterrupt, GeneratorExit, UnspeakableError, MemoryError, BaseException]


@pytest.mark.parametrize("exception", BAD)
def test_what_a_plain_function_raises_fails_its_job_and_no_thread_dies(run, exception):
    plain = raiser(exception)
    house = run(plain, ident, threads=1)
    before = house.run(ident).result
    assert failed(house.run(plain), exception.__name__, "")
    assert house.run(ident).result == before


@pytest.mark.parametrize("exception", BAD)
def test_what_a_generator_raises_fails_its_job_and_no_thread_dies(run, exception):
    generator = generator_of(exception)
    house = run(generator, step_ident, threads=1)
    before = house.run(step_ident).result
    assert failed(house.run(generator), exception.__name__, "")
    assert house.run(step_ident).result == before


@pytest.mark.parametrize("exception", BAD)
def test_what_a_coroutine_raises_fails_its_job_and_the_loop_goes_on(run, exception):
    coroutine = coroutine_of(exception)
    house = run(coroutine, loop_ident)
    before = house.run(loop_ident).result
    assert failed(house.run(coroutine), exception.__name__, "")
    assert house.run(loop_ident).result == before


def test_an_exception_whose_text_cannot_be_had_is_named_all_the_same(run):
    plain = raiser(UnspeakableError)
    assert failed(run(plain).run(plain), "UnspeakableError", "<UnspeakableError whose str() fails>")


def test_an_exception_that_cannot_be_described_at_all_fails_the_job_and_frees_the_slot(run):
    plain = raiser(NamelessError)
    house = run(plain, ident, threads=1)
    assert failed(house.run(plain), "Exception", "the exception cannot be described")
    assert house.run(ident).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize("function", [recursive, recursive_generator, recursive_coroutine])
def test_endless_recursion_fails_the_job_and_the_next_one_runs(run, function):
    house = run(function, ident, loop_ident)
    assert failed(house.run(function), "RecursionError", "maximum recursion depth exceeded")
    assert house.run(ident).outcome is house.run(loop_ident).outcome is Outcome.SUCCEEDED


# -- generators


def test_a_generator_that_yields_what_is_no_future_fails(run):
    def generator():
        yield 5

    house = run(generator, step_ident, threads=1)
    assert failed(house.run(generator), "TypeError", "a Future or a list of Futures is needed, not int")
    assert house.run(step_ident).outcome is Outcome.SUCCEEDED


def test_a_generator_that_fails_before_its_first_yield_fails_its_job(run):
    def generator():
        raise LookupError("at once")
        yield

    assert failed(run(generator).run(generator), "LookupError", "at once")


def test_a_generator_that_yields_in_finally_goes_on_until_it_has_really_ended(run):
    def generator():
        try:
            yield submit(int, "no number")
        finally:
            yield submit(int)
            yield submit(int)

    assert failed(run(generator).run(generator), "ValueError", "no number")


# -- what coroutines can do to their loop


def test_a_coroutine_that_stops_its_loop_harms_no_other(run):
    waiting = Future()

    async def innocent():
        return await waiting

    async def stops():
        asyncio.get_running_loop().stop()
        return "stopped"

    house = run(innocent, stops, loop_ident)
    job = house.submit(innocent)
    before = house.run(loop_ident).result
    assert house.run(stops).result == '"stopped"'
    assert house.run(loop_ident).result == before
    waiting.set_result("unharmed")
    assert house.wait_for(job).result == '"unharmed"'


@pytest.mark.parametrize("exception", [SystemExit, KeyboardInterrupt])
def test_what_a_coroutine_leaves_on_the_loop_can_raise_without_ending_it(run, exception):
    async def leaves_a_callback():
        asyncio.get_running_loop().call_soon(raise_it, exception)

    async def leaves_a_task():
        async def background():
            raise exception

        task = asyncio.create_task(background())
        await asyncio.wait([task])
        return type(task.exception()).__name__

    async def calls_back():
        future = submit(loop_ident)
        future.add_done_callback(lambda _: raise_it(exception))
        return await future

    house = run(leaves_a_callback, leaves_a_task, calls_back, loop_ident)
    before = house.run(loop_ident).result
    assert house.run(leaves_a_callback).outcome is Outcome.SUCCEEDED
    assert house.run(leaves_a_task).result == f'"{exception.__name__}"'
    assert house.run(calls_back).result == before
    assert house.run(loop_ident).result == before


def test_a_coroutine_that_would_block_the_loop_for_another_one_is_told_so(run):
    async def coroutine():
        return submit(loop_ident).result()

    async def asks_for_the_exception():
        return submit(loop_ident).exception(PATIENCE)

    async def only_looks():
        with pytest.raises(TimeoutError):
            submit(loop_ident).result(0)
        return "looked"

    house = run(coroutine, asks_for_the_exception, only_looks)
    assert failed(house.run(coroutine), "RuntimeError", "await the future instead")
    assert failed(house.run(asks_for_the_exception), "RuntimeError", "await the future instead")
    assert house.run(only_looks).result == '"looked"'


def test_a_coroutine_may_block_the_loop_and_plain_functions_and_generators_run_on(run):
    gate, inside = threading.Event(), threading.Event()

    async def blocks():
        inside.set()
        gate.wait(PATIENCE)

    house = run(blocks, ident, step_ident)
    job = house.submit(blocks)
    assert inside.wait(PATIENCE)
    assert house.run(ident).outcome is house.run(step_ident).outcome is Outcome.SUCCEEDED
    gate.set()
    assert house.wait_for(job).outcome is Outcome.SUCCEEDED


# -- submitting too much, or too late


def test_a_function_that_floods_submit_ends_when_its_calls_have(run):
    def plain():
        futures = [submit(abs, -n) for n in range(20_000)]
        return sum(1 for future in futures if future.result() >= 0)

    house = run(plain, ident, threads=1)
    flooding, after = house.submit(plain), house.submit(ident)
    assert house.wait_for(flooding).result == "20000"
    assert house.wait_for(after).outcome is Outcome.SUCCEEDED


def test_a_function_that_shuts_down_executors_of_its_own_harms_nobody(run):
    def plain():
        with ThreadPoolExecutor(1) as executor:
            future = executor.submit(abs, -3)
        return future.result()

    house = run(plain, ident, threads=1)
    assert house.run(plain).result == "3"
    assert house.run(ident).outcome is Outcome.SUCCEEDED


def test_code_that_outlives_its_job_cannot_submit_nor_report(run):
    scopes = []

    def plain():
        scopes.append(SCOPE.get())
        scopes[0].progress(Progress(1, 2))
        return 1

    def outlive():
        return 2

    house = run(plain, outlive)
    job = house.run(plain)
    with pytest.raises(RuntimeError, match=f"^job {job.id} has ended$"):
        scopes[0].submit(int, (), {})
    scopes[0].progress(Progress(2, 2))
    scopes[0].checkpoint()
    house.run(outlive)
    house.flush()
    again = house.read(job)
    assert (again.version, again.progress) == (job.version, (1, 2, None))
