import asyncio
import gc
import threading
import weakref

import pytest

from app.core import (
    BrokenThreadPool,
    Executor,
    Future,
    FutureCancelledError,
    State,
    Task,
    ThreadedExecutor,
    ThreadPoolExecutor,
)
from app.core import task as task_module
from tests.core.future_contract import SOON
from tests.core.task_contract import (
    Duck,
    GoingOn,
    TaskAsFuture,
    TaskContract,
    Waited,
    finished,
    recursion_limit,
)


class OnNone:
    def make_executor(self):
        return None


class OnThreads:
    def make_executor(self):
        return ThreadedExecutor()


class OnAPool:
    def make_executor(self):
        return ThreadPoolExecutor(2)


class TestTaskOnNone(OnNone, TaskContract):
    pass


class TestTaskOnThreadedExecutor(OnThreads, TaskContract):
    # A thread per step: enough to go beyond the stack is enough.
    depth = 2_000
    many = 2_000


class TestTaskOnThreadPoolExecutor(OnAPool, TaskContract):
    pass


class TestTaskOnNoneAsFuture(OnNone, TaskAsFuture):
    pass


class TestTaskOnThreadPoolExecutorAsFuture(OnAPool, TaskAsFuture):
    pass


class ByHand(Executor):
    """Runs a call when the test says so, and keeps count."""

    def __init__(self):
        self.calls = []
        self.submitted = 0
        self.most = 0

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        self.calls.append((future, fn, args, kwargs))
        self.submitted += 1
        self.most = max(self.most, len(self.calls))
        return future

    def run(self):
        future, fn, args, kwargs = self.calls.pop(0)
        future.set_running_or_notify_cancel()
        future.set_result(fn(*args, **kwargs))

    def shutdown(self, wait=True, *, cancel_futures=False):
        for future, *_ in self.calls:
            future.cancel()


class Refusing(ByHand):
    def submit(self, fn, /, *args, **kwargs):
        if self.submitted:
            raise RuntimeError("cannot schedule new futures after shutdown")
        return super().submit(fn, *args, **kwargs)


# -- steps on an executor


def test_every_step_is_submitted_and_one_at_a_time():
    executor, futures = ByHand(), [Future(), Future()]

    def generator():
        yield futures[0]
        yield futures[1]
        return "done"

    task = Task(generator(), executor)
    task.step()
    executor.run()
    for future in futures:
        future.set_result(None)
        executor.run()
    assert task.result(0) == "done"
    assert executor.submitted == 3
    assert executor.most == 1
    assert executor.calls == []


def test_a_request_before_the_first_step_is_taken_keeps_the_generator_from_running():
    executor, calls = ByHand(), []

    def generator():
        calls.append(1)
        yield finished()

    task = Task(generator(), executor)
    task.step()
    assert task.running()
    assert task.cancel()
    assert not task.done()
    executor.run()
    assert task.cancelled()
    assert calls == []


def test_a_request_between_wake_up_and_step_is_thrown_in():
    executor, future, log = ByHand(), Future(), []

    def generator():
        try:
            yield future
        except FutureCancelledError:
            log.append("asked")
            raise

    task = Task(generator(), executor)
    task.step()
    executor.run()
    future.set_result("comes too late")
    task.cancel()
    executor.run()
    assert task.cancelled()
    assert log == ["asked"]
    assert executor.submitted == 2


@pytest.mark.parametrize("pool", [ThreadPoolExecutor, ThreadedExecutor])
def test_an_executor_shut_down_under_a_waiting_task_ends_it(pool):
    executor, future, log = pool(), Waited(), []

    def generator():
        try:
            yield future
        finally:
            log.append("cleaned")

    task = Task(generator(), executor)
    task.step()
    future.until_subscribed()
    executor.shutdown()
    future.set_result(None)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        task.result(SOON)
    assert log == ["cleaned"]


def test_a_task_begun_on_an_executor_that_was_shut_down_fails():
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    task = Task(lets_a_failure_pass(finished()), executor)
    task.step()
    assert isinstance(task.exception(0), RuntimeError)


def test_shutdown_that_cancels_a_queued_step_cancels_the_task():
    executor, go_on, begun = ThreadPoolExecutor(1), threading.Event(), threading.Event()
    future, log = Waited(), []

    def generator():
        try:
            yield future
        finally:
            log.append("cleaned")

    task = Task(generator(), executor)
    task.step()
    future.until_subscribed()
    executor.submit(lambda: (begun.set(), go_on.wait(SOON)))
    assert begun.wait(SOON)
    future.set_result(None)
    executor.shutdown(wait=False, cancel_futures=True)
    go_on.set()
    with pytest.raises(FutureCancelledError):
        task.result(SOON)
    assert task.cancelled()
    assert log == ["cleaned"]
    executor.shutdown()


def test_a_pool_that_breaks_before_the_step_fails_the_task():
    go_on = threading.Event()

    def prepare():
        go_on.wait(SOON)
        raise OSError

    with ThreadPoolExecutor(1, initializer=prepare) as pool:
        task = Task(lets_a_failure_pass(finished()), pool)
        task.step()
        go_on.set()
        assert isinstance(task.exception(SOON), BrokenThreadPool)


def test_a_step_that_is_reported_as_failed_after_it_ran_changes_nothing():
    executor, future = ByHand(), Future()

    def generator():
        return (yield future)

    task = Task(generator(), executor)
    task.step()
    step, fn, *_ = executor.calls.pop()
    fn()
    step.set_exception(SystemExit())
    assert task.running()
    future.set_result(1)
    executor.run()
    assert task.result(0) == 1


def test_a_step_that_comes_after_the_end_does_nothing():
    executor, calls = ByHand(), []

    def generator():
        calls.append(1)
        yield finished()

    task = Task(generator(), executor)
    task.step()
    step, fn, *_ = executor.calls.pop()
    step.cancel()
    assert task.cancelled()
    fn()
    assert task.cancelled()
    assert calls == []


def test_an_executor_of_the_standard_library_will_do():
    from concurrent.futures import ThreadPoolExecutor as TheirPool

    def generator():
        first = yield finished(1)
        return first + (yield finished(2))

    with TheirPool(1) as pool:
        task = Task(generator(), pool)
        task.step()
        assert task.result(SOON) == 3


# -- closing the generator


def test_what_is_raised_while_the_generator_is_closed_is_the_outcome():
    def generator():
        try:
            yield future
        finally:
            raise ValueError("in cleanup")

    executor, future = Refusing(), Future()
    task = Task(generator(), executor)
    task.step()
    executor.run()
    future.set_result(None)
    with pytest.raises(ValueError, match="in cleanup"):
        task.result(0)


def test_a_generator_that_was_begun_by_hand_is_closed_on_cancellation_and_waiters_are_told():
    log = []

    def generator():
        try:
            yield
        finally:
            log.append("cleaned")
            raise ValueError("in cleanup")

    begun = generator()
    next(begun)
    task = Task(begun)
    task.add_done_callback(lambda _: log.append("told"))
    assert task.cancel()
    assert log == ["cleaned", "told"]
    assert isinstance(task.exception(0), ValueError)


def test_a_request_while_another_ends_the_unstarted_task_changes_nothing():
    answers = []

    def generator():
        try:
            yield
        finally:
            answers.append(task.cancel())
            task.step()

    begun = generator()
    next(begun)
    task = Task(begun)
    assert task.cancel()
    assert answers == [True]
    assert task.cancelled()


# -- stepping on the thread that completes


def test_without_an_executor_a_step_runs_on_the_thread_that_completed_the_future():
    future, names = Waited(), []

    def generator():
        yield future
        names.append(threading.current_thread().name)

    task = Task(generator())
    task.step()
    thread = threading.Thread(target=future.set_result, args=(1,), name="completer")
    thread.start()
    thread.join()
    assert names == ["completer"]
    assert task.done()


def test_a_step_by_hand_within_a_step_is_taken_at_once():
    log = []

    def inner():
        log.append("inner")
        yield finished()
        log.append("inner ends")

    def outer():
        log.append("outer")
        Task(inner()).step()
        log.append("outer ends")
        yield finished()

    Task(outer()).step()
    assert log == ["outer", "inner", "inner ends", "outer ends"]


def test_a_step_that_becomes_due_within_a_step_comes_after_it():
    future, log = Future(), []

    def waiter():
        yield future
        log.append("woken")

    def completer():
        future.set_result(1)
        log.append("completed")
        yield from ()

    Task(waiter()).step()
    Task(completer()).step()
    assert log == ["completed", "woken"]


def test_an_interrupt_from_a_callback_does_not_lose_the_steps_that_are_due():
    gate = Future()

    def stop(_):
        raise SystemExit

    def waiter():
        yield gate

    def completer():
        gate.set_result(None)
        yield from ()

    waiters = [Task(waiter()) for _ in range(3)]
    for task in waiters:
        task.step()
    last = Task(completer())
    last.add_done_callback(stop)
    with pytest.raises(SystemExit):
        last.step()
    assert last.done()
    assert all(task.done() for task in waiters)


def test_an_interrupt_from_a_callback_of_the_future_waited_for_does_not_keep_the_request_back():
    future = Future()

    def stop(_):
        raise SystemExit

    def generator():
        yield future

    task = Task(generator())
    future.add_done_callback(stop)
    task.step()
    with pytest.raises(SystemExit):
        task.cancel()
    assert task.cancelled()


def test_an_interrupt_that_leaves_the_future_pending_does_not_keep_the_request_back():
    class Stubborn(Future):
        def cancel(self):
            raise SystemExit

    def generator():
        yield Stubborn()

    task = Task(generator())
    task.step()
    with pytest.raises(SystemExit):
        task.cancel()
    assert task.cancelled()


def test_a_hundred_thousand_finished_futures_in_a_row():
    future = finished(1)

    def generator():
        total = 0
        for _ in range(100_000):
            total += yield future
        return total

    with recursion_limit(150):
        task = Task(generator())
        task.step()
    assert task.result(0) == 100_000


def test_a_future_that_calls_back_twice_wakes_once():
    class Eager(Duck):
        def add_done_callback(self, callback):
            callback(self)
            callback(self)

    results = []

    def generator():
        results.append((yield Eager(1)))
        results.append((yield future))

    future = Waited()
    task = Task(generator())
    task.step()
    assert results == [1]
    assert task.running()
    future.set_result(2)
    assert results == [1, 2]


# -- asyncio


@pytest.mark.parametrize("pool", [None, ThreadPoolExecutor])
def test_awaiting_starts_a_task(pool):
    executor = pool and pool(1)

    def generator():
        return (yield finished(1)) + 1

    async def main():
        return await Task(generator(), executor)

    assert asyncio.run(main()) == 2
    if executor:
        executor.shutdown()


def test_cancelling_the_awaiter_leaves_the_task_alone():
    future = Waited()

    def generator():
        return (yield future)

    async def wait(task):
        return await task

    async def main():
        task = Task(generator())
        awaiter = asyncio.ensure_future(wait(task))
        await asyncio.sleep(0)
        awaiter.cancel()
        await asyncio.wait([awaiter])
        assert task.running()
        assert not task.cancel_requested()
        future.set_result(6)
        return await task

    assert asyncio.run(main()) == 6


def test_awaiting_a_task_that_is_cancelled_raises():
    async def main():
        def generator():
            yield GoingOn()

        task = Task(generator())
        asyncio.get_running_loop().call_soon(task.cancel)
        await task

    with pytest.raises(FutureCancelledError):
        asyncio.run(main())


# -- memory


@pytest.fixture
def no_gc():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class MarkedError(Exception):
    pass


def test_a_done_task_lets_go_of_its_generator_and_of_what_it_waited_for(no_gc):
    class Thing:
        pass

    thing, future = Thing(), finished()
    gone = [weakref.ref(thing), weakref.ref(future)]

    def generator(thing, future):
        yield future
        return 1

    task = Task(generator(thing, future))
    task.step()
    del thing, future
    assert task.result(0) == 1
    assert [ref() for ref in gone] == [None] * 2


def test_a_done_task_lets_go_of_its_executor(no_gc):
    executor = ThreadPoolExecutor(1)
    task = Task(lets_a_failure_pass(finished(1)), executor)
    task.step()
    assert task.result(SOON) is None
    executor.shutdown()
    gone = weakref.ref(executor)
    del executor
    assert gone() is None


def raises_at_once():
    yield from ()
    raise MarkedError


def raises_after_a_wait(future):
    yield future
    raise MarkedError


def lets_a_failure_pass(future):
    yield future


def yields_nonsense():
    yield 5


@pytest.mark.parametrize("make", [raises_at_once, yields_nonsense])
@pytest.mark.parametrize("executor", [None, ThreadPoolExecutor])
def test_a_failed_task_makes_no_cycle(no_gc, make, executor):
    pool = executor and executor(1)
    task = Task(make(), pool)
    task.step()
    if pool:
        pool.shutdown()
    assert task.state is State.FINISHED
    gone = weakref.ref(task)
    del task
    assert gone() is None


@pytest.mark.parametrize("make", [raises_after_a_wait, lets_a_failure_pass])
def test_a_task_that_fails_in_a_later_step_makes_no_cycle(no_gc, make):
    future = Future()
    task = Task(make(future))
    task.step()
    if make is raises_after_a_wait:
        future.set_result(None)
    else:
        future.set_exception(MarkedError())
    assert task.state is State.FINISHED
    gone = weakref.ref(task)
    del task
    assert gone() is None


def test_a_task_whose_future_failed_on_a_worker_makes_no_cycle(no_gc):
    def call():
        raise MarkedError

    pool = ThreadPoolExecutor(1)
    go_on = threading.Event()
    pool.submit(go_on.wait, SOON)
    task = Task(lets_a_failure_pass(pool.submit(call)))
    task.step()
    go_on.set()
    pool.shutdown()
    assert isinstance(task.exception(0), MarkedError)
    gone = weakref.ref(task)
    del task
    assert gone() is None


def test_a_task_that_its_executor_refused_makes_no_cycle(no_gc):
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    task = Task(lets_a_failure_pass(finished()), executor)
    task.step()
    assert task.state is State.FINISHED
    gone = weakref.ref(task)
    del task
    assert gone() is None


def test_a_cancelled_task_makes_no_cycle(no_gc):
    task = Task(lets_a_failure_pass(GoingOn()))
    task.step()
    task.cancel()
    gone = weakref.ref(task)
    del task
    assert gone() is None


def test_the_shared_empty_generator_is_exhausted():
    assert list(task_module._EMPTY) == []
