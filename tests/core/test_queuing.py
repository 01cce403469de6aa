"""The end of a queue where calls are submitted; the contract of executors is in test_executors.py."""

import ast
import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import app.core
from app.core import (
    FutureCancelledError,
    FutureTimeoutError,
    MemoryQueue,
    QueueError,
    QueueUnavailableError,
    QueueWorker,
    QueuingExecutor,
    RemoteError,
    State,
    Task,
    ThreadedExecutor,
    ThreadPoolExecutor,
    wait,
)
from app.core.executor import AT_EXIT
from app.core.named import Call, Lost, Raised, Returned, Stopped
from tests.core.executor_contract import add, echo, raise_cancelled
from tests.core.future_contract import SOON, FutureContract, Producer
from tests.core.queue_doubles import Hand, raise_shelf_error
from tests.core.test_locks import FORBIDDEN, locked_blocks, makes_a_tuple


@pytest.fixture
def queue():
    return MemoryQueue()


@pytest.fixture
def executor(queue):
    return QueuingExecutor(queue)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as pool:
        yield pool


# -- the contract of futures


class HandProducer(Producer):
    def __init__(self):
        self.queue = MemoryQueue()
        self.hand = Hand(self.queue, "x")
        self.future = QueuingExecutor(self.queue).submit("x")

    def start(self):
        self.queue.attach(self.hand)

    def succeed(self, result):
        self.hand.answer(result)

    def fail(self):
        self.queue.settle(self.hand.runs[-1], Raised("ValueError", "broken"))


class TestQueuedFuture(FutureContract):
    def make_future(self):
        return HandProducer()


# -- names and JSON


def test_a_call_is_its_name_and_arguments_as_json(queue, executor):
    hand = Hand(queue, "tests.core.executor_contract:add")
    queue.attach(hand)
    executor.submit(add, 1, b=(2,))
    (message,) = hand.runs
    assert message.call == Call("tests.core.executor_contract:add", '{"args":[1],"kwargs":{"b":[2]}}')


def test_a_tuple_arrives_as_a_list(queue, executor, pool):
    with QueueWorker(queue, pool):
        assert executor.submit(echo, (1, 2), a=((),)).result(SOON) == [[[1, 2]], {"a": [[]]}]


@pytest.mark.parametrize(
    ("arguments", "error"), [([{1}], TypeError), ([{1: 2}], TypeError), ([float("nan")], ValueError)]
)
def test_arguments_that_are_no_json_are_refused_and_nothing_is_put(queue, executor, arguments, error):
    hand = Hand(queue, "tests.core.executor_contract:echo")
    queue.attach(hand)
    with pytest.raises(error, match=r"^an argument of tests\.core\.executor_contract:echo cannot be JSON"):
        executor.submit(echo, *arguments)
    assert hand.runs == []
    assert queue.functions == {}
    executor.shutdown()


def test_a_function_that_has_no_name_in_its_module_is_refused(executor):
    with pytest.raises(TypeError, match="only a function that its module has by its name"):
        executor.submit(lambda: 1)
    executor.shutdown()


def a_set():
    return {1}


def test_a_result_that_is_no_json_fails_the_call(queue, executor, pool):
    with QueueWorker(queue, pool), pytest.raises(TypeError, match="the result cannot be JSON"):
        executor.submit(a_set).result(SOON)


def test_an_exception_of_ones_own_class_comes_back_as_a_remote_error(queue, executor, pool):
    with QueueWorker(queue, pool):
        error = executor.submit(raise_shelf_error).exception(SOON)
    assert isinstance(error, RemoteError)
    assert (error.type, error.message) == ("ShelfError", "full")
    assert "in raise_shelf_error" in error.traceback


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_an_answer_that_is_no_json_fails_the_call(queue, executor, text):
    hand = Hand(queue, "x")
    queue.attach(hand)
    future = executor.submit("x")
    queue.settle(hand.runs[0], Returned(text))
    with pytest.raises(QueueError, match="the queue's answer is no JSON"):
        future.result(SOON)


def test_a_call_whose_name_nobody_knows_waits_for_a_worker_that_does(queue, executor, pool):
    with QueueWorker(queue, pool, limit=1):
        strange = executor.submit("shelf", 1, 2)
        # It holds up nobody.
        assert executor.submit(add, 1, 1).result(SOON) == 2
        assert strange.state is State.PENDING
        with QueueWorker(queue, pool, {"shelf": add}):
            assert strange.result(SOON) == 3


def test_a_worker_never_imports_what_a_name_says(queue, executor, pool):
    with QueueWorker(queue, pool):
        future = executor.submit("antigravity:fly")
        assert executor.submit(add, 1, 1).result(SOON) == 2
        assert not future.done()
    assert "antigravity" not in sys.modules


def test_a_worker_of_a_new_process_is_told_its_functions(queue, executor, pool):
    with QueueWorker(queue, pool, [add]):
        assert executor.submit("tests.core.executor_contract:add", 1, 2).result(SOON) == 3


def test_a_worker_refuses_functions_without_a_name(queue, pool):
    with pytest.raises(TypeError):
        QueueWorker(queue, pool, [lambda: 1])


# -- cancelling


def test_a_waiting_call_is_withdrawn(queue, executor):
    future = executor.submit("x")
    assert future.cancel()
    assert future.cancelled()
    assert future.cancel()
    hand = Hand(queue, "x")
    queue.attach(hand)
    assert hand.runs == []


def test_a_request_is_passed_on_to_whoever_runs_the_call(queue, executor):
    hand = Hand(queue, "x")
    queue.attach(hand)
    future = executor.submit("x")
    assert not future.cancel()
    assert hand.cancels == hand.runs
    queue.settle(hand.runs[0], Stopped())
    assert future.cancelled()
    assert future.cancel_requested()


def test_a_request_while_the_call_is_handed_over_reaches_its_holder(queue, executor):
    seen = []

    class Early(Hand):
        def run(self, message):
            # As another thread would, before the consumer has taken note of the call.
            seen.append(queue.cancel(message.id, stop=True))
            self.cancels.clear()
            super().run(message)

    hand = Early(queue, "x")
    queue.attach(hand)
    executor.submit("x")
    assert seen == [False]
    assert hand.cancels == hand.runs


def test_a_request_before_the_call_has_a_holder_reaches_it(queue, executor):
    def tokens():
        assert not queue.cancel("1", stop=True)
        yield 1

    queue._tokens = tokens()
    hand = Hand(queue, "x")
    queue.attach(hand)
    executor.submit("x")
    assert hand.cancels == hand.runs


def test_a_cancellation_that_loses_to_the_hand_over_is_no_withdrawal(executor):
    future = executor.submit("x")
    # A queue that has handed the call over, and whose `started` is still on its way.
    future._queue = MemoryQueue()
    assert not future.cancel()
    assert future.running()
    assert future.cancel_requested()


class Obeying:
    """Raises FutureCancelledError once it was asked to stop; for an executor of its own."""

    def __init__(self):
        self.begun, self.asked = threading.Event(), threading.Event()


OBEYING = Obeying()


def obey():
    OBEYING.begun.set()
    assert OBEYING.asked.wait(SOON)
    raise FutureCancelledError


class AskingExecutor(ThreadedExecutor):
    """Its futures pass a request on to the code, as a Task does."""

    def submit(self, fn, /, *args, **kwargs):
        future = super().submit(fn, *args, **kwargs)

        class Asking:
            def __init__(self):
                self.add_done_callback = future.add_done_callback

            def cancel(self):
                asked = future.cancel()
                OBEYING.asked.set()
                return asked

        return Asking()


def test_a_request_reaches_the_code_through_the_workers_own_future(queue, executor):
    OBEYING.__init__()
    with AskingExecutor() as threads, QueueWorker(queue, threads):
        future = executor.submit(obey)
        assert OBEYING.begun.wait(SOON)
        assert not future.cancel()
        with pytest.raises(FutureCancelledError):
            future.result(SOON)
    assert future.cancelled()


def test_cancelled_error_without_a_request_is_a_failure(queue, executor, pool):
    with QueueWorker(queue, pool):
        future = executor.submit(raise_cancelled)
        assert isinstance(future.exception(SOON), FutureCancelledError)
    assert not future.cancelled()


def test_a_call_that_waits_in_the_workers_executor_can_be_stopped(queue, executor):
    go_on = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(go_on.wait, SOON)
        with QueueWorker(queue, pool, limit=1):
            future = executor.submit(add, 1, 1)
            future.cancel()
            assert future.cancelled()
            go_on.set()


def test_a_call_is_either_run_or_withdrawn(queue, executor, pool):
    ran = []
    functions = {"note": ran.append}
    cancelled = []
    with QueueWorker(queue, pool, functions, limit=4):
        futures = [executor.submit("note", n) for n in range(300)]
        threads = [
            threading.Thread(target=lambda part=part: cancelled.extend(f for f in part if f.cancel()))
            for part in (futures[::2], futures[1::2])
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wait(futures, SOON).not_done == set()
    withdrawn = [n for n, future in enumerate(futures) if future.cancelled()]
    assert sorted([*ran, *withdrawn]) == list(range(300))
    # A call that is about to begin may be stopped before it has, after `cancel()` was False.
    assert set(cancelled) <= {futures[n] for n in withdrawn}


class UnwillingQueue(MemoryQueue):
    def cancel(self, call_id, *, stop):
        raise QueueUnavailableError("no line")


def test_a_cancellation_that_the_queue_cannot_take_changes_nothing(caplog):
    queue = UnwillingQueue()
    future = QueuingExecutor(queue).submit("x")
    assert not future.cancel()
    assert future.state is State.PENDING
    assert "call 1 cannot be cancelled: no line" in caplog.text
    hand = Hand(queue, "x")
    queue.attach(hand)
    hand.answer(1)
    assert future.result(SOON) == 1


# -- the executor


class BrokenQueue(MemoryQueue):
    def put(self, call, reply):
        raise QueueUnavailableError("the disk is full")


def test_a_call_that_is_not_stored_is_no_call():
    executor = QueuingExecutor(BrokenQueue())
    with pytest.raises(QueueUnavailableError, match=r"^the disk is full$"):
        executor.submit(add, 1, 2)
    assert executor._futures == {}
    executor.shutdown()


class LateQueue(MemoryQueue):
    """Does something else while a call is being put."""

    def put(self, call, reply):
        self.meanwhile()
        return super().put(call, reply)


def test_a_shutdown_that_cancels_catches_a_submission_under_way():
    queue = LateQueue()
    executor = QueuingExecutor(queue)
    queue.meanwhile = lambda: executor.shutdown(wait=False, cancel_futures=True)
    assert executor.submit("x").cancelled()


def test_a_shutdown_waits_for_a_submission_under_way():
    queue = LateQueue()
    executor = QueuingExecutor(queue)
    waiter = threading.Thread(target=executor.shutdown)
    queue.meanwhile = waiter.start
    future = executor.submit("x")
    hand = Hand(queue, "x")
    queue.attach(hand)
    assert waiter.is_alive()
    hand.answer(1)
    waiter.join(SOON)
    assert future.done()


def test_a_shutdown_that_cancels_leaves_alone_what_runs(queue, executor):
    hand = Hand(queue, "x")
    queue.attach(hand)
    first, second = executor.submit("x"), executor.submit("x")
    executor.shutdown(wait=False, cancel_futures=True)
    assert second.cancelled()
    assert second.cancel_requested()
    assert first.running()
    assert not first.cancel_requested()
    assert hand.cancels == []
    hand.answer(5)
    assert first.result(SOON) == 5


def test_a_dropped_executor_still_completes_its_futures(queue):
    executor = QueuingExecutor(queue)
    future = executor.submit("x")
    del executor
    hand = Hand(queue, "x")
    queue.attach(hand)
    hand.answer(5)
    assert future.result(SOON) == 5


def test_in_a_forked_child_it_takes_nothing_and_waits_for_nothing(executor, monkeypatch):
    executor.submit("x")
    pid = os.getpid()
    monkeypatch.setattr("app.core.submitting.os.getpid", lambda: pid + 1)
    with pytest.raises(RuntimeError, match="belongs to its parent process"):
        executor.submit("x")
    executor.shutdown()


def test_at_the_exit_submissions_are_refused(executor, monkeypatch):
    monkeypatch.setattr(AT_EXIT, "exiting", True)
    with pytest.raises(RuntimeError, match="after interpreter shutdown"):
        executor.submit("x")


EXIT = """
import threading
from app.core import MemoryQueue, QueueWorker, QueuingExecutor, ThreadPoolExecutor

queue = MemoryQueue()
executor, pool = QueuingExecutor(queue), ThreadPoolExecutor(1)
begun, go_on = threading.Event(), threading.Event()

def work():
    begun.set()
    go_on.wait(30)

worker = QueueWorker(queue, pool, limit=1)
futures = [executor.submit(work) for _ in range(3)]
unknown = executor.submit("nobody knows")
futures[0].add_done_callback(lambda future: print("first ended"))
begun.wait(30)
threading.Thread(target=lambda: (threading.main_thread().join(), go_on.set())).start()
"""


def test_the_interpreters_exit_leaves_in_the_queue_what_waits():
    done = subprocess.run(
        [sys.executable, "-c", EXIT],
        cwd=Path(app.core.__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        timeout=SOON,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "first ended\n", "")


def test_a_task_may_yield_calls_on_a_queue(queue, executor, pool):
    def total():
        first = yield executor.submit(add, 1, 2)
        rest = yield [executor.submit(add, n, n) for n in range(3)]
        return first + sum(rest)

    with QueueWorker(queue, pool):
        task = Task(total())
        task.step()
        assert task.result(SOON) == 9


def test_a_call_can_be_awaited(queue, executor, pool):
    async def main():
        loop = asyncio.get_running_loop()
        return await executor.submit(add, 1, 2), await loop.run_in_executor(executor, add, 3, 4)

    with QueueWorker(queue, pool):
        assert asyncio.run(main()) == (3, 7)


def test_a_future_whose_queue_is_gone_fails(queue, executor):
    future = executor.submit("x")
    future._ended(Lost("closed"))
    with pytest.raises(QueueUnavailableError, match=r"^closed$"):
        future.result(SOON)


def test_nothing_is_called_or_created_while_the_lock_of_a_future_is_held():
    blocks = locked_blocks("submitting.py")
    assert blocks
    inside = [node for block in blocks for part in block.body for node in ast.walk(part)]
    assert not any(isinstance(node, FORBIDDEN) or makes_a_tuple(node) for node in inside)


def test_a_result_does_not_come_before_its_time(executor):
    with pytest.raises(FutureTimeoutError):
        executor.submit("x").result(0)
