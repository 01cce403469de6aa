"""The contract of a Task, on every executor and on none.

A subclass names the executor the Task runs on, or None. The futures that it waits for
are completed by the test, so each wait ends when the test says so.
"""

import concurrent.futures
import contextvars
import sys
import threading
from abc import ABC, abstractmethod
from contextlib import contextmanager

import pytest

from app.core import (
    Executor,
    Future,
    FutureCancelledError,
    FutureTimeoutError,
    State,
    Task,
    ThreadPoolExecutor,
    gather,
)
from tests.core.executor_contract import add, fail
from tests.core.future_contract import SOON, FutureContract, Producer


def finished(result=None):
    future = Future()
    future.set_result(result)
    return future


def running():
    future = Future()
    future.set_running_or_notify_cancel()
    return future


class Waited(Future):
    """A future that tells when somebody has subscribed to it."""

    def __init__(self):
        super().__init__()
        self.subscribed = threading.Semaphore(0)

    def add_done_callback(self, fn):
        super().add_done_callback(fn)
        self.subscribed.release()

    def until_subscribed(self):
        assert self.subscribed.acquire(timeout=SOON)


class GoingOn(Waited):
    """One that runs, so that it cannot be cancelled."""

    def __init__(self):
        super().__init__()
        self.set_running_or_notify_cancel()


class Duck:
    """The least that is a future."""

    def __init__(self, result):
        self.value = result

    def add_done_callback(self, callback):
        callback(self)

    def result(self):
        return self.value


class BrokenDuck(Duck):
    def add_done_callback(self, callback):
        raise OSError("no callbacks here")


@contextmanager
def recursion_limit(limit):
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(limit)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


class TaskContract(ABC):
    depth = 10_000  # Tasks in Tasks, far more than the stack has room for
    many = 20_000  # yields in a row

    @abstractmethod
    def make_executor(self) -> Executor | None:
        """Return what the Task's steps run on; None for none."""

    @pytest.fixture
    def executor(self):
        executor = self.make_executor()
        yield executor
        if executor is not None:
            executor.shutdown(cancel_futures=True)

    @pytest.fixture
    def run(self, executor):
        """Make a Task and take its first step."""

        def run(generator):
            task = Task(generator, executor)
            task.step()
            return task

        return run

    # -- results

    def test_a_yield_gives_the_futures_result(self, run):
        def generator():
            first = yield finished(1)
            second = yield finished(2)
            return first + second

        assert run(generator()).result(SOON) == 3

    def test_waits_for_a_pending_future(self, run):
        future = Waited()

        def generator():
            return (yield future) + 1

        task = run(generator())
        future.until_subscribed()
        assert task.running()
        future.set_result(1)
        assert task.result(SOON) == 2
        assert task.state is State.FINISHED

    def test_an_exception_is_raised_at_the_yield(self, run):
        future = Waited()

        def generator():
            try:
                yield future
            except ValueError as exc:
                return str(exc)

        task = run(generator())
        future.until_subscribed()
        future.set_exception(ValueError("broken"))
        assert task.result(SOON) == "broken"

    def test_an_exception_that_is_not_caught_is_the_outcome(self, run):
        error = ValueError("broken")

        def generator():
            yield finished()
            raise error

        assert run(generator()).exception(SOON) is error

    @pytest.mark.parametrize("interrupt", [SystemExit, KeyboardInterrupt])
    def test_an_interrupt_is_the_outcome(self, run, interrupt):
        def generator():
            yield finished()
            raise interrupt

        assert isinstance(run(generator()).exception(SOON), interrupt)

    def test_a_generator_that_yields_nothing_returns(self, run):
        def generator():
            yield from ()
            return "at once"

        assert run(generator()).result(SOON) == "at once"

    def test_stop_iteration_from_a_future_becomes_a_runtime_error(self, run):
        future = Future()
        future.set_exception(StopIteration())

        def generator():
            yield future

        assert isinstance(run(generator()).exception(SOON), RuntimeError)

    def test_a_cancelled_future_raises_at_the_yield(self, run):
        future = Future()
        future.cancel()

        def generator():
            try:
                yield future
            except FutureCancelledError:
                return "seen"

        assert run(generator()).result(SOON) == "seen"

    def test_waits_for_calls_on_a_pool(self, run):
        with ThreadPoolExecutor(2) as pool:

            def generator():
                first = yield pool.submit(add, 1, 2)
                try:
                    yield pool.submit(fail, "broken")
                except ValueError as exc:
                    return first, str(exc)

            assert run(generator()).result(SOON) == (3, "broken")

    # -- what may be yielded

    def test_a_list_gives_a_list(self, run):
        def generator():
            return (yield [finished(n) for n in range(3)])

        assert run(generator()).result(SOON) == [0, 1, 2]

    def test_an_empty_list_gives_an_empty_list(self, run):
        def generator():
            return (yield [])

        assert run(generator()).result(SOON) == []

    def test_a_list_raises_its_first_failure(self, run):
        bad, never = Waited(), Future()

        def generator():
            try:
                yield [never, bad]
            except ValueError:
                return "seen"

        task = run(generator())
        bad.until_subscribed()
        bad.set_exception(ValueError())
        assert task.result(SOON) == "seen"

    def test_a_future_of_the_standard_library_may_be_yielded(self, run):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:

            def generator():
                first = yield pool.submit(add, 1, 2)
                rest = yield [pool.submit(add, 1, 1), finished(5)]
                return [first, *rest]

            assert run(generator()).result(SOON) == [3, 2, 5]

    def test_a_cancelled_future_of_the_standard_library_raises_our_error(self, run):
        theirs = concurrent.futures.Future()
        theirs.cancel()

        def generator():
            try:
                yield theirs
            except FutureCancelledError:
                return "seen"

        assert run(generator()).result(SOON) == "seen"

    def test_anything_of_a_futures_shape_may_be_yielded(self, run):
        def generator():
            return (yield Duck("quack"))

        assert run(generator()).result(SOON) == "quack"

    def test_what_add_done_callback_raises_is_raised_at_the_yield(self, run):
        def generator():
            try:
                yield BrokenDuck(1)
            except OSError as exc:
                return str(exc)

        assert run(generator()).result(SOON) == "no callbacks here"

    @pytest.mark.parametrize("wrong", [None, 5, (), "ab", [5], [[]], {}, Future, object()])
    def test_anything_else_raises_type_error_at_the_yield(self, run, wrong):
        def generator():
            try:
                yield wrong
            except TypeError:
                return (yield finished("went on"))

        assert run(generator()).result(SOON) == "went on"

    def test_a_list_in_a_list_is_not_taken_apart(self, run):
        def generator():
            yield [[finished(1)]]

        assert isinstance(run(generator()).exception(SOON), TypeError)

    def test_a_task_cannot_wait_for_itself(self, run):
        box, ready = [], Waited()

        def generator():
            yield ready
            yield box[0]

        box.append(run(generator()))
        ready.until_subscribed()
        ready.set_result(None)
        with pytest.raises(RuntimeError, match="a Task cannot wait for itself"):
            box[0].result(SOON)

    # -- starting

    def test_does_not_start_by_itself(self, executor):
        calls = []

        def generator():
            calls.append(1)
            yield finished()

        task = Task(generator(), executor)
        assert task.state is State.PENDING
        with pytest.raises(FutureTimeoutError):
            task.result(0)
        assert calls == []

    def test_step_on_a_started_task_does_nothing(self, run):
        calls, future = [], Waited()

        def generator():
            calls.append("begun")
            yield future
            calls.append("ended")

        task = run(generator())
        task.step()
        future.until_subscribed()
        task.step()
        assert calls == ["begun"]
        future.set_result(1)
        assert task.result(SOON) is None
        task.step()
        assert calls == ["begun", "ended"]

    def test_yielding_a_task_starts_it(self, run, executor):
        def inner():
            return (yield finished(1)) + 1

        def outer():
            return (yield Task(inner(), executor)) + 1

        assert run(outer()).result(SOON) == 3

    def test_yielding_a_list_of_tasks_starts_them(self, run, executor):
        def inner(n):
            return (yield finished(n))

        def outer():
            return (yield [Task(inner(n), executor) for n in range(3)])

        assert run(outer()).result(SOON) == [0, 1, 2]

    def test_yielding_a_started_task_waits_for_it(self, run):
        future = Waited()

        def inner():
            return (yield future)

        task = run(inner())

        def outer():
            return (yield task)

        whole = run(outer())
        future.until_subscribed()
        future.set_result(4)
        assert whole.result(SOON) == 4

    # -- context

    def test_each_step_runs_in_the_tasks_own_context(self, executor):
        variable = contextvars.ContextVar("variable", default="unset")
        seen = []

        def generator():
            seen.append(variable.get())
            variable.set("inside")
            yield future
            seen.append(variable.get())

        future = Waited()
        variable.set("outside")
        task = Task(generator(), executor)
        variable.set("changed later")
        task.step()
        future.until_subscribed()
        future.set_result(None)
        task.result(SOON)
        assert seen == ["outside", "inside"]
        assert variable.get() == "changed later"

    def test_cleanup_runs_in_the_tasks_own_context(self, executor):
        variable = contextvars.ContextVar("variable", default="unset")
        seen = []

        def generator():
            variable.set("inside")
            try:
                yield GoingOn()
            finally:
                seen.append(variable.get())

        task = Task(generator(), executor)
        task.step()
        task.cancel()
        with pytest.raises(FutureCancelledError):
            task.result(SOON)
        assert seen in (["inside"], [])

    # -- depth

    def test_many_finished_futures_in_a_row_cost_no_stack(self, run):
        future = finished(1)

        def generator():
            total = 0
            for _ in range(self.many):
                total += yield future
            return total

        with recursion_limit(200):
            assert run(generator()).result(SOON) == self.many

    def test_tasks_in_tasks_cost_no_stack(self, run, executor):
        def nest(depth):
            return 0 if depth == 0 else 1 + (yield Task(nest(depth - 1), executor))

        assert run(nest(self.depth)).result(SOON) == self.depth

    def test_cancelling_tasks_in_tasks_costs_no_stack(self, run, executor):
        bottom = Waited()
        cleaned = []

        def nest(depth):
            try:
                if depth:
                    yield Task(nest(depth - 1), executor)
                else:
                    yield bottom
            finally:
                cleaned.append(depth)

        task = run(nest(self.depth))
        bottom.until_subscribed()
        assert task.cancel()
        with pytest.raises(FutureCancelledError):
            task.result(SOON)
        assert bottom.cancelled()
        assert cleaned == list(range(self.depth + 1))

    def test_cancelling_tasks_in_lists_in_tasks_costs_no_stack(self, run, executor):
        bottom = Waited()

        def nest(depth):
            yield [Task(nest(depth - 1), executor)] if depth else bottom

        task = run(nest(self.depth // 5))
        bottom.until_subscribed()
        assert task.cancel()
        with pytest.raises(FutureCancelledError):
            task.result(SOON)
        assert task.cancelled()

    # -- cancellation

    def test_cancelling_a_pending_task_never_runs_its_generator(self, executor):
        calls = []

        def generator():
            calls.append(1)
            yield

        inner = generator()
        task = Task(inner, executor)
        assert task.cancel()
        assert task.cancelled()
        assert inner.gi_frame is None
        task.step()
        assert task.cancel()
        assert calls == []

    def test_cancelling_a_task_cancels_the_pending_future_it_waits_for(self, run):
        future, log = Waited(), []

        def generator():
            try:
                yield future
            finally:
                log.append("cleaned")

        task = run(generator())
        future.until_subscribed()
        assert task.cancel()
        with pytest.raises(FutureCancelledError):
            task.result(SOON)
        assert future.cancelled()
        assert task.cancelled()
        assert task.cancel_requested()
        assert log == ["cleaned"]

    def test_cancelling_throws_in_at_once_when_the_future_goes_on(self, run):
        future = GoingOn()

        def generator():
            yield future

        task = run(generator())
        future.until_subscribed()
        assert task.cancel()
        with pytest.raises(FutureCancelledError):
            task.result(SOON)
        assert task.cancelled()
        assert future.running()
        future.set_result("nobody waits")

    def test_cancelling_waits_for_the_cleanup_of_the_task_waited_for(self, run, executor):
        future, cleanup, log = Waited(), Waited(), []

        def inner():
            try:
                yield future
            finally:
                yield cleanup
                log.append("inner")

        def outer():
            try:
                yield Task(inner(), executor)
            finally:
                log.append("outer")

        task = run(outer())
        future.until_subscribed()
        assert task.cancel()
        cleanup.until_subscribed()
        assert not task.done()
        cleanup.set_result(None)
        with pytest.raises(FutureCancelledError):
            task.result(SOON)
        assert log == ["inner", "outer"]

    def test_cancelling_cancels_every_future_of_a_list(self, run):
        first, second, going = Waited(), Waited(), GoingOn()

        def generator():
            yield [first, second, going]

        task = run(generator())
        going.until_subscribed()
        assert task.cancel()
        with pytest.raises(FutureCancelledError):
            task.result(SOON)
        assert task.cancelled()
        assert first.cancelled()
        assert second.cancelled()
        assert going.running()

    def test_a_request_while_stepping_is_raised_at_the_next_yield(self, run):
        box, ready, log = [], Waited(), []
        next_one = Future()

        def generator():
            yield ready
            log.append(box[0].cancel())
            try:
                yield next_one
            except FutureCancelledError:
                log.append("thrown in")
                raise

        box.append(run(generator()))
        ready.until_subscribed()
        ready.set_result(None)
        with pytest.raises(FutureCancelledError):
            box[0].result(SOON)
        assert log == [True, "thrown in"]
        assert box[0].cancelled()
        assert next_one.cancelled()

    def test_a_request_while_stepping_comes_too_late_for_a_generator_that_returns(self, run):
        box, ready = [], Waited()

        def generator():
            yield ready
            box[0].cancel()
            return "done"

        box.append(run(generator()))
        ready.until_subscribed()
        ready.set_result(None)
        assert box[0].result(SOON) == "done"
        assert box[0].cancel_requested()
        assert not box[0].cancelled()

    def test_a_generator_that_swallows_the_request_goes_on(self, run):
        future = Waited()

        def generator():
            try:
                yield future
            except FutureCancelledError:
                return (yield finished("went on"))

        task = run(generator())
        future.until_subscribed()
        assert task.cancel()
        assert task.result(SOON) == "went on"
        assert not task.cancelled()

    def test_the_request_is_thrown_in_once_each(self, run):
        futures, log = [GoingOn(), GoingOn()], []
        last = GoingOn()

        def generator():
            for future in futures:
                try:
                    yield future
                except FutureCancelledError:
                    log.append("asked")
            yield last
            return "done"

        task = run(generator())
        for future in futures:
            future.until_subscribed()
            assert task.cancel()
        last.until_subscribed()
        assert log == ["asked"] * 2
        last.set_result(None)
        assert task.result(SOON) == "done"

    def test_another_exception_after_the_request_is_a_failure(self, run):
        future = Waited()

        def generator():
            try:
                yield future
            except FutureCancelledError:
                raise ValueError("broken") from None

        task = run(generator())
        future.until_subscribed()
        task.cancel()
        assert isinstance(task.exception(SOON), ValueError)
        assert not task.cancelled()

    def test_ending_by_cancelled_error_without_a_request_is_a_failure(self, run):
        future = Future()
        future.cancel()

        def generator():
            yield future

        task = run(generator())
        assert isinstance(task.exception(SOON), FutureCancelledError)
        assert task.state is State.FINISHED

    def test_cancelling_a_finished_task_does_nothing(self, run):
        def generator():
            yield finished()
            return 1

        task = run(generator())
        task.result(SOON)
        assert not task.cancel()
        assert task.result(0) == 1

    def test_cancelling_a_task_that_waits_for_a_future_without_cancel_throws_in_at_once(self, run):
        subscribed = threading.Event()

        class Silent(Duck):
            def add_done_callback(self, callback):
                subscribed.set()

        def generator():
            yield Silent(1)

        task = run(generator())
        assert subscribed.wait(SOON)
        assert task.cancel()
        with pytest.raises(FutureCancelledError):
            task.result(SOON)

    def test_a_cancel_that_raises_does_not_keep_the_request_back(self, run):
        subscribed = threading.Event()

        class Stubborn(Duck):
            def add_done_callback(self, callback):
                subscribed.set()

            def cancel(self):
                raise OSError

        def generator():
            yield Stubborn(1)

        task = run(generator())
        assert subscribed.wait(SOON)
        assert task.cancel()
        with pytest.raises(FutureCancelledError):
            task.result(SOON)

    def test_a_late_wake_up_moves_nothing(self, run):
        """The future cancelled for the first wait calls back when the generator waits for another."""
        going, second, results = GoingOn(), Waited(), []

        def generator():
            try:
                yield going
            except FutureCancelledError:
                results.append((yield second))
            return results

        task = run(generator())
        going.until_subscribed()
        task.cancel()
        second.until_subscribed()
        going.set_result("late")
        assert not task.done()
        second.set_result("in time")
        assert task.result(SOON) == ["in time"]

    def test_waiters_wake_after_the_generators_cleanup(self, run):
        future, log = Waited(), []

        def generator():
            try:
                yield future
            finally:
                log.append("cleaned")

        task = run(generator())
        task.add_done_callback(lambda _: log.append("told"))
        future.until_subscribed()
        task.cancel()
        gather(task).exception(SOON)
        assert log == ["cleaned", "told"]

    def test_a_wake_up_that_races_with_a_request_makes_one_step(self, run):
        for _ in range(200):
            future, barrier, steps = Waited(), threading.Barrier(2), []

            def generator(future=future, steps=steps):
                try:
                    steps.append((yield future))
                except FutureCancelledError:
                    steps.append("asked")
                return "done"

            task = run(generator())
            future.until_subscribed()

            def complete(future=future, barrier=barrier):
                barrier.wait(SOON)
                if future.set_running_or_notify_cancel():
                    future.set_result("result")

            thread = threading.Thread(target=complete)
            thread.start()
            barrier.wait(SOON)
            task.cancel()
            thread.join()
            assert task.result(SOON) == "done"
            assert steps in (["result"], ["asked"])

    # -- the producer's side is closed

    def test_nobody_else_ends_a_task(self, executor):
        def generator():
            yield finished()

        task = Task(generator(), executor)
        with pytest.raises(RuntimeError, match="Task does not support set_result operation"):
            task.set_result(1)
        with pytest.raises(RuntimeError, match="Task does not support set_exception operation"):
            task.set_exception(ValueError())
        assert task.state is State.PENDING

    @pytest.mark.parametrize("wrong", [None, [], lambda: None, range(3), iter([])])
    def test_only_a_generator_makes_a_task(self, executor, wrong):
        with pytest.raises(TypeError, match="a generator is needed"):
            Task(wrong, executor)


class TaskProducer(Producer):
    """A Task seen as a future: its generator waits for what the test says."""

    def __init__(self, executor):
        self._gate = Waited()
        self.future = Task(self._generator(), executor)

    def _generator(self):
        return (yield self._gate)

    def start(self):
        self.future.step()
        self._gate.until_subscribed()

    def succeed(self, result):
        self._gate.set_result(result)

    def fail(self):
        self._gate.set_exception(ValueError("broken"))


class TaskAsFuture(FutureContract):
    """A Task keeps the contract of the Future surface, but awaiting starts it and cancelling stops it."""

    test_cancelling_a_running_future_is_only_a_request = None
    test_await_of_a_cancelled_future_raises_future_cancelled_error = None

    @abstractmethod
    def make_executor(self) -> Executor | None:
        """As TaskContract's."""

    def make_future(self):
        executor = self.make_executor()
        self.executors.append(executor)
        return TaskProducer(executor)

    @pytest.fixture(autouse=True)
    def _end_executors(self):
        self.executors = []
        yield
        for executor in self.executors:
            if executor is not None:
                executor.shutdown(cancel_futures=True)
