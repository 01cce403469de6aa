"""What is special to the executor that runs calls in processes; their deaths are in test_process_death.py."""

import gc
import multiprocessing
import os
import pickle
import signal
import threading

import pytest

from app.core import BrokenProcessPool, ProcessDied, ProcessPoolExecutor, RemoteError, spawned
from tests.core import process_calls as calls
from tests.core.future_contract import SOON

MEGABYTE = 2**20


pytest_plugins = ["tests.core.process_fixtures"]
pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


# -- the processes


def test_a_process_is_started_afresh(pool):
    calls.leave("parent", "here")
    assert pool.submit(calls.left, "parent").result(SOON) is None


def test_a_process_has_a_group_of_its_own(pool):
    process, group = pool.submit(calls.process_and_group).result(SOON)
    assert process == group != os.getpgrp()


def test_a_process_ignores_sigint_and_does_not_block_it(pool):
    assert pool.submit(calls.sigint).result(SOON) == (signal.SIG_IGN, False)


def test_a_pool_begins_without_processes_and_an_idle_one_is_used_again():
    with ProcessPoolExecutor(4) as pool:
        before = len(spawned._CHILDREN)
        first = pool.submit(os.getpid).result(SOON)
        while not pool._keepers._idle:
            pass
        assert pool.submit(os.getpid).result(SOON) == first
        assert len(spawned._CHILDREN) == before + 1


def test_calls_run_in_several_processes_at_once(pool, fifo):
    told, gates = [fifo("1"), fifo("2")], [fifo("3"), fifo("4")]
    futures = [pool.submit(calls.meet, *pair) for pair in zip(told, gates, strict=True)]
    assert len({calls.read(name) for name in told}) == 2
    for gate in gates:
        calls.write(gate)
    assert [future.result(SOON) for future in futures] == [None, None]


def test_a_process_is_replaced_after_its_number_of_calls():
    with ProcessPoolExecutor(1, max_tasks_per_child=2) as pool:
        futures = [pool.submit(os.getpid) for _ in range(5)]
        first, second, third, fourth, fifth = (future.result(SOON) for future in futures)
    assert first == second != third == fourth != fifth


def test_the_standard_librarys_context_is_taken_if_it_spawns():
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(calls.identity, 1).result(SOON) == 1
    with pytest.raises(ValueError, match="must be None or 'spawn', not 'fork'"):
        ProcessPoolExecutor(1, multiprocessing.get_context("fork"))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_workers": 0}, ValueError, "max_workers must be greater than 0"),
        ({"initializer": 1}, TypeError, "initializer must be a callable"),
        ({"max_tasks_per_child": 1.5}, TypeError, "max_tasks_per_child must be an integer"),
        ({"max_tasks_per_child": 0}, ValueError, "max_tasks_per_child must be >= 1"),
    ],
)
def test_wrong_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        ProcessPoolExecutor(**options)


def test_there_are_as_many_processes_at_most_as_cpus():
    with ProcessPoolExecutor() as pool:
        assert pool._keepers._limit == getattr(os, "process_cpu_count", os.cpu_count)()


def test_a_pool_that_is_dropped_runs_what_it_was_given_and_ends_its_processes(fifo):
    pool = ProcessPoolExecutor(1)
    first = pool.submit(calls.meet, told := fifo("told"), gate := fifo("gate"))
    second = pool.submit(calls.identity, 2)
    calls.read(told)
    (thread,) = pool._keepers._threads
    del pool
    calls.write(gate)
    assert first.result(SOON) is None
    assert second.result(SOON) == 2
    thread.join(SOON)
    assert not thread.is_alive()


def test_a_callback_may_shut_the_pool_down():
    pool = ProcessPoolExecutor(1)
    shut = threading.Event()
    pool.submit(calls.nothing).add_done_callback(lambda _: (pool.shutdown(), shut.set()))
    assert shut.wait(SOON)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(calls.nothing)
    pool.shutdown()


def test_pools_do_not_disturb_each_other():
    with ProcessPoolExecutor(1) as first, ProcessPoolExecutor(1) as second:
        pid = second.submit(os.getpid).result(SOON)
        assert first.submit(os.getpid).result(SOON) != pid
        first.kill_workers()
        assert second.submit(os.getpid).result(SOON) == pid


def test_a_finalizer_may_submit_and_cancel(pool):
    futures = []

    class Cancels:
        def __del__(self):
            futures.append(pool.submit(calls.identity, len(futures)))
            futures[len(futures) // 2].cancel()

    threshold = gc.get_threshold()
    gc.set_threshold(10)
    try:
        for n in range(50):
            thing = Cancels()
            thing.itself = thing
            del thing
            assert pool.submit(calls.identity, n).result(SOON) == n
    finally:
        gc.set_threshold(*threshold)
        gc.collect()
    for n, future in enumerate(list(futures)):
        assert future.cancelled() or future.result(SOON) == n


# -- map


@pytest.mark.parametrize("chunksize", [0, -1])
def test_map_refuses_a_chunksize_below_one(pool, chunksize):
    with pytest.raises(ValueError, match=r"^chunksize must be >= 1\.$"):
        pool.map(calls.identity, [1], chunksize=chunksize)


def test_map_sends_its_calls_in_chunks(pool):
    assert list(pool.map(abs, [-1, 2])) == [1, 2]
    assert list(pool.map(pow, range(10), range(10), chunksize=3)) == [n**n for n in range(10)]
    chunk = [
        set(pids) for pids in zip(*[iter(pool.map(calls.process, range(12), chunksize=6))] * 6, strict=True)
    ]
    assert [len(pids) for pids in chunk] == [1, 1]


def test_a_chunk_fails_as_one(pool):
    results = pool.map(divmod, [1, 1, 1, 1], [1, 0, 1, 1], chunksize=2)
    with pytest.raises(ZeroDivisionError):
        next(results)


# -- initializers


def test_notes_of_an_initializer_are_received_and_its_results_are_not_mixed_with_the_calls():
    received = calls.Received()
    first = (calls.send_and_leave, ("note", "x" * MEGABYTE))
    with ProcessPoolExecutor(1, None, *first, receive=received) as pool:
        assert pool.submit(calls.identity, 1).result(SOON) == 1
        assert pool.submit(calls.left, "initializer").result(SOON) == "x" * MEGABYTE
    assert received.notes == ["note"]


def test_an_initializer_may_be_given_a_lock_of_multiprocessing():
    lock = multiprocessing.get_context("spawn").Lock()
    with ProcessPoolExecutor(1, initializer=calls.use_lock, initargs=(lock,)) as pool:
        assert pool.submit(calls.left, "initializer").result(SOON) == "locked"


@pytest.mark.parametrize(
    ("initializer", "initargs"),
    [(calls.raises, (SystemExit, 3)), (calls.nothing, (calls.Unloadable(),))],
)
def test_an_initializer_that_fails_breaks_the_pool(initializer, initargs):
    with ProcessPoolExecutor(1, None, initializer, initargs) as pool:
        futures = [pool.submit(calls.nothing) for _ in range(3)]
        for future in futures:
            with pytest.raises(BrokenProcessPool, match="A process initializer failed"):
                future.result(SOON)
        with pytest.raises(BrokenProcessPool, match="not usable"):
            pool.submit(calls.nothing)
    assert isinstance(futures[0].exception().__cause__.__cause__, RemoteError)


def test_an_initializer_that_cannot_be_pickled_fails_each_call():
    with ProcessPoolExecutor(1, None, calls.nothing, (calls.Local(),)) as pool:
        for _ in range(2):
            with pytest.raises(TypeError, match="not to be pickled"):
                pool.submit(calls.nothing).result(SOON)


def test_an_initializer_may_fork():
    with ProcessPoolExecutor(1, None, calls.fork_in_initializer, ("",)) as pool:
        assert pool.submit(calls.identity, 1).result(SOON) == 1


# -- what cannot be pickled


def test_an_exception_arrives_with_its_traceback(pool):
    error = pool.submit(divmod, 1, 0).exception(SOON)
    assert type(error) is ZeroDivisionError
    assert isinstance(error.__cause__, RemoteError)
    error = pool.submit(calls.raises, KeyError, "key").exception(SOON)
    assert error.args == ("key",)
    assert "in raises" in error.__cause__.traceback


@pytest.mark.parametrize(
    ("cls", "text"),
    [
        (calls.UnpicklableError, "UnpicklableError: text"),
        (calls.UnloadableError, "UnloadableError: text"),
        (calls.ChangedError, "ChangedError: text"),
    ],
)
def test_an_exception_that_cannot_be_pickled_arrives_as_text(pool, cls, text):
    error = pool.submit(calls.raises, cls, "text").exception(SOON)
    assert type(error) is RemoteError
    assert str(error) == text
    assert "in raises" in error.traceback


def test_an_exception_without_a_text_arrives(pool):
    assert isinstance(pool.submit(calls.raises, calls.MuteError).exception(SOON), calls.MuteError)


@pytest.mark.parametrize("cls", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_whatever_is_raised_is_the_calls_outcome(pool, cls):
    assert type(pool.submit(calls.raises, cls).exception(SOON)) is cls


def test_a_recursion_without_an_end_is_a_failure(pool):
    assert type(pool.submit(calls.raise_deep).exception(SOON)) is RecursionError


@pytest.mark.parametrize("cls", [calls.Local, calls.Exits, threading.Lock])
def test_a_result_that_cannot_be_pickled_fails_clearly(pool, cls):
    with pytest.raises(pickle.PicklingError, match=r"the result, of type \w+, cannot be pickled: "):
        pool.submit(calls.make, cls).result(SOON)


def test_a_result_that_cannot_be_loaded_fails_clearly(pool):
    with pytest.raises(pickle.UnpicklingError, match=r"the result cannot be unpickled: ValueError: not to"):
        pool.submit(calls.make, calls.Unloadable).result(SOON)


@pytest.mark.parametrize(
    ("argument", "error"),
    [(calls.Local(), TypeError), (calls.Exits(), SystemExit), (calls.Unloadable(), ValueError)],
)
def test_an_argument_that_cannot_be_sent_fails_its_call_only(pool, argument, error):
    assert type(pool.submit(calls.identity, argument).exception(SOON)) is error
    assert pool.submit(calls.identity, 1).result(SOON) == 1


def test_large_arguments_and_results_pass(pool):
    large = os.urandom(MEGABYTE) * 16
    assert pool.submit(calls.identity, large).result(SOON) == large


# -- the text of a death


@pytest.mark.parametrize(
    ("exitcode", "text"),
    [
        (3, "has exited with 3"),
        (-9, "was killed by SIGKILL"),
        (-63, "was killed by signal 63"),
        (None, "has ended"),
    ],
)
def test_a_death_can_be_pickled_and_says_how(exitcode, text):
    error = pickle.loads(pickle.dumps(ProcessDied(exitcode)))
    assert error.exitcode == exitcode
    assert str(error) == f"the process that ran the call {text}"
