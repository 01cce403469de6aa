import asyncio
import concurrent.futures
import gc
import subprocess
import sys
import threading
import weakref

import pytest

from app.core import Future, FutureCancelledError, FutureTimeoutError, InvalidStateError, State
from app.core import awaiting as awaiting_module
from app.core.future import run_all
from tests.core.future_contract import SOON, FutureContract, Producer


class ByHand(Producer):
    def __init__(self):
        self.future = Future()

    def start(self):
        assert self.future.set_running_or_notify_cancel()

    def succeed(self, result):
        self.future.set_result(result)

    def fail(self):
        self.future.set_exception(ValueError("broken"))


class TestFutureByHand(FutureContract):
    def make_future(self):
        return ByHand()


@pytest.fixture
def no_gc():
    """Only reference counts free anything, so a cycle shows."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Thing:
    """Something that can be weakly referenced."""


# -- producing


def test_set_running_returns_true_when_pending_and_false_when_cancelled():
    future = Future()
    assert future.set_running_or_notify_cancel() is True
    cancelled = Future()
    cancelled.cancel()
    assert cancelled.set_running_or_notify_cancel() is False


def test_set_running_raises_when_running_or_finished():
    future = Future()
    future.set_running_or_notify_cancel()
    with pytest.raises(InvalidStateError, match=r"^Future in unexpected state$"):
        future.set_running_or_notify_cancel()
    future.set_result(1)
    with pytest.raises(InvalidStateError):
        future.set_running_or_notify_cancel()


def test_a_producer_may_skip_running():
    future = Future()
    future.set_result(1)
    assert future.result() == 1


@pytest.mark.parametrize("first", ["result", "exception", "cancel"])
@pytest.mark.parametrize("second", ["result", "exception", "cancelled"])
def test_a_second_completion_raises_and_changes_nothing(first, second):
    future = Future()
    error = ValueError("first")
    {
        "result": lambda: future.set_result(1),
        "exception": lambda: future.set_exception(error),
        "cancel": future.cancel,
    }[first]()
    state = future.state
    complete_again = {
        "result": lambda: future.set_result(2),
        "exception": lambda: future.set_exception(ValueError("second")),
        "cancelled": future._set_cancelled,
    }[second]
    with pytest.raises(InvalidStateError, match=rf"^{state.upper()}: <Future at 0x"):
        complete_again()
    assert future.state is state
    if first == "result":
        assert future.result() == 1
    elif first == "exception":
        assert future.exception() is error


def test_invalid_state_error_is_the_standard_librarys_and_a_runtime_error():
    assert issubclass(InvalidStateError, concurrent.futures.InvalidStateError)
    assert issubclass(InvalidStateError, RuntimeError)
    assert issubclass(FutureCancelledError, concurrent.futures.CancelledError)
    assert issubclass(FutureTimeoutError, TimeoutError)


@pytest.mark.parametrize("wrong", [ValueError, "broken", None])
def test_set_exception_refuses_what_is_no_exception(wrong):
    future = Future()
    with pytest.raises(TypeError, match="an exception is needed"):
        future.set_exception(wrong)
    assert future.state is State.PENDING


def test_a_running_future_can_become_cancelled_by_the_core():
    future = Future()
    future.set_running_or_notify_cancel()
    future.cancel()
    future._set_cancelled()
    assert future.cancelled()


def test_result_raises_the_very_exception_that_was_set():
    future, error = Future(), ValueError("x")
    future.set_exception(error)
    with pytest.raises(ValueError, match="x") as caught:
        future.result()
    assert caught.value is error
    assert future.exception() is error


def test_repr_of_a_failure_whose_exception_is_falsy():
    class EmptyError(Exception):
        def __len__(self):
            return 0

    future = Future()
    future.set_exception(EmptyError())
    assert "raised EmptyError" in repr(future)


def test_starting_a_plain_future_does_nothing():
    future = Future()
    future._start()
    assert future.state is State.PENDING


# -- waiting


def test_a_wait_that_timed_out_leaves_nothing_behind():
    future = Future()
    with pytest.raises(FutureTimeoutError):
        future.result(0.001)
    assert not future._wakes


def test_a_huge_timeout_is_no_error():
    future = Future()
    threading.Thread(target=future.set_result, args=(1,)).start()
    assert future.result(1e30) == 1


def test_what_arrives_while_the_timeout_runs_out_counts(monkeypatch):
    future = Future()

    def too_late(gate, timeout):
        future.set_result(1)
        return False

    monkeypatch.setattr("app.core.future.acquire_within", too_late)
    assert future.result(0.001) == 1


def test_what_arrives_just_before_the_wait_is_returned(monkeypatch):
    """Completion between the first look at the state and the registration."""
    future = Future()
    add_waiter = Future._add_waiter

    def late(self, wake):
        self.set_result(1)
        return add_waiter(self, wake)

    monkeypatch.setattr(Future, "_add_waiter", late)
    assert future.result(SOON) == 1


def test_an_interrupted_wait_leaves_no_waiter_behind(monkeypatch):
    future = Future()

    def interrupted(gate, timeout):
        raise KeyboardInterrupt

    monkeypatch.setattr("app.core.future.acquire_within", interrupted)
    with pytest.raises(KeyboardInterrupt):
        future.result()
    assert not future._wakes


def test_waiters_wake_before_callbacks_run():
    """A callback that waits for the woken thread would hang otherwise."""
    future, woken, waiting = Future(), threading.Event(), threading.Event()
    heard = []

    class Watched(Future):
        def _add_waiter(self, wake):
            added = super()._add_waiter(wake)
            waiting.set()
            return added

    future = Watched()
    thread = threading.Thread(target=lambda: (future.result(SOON), woken.set()))
    thread.start()
    waiting.wait(SOON)
    future.add_done_callback(lambda _: heard.append(woken.wait(SOON)))
    future.set_result(1)
    thread.join()
    assert heard == [True]


# -- callbacks


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_callback_is_raised_after_the_others_ran(interrupt):
    future, calls = Future(), []

    def stop(_):
        raise interrupt

    future.add_done_callback(stop)
    future.add_done_callback(calls.append)
    with pytest.raises(interrupt):
        future.set_result(1)
    assert calls == [future]
    assert future.result() == 1


def test_an_ordinary_exception_after_an_interrupt_does_not_hide_it():
    future = Future()

    def stop(_):
        raise SystemExit

    def broken(_):
        raise ValueError

    future.add_done_callback(stop)
    future.add_done_callback(broken)
    with pytest.raises(SystemExit):
        future.set_result(1)


def test_a_callback_may_add_a_callback():
    future, calls = Future(), []
    future.add_done_callback(lambda f: f.add_done_callback(lambda _: calls.append("inner")))
    future.set_result(1)
    assert calls == ["inner"]


def test_run_all_calls_everything_and_raises_afterwards():
    calls = []

    def broken():
        raise SystemExit

    due = awaiting_module.deque([broken, lambda: calls.append(1)])
    with pytest.raises(SystemExit):
        run_all(due)
    assert calls == [1]
    assert not due


# -- asyncio


def test_a_cancelled_awaiter_leaves_nothing_behind():
    future = Future()

    async def wait():
        await future

    async def main():
        awaiter = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        assert len(future._wakes) == 1
        awaiter.cancel()
        await asyncio.wait([awaiter])

    asyncio.run(main())
    assert not future._wakes
    assert not future._callbacks


def test_completions_close_together_share_a_wake_up():
    futures = [Future() for _ in range(20)]

    async def wait(future):
        return await future

    async def main():
        loop, wake_ups = asyncio.get_running_loop(), []
        ask = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *args, **kwargs: (wake_ups.append(1), ask(*args, **kwargs))[1]
        awaiters = [asyncio.ensure_future(wait(future)) for future in futures]
        await asyncio.sleep(0)
        for number, future in enumerate(futures):
            future.set_result(number)
        results = await asyncio.gather(*awaiters)
        return results, len(wake_ups)

    assert asyncio.run(main()) == (list(range(20)), 1)


def test_a_second_batch_of_completions_wakes_again():
    async def main():
        results = []
        for number in range(3):
            future = Future()
            asyncio.get_running_loop().call_soon(future.set_result, number)
            results.append(await future)
        return results

    assert asyncio.run(main()) == [0, 1, 2]


def test_await_is_woken_from_another_thread():
    async def main():
        future = Future()
        thread = threading.Thread(target=future.set_result, args=(4,))
        asyncio.get_running_loop().call_soon(thread.start)
        result = await future
        thread.join()
        return result

    assert asyncio.run(main()) == 4


def test_a_future_that_gets_done_as_the_await_registers_is_not_waited_for(monkeypatch):
    future = Future()
    add_waiter = Future._add_waiter

    def late(self, wake):
        self.set_result(1)
        return add_waiter(self, wake)

    async def main():
        monkeypatch.setattr(Future, "_add_waiter", late)
        return await future

    assert asyncio.run(main()) == 1


def test_an_awaiter_cancelled_after_the_completion_is_passed_over():
    async def main():
        future = Future()

        async def wait():
            await future

        awaiter = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        future.set_result(1)
        awaiter.cancel()
        done, _ = await asyncio.wait([awaiter])
        return done.pop().cancelled()

    assert asyncio.run(main()) is True


def abandoned_loop(future):
    """Close a loop in which `future` is still awaited."""
    loop = asyncio.new_event_loop()

    async def wait():
        await future

    awaiter = loop.create_task(wait())
    awaiter._log_destroy_pending = False
    loop.call_soon(loop.stop)
    loop.run_forever()
    return loop, awaiter


def test_completing_after_the_loop_was_closed_is_harmless():
    future, calls = Future(), []
    loop, awaiter = abandoned_loop(future)
    future.add_done_callback(calls.append)
    loop.close()
    future.set_result(1)
    assert calls == [future]
    assert not awaiter.done()
    assert not awaiting_module._WAKE_UPS[loop]._ready


def test_a_loop_closed_before_it_drained_is_let_go():
    future = Future()
    loop, awaiter = abandoned_loop(future)
    future.set_result(1)
    loop.close()
    gone = weakref.ref(loop)
    del loop, awaiter

    async def main():
        other = Future()
        asyncio.get_running_loop().call_soon(other.set_result, 2)
        return await other

    assert asyncio.run(main()) == 2
    gc.collect()
    assert gone() is None


def test_loops_that_are_still_open_keep_their_wake_ups():
    first, other = Future(), Future()
    loop, awaiter = abandoned_loop(first)

    async def main():
        asyncio.get_running_loop().call_soon(other.set_result, 2)
        return await other

    assert asyncio.run(main()) == 2
    first.set_result(1)
    loop.run_until_complete(awaiter)
    loop.close()
    assert awaiter.done()


def test_importing_the_core_does_not_import_asyncio():
    code = "import sys, app.core; print('asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# -- memory


def test_a_dropped_future_frees_its_result(no_gc):
    future, thing = Future(), Thing()
    gone = weakref.ref(thing)
    future.set_result(thing)
    assert future.result() is thing
    del future, thing
    assert gone() is None


def failed_future():
    future = Future()
    error = ValueError("x")
    error.thing = Thing()
    future.set_exception(error)
    return future, weakref.ref(error.thing)


def test_raising_the_exception_makes_no_cycle(no_gc):
    future, gone = failed_future()
    with pytest.raises(ValueError, match="x"):
        future.result()
    del future
    assert gone() is None


def test_awaiting_a_failure_makes_no_cycle(no_gc):
    future, gone = failed_future()

    async def main(future):
        try:
            await future
        except ValueError:
            return True
        finally:
            del future

    assert asyncio.run(main(future))
    del future
    assert gone() is None


def test_an_interrupt_in_a_callback_makes_no_cycle(no_gc, monkeypatch):
    # pytest keeps what is logged, exceptions too.
    monkeypatch.setattr("app.core.future.LOGGER.exception", lambda *_: None)
    future = Future()
    thing = Thing()
    gone = weakref.ref(thing)

    def stop(_):
        error = SystemExit()
        error.thing = gone()
        try:
            raise error
        finally:
            del error

    future.add_done_callback(stop)
    try:
        future.set_result(1)
    except SystemExit:
        del thing
    else:
        pytest.fail("the callback's SystemExit was lost")
    del future, stop
    assert gone() is None


def test_a_done_future_drops_its_callbacks(no_gc):
    future, thing = Future(), Thing()
    gone = weakref.ref(thing)
    future.add_done_callback(lambda _, thing=thing: None)
    del thing
    future.set_result(1)
    assert gone() is None
