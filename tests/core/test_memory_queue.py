"""A queue in memory: who gets which call, and when nobody does."""

import gc
import threading
import weakref
from collections import OrderedDict

import pytest

from app.core import MemoryQueue, QueueWorker, QueuingExecutor, ThreadPoolExecutor, wait
from app.core.memory_queue import _head
from app.core.named import Returned
from tests.core.executor_contract import add
from tests.core.future_contract import SOON
from tests.core.queue_doubles import CALL, Ear, Hand, raise_shelf_error


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


def test_only_the_present_holder_ends_a_call(queue):
    ear = Ear()
    first, second = Hand(queue, CALL.name), Hand(queue, CALL.name)
    queue.attach(first)
    queue.put(CALL, ear)
    queue.detach(first)
    queue.attach(second)
    queue.release(first.runs[0])
    assert [message.id for message in second.runs] == [first.runs[0].id]
    queue.settle(first.runs[0], Returned("1"))
    queue.release(first.runs[0])
    assert ear.heard == ["started", "started"]
    queue.settle(second.runs[0], Returned("2"))
    queue.settle(second.runs[0], Returned("3"))
    assert ear.heard == ["started", "started", Returned("2")]


def test_a_call_put_back_is_the_first_again(queue, executor):
    first, second = Hand(queue, "x"), Hand(queue, "x", limit=3)
    queue.attach(first)
    for _ in range(3):
        executor.submit("x")
    queue.detach(first)
    queue.release(first.runs[0])
    queue.attach(second)
    assert [message.id for message in second.runs] == ["1", "2", "3"]


def test_a_call_put_back_can_be_withdrawn(queue, executor):
    hand = Hand(queue, "x")
    queue.attach(hand)
    future = executor.submit("x")
    queue.detach(hand)
    queue.release(hand.runs[0])
    assert future.running()
    assert future.cancel()
    assert future.cancelled()
    assert queue._entries == {}


def test_a_call_put_back_after_a_request_is_cancelled(queue, executor):
    hand = Hand(queue, "x")
    queue.attach(hand)
    future = executor.submit("x")
    assert not future.cancel()
    queue.release(hand.runs[0])
    assert future.cancelled()
    assert len(hand.runs) == 1


def test_a_call_put_back_as_it_is_asked_to_stop_is_cancelled(queue, executor):
    hand = Hand(queue, "x")
    queue.attach(hand)
    future = executor.submit("x")
    queue.detach(hand)

    class Line(OrderedDict):
        def pop(self, *args):
            # As its holder would in another thread, behind the look that finds it held.
            found = super().pop(*args)
            if hand.runs:
                queue.release(hand.runs.pop())
            return found

    queue._lines["x"] = Line()
    future.cancel()
    assert future.cancelled()
    assert queue._entries == {}


def test_a_call_that_is_withdrawn_as_it_is_handed_over_leaves_the_room_to_the_next(
    queue, executor, monkeypatch
):
    future, hand = executor.submit("x"), Hand(queue, "x")
    find, looks = queue._first_line, []

    def find_and_lose(post):
        line = find(post)
        looks.append(line)
        if len(looks) == 2:
            assert future.cancel()
        return line

    monkeypatch.setattr(queue, "_first_line", find_and_lose)
    queue.attach(hand)
    assert hand.runs == []
    assert executor.submit("x").running()


def test_a_line_that_changes_while_it_is_looked_at_is_looked_at_again():
    class Changing(dict):
        looks = 0

        def __iter__(self):
            self.looks += 1
            if self.looks == 1:
                raise RuntimeError
            return super().__iter__()

    assert _head(Changing({5: None})) == 5


def test_a_consumer_that_is_being_served_is_served_by_nobody_else(queue, executor):
    inside, go_on, threads = threading.Event(), threading.Event(), []

    class Slow(Hand):
        def run(self, message):
            super().run(message)
            threads.append(threading.current_thread())
            inside.set()
            assert go_on.wait(SOON)

    hand = Slow(queue, "x", limit=2)
    queue.attach(hand)
    first = threading.Thread(target=executor.submit, args=("x",))
    first.start()
    assert inside.wait(SOON)
    # Returns, although the consumer is still at the first call; whose thread then sees to this one.
    executor.submit("x")
    assert len(hand.runs) == 1
    go_on.set()
    first.join(SOON)
    assert threads == [first, first]


def test_nothing_is_kept_of_a_call_that_is_over(queue, executor, pool):
    gc.disable()
    try:
        with QueueWorker(queue, pool, limit=1) as worker:
            futures = [
                executor.submit(add, 1, 1),
                executor.submit(raise_shelf_error),
                executor.submit(add, 2, 2),
            ]
            wait(futures, SOON)
            withdrawn = executor.submit("unknown")
            withdrawn.cancel()
            refs = [weakref.ref(future) for future in [*futures, withdrawn]]
            worker.stop()
            del futures, withdrawn
            assert [ref() for ref in refs] == [None] * 4
            assert (queue._entries, queue._held, worker._runs, executor._futures) == ({}, {}, {}, {})
            assert not any(queue._lines.values())
    finally:
        gc.enable()
