"""Ours in place of the standard library's, and beside it. Its own tests are run by test_cpython.py."""

import asyncio
import concurrent.futures
import copy
import gc
import inspect
import pickle
import subprocess
import sys
import threading
import weakref

import pytest

import app.core
from app.core import (
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    Executor,
    Future,
    FutureTimeoutError,
    ProcessPoolExecutor,
    ThreadedExecutor,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from tests.core.future_contract import SOON

THEIRS = [
    name
    for name in concurrent.futures.__all__
    if name != "InterpreterPoolExecutor"  # of Python 3.14; we have none
]


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as pool:
        yield pool


# -- the interface


@pytest.mark.parametrize("name", THEIRS)
def test_what_is_imported_from_them_can_be_imported_from_us(name):
    theirs, ours = getattr(concurrent.futures, name), getattr(app.core, name)
    assert name in app.core.__all__
    if inspect.isclass(theirs) and name != "ProcessPoolExecutor":
        assert issubclass(ours, theirs)


def parameters(function):
    """Their names, kinds and defaults, in order."""
    return [
        (name, parameter.kind, parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]


METHODS = [
    "__init__",
    "submit",
    "map",
    "shutdown",
    "result",
    "exception",
    "cancel",
    "cancelled",
    "running",
    "done",
    "add_done_callback",
    "set_result",
    "set_exception",
    "set_running_or_notify_cancel",
]


def methods():
    for kind in ("Future", "Executor", "ThreadPoolExecutor", "ProcessPoolExecutor"):
        yield from [f"{kind}.{name}" for name in METHODS if hasattr(getattr(concurrent.futures, kind), name)]


@pytest.mark.parametrize("path", ["wait", "as_completed", *methods()])
def test_what_is_called_as_theirs_takes_the_same_arguments(path):
    theirs, ours = concurrent.futures, app.core
    for name in path.split("."):
        theirs, ours = getattr(theirs, name), getattr(ours, name)
    given = parameters(theirs)
    taken = parameters(ours)
    # Ours may take more, by name or after theirs.
    assert [parameter for parameter in taken if parameter in given] == given
    more = [parameter for parameter in taken if parameter not in given]
    assert all(default is not inspect.Parameter.empty for _, _, default in more)
    positional = [name for name, kind, _ in taken if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert positional == [name for name, kind, _ in given if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]


def test_they_are_known_as_what_they_are(pool):
    assert isinstance(pool, concurrent.futures.ThreadPoolExecutor)
    assert pool._max_workers == pool.max_workers
    with ProcessPoolExecutor(3) as processes:
        assert isinstance(processes, concurrent.futures.ProcessPoolExecutor)
        assert processes._max_workers == processes.max_workers == 3
    assert isinstance(ThreadedExecutor(), concurrent.futures.Executor)
    assert isinstance(Future(), concurrent.futures.Future)


def test_positional_arguments_of_a_pool_mean_the_same():
    seen = []
    with ThreadPoolExecutor(1, "named", seen.append, ("begun",)) as pool:
        assert pool.submit(lambda: threading.current_thread().name).result(SOON) == "named_0"
    assert seen == ["begun"]


def test_a_future_can_be_subscribed_and_derived_from():
    class Mine(Future[int]):
        def __init__(self, name):
            super().__init__()
            self.name = name

    mine = Mine("x")
    mine.set_result(1)
    assert (mine.name, mine.result()) == ("x", 1)
    assert "Mine" in repr(mine)
    assert Future[int].__origin__ is Future


@pytest.mark.parametrize("make", [Future, lambda: ThreadPoolExecutor(1), ThreadedExecutor])
def test_neither_futures_nor_executors_can_be_pickled(make):
    thing = make()
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match=r"cannot be pickled|cannot pickle"):
            pickle.dumps(thing, protocol)
    with pytest.raises(TypeError, match="cannot pickle"):
        copy.deepcopy(thing)


# -- executors of others


class AtOnce(Executor):
    """The least that an executor can be: neither theirs nor ours insists on a shutdown."""

    future = Future

    def submit(self, fn, /, *args, **kwargs):
        future = self.future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as exc:
            future.set_exception(exc)
        return future


class AtOnceWithTheirs(AtOnce):
    future = concurrent.futures.Future


@pytest.mark.parametrize("kind", [AtOnce, AtOnceWithTheirs])
def test_an_executor_that_has_submit_only_has_the_rest_from_us(kind):
    async def main(executor):
        return await asyncio.get_running_loop().run_in_executor(executor, pow, 2, 3)

    with kind() as executor:
        assert list(executor.map(pow, [2, 3], [2, 2])) == [4, 9]
        assert list(executor.map(pow, [2, 3], [2, 2], buffersize=1, timeout=SOON)) == [4, 9]
        assert wait([executor.submit(int, "x"), executor.submit(int)], SOON).not_done == set()
        assert asyncio.run(main(executor)) == 8
    executor.shutdown(wait=False, cancel_futures=True)


# -- asyncio


def test_asyncio_runs_calls_in_our_executor(pool):
    async def main():
        loop = asyncio.get_running_loop()
        return await asyncio.wait_for(loop.run_in_executor(pool, pow, 2, 10), SOON)

    assert asyncio.run(main()) == 1024


def test_asyncio_takes_our_executor_as_its_own():
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1, "ours"))
        name = await asyncio.to_thread(lambda: threading.current_thread().name)
        await loop.shutdown_default_executor()
        return name

    assert asyncio.run(main()) == "ours_0"


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


# -- their futures among ours


def their(result=None):
    future = concurrent.futures.Future()
    if result is not None:
        future.set_result(result)
    return future


def test_wait_takes_their_futures():
    ours, done, pending = Future(), their(1), their()
    assert wait([ours, done, pending], 0) == ({done}, {ours, pending})
    assert wait([ours, done, pending], SOON, FIRST_COMPLETED) == ({done}, {ours, pending})
    threading.Thread(target=lambda: (pending.set_result(2), ours.set_result(3))).start()
    assert wait([ours, done, pending], SOON) == ({ours, done, pending}, set())


def test_wait_for_the_first_exception_counts_theirs():
    ours, failing, cancelled = Future(), their(), their()
    cancelled.cancel()
    threading.Thread(target=failing.set_exception, args=(ValueError(),)).start()
    assert wait([ours, failing, cancelled], SOON, FIRST_EXCEPTION) == ({failing, cancelled}, {ours})


def test_as_completed_yields_their_futures_too():
    ours, done, pending = Future(), their(1), their()
    arriving = as_completed([ours, done, pending, done], SOON)
    assert next(arriving) is done
    pending.set_result(2)
    assert next(arriving) is pending
    ours.set_result(3)
    assert list(arriving) == [ours]
    with pytest.raises(FutureTimeoutError, match=r"^1 \(of 2\) futures unfinished$"):
        list(as_completed([done, their()], 0))


def test_what_was_left_waiting_for_their_future_does_no_harm_when_it_comes():
    pending = their()
    arriving = as_completed([pending, their(1)])
    next(arriving)
    arriving.close()
    assert wait([pending], 0).not_done == {pending}
    pending.set_result(1)
    assert pending.result() == 1


def test_waiting_for_their_futures_makes_no_cycle():
    gc.collect()
    gc.disable()
    try:
        future = their()
        arriving = as_completed([future, their(1)])
        next(arriving)
        arriving.close()
        wait([future], 0)
        future.set_result(1)
        gone = weakref.ref(future)
        del future, arriving
        assert gone() is None
    finally:
        gc.enable()


def test_what_asyncio_returns_for_a_coroutine_on_another_thread_can_be_waited_for():
    async def three():
        return 3

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    future = asyncio.run_coroutine_threadsafe(three(), loop)
    assert wait([future], SOON).done == {future}
    assert [future.result() for future in as_completed([future])] == [3]
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


# -- the interpreter's exit with work pending

EXITS = """
import os, sys, threading
from app.core import ThreadPoolExecutor, ThreadedExecutor
executor, main = {kind}, threading.main_thread()
for number in range(3):
    executor.submit(lambda number=number: (main.join(), os.write(1, b"%d\\n" % number)))
{end}
"""


@pytest.mark.parametrize("kind", ["ThreadPoolExecutor(1)", "ThreadedExecutor()"])
@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("", 0),
        ("executor.shutdown(wait=False)", 0),
        ("del executor", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError('the script failed')", 1),
        ("executor.shutdown(wait=False); sys.exit(3)", 3),
    ],
)
def test_work_pending_at_the_interpreters_exit_is_run(kind, end, code):
    script = EXITS.format(kind=kind, end=end)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == code
    assert sorted(done.stdout.split()) == ["0", "1", "2"]
    assert ("the script failed" in done.stderr) == (code == 1)


def test_work_that_was_cancelled_is_not_run_at_the_interpreters_exit():
    script = EXITS.format(
        kind="ThreadPoolExecutor(1)",
        end="executor.shutdown(wait=False, cancel_futures=True); print('end', flush=True)",
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=50
    )
    # The first one may have begun before.
    assert done.stdout.split() in (["end"], ["end", "0"])
