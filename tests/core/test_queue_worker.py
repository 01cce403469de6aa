"""The end of a queue where the calls run."""

import os
import sys
import threading

import pytest

from app.core import (
    Future,
    MemoryQueue,
    ProcessPoolExecutor,
    QueueWorker,
    QueuingExecutor,
    RemoteError,
    State,
    ThreadedExecutor,
    ThreadPoolExecutor,
)
from app.core.named import Call, Raised, Returned, Stopped
from tests.core.executor_contract import add
from tests.core.future_contract import SOON
from tests.core.queue_doubles import CALL, Ear, Hand, Inline, raise_shelf_error


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


def test_a_worker_holds_no_more_than_its_limit(queue, executor):
    hand = Hand(queue, "x", limit=2)
    queue.attach(hand)
    futures = [executor.submit("x") for _ in range(4)]
    assert [future.running() for future in futures] == [True, True, False, False]
    assert futures[3].cancel()
    queue.settle(hand.runs[0], Returned("0"))
    assert futures[2].running()


def test_the_limit_is_the_executors_unless_given(queue, pool, monkeypatch):
    limits = []
    for workers, limit in [(3, None), (3, 5), (None, None), (None, 7)]:
        monkeypatch.setattr(pool, "_max_workers", workers)
        with QueueWorker(queue, pool, limit=limit) as worker:
            limits.append(worker.limit)
    assert limits == [3, 5, min(32, (os.cpu_count() or 1) + 4), 7]
    with pytest.raises(ValueError, match=r"^limit must be >= 1$"):
        QueueWorker(queue, pool, limit=0)


def test_two_workers_share_a_queue(queue, executor):
    barrier = threading.Barrier(2)
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        functions = {"meet": lambda: barrier.wait(SOON)}
        with QueueWorker(queue, one, functions, limit=1), QueueWorker(queue, other, functions, limit=1):
            futures = [executor.submit("meet") for _ in range(2)]
            assert sorted(future.result(SOON) for future in futures) == [0, 1]


def test_the_worker_with_more_room_is_served_first(queue, executor):
    small, large = Hand(queue, "x", limit=1), Hand(queue, "x", limit=3)
    queue.attach(small)
    queue.attach(large)
    for _ in range(2):
        executor.submit("x")
    assert (len(small.runs), len(large.runs)) == (0, 2)


def test_calls_begin_in_the_order_of_submission_whatever_their_names(queue, executor):
    futures = [executor.submit(name, n) for n, name in enumerate("abbabca")]
    hand = Hand(queue, "a", "b", limit=10)
    queue.attach(hand)
    assert [int(message.id) for message in hand.runs] == [1, 2, 3, 4, 5, 7]
    assert futures[5].state is State.PENDING


def test_its_executor_may_be_one_of_processes(queue, executor):
    with ProcessPoolExecutor(1) as processes, QueueWorker(queue, processes, limit=1):
        assert executor.submit(os.getpid).result(SOON) != os.getpid()
        assert isinstance(executor.submit(raise_shelf_error).exception(SOON), RemoteError)


def test_stop_waits_for_what_runs_and_takes_no_more(queue, executor, pool):
    begun, go_on = threading.Event(), threading.Event()
    worker = QueueWorker(queue, pool, {"wait": lambda: (begun.set(), go_on.wait(SOON))[1]}, limit=1)
    first, second = executor.submit("wait"), executor.submit("wait")
    assert begun.wait(SOON)
    worker.stop(wait=False)
    stopper = threading.Thread(target=worker.stop)
    stopper.start()
    assert stopper.is_alive()
    go_on.set()
    stopper.join(SOON)
    assert first.result(0) is True
    assert second.state is State.PENDING


def test_a_call_that_comes_as_the_worker_stops_is_put_back(queue, executor, pool):
    worker = QueueWorker(queue, pool, {"add": add})
    post = queue._posts[0]
    worker.stop()
    # The hand-over was under way.
    queue._posts.append(post)
    post.open = True
    future = None

    def put_once(message, run=worker.run):
        post.open = False
        run(message)

    worker.run = put_once
    future = executor.submit("add", 1, 2)
    assert not future.done()
    with QueueWorker(queue, pool, {"add": add}):
        assert future.result(SOON) == 3


def test_what_a_closed_executor_refuses_is_put_back_for_another(queue, executor, pool, caplog):
    closed = ThreadPoolExecutor(1)
    closed.shutdown()
    worker = QueueWorker(queue, closed)
    future = executor.submit(add, 1, 2)
    assert not future.done()
    assert "a worker of a queue stops, because its executor refuses calls: cannot schedule" in caplog.text
    worker.stop()
    with QueueWorker(queue, pool):
        assert future.result(SOON) == 3


def test_what_an_executor_cancels_as_it_is_shut_down_is_put_back(queue, executor, pool):
    begun, go_on = threading.Event(), threading.Event()
    functions = {"wait": lambda: (begun.set(), go_on.wait(SOON))[1], "add": add}
    narrow = ThreadPoolExecutor(1)
    worker = QueueWorker(queue, narrow, functions, limit=2)
    running, waiting = executor.submit("wait"), executor.submit("add", 1, 2)
    assert begun.wait(SOON)
    narrow.shutdown(wait=False, cancel_futures=True)
    go_on.set()
    worker.stop()
    assert running.result(SOON) is True
    with QueueWorker(queue, pool, functions):
        assert waiting.result(SOON) == 3


@pytest.mark.parametrize("arguments", ["{", "[]", '{"args":1,"kwargs":{}}', '{"args":[]}', "[" * 100_000])
def test_arguments_that_somebody_else_has_spoilt_fail_the_call(queue, pool, arguments):
    ear = Ear()
    with QueueWorker(queue, pool, {"add": add}) as worker:
        queue.put(Call("add", arguments), ear)
        assert not worker._runs
    started, ending = ear.heard
    assert (started, type(ending)) == ("started", Raised)


class PickyExecutor(ThreadedExecutor):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def submit(self, fn, /, *args, **kwargs):
        raise self.error


@pytest.mark.parametrize("error", [TypeError, RecursionError])
def test_a_call_that_cannot_be_given_to_the_executor_fails_and_the_worker_goes_on(queue, executor, error):
    with QueueWorker(queue, PickyExecutor(error("too deep")), {"add": add}):
        for _ in range(2):
            failure = executor.submit("add", 1, 2).exception(SOON)
            assert isinstance(failure, error)
            assert str(failure) == "too deep"


def test_an_executor_that_runs_calls_at_once_is_no_recursion(queue, executor):
    calls = 3 * sys.getrecursionlimit()
    futures = [executor.submit("add", n, 1) for n in range(calls)]
    with QueueWorker(queue, Inline(), {"add": add}, limit=1):
        assert [future.result(0) for future in futures] == list(range(1, calls + 1))


def test_a_request_while_the_executor_takes_the_call_reaches_its_future(queue):
    ear, pending = Ear(), Future()

    class Taking(Inline):
        def submit(self, fn, /, *args, **kwargs):
            queue.cancel("1", stop=True)
            return pending

    with QueueWorker(queue, Taking(), {"shelf:count": add}):
        queue.put(CALL, ear)
        assert pending.cancelled()
    assert [type(heard) for heard in ear.heard] == [str, Stopped]


def test_a_request_for_a_call_that_is_over_is_ignored(queue, executor, pool):
    message = []

    class Watching(QueueWorker):
        def run(self, given):
            message.append(given)
            super().run(given)

    with Watching(queue, pool) as worker:
        assert executor.submit(add, 1, 1).result(SOON) == 2
        worker.stop()
        worker.cancel(message[0])
        assert not queue.cancel(message[0].id, stop=True)
