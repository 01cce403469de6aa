"""The contract of every executor.

It uses module-level functions and JSON values only, because calls may run in another
process or travel through a queue. An executor that takes more says so in `takes`, and
the tests of that are run on it too.
"""

import gc
import itertools
import threading
import time
import weakref
from abc import ABC, abstractmethod

import pytest

from app.core import (
    FIRST_COMPLETED,
    Executor,
    Future,
    FutureCancelledError,
    FutureTimeoutError,
    as_completed,
    gather,
    wait,
)
from tests.core.future_contract import SOON

# What an executor may take beyond functions of modules and JSON values:
CLOSURES = "closures"  # functions made on the spot, which share memory with the caller
OBJECTS = "objects"  # any object as argument and result
INTERRUPTS = "interrupts"  # SystemExit and KeyboardInterrupt are a call's outcome
CHUNKS = "chunks"  # a chunksize of `map`, which the others ignore
QUEUES = "queues"  # calls can be pending: there is a limit to how many run at once


def add(a, b):
    return a + b


def echo(*args, **kwargs):
    return [list(args), kwargs]


def fail(message):
    raise ValueError(message)


def nothing():
    pass


def raise_cancelled():
    raise FutureCancelledError


class ExecutorContract(ABC):
    takes: frozenset[str] = frozenset()

    @abstractmethod
    def make_executor(self) -> Executor:
        """Return an executor that runs at least two calls at once."""

    def make_narrow_executor(self) -> Executor:
        """Return one that runs one call at a time; for those that take QUEUES."""
        raise NotImplementedError

    @pytest.fixture
    def executor(self):
        executor = self.make_executor()
        yield executor
        executor.shutdown(cancel_futures=True)

    @pytest.fixture
    def narrow(self):
        if QUEUES not in self.takes:
            pytest.skip("every call runs at once")
        executor = self.make_narrow_executor()
        yield executor
        executor.shutdown(cancel_futures=True)

    def require(self, *features):
        missing = set(features) - self.takes
        if missing:
            pytest.skip(f"does not take {', '.join(sorted(missing))}")

    # -- submit

    def test_submit_returns_a_future_of_the_result(self, executor):
        future = executor.submit(add, 1, 2)
        assert isinstance(future, Future)
        assert future.result(SOON) == 3
        assert future.done()

    def test_arguments_arrive_as_given(self, executor):
        arguments = [1, -2.5, "ü\u2028", None, True, [1, [2]], {"a": {"b": []}}]
        assert executor.submit(echo, *arguments, key=[1]).result(SOON) == [arguments, {"key": [1]}]

    def test_a_keyword_may_be_called_fn_or_self(self, executor):
        assert executor.submit(echo, fn=1, self=2).result(SOON) == [[], {"fn": 1, "self": 2}]

    def test_no_result_is_none(self, executor):
        future = executor.submit(nothing)
        assert future.result(SOON) is None
        assert future.exception(SOON) is None

    def test_an_exception_is_the_outcome(self, executor):
        future = executor.submit(fail, "broken")
        with pytest.raises(ValueError, match=r"^broken$"):
            future.result(SOON)
        assert isinstance(future.exception(SOON), ValueError)

    def test_a_failed_call_does_not_harm_the_next(self, executor):
        executor.submit(fail, "x").exception(SOON)
        assert executor.submit(add, 1, 1).result(SOON) == 2

    def test_many_calls_all_arrive(self, executor):
        futures = [executor.submit(add, n, n) for n in range(100)]
        assert [future.result(SOON) for future in futures] == [n + n for n in range(100)]

    def test_submit_from_several_threads(self, executor):
        totals = []

        def submit_some():
            totals.append(sum(executor.submit(add, n, 1).result(SOON) for n in range(20)))

        threads = [threading.Thread(target=submit_some) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert totals == [210] * 4

    def test_cancelled_error_without_a_request_is_a_failure(self, executor):
        future = executor.submit(raise_cancelled)
        assert isinstance(future.exception(SOON), FutureCancelledError)
        assert not future.cancelled()

    def test_a_done_callback_gets_the_future(self, executor):
        seen, done = [], threading.Event()
        future = executor.submit(add, 1, 2)
        future.add_done_callback(lambda f: (seen.append(f), done.set()))
        assert done.wait(SOON)
        assert seen == [future]

    def test_a_callback_that_submits_is_served(self, executor):
        inner = Future()
        executor.submit(add, 1, 1).add_done_callback(
            lambda future: executor.submit(add, future.result(), 1).add_done_callback(
                lambda future: inner.set_result(future.result())
            )
        )
        assert inner.result(SOON) == 3

    # -- waiting for its futures

    def test_its_futures_can_be_waited_for(self, executor):
        futures = {executor.submit(add, n, 1) for n in range(5)}
        assert wait(futures, SOON).done == futures
        assert wait(futures, SOON, FIRST_COMPLETED).done

    def test_its_futures_come_as_completed(self, executor):
        futures = [executor.submit(add, n, 1) for n in range(5)]
        assert sorted(future.result() for future in as_completed(futures, SOON)) == [1, 2, 3, 4, 5]

    def test_its_futures_can_be_gathered(self, executor):
        assert gather(executor.submit(add, n, 1) for n in range(5)).result(SOON) == [1, 2, 3, 4, 5]

    # -- map

    def test_map_yields_the_results_in_order(self, executor):
        assert list(executor.map(add, range(10), range(10))) == [n + n for n in range(10)]

    def test_map_ends_with_the_shortest_iterable(self, executor):
        assert list(executor.map(add, [1, 2, 3], itertools.count())) == [1, 3, 5]

    def test_map_of_nothing_is_empty(self, executor):
        assert list(executor.map(add, [], [])) == []

    def test_map_raises_a_calls_exception_in_its_turn(self, executor):
        results = executor.map(divmod, [1, 1, 1], [1, 0, 1])
        assert list(next(results)) == [1, 0]
        with pytest.raises(ZeroDivisionError):
            next(results)
        assert list(results) == []

    def test_map_takes_a_timeout_that_suffices(self, executor):
        assert list(executor.map(add, [1], [2], timeout=SOON)) == [3]

    @pytest.mark.parametrize("chunksize", [0, -1])
    def test_map_refuses_a_chunksize_below_one_or_does_not_look_at_it(self, executor, chunksize):
        if CHUNKS not in self.takes:
            assert list(executor.map(add, [1], [2], chunksize=chunksize)) == [3]
            return
        with pytest.raises(ValueError, match=r"^chunksize must be >= 1\.$"):
            executor.map(add, [1], [2], chunksize=chunksize)

    def test_map_raises_at_once_what_an_iterable_raises(self, executor):
        with pytest.raises(ZeroDivisionError):
            executor.map(add, (1 // (3 - n) for n in range(5)), range(5))

    def test_map_of_no_iterable_is_empty(self, executor):
        assert list(executor.map(add)) == []

    # -- map, a buffer

    @pytest.mark.parametrize("buffersize", [1, 2, 4, 8])
    def test_map_with_a_buffer_yields_the_same(self, executor, buffersize):
        assert list(executor.map(add, range(4), range(4), buffersize=buffersize)) == [0, 2, 4, 6]
        assert list(executor.map(add, [], [], buffersize=buffersize)) == []
        assert list(
            executor.map(add, range(9), range(9), buffersize=buffersize, chunksize=2, timeout=SOON)
        ) == [n + n for n in range(9)]

    def test_map_with_a_buffer_takes_endless_iterables(self, executor):
        results = executor.map(add, itertools.count(), itertools.count(), buffersize=2)
        assert list(itertools.islice(results, 10)) == [n + n for n in range(10)]
        results.close()

    def test_map_never_has_more_calls_under_way_than_the_buffer_holds(self, executor):
        taken = itertools.count()
        results = executor.map(add, taken, itertools.repeat(1), buffersize=3)
        assert repr(taken) == "count(3)"
        for n in range(5):
            assert next(results) == n + 1
            # As many as before: another is submitted for each one that was taken.
            assert repr(taken) == f"count({4 + n})"
        results.close()

    @pytest.mark.parametrize("buffersize", ["2", 2.0])
    def test_map_refuses_a_buffersize_that_is_no_integer(self, executor, buffersize):
        with pytest.raises(TypeError, match=r"^buffersize must be an integer or None$"):
            executor.map(add, [1], [2], buffersize=buffersize)

    @pytest.mark.parametrize("buffersize", [0, -1])
    def test_map_refuses_a_buffersize_below_one(self, executor, buffersize):
        with pytest.raises(ValueError, match=r"^buffersize must be None or > 0$"):
            executor.map(add, [1], [2], buffersize=buffersize)

    def test_map_with_a_buffer_yields_what_was_submitted_before_a_shutdown_and_then_raises(self, executor):
        results = executor.map(add, range(8), range(8), buffersize=2)
        executor.shutdown()
        assert [next(results), next(results)] == [0, 2]
        with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
            next(results)
        assert list(results) == []

    def test_map_with_a_buffer_raises_what_an_iterable_raises_in_its_turn(self, executor):
        results = executor.map(add, (6 // (3 - n) for n in range(5)), range(5), buffersize=1)
        assert [next(results), next(results), next(results)] == [2, 4, 8]
        with pytest.raises(ZeroDivisionError):
            next(results)
        assert list(results) == []

    def test_map_with_a_buffer_keeps_the_executor_until_the_items_are_used_up(self):
        results = self.make_executor().map(add, range(8), range(8), buffersize=2)
        gc.collect()
        assert list(results) == [n + n for n in range(8)]

    def test_map_takes_a_chunksize(self, executor):
        assert list(executor.map(add, range(10), range(10), chunksize=3)) == [n + n for n in range(10)]

    # -- shutdown

    def test_the_with_statement_waits_for_the_calls(self):
        with self.make_executor() as executor:
            futures = [executor.submit(add, n, n) for n in range(20)]
        assert all(future.done() for future in futures)
        assert [future.result() for future in futures] == [n + n for n in range(20)]

    def test_submit_after_shutdown_raises(self, executor):
        executor.shutdown()
        with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
            executor.submit(add, 1, 2)

    def test_shutdown_may_come_again(self, executor):
        executor.shutdown()
        executor.shutdown(wait=False)
        executor.shutdown(cancel_futures=True)
        with pytest.raises(RuntimeError):
            executor.submit(add, 1, 2)

    def test_shutdown_without_waiting_still_runs_what_was_accepted(self, executor):
        futures = [executor.submit(add, n, 1) for n in range(20)]
        executor.shutdown(wait=False)
        assert [future.result(SOON) for future in futures] == list(range(1, 21))

    def test_shutdown_of_an_unused_executor_returns(self):
        executor = self.make_executor()
        executor.shutdown()
        with pytest.raises(RuntimeError):
            executor.submit(nothing)

    def test_a_shutdown_while_others_submit_loses_no_call(self):
        executor, accepted = self.make_executor(), []
        under_way = threading.Semaphore(0)

        def submit_until_refused():
            for n in itertools.count():
                try:
                    accepted.append((n, executor.submit(add, n, 1)))
                except RuntimeError:
                    return
                under_way.release()

        threads = [threading.Thread(target=submit_until_refused) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            assert under_way.acquire(timeout=SOON)
        executor.shutdown()
        for thread in threads:
            thread.join()
        assert [future.result(SOON) for _, future in accepted] == [n + 1 for n, _ in accepted]

    # -- what some take

    def test_takes_closures_and_any_object(self, executor):
        self.require(CLOSURES, OBJECTS)
        thing = object()
        assert executor.submit(lambda: thing).result(SOON) is thing

    def test_an_exception_arrives_as_the_object_that_was_raised(self, executor):
        self.require(CLOSURES, OBJECTS)
        error = ValueError("mine")

        def raise_it():
            raise error

        assert executor.submit(raise_it).exception(SOON) is error

    def test_a_running_call_runs_on_after_a_request(self, executor):
        self.require(CLOSURES)
        begun, go_on = threading.Event(), threading.Event()
        future = executor.submit(lambda: (begun.set(), go_on.wait(SOON))[1])
        assert begun.wait(SOON)
        assert future.running()
        assert not future.cancel()
        go_on.set()
        assert future.result(SOON) is True

    def test_cancelled_error_after_a_request_cancels(self, executor):
        self.require(CLOSURES)
        begun, go_on = threading.Event(), threading.Event()

        def stop_when_asked():
            begun.set()
            go_on.wait(SOON)
            raise FutureCancelledError

        future = executor.submit(stop_when_asked)
        assert begun.wait(SOON)
        assert not future.cancel()
        go_on.set()
        with pytest.raises(FutureCancelledError):
            future.result(SOON)
        assert future.cancelled()

    @pytest.mark.parametrize("interrupt", [SystemExit, KeyboardInterrupt])
    def test_an_interrupt_raised_by_a_call_is_its_outcome(self, executor, interrupt):
        self.require(CLOSURES, INTERRUPTS)

        def stop():
            raise interrupt

        assert isinstance(executor.submit(stop).exception(SOON), interrupt)
        assert executor.submit(add, 1, 1).result(SOON) == 2

    @pytest.mark.parametrize("interrupt", [SystemExit, KeyboardInterrupt])
    def test_an_interrupt_raised_by_a_callback_does_not_end_the_worker(self, executor, interrupt):
        self.require(CLOSURES, INTERRUPTS)
        go_on, called = threading.Event(), threading.Event()

        def stop(_):
            called.set()
            raise interrupt

        future = executor.submit(go_on.wait, SOON)
        future.add_done_callback(stop)
        go_on.set()
        assert called.wait(SOON)
        assert future.result(SOON) is True
        assert executor.submit(add, 1, 1).result(SOON) == 2

    def test_two_calls_run_at_once(self, executor):
        self.require(CLOSURES)
        barrier = threading.Barrier(2)
        futures = [executor.submit(barrier.wait, SOON) for _ in range(2)]
        assert sorted(future.result(SOON) for future in futures) == [0, 1]

    def test_a_call_may_shut_its_own_executor_down(self, executor):
        self.require(CLOSURES)
        assert executor.submit(executor.shutdown).result(SOON) is None
        with pytest.raises(RuntimeError):
            executor.submit(nothing)

    def test_a_call_may_submit_to_its_own_executor(self, executor):
        self.require(CLOSURES)
        inner = executor.submit(executor.submit, add, 1, 2).result(SOON)
        assert inner.result(SOON) == 3

    def test_map_submits_without_being_asked_for_results(self, executor):
        self.require(CLOSURES)
        calls = []
        executor.map(calls.append, range(10))
        executor.shutdown()
        assert sorted(calls) == list(range(10))

    def test_map_keeps_no_result_that_was_taken(self, executor):
        self.require(CLOSURES, OBJECTS)

        class Thing:
            pass

        for buffersize in (None, 2):
            for thing in executor.map(lambda _: Thing(), range(5), buffersize=buffersize):
                gone, freed = weakref.ref(thing), threading.Event()
                weakref.finalize(thing, freed.set).atexit = False
                del thing
                # The thread that made it may still be about to let go of it.
                assert freed.wait(SOON)
                assert gone() is None

    def test_callbacks_run_in_order_whatever_one_of_them_raises_and_the_executor_goes_on(self, executor):
        self.require(CLOSURES)
        go_on, calls, done = threading.Event(), [], threading.Event()

        def broken(_):
            calls.append("broken")
            raise ValueError

        future = executor.submit(go_on.wait, SOON)
        future.add_done_callback(lambda _: calls.append("first"))
        future.add_done_callback(broken)
        future.add_done_callback(lambda _: calls.append("last"))
        future.add_done_callback(lambda _: done.set())
        go_on.set()
        assert done.wait(SOON)
        assert calls == ["first", "broken", "last"]
        assert executor.submit(add, 1, 1).result(SOON) == 2

    def test_shutdown_waits_for_the_call_that_runs(self, executor):
        self.require(CLOSURES)
        begun, go_on, events = threading.Event(), threading.Event(), []

        def call():
            begun.set()
            go_on.wait(SOON)
            events.append("the call has ended")

        executor.submit(call)
        assert begun.wait(SOON)
        waiting = threading.Thread(target=lambda: (executor.shutdown(), events.append("shut down")))
        waiting.start()
        # It has begun when nothing more is accepted.
        with pytest.raises(RuntimeError):
            all(executor.submit(nothing) for _ in itertools.count())
        go_on.set()
        waiting.join()
        assert events == ["the call has ended", "shut down"]

    def test_map_that_times_out_cancels_what_has_not_begun(self, narrow):
        self.require(CLOSURES)
        go_on, begun = threading.Event(), []
        results = narrow.map(lambda n: (begun.append(n), go_on.wait(SOON)), range(3), timeout=0)
        with pytest.raises(FutureTimeoutError):
            next(results)
        assert list(results) == []
        go_on.set()
        narrow.shutdown()
        assert begun in ([], [0])

    def test_an_abandoned_map_cancels_what_has_not_begun(self, narrow):
        self.require(CLOSURES)
        go_on, calls = threading.Event(), []

        def call(n):
            calls.append(n)
            return n == 0 or go_on.wait(SOON)

        results = narrow.map(call, range(5))
        assert next(results) is True
        results.close()
        go_on.set()
        narrow.shutdown()
        assert calls in ([0], [0, 1])

    def test_a_pending_call_can_be_cancelled_and_never_runs(self, narrow):
        self.require(CLOSURES)
        go_on, calls = threading.Event(), []
        narrow.submit(go_on.wait, SOON)
        future = narrow.submit(calls.append, 1)
        assert future.cancel()
        go_on.set()
        narrow.shutdown()
        assert future.cancelled()
        assert calls == []

    def test_shutdown_can_cancel_what_has_not_begun(self, narrow):
        self.require(CLOSURES)
        begun, go_on = threading.Event(), threading.Event()
        first = narrow.submit(lambda: (begun.set(), go_on.wait(SOON))[1])
        pending = [narrow.submit(add, n, n) for n in range(3)]
        assert begun.wait(SOON)
        narrow.shutdown(wait=False, cancel_futures=True)
        assert all(future.cancelled() for future in pending)
        go_on.set()
        assert first.result(SOON) is True

    def test_calls_begin_in_the_order_of_submission(self, narrow):
        self.require(CLOSURES)
        calls = []
        for n in range(20):
            narrow.submit(calls.append, n)
        narrow.shutdown()
        assert calls == list(range(20))

    def test_a_time_limit_of_map_counts_from_the_call(self, executor, monkeypatch):
        self.require(CLOSURES)
        go_on = threading.Event()
        now = time.monotonic()
        results = executor.map(go_on.wait, [SOON], timeout=100)
        monkeypatch.setattr("app.core.executor.time.monotonic", lambda: now + 1000)
        with pytest.raises(FutureTimeoutError):
            next(results)
        go_on.set()
        assert list(results) == []
