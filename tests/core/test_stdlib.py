"""What the standard library itself does with our futures and executors."""

import asyncio
import concurrent.futures
import threading

import pytest

from app.core import Future, ThreadPoolExecutor
from tests.core.future_contract import SOON


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def test_they_are_known_as_what_they_are(pool):
    assert isinstance(pool, concurrent.futures.Executor)
    assert isinstance(Future(), concurrent.futures.Future)


def test_asyncio_runs_calls_in_our_executor(pool):
    async def main():
        loop = asyncio.get_running_loop()
        return await asyncio.wait_for(loop.run_in_executor(pool, pow, 2, 10), SOON)

    assert asyncio.run(main()) == 1024


def test_asyncio_raises_what_a_call_in_our_executor_raised(pool):
    async def main():
        await asyncio.get_running_loop().run_in_executor(pool, int, "x")

    with pytest.raises(ValueError, match="invalid literal"):
        asyncio.run(main())


def test_a_wrapped_future_that_is_cancelled_in_asyncio_is_cancelled():
    future = Future()

    async def main():
        asyncio.wrap_future(future).cancel()
        await asyncio.sleep(0)

    asyncio.run(main())
    assert future.cancelled()


def test_a_future_cancelled_by_its_owner_is_cancelled_in_asyncio():
    future = Future()

    async def main():
        wrapped = asyncio.wrap_future(future)
        threading.Thread(target=future.cancel).start()
        with pytest.raises(asyncio.CancelledError):
            await wrapped

    asyncio.run(main())


@pytest.mark.parametrize(
    ("complete", "snapshot"),
    [
        (lambda future: None, (False, False, None, None)),
        (lambda future: future.cancel(), (True, True, None, None)),
        (lambda future: future.set_result(1), (True, False, 1, None)),
    ],
)
def test_the_snapshot_that_asyncio_takes_from_python_3_14_on(complete, snapshot):
    future = Future()
    complete(future)
    assert future._get_snapshot() == snapshot


@pytest.mark.parametrize("function", [concurrent.futures.wait, concurrent.futures.as_completed])
def test_their_functions_that_reach_inside_a_future_say_which_to_use(function):
    with pytest.raises(TypeError, match=r"use those of app\.core"):
        list(function([Future()]))
