import concurrent.futures
import gc
import logging
import threading
import weakref

import pytest

from app.core import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    Future,
    FutureCancelledError,
    FutureTimeoutError,
    Task,
    as_completed,
    gather,
    wait,
)
from tests.core.future_contract import SOON


def finished(result=None):
    future = Future()
    future.set_result(result)
    return future


def failed(error=None):
    future = Future()
    future.set_exception(error or ValueError("broken"))
    return future


def cancelled():
    future = Future()
    future.cancel()
    return future


def running():
    future = Future()
    future.set_running_or_notify_cancel()
    return future


class WhenWaitedFor(Future):
    """Calls `then`, on a thread of its own, once somebody waits."""

    def __init__(self, then):
        super().__init__()
        self.then = then

    def _add_waiter(self, wake):
        added = super()._add_waiter(wake)
        threading.Thread(target=self.then, args=(self,)).start()
        return added


# -- wait


def test_wait_for_all_returns_when_the_last_is_done():
    last = WhenWaitedFor(lambda future: future.set_result(1))
    others = [finished(), failed(), cancelled()]
    done, not_done = wait([*others, last], SOON)
    assert done == {*others, last}
    assert not_done == set()


def test_wait_for_the_first_returns_with_those_done():
    pending, first = Future(), WhenWaitedFor(lambda future: future.set_result(1))
    result = wait([pending, first], SOON, FIRST_COMPLETED)
    assert result.done == {first}
    assert result.not_done == {pending}
    assert not pending._wakes


def test_wait_for_the_first_counts_a_cancellation():
    pending, first = Future(), WhenWaitedFor(Future.cancel)
    assert wait([pending, first], SOON, FIRST_COMPLETED).done == {first}


def test_wait_for_the_first_exception_passes_over_results_and_cancellations():
    pending, good, dropped = Future(), finished(), cancelled()
    bad = WhenWaitedFor(lambda future: future.set_exception(ValueError()))
    done, not_done = wait([good, dropped, bad, pending], SOON, FIRST_EXCEPTION)
    assert done == {good, dropped, bad}
    assert not_done == {pending}


def test_wait_for_the_first_exception_returns_when_there_is_none():
    futures = [finished(), cancelled(), WhenWaitedFor(lambda future: future.set_result(1))]
    assert wait(futures, SOON, FIRST_EXCEPTION).done == set(futures)


@pytest.mark.parametrize("condition", [ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION])
def test_wait_for_done_ones_returns_at_once(condition):
    futures = {failed(), failed(), finished()}
    assert wait(futures, None, condition) == (futures, set())


@pytest.mark.parametrize("condition", [ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION])
def test_wait_for_nothing_returns_at_once(condition):
    assert wait([], None, condition) == (set(), set())


@pytest.mark.parametrize("timeout", [0, -1, 0.001])
def test_wait_returns_what_is_there_when_the_timeout_runs_out(timeout):
    pending, good = Future(), finished()
    done, not_done = wait([pending, good], timeout)
    assert done == {good}
    assert not_done == {pending}
    assert not pending._wakes


def test_wait_counts_a_duplicate_once():
    future = WhenWaitedFor(lambda future: future.set_result(1))
    assert wait([future, future], SOON).done == {future}


def test_wait_takes_a_generator():
    future = finished()
    assert wait(f for f in [future]).done == {future}


def test_wait_refuses_an_unknown_condition():
    with pytest.raises(ValueError, match="Invalid return condition: 'SOME'"):
        wait([], None, "SOME")


def test_wait_does_not_start_a_task():
    def generator():
        yield finished()

    task = Task(generator())
    assert wait([task], 0).not_done == {task}
    assert not task.running()


def test_many_completions_at_once_open_the_gate_once():
    futures = [Future() for _ in range(20)]
    barrier = threading.Barrier(len(futures) + 1)

    def complete(future):
        barrier.wait()
        future.set_result(1)

    threads = [threading.Thread(target=complete, args=(future,)) for future in futures]
    for thread in threads:
        thread.start()
    barrier.wait()
    first = wait(futures, SOON, FIRST_COMPLETED)
    everything = wait(futures, SOON)
    for thread in threads:
        thread.join()
    assert first.done
    assert everything.done == set(futures)


# -- as_completed


def test_as_completed_yields_done_ones_first_and_then_in_order_of_completion():
    first, second, third = Future(), Future(), finished()
    arriving = as_completed([first, second, third], SOON)
    assert next(arriving) is third
    second.set_result(2)
    first.set_result(1)
    assert list(arriving) == [second, first]


def test_as_completed_yields_failed_and_cancelled_ones():
    futures = {failed(), cancelled()}
    assert set(as_completed(futures)) == futures


def test_as_completed_waits():
    future = WhenWaitedFor(lambda future: future.set_result(1))
    assert [f.result() for f in as_completed([future])] == [1]


def test_as_completed_yields_a_duplicate_once():
    future = finished()
    assert list(as_completed([future, future])) == [future]


def test_as_completed_of_nothing_ends():
    assert list(as_completed([])) == []


def test_as_completed_tells_how_many_are_unfinished_when_the_time_runs_out():
    pending, good = Future(), finished()
    arriving = as_completed([pending, good], 0)
    assert next(arriving) is good
    with pytest.raises(FutureTimeoutError, match=r"^1 \(of 2\) futures unfinished$"):
        next(arriving)
    assert not pending._wakes


def test_as_completed_tells_the_same_as_the_standard_library():
    with pytest.raises(TimeoutError) as ours:
        next(as_completed([Future(), Future()], 0))
    with pytest.raises(TimeoutError) as theirs:
        next(concurrent.futures.as_completed([concurrent.futures.Future(), concurrent.futures.Future()], 0))
    assert str(ours.value) == str(theirs.value)


def test_an_abandoned_as_completed_leaves_no_waiter_behind():
    pending = Future()
    arriving = as_completed([pending, finished()])
    next(arriving)
    arriving.close()
    assert not pending._wakes


def test_as_completed_keeps_no_reference_to_what_it_yielded():
    gc.collect()
    gc.disable()
    try:
        futures = [finished(number) for number in range(3)] + [Future()]
        later = weakref.ref(futures[3])
        arriving = as_completed(futures)
        del futures
        for _ in range(3):
            gone = weakref.ref(next(arriving))
            assert gone() is None
        later().set_result(1)
        gone = weakref.ref(next(arriving))
        assert gone() is None
    finally:
        gc.enable()


# -- gather


def test_gather_returns_the_results_in_the_order_given():
    first, second = Future(), Future()
    whole = gather(first, second)
    second.set_result("b")
    assert not whole.done()
    first.set_result("a")
    assert whole.result(0) == ["a", "b"]


def test_gather_takes_one_iterable():
    assert gather(finished(n) for n in range(3)).result(0) == [0, 1, 2]
    assert gather([finished(1)]).result(0) == [1]


def test_gather_takes_one_future():
    assert gather(finished(1)).result(0) == [1]


def test_gather_takes_a_future_twice():
    future = finished(1)
    assert gather(future, future).result(0) == [1, 1]


@pytest.mark.parametrize("nothing", [(), ([],)])
def test_gather_of_nothing_is_done(nothing):
    assert gather(*nothing).result(0) == []


def test_gather_fails_with_the_first_failure_at_once_and_the_others_go_on():
    pending, bad, error = Future(), Future(), ValueError("first")
    whole = gather(pending, bad)
    bad.set_exception(error)
    assert whole.exception(0) is error
    assert not pending.cancel_requested()
    pending.set_result(1)
    assert whole.exception(0) is error


def test_gather_ignores_the_second_failure():
    first, second, error = Future(), Future(), ValueError("first")
    whole = gather(first, second)
    first.set_exception(error)
    second.set_exception(ValueError("second"))
    assert whole.exception(0) is error


def test_gather_fails_when_a_child_is_cancelled():
    child = Future()
    whole = gather(child, Future())
    child.cancel()
    assert not whole.cancelled()
    assert isinstance(whole.exception(0), FutureCancelledError)


def test_gather_of_a_failed_child_still_starts_the_others():
    def generator():
        yield from ()
        return 1

    task = Task(generator())
    whole = gather(failed(), task)
    assert isinstance(whole.exception(0), ValueError)
    assert task.result(0) == 1


def test_gather_starts_tasks():
    def generator():
        value = yield finished(2)
        return value + 1

    assert gather(Task(generator()), finished(1)).result(0) == [3, 1]


def test_gather_takes_futures_of_the_standard_library():
    theirs = concurrent.futures.Future()
    whole = gather(theirs, finished(1))
    theirs.set_result(0)
    assert whole.result(0) == [0, 1]


def test_a_cancelled_future_of_the_standard_library_is_reported_as_ours():
    theirs = concurrent.futures.Future()
    whole = gather(theirs)
    theirs.cancel()
    assert isinstance(whole.exception(0), FutureCancelledError)


@pytest.mark.parametrize("wrong", [5, "ab", [5], [None], [[]]])
def test_gather_refuses_what_is_no_future(wrong):
    with pytest.raises(TypeError):
        gather(wrong)


def test_a_refused_gather_has_started_nothing():
    task = Task(_ for _ in ())
    with pytest.raises(TypeError, match="a Future or a list of Futures is needed, not int"):
        gather(task, 5)
    assert not task.running()
    assert not task.done()


def test_cancelling_a_gather_cancels_what_can_be_and_leaves_the_rest():
    pending, going, theirs = Future(), running(), concurrent.futures.Future()
    whole = gather(pending, going, theirs)
    assert whole.cancel()
    assert whole.cancelled()
    assert pending.cancelled()
    assert theirs.cancelled()
    assert going.running()
    assert going.cancel_requested()
    going.set_result(1)
    assert whole.cancel()


def test_cancelling_a_gather_waits_for_the_cleanup_of_running_tasks():
    cleanup, inner = Future(), Future()

    def generator():
        try:
            yield inner
        finally:
            yield cleanup

    task = Task(generator())
    whole = gather(task, Future())
    assert whole.cancel()
    assert inner.cancelled()
    assert not whole.done()
    cleanup.set_result(None)
    assert task.cancelled()
    assert whole.cancelled()


def test_a_gather_asked_twice_ends_once():
    cleanup, calls = Future(), []

    def generator():
        for _ in range(2):
            try:
                yield Future()
            except FutureCancelledError:
                continue
        yield cleanup

    whole = gather(Task(generator()))
    whole.add_done_callback(calls.append)
    assert whole.cancel()
    assert whole.cancel()
    assert not whole.done()
    cleanup.set_result(None)
    assert whole.cancelled()
    assert calls == [whole]


def test_cancelling_a_finished_gather_does_nothing():
    whole = gather(finished(1))
    assert not whole.cancel()
    assert whole.result(0) == [1]


def test_a_gather_cancels_as_soon_as_nothing_can_be_waited_for():
    whole = gather(running())
    assert whole.cancel()
    assert whole.cancelled()


class Duck:
    """The least that is a future: no `cancel`, no `done`."""

    def __init__(self):
        self.callbacks = []

    def add_done_callback(self, callback):
        self.callbacks.append(callback)

    def result(self):
        return "quack"


class FailingDuck(Duck):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def result(self):
        raise self.error


@pytest.mark.parametrize("error", [ValueError(), FutureCancelledError(), KeyboardInterrupt()])
def test_gather_fails_with_what_a_foreign_child_raises(error):
    duck = FailingDuck(error)
    whole = gather(duck)
    duck.callbacks[0](duck)
    assert whole.exception(0) is error


class StubbornDuck(Duck):
    def cancel(self):
        raise OSError("cannot be cancelled")


def test_gather_takes_anything_of_a_futures_shape():
    duck = Duck()
    whole = gather(duck)
    duck.callbacks[0](duck)
    assert whole.result(0) == ["quack"]


def test_cancelling_a_gather_leaves_a_child_that_has_no_cancel():
    whole = gather(Duck(), Future())
    assert whole.cancel()
    assert whole.cancelled()


def test_a_child_whose_cancel_raises_is_logged_and_does_not_hold_up_the_others(caplog):
    last = Future()
    whole = gather(StubbornDuck(), last)
    with caplog.at_level(logging.ERROR):
        assert whole.cancel()
    assert whole.cancelled()
    assert last.cancelled()
    assert "cancelling" in caplog.text


def test_an_interrupt_from_a_childs_callback_does_not_keep_the_gather_from_ending():
    first, last = Future(), Future()

    def stop(_):
        raise SystemExit

    whole = gather(first, last)
    first.add_done_callback(stop)
    with pytest.raises(SystemExit):
        whole.cancel()
    assert last.cancelled()
    assert whole.cancelled()


def test_a_done_gather_lets_go_of_its_children():
    gc.collect()
    gc.disable()
    try:
        child, bad = finished(), Future()
        gone = weakref.ref(child)
        whole = gather(child, bad)
        bad.set_exception(ValueError())
        del child
        assert gone() is None
        assert whole.done()
    finally:
        gc.enable()


def test_a_failed_gather_makes_no_cycle():
    class MarkedError(Exception):
        pass

    gc.collect()
    gc.disable()
    try:
        bad = Future()
        whole = gather(bad)
        error = MarkedError()
        bad.set_exception(error)
        gone = weakref.ref(error)
        del error, bad, whole
        assert gone() is None
    finally:
        gc.enable()


def test_a_child_that_ends_as_the_request_comes_counts():
    """The last result decides under the lock, and the request finds it decided."""
    child, answers = Future(), []
    whole = gather(child)
    complete = whole._complete

    class Late(type(whole)):
        __slots__ = ()

        def _complete(self, *args, **kwargs):
            answers.append(self.cancel())
            return complete(*args, **kwargs)

    whole.__class__ = Late
    child.set_result(1)
    assert answers == [False]
    assert whole.result(0) == [1]
