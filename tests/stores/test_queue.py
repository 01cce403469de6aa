"""StoreQueue: the contract of executors over a queue in a store, and what is its own."""

import asyncio
import gc
import itertools
import threading
import weakref

import pytest

from app.core import (
    FutureCancelledError,
    QueueError,
    QueueUnavailableError,
    QueueWorker,
    QueuingExecutor,
    RemoteError,
    State,
    Task,
    ThreadPoolExecutor,
    wait,
)
from app.core.named import Call, Returned, Stopped
from app.jobs.lifecycle import Lost, Succeeded
from app.jobs.model import SECOND, Hold, Job, Outcome, Slot, new_id, wall_clock
from app.jobs.model import Stopped as How
from app.stores import due as due_module
from app.stores import ticker as ticker_module
from app.stores.base import Change, Insert, Probe, Recover, StoreUnavailableError
from app.stores.desk import Desk
from app.stores.queue import StoreQueue
from app.stores.sqlite import SqliteStore
from app.stores.writer import Writer
from tests.core.executor_contract import ExecutorContract, add
from tests.core.future_contract import SOON
from tests.stores.driving import NOW


class FaultyStore(SqliteStore):
    """Fails as it is told. refuse: says of an operation whether it can never be carried out."""

    broken = False
    endings = 0
    """Settlements that were refused while it was broken."""

    @staticmethod
    def refuse(operation):
        return False

    def apply(self, operations, now):
        if self.broken:
            self.endings += sum(isinstance(operation, Change) for operation in operations)
            raise StoreUnavailableError("the disk is full")
        if any(map(self.refuse, operations)):
            raise ValueError("too big")
        return super().apply(operations, now)


class House:
    """A store, its writer and a queue on it; and what was changed, for tests to wait for."""

    def __init__(self, path, clock=lambda: NOW):
        self.store = FaultyStore(path)
        self.writer = Writer(self.store, clock)
        self.queue = StoreQueue(self.writer, clock)
        self.executor = QueuingExecutor(self.queue)
        self.jobs = {}
        self.news = threading.Condition()
        self.writer.listen(self.note)

    def note(self, jobs):
        with self.news:
            self.jobs.update((job.id, job) for job in jobs)
            self.news.notify_all()

    def until(self, predicate):
        """Wait until this holds of the jobs, in the order of their first change."""
        with self.news:
            assert self.news.wait_for(lambda: predicate(list(self.jobs.values())), SOON)

    def job(self, future):
        return asyncio.run(self.store.get("default", future._call_id))

    def close(self):
        self.queue.close()
        self.writer.close()
        self.store.close()


@pytest.fixture(autouse=True)
def _soon_again(monkeypatch):
    monkeypatch.setattr(ticker_module, "RETRY_INTERVAL", 0.001)
    monkeypatch.setattr(due_module, "CLOCK_CHECK", 0.001)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.db"


@pytest.fixture
def house(path):
    house = House(path)
    yield house
    house.close()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as pool:
        yield pool


class Gate:
    """A function that says when it has begun, and ends when it may."""

    def __init__(self):
        self.begun, self.go_on = threading.Semaphore(0), threading.Event()

    def __call__(self):
        self.begun.release()
        return self.go_on.wait(SOON)

    def wait_begun(self):
        assert self.begun.acquire(timeout=SOON)


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.go_on.set()


class Hand:
    """A consumer that does nothing by itself."""

    def __init__(self, *names, limit=1):
        self.names = names
        self.limit = limit
        self.runs = []
        self.cancels = []
        self.came = threading.Semaphore(0)
        self.asked = threading.Semaphore(0)

    def run(self, message):
        self.runs.append(message)
        self.came.release()

    def cancel(self, message):
        self.cancels.append(message)
        self.asked.release()

    def next(self):
        assert self.came.acquire(timeout=SOON)
        return self.runs[-1]


class TestQueuingExecutorOnAStore(ExecutorContract):
    @pytest.fixture(autouse=True)
    def _worker(self, path):
        house = House(path, wall_clock)
        self.queue = house.queue
        with ThreadPoolExecutor(4) as pool, QueueWorker(self.queue, pool, limit=4):
            yield
        house.close()

    def make_executor(self):
        return QueuingExecutor(self.queue)


# -- durable


def test_a_call_is_a_job_on_the_disk_when_submit_returns(house):
    future = house.executor.submit("shelf", 1, b=(2,))
    job = house.job(future)
    assert (job.task, job.arguments) == ("shelf", '{"args":[1],"kwargs":{"b":[2]}}')
    assert (job.state, job.created_at) == (State.PENDING, NOW)


def test_calls_outlive_the_process_that_put_them(path, pool):
    first = House(path)
    futures = [first.executor.submit(add, n, 1) for n in range(3)]
    first.close()
    for future in futures:
        with pytest.raises(QueueUnavailableError, match=r"^the queue was closed$"):
            future.result(SOON)
    second = House(path)
    with QueueWorker(second.queue, pool, [add]):
        second.until(lambda jobs: sorted(job.result for job in jobs if job.done) == ["1", "2", "3"])
    assert second.job(futures[0]).result == "1"
    second.close()


def test_what_a_lost_process_ran_runs_again_when_its_time_has_come(path, pool, gate):
    first = House(path)
    worker = QueueWorker(first.queue, pool, {"work": gate}, limit=2)
    futures = [first.executor.submit("work") for _ in range(2)]
    gate.wait_begun()
    gate.wait_begun()
    # Without its worker's having stopped: as if the process had been killed.
    first.close()
    now = [NOW]
    second = House(path, lambda: now[0])
    with QueueWorker(second.queue, pool, {"work": lambda: "again"}):
        second.until(lambda jobs: [job.losses for job in jobs] == [1, 1])
        assert second.job(futures[0]).hold == Hold.DUE_LATER
        # By now the queue has been told when it is due, too.
        second.writer.submit(Probe()).result(SOON)
        now[0] += 2 * SECOND
        second.until(lambda jobs: all(job.done for job in jobs))
    assert second.job(futures[0]).result == '"again"'
    second.close()
    gate.go_on.set()
    worker.stop()


def test_a_call_is_running_in_the_store_only_when_there_is_room_for_it(house, pool, gate):
    with QueueWorker(house.queue, pool, {"work": gate}, limit=1):
        first, second = house.executor.submit("work"), house.executor.submit("work")
        gate.wait_begun()
        assert (house.job(first).state, house.job(second).state) == (State.RUNNING, State.PENDING)
        assert second.cancel()
        assert house.job(second).cancellation.outcome == How.NOT_STARTED
        gate.go_on.set()
        assert first.result(SOON) is True


def test_two_workers_share_a_queue(house):
    barrier = threading.Barrier(2)
    functions = {"meet": lambda: barrier.wait(SOON)}
    with (
        ThreadPoolExecutor(1) as one,
        ThreadPoolExecutor(1) as other,
        QueueWorker(house.queue, one, functions, limit=1),
        QueueWorker(house.queue, other, functions, limit=1),
    ):
        futures = [house.executor.submit("meet") for _ in range(2)]
        assert sorted(future.result(SOON) for future in futures) == [0, 1]


def test_a_failure_is_stored_and_comes_back_as_what_it_was(house, pool):
    def fail():
        raise ValueError("not \ud800 storable\0")

    with QueueWorker(house.queue, pool, {"fail": fail}):
        future = house.executor.submit("fail")
        error = future.exception(SOON)
    assert isinstance(error, ValueError)
    assert str(error) == "not \\ud800 storable\\x00"
    assert isinstance(error.__cause__, RemoteError)
    assert house.job(future).exception.type == "ValueError"


def test_a_task_may_yield_calls_on_a_stored_queue(house, pool):
    def total():
        first = yield house.executor.submit(add, 1, 2)
        rest = yield [house.executor.submit(add, n, n) for n in range(3)]
        return first + sum(rest)

    with QueueWorker(house.queue, pool):
        task = Task(total())
        task.step()
        assert task.result(SOON) == 9


def test_a_call_can_be_awaited(house, pool):
    async def main():
        return await house.executor.submit(add, 1, 2)

    with QueueWorker(house.queue, pool):
        assert asyncio.run(main()) == 3


# -- cancelling


def test_a_request_reaches_whoever_runs_the_call(house):
    hand = Hand("x")
    house.queue.attach(hand)
    future = house.executor.submit("x")
    message = hand.next()
    assert not future.cancel()
    assert hand.asked.acquire(timeout=SOON)
    assert hand.cancels == [message]
    house.queue.settle(message, Stopped())
    with pytest.raises(FutureCancelledError):
        future.result(SOON)
    assert house.job(future).cancellation.outcome == How.COOPERATIVE
    assert not house.queue.cancel("no such call", stop=True)
    house.queue.detach(hand)


def test_a_shutdown_that_cancels_leaves_alone_what_runs(house):
    hand = Hand("x")
    house.queue.attach(hand)
    first, second = house.executor.submit("x"), house.executor.submit("x")
    message = hand.next()
    house.executor.shutdown(wait=False, cancel_futures=True)
    assert second.cancelled()
    assert house.job(first).cancellation is None
    house.queue.settle(message, Returned("5"))
    assert first.result(SOON) == 5


def test_a_call_that_was_put_back_after_a_request_is_cancelled(house):
    hand = Hand("x")
    house.queue.attach(hand)
    future = house.executor.submit("x")
    message = hand.next()
    assert not future.cancel()
    house.queue.release(message)
    assert wait([future], SOON).done
    assert future.cancelled()


def test_what_an_executor_refuses_is_put_back_at_no_cost(house, pool, caplog):
    closed = ThreadPoolExecutor(1)
    closed.shutdown()
    worker = QueueWorker(house.queue, closed, [add])
    future = house.executor.submit(add, 1, 2)
    house.until(lambda jobs: [job.version for job in jobs] == [3])
    worker.stop()
    assert "its executor refuses calls" in caplog.text
    assert house.job(future).attempt == 0
    with QueueWorker(house.queue, pool):
        assert future.result(SOON) == 3


def test_only_the_present_holder_ends_a_call(house, caplog):
    hand = Hand("x")
    house.queue.attach(hand)
    future = house.executor.submit("x")
    first = hand.next()
    house.queue.release(first)
    second = hand.next()
    house.queue.settle(first, Returned("1"))
    # Somebody else has declared it lost, in the store.
    lost = Lost(house.job(future).token)
    assert house.writer.submit(Change(future._call_id, (lost,))).result(SOON).losses == 1
    house.queue.settle(second, Returned("2"))
    house.writer.submit(Probe()).result(SOON)
    assert "is not stored: job" in caplog.text
    assert not future.done()


# -- names that nobody knows


def test_a_call_that_no_worker_knows_is_held_back_until_one_does(house, pool):
    with QueueWorker(house.queue, pool):
        future = house.executor.submit("shelf", 1, 2)
        assert house.executor.submit(add, 1, 1).result(SOON) == 2
        assert house.job(future).hold == Hold.UNKNOWN_TASK
        with QueueWorker(house.queue, pool, {"shelf": add}):
            assert future.result(SOON) == 3


def test_it_is_let_go_when_nothing_runs(house, pool, gate):
    with QueueWorker(house.queue, pool, {"work": gate}):
        strange, working = house.executor.submit("shelf", 1, 2), house.executor.submit("work")
        gate.wait_begun()
        with QueueWorker(house.queue, pool, {"shelf": add}):
            # What runs must not be taken for lost, and nothing else waits for it.
            assert house.executor.submit(add, 1, 1).result(SOON) == 2
            assert house.job(strange).hold == Hold.UNKNOWN_TASK
            gate.go_on.set()
            assert strange.result(SOON) == 3
    assert working.result(SOON) is True
    assert house.job(working).losses == 0


def test_a_function_handed_over_lets_go_what_was_held_back_of_its_name(path, pool):
    first = House(path)
    old = first.executor.submit(add, 1, 1)
    first.close()
    second = House(path)
    with QueueWorker(second.queue, pool):
        assert second.job(old).hold == Hold.UNKNOWN_TASK
        assert second.executor.submit(add, 2, 2).result(SOON) == 4
        second.until(lambda jobs: sorted(job.result for job in jobs if job.done) == ["2", "4"])
    second.close()


def test_a_worker_that_comes_while_its_call_is_being_put_gets_it(house, pool):
    workers = []

    def attach():
        workers.append(QueueWorker(house.queue, pool, {"shelf": add}))

    def apply(operations, now, carry_out=house.store.apply):
        if any(isinstance(operation, Insert) for operation in operations):
            # The call was found to be unknown; the worker finds that nothing is held back.
            del house.store.apply
            thread = threading.Thread(target=attach)
            thread.start()
            thread.join(SOON)
        return carry_out(operations, now)

    with QueueWorker(house.queue, pool):
        house.store.apply = apply
        assert house.executor.submit("shelf", 1, 2).result(SOON) == 3
    workers[0].stop()


def test_a_call_claimed_for_the_room_of_another_waits_here_and_can_be_cancelled(house, pool, gate):
    with QueueWorker(house.queue, pool, {"work": gate}, limit=1), QueueWorker(house.queue, pool, limit=1):
        running, waiting = house.executor.submit("work"), house.executor.submit("work")
        house.until(lambda jobs: [job.state for job in jobs] == [State.RUNNING] * 2)
        gate.wait_begun()
        # False, unless it has been put back and withdrawn by then.
        waiting.cancel()
        assert wait([waiting], SOON).done
        assert waiting.cancelled()
        assert running.running()
        gate.go_on.set()
        assert running.result(SOON) is True


def test_what_the_only_worker_that_knew_it_leaves_behind_is_held_back(house, pool, gate):
    knowing = QueueWorker(house.queue, pool, {"work": gate}, limit=1)
    with QueueWorker(house.queue, pool, {"add": add}, limit=1):
        running, waiting = house.executor.submit("work"), house.executor.submit("work")
        house.until(lambda jobs: [job.state for job in jobs] == [State.RUNNING] * 2)
        gate.wait_begun()
        knowing.stop(wait=False)
        house.until(lambda jobs: [job.state for job in jobs] == [State.RUNNING, State.PENDING])
        gate.go_on.set()
        assert running.result(SOON) is True
        assert house.executor.submit("add", 1, 2).result(SOON) == 3
        assert house.job(waiting).hold == Hold.UNKNOWN_TASK
        assert house.job(waiting).losses == 0
    with QueueWorker(house.queue, pool, {"work": gate}):
        assert waiting.result(SOON) is True


def test_when_the_last_worker_has_left_the_next_one_sees_to_what_is_unknown(house, pool, gate):
    knowing, other = (
        QueueWorker(house.queue, pool, {"work": gate}, limit=1),
        QueueWorker(house.queue, pool, limit=1),
    )
    running, waiting = house.executor.submit("work"), house.executor.submit("work")
    house.until(lambda jobs: [job.state for job in jobs] == [State.RUNNING] * 2)
    gate.wait_begun()
    other.stop()
    knowing.stop(wait=False)
    house.until(lambda jobs: [job.state for job in jobs] == [State.RUNNING, State.PENDING])
    gate.go_on.set()
    assert running.result(SOON) is True
    with QueueWorker(house.queue, pool, {"work": gate}):
        assert waiting.result(SOON) is True


# -- a store that cannot be written


def test_submit_raises_when_the_call_cannot_be_stored(house):
    house.store.broken = True
    with pytest.raises(QueueUnavailableError, match=r"^the disk is full$"):
        house.executor.submit("x")
    assert house.queue._replies == {}
    house.store.broken = False
    with pytest.raises(QueueError) as caught:
        house.executor.submit("\ud800")
    assert type(caught.value) is QueueError
    assert not house.executor._futures


def test_a_worker_is_not_made_when_the_store_cannot_be_written(house, pool):
    future = house.executor.submit("add", 1, 2)
    house.store.broken = True
    with pytest.raises(QueueUnavailableError, match=r"^the disk is full$"):
        QueueWorker(house.queue, pool, {"add": add})
    assert house.queue._consumers == []
    house.store.broken = False
    with QueueWorker(house.queue, pool, {"add": add}):
        assert future.result(SOON) == 3


def test_a_worker_that_leaves_the_recovery_to_another_gets_calls_though_that_one_fails(house, pool):
    workers = []

    def attach():
        workers.append(QueueWorker(house.queue, pool, {"add": add}))

    def apply(operations, now):
        del house.store.apply
        thread = threading.Thread(target=attach)
        thread.start()
        thread.join(SOON)
        raise StoreUnavailableError("the disk is full")

    house.store.apply = apply
    with pytest.raises(QueueUnavailableError):
        QueueWorker(house.queue, pool, {"add": add})
    with workers[0]:
        assert house.executor.submit("add", 1, 2).result(SOON) == 3


def test_cancelling_is_false_when_the_store_cannot_be_written(house):
    future = house.executor.submit("x")
    house.store.broken = True
    assert not future.cancel()
    house.store.broken = False
    assert future.state is State.PENDING
    assert future.cancel()


def test_an_ending_is_stored_when_the_store_can_be_written_again(house, pool, gate):
    with QueueWorker(house.queue, pool, {"work": gate}):
        future = house.executor.submit("work")
        gate.wait_begun()
        house.store.broken = True
        gate.go_on.set()
        while house.store.endings < 2:
            house.writer.submit(Probe()).exception(SOON)
        assert not future.done()
        house.store.broken = False
        assert future.result(SOON) is True


def test_a_claim_that_failed_is_made_again(house, pool):
    with QueueWorker(house.queue, pool, {"add": add}, limit=1) as worker:
        # As if the claim that rides with it had failed alone.
        house.queue._claiming = False
        future = house.executor.submit("add", 1, 2)
        house.queue._claiming = True
        house.queue.missed()
        assert future.result(SOON) == 3
        assert worker.limit == 1


def test_what_the_store_could_not_be_told_it_is_told_later(house, pool, gate, caplog):
    with QueueWorker(house.queue, pool, {"work": gate}):
        strange, working = house.executor.submit("shelf", 1, 2), house.executor.submit("work")
        gate.wait_begun()
        with QueueWorker(house.queue, pool, {"shelf": add}):
            attempts = itertools.count()
            house.store.refuse = lambda operation: isinstance(operation, Recover) and next(attempts) == 0
            gate.go_on.set()
            assert strange.result(SOON) == 3
    assert "the store cannot be told which calls are known" in caplog.text
    assert working.result(SOON) is True


def is_success(operation):
    return isinstance(operation, Change) and isinstance(operation.events[0], Succeeded)


def test_a_result_that_can_never_be_stored_fails_the_call(house, pool):
    house.store.refuse = is_success
    with QueueWorker(house.queue, pool, {"add": add}):
        future = house.executor.submit("add", 1, 2)
        error = future.exception(SOON)
    assert isinstance(error, RemoteError)
    assert str(error) == "QueueError: the store cannot keep what the call has returned or raised"
    assert house.job(future).outcome is Outcome.FAILED


def test_an_ending_that_can_never_be_stored_is_told_all_the_same(house, pool):
    house.store.refuse = lambda operation: isinstance(operation, Change)
    with QueueWorker(house.queue, pool, {"add": add}):
        future = house.executor.submit("add", 1, 2)
        with pytest.raises(QueueUnavailableError, match="its ending cannot be stored"):
            future.result(SOON)


def test_what_is_due_is_promoted_again_after_a_failure(house, pool):
    promoter = house.queue._promoter
    promoted = promoter._promoted
    failed = threading.Event()

    def fail_once(future):
        if not failed.is_set():
            failed.set()
            house.store.broken = False
        promoted(future)

    promoter._promoted = fail_once
    house.store.broken = True
    promoter.promote()
    assert failed.wait(SOON)
    with QueueWorker(house.queue, pool):
        assert house.executor.submit(add, 1, 2).result(SOON) == 3


def test_an_ending_that_is_not_stored_when_the_queue_is_closed_gets_one_more_attempt(path, monkeypatch):
    monkeypatch.setattr(ticker_module, "RETRY_INTERVAL", SOON)
    house, hand = House(path), Hand("x")
    house.queue.attach(hand)
    house.executor.submit("x")
    message = hand.next()
    house.store.broken = True
    house.queue.settle(message, Returned("5"))
    while not house.queue._settler._kept:
        house.writer.submit(Probe()).exception(SOON)
    house.store.broken = False
    house.close()
    assert [job.result for job in house.jobs.values()] == ["5"]


# -- threads


def test_the_writers_own_thread_does_not_wait_for_itself(house):
    """A finalizer may come in there."""
    future = house.executor.submit("x")
    answers = []

    def use(jobs):
        if not answers:
            answers.append(future.cancel())
            with pytest.raises(QueueUnavailableError, match="the thread that writes the store"):
                house.queue.put(Call("x", "{}"), None)

    house.writer.listen(use)
    house.writer.submit(Probe()).result(SOON)
    assert answers == [False]
    assert wait([future], SOON).done
    assert future.cancelled()


def test_a_finalizer_may_wait_for_the_store_in_the_middle_of_a_submission(house):
    future, items = house.executor.submit("x"), house.writer._items
    cancelled = []

    class Items:
        get, get_nowait = items.get, items.get_nowait

        def put(self, item):
            items.put(item)
            house.writer._items = items
            # As the garbage collector would have it.
            cancelled.append(future.cancel())

    # As the queue does, on the writer's thread.
    house.writer.listen(lambda jobs: jobs and house.writer.submit(Probe()))
    house.writer._items = Items()
    submission = threading.Thread(target=house.writer.submit, args=[Probe()], daemon=True)
    submission.start()
    submission.join(SOON)
    assert cancelled == [True]


def test_a_finalizer_may_wait_for_the_store_under_the_tickers_lock(house):
    job = Job(new_id(NOW), "default", "x", Slot.THREAD, NOW, NOW + SECOND, hold=Hold.DUE_LATER)
    house.writer.listen(lambda jobs: house.queue.missed())
    with house.queue._ticker._news:
        assert house.writer.submit(Insert([job])).result(SOON) == [job]


def test_a_callback_may_submit_and_cancel(house, pool):
    seen, done = [], threading.Event()

    def use(future):
        inner = house.executor.submit("nobody knows")
        seen.append((future.result(), inner.cancel()))
        done.set()

    with QueueWorker(house.queue, pool):
        house.executor.submit(add, 1, 2).add_done_callback(use)
        assert done.wait(SOON)
    assert seen == [(3, True)]


def test_a_callback_that_blocks_does_not_hold_up_the_calls(house, pool, gate):
    with QueueWorker(house.queue, pool, {"add": add, "work": gate}, limit=1):
        inside = threading.Event()
        first = house.executor.submit("add", 1, 2)
        first.add_done_callback(lambda _: (inside.set(), gate.go_on.wait(SOON)))
        assert inside.wait(SOON)
        second = house.executor.submit("work")
        gate.wait_begun()
        gate.go_on.set()
        assert second.result(SOON) is True


def test_a_closed_queue_takes_nothing(path, pool):
    house = House(path)
    QueueWorker(house.queue, pool, [add]).stop()
    house.close()
    with pytest.raises(QueueUnavailableError, match=r"^the queue is closed$"):
        house.executor.submit(add, 1, 2)
    with pytest.raises(QueueUnavailableError):
        QueueWorker(house.queue, pool)


def test_a_callback_may_close_the_queue(path):
    house, hand = House(path), Hand("x")
    closed = threading.Event()
    house.queue.attach(hand)
    future = house.executor.submit("x")
    future.add_done_callback(lambda _: (house.queue.close(), closed.set()))
    house.queue.settle(hand.next(), Returned("1"))
    assert closed.wait(SOON)
    house.writer.close()
    house.store.close()


def test_close_puts_back_what_is_claimed_and_not_begun(path, pool, gate):
    house = House(path)
    worker = QueueWorker(house.queue, pool, {"work": gate}, limit=1)
    other = QueueWorker(house.queue, pool, limit=1)
    for _ in range(2):
        house.executor.submit("work")
    house.until(lambda jobs: [job.state for job in jobs] == [State.RUNNING] * 2)
    gate.wait_begun()
    house.close()
    assert [job.state for job in house.jobs.values()] == [State.RUNNING, State.PENDING]
    gate.go_on.set()
    worker.stop()
    other.stop()


def test_nothing_is_kept_of_a_call_that_is_over(house, pool):
    def fail():
        raise ValueError

    gc.disable()
    try:
        with QueueWorker(house.queue, pool, {"add": add, "fail": fail}, limit=1) as worker:
            futures = [house.executor.submit("add", 1, 1), house.executor.submit("fail")]
            withdrawn = house.executor.submit("unknown")
            withdrawn.cancel()
            wait([*futures, withdrawn], SOON)
            worker.stop()
        refs = [weakref.ref(future) for future in [*futures, withdrawn]]
        del futures, withdrawn
        # The threads have let go when they have made another call.
        for desk in (house.queue._running, house.queue._replying):
            passed = threading.Event()
            desk.post(passed.set)
            assert passed.wait(SOON)
        house.writer.submit(Probe()).result(SOON)
        assert [ref() for ref in refs] == [None] * 3
        assert (house.queue._replies, house.queue._holdings) == ({}, {})
        assert (house.queue._open, house.queue._room) == (0, 0)
    finally:
        gc.enable()


# -- the desk


def test_a_desk_makes_calls_in_order_and_goes_on_after_an_error(caplog):
    desk, calls = Desk("desk"), []
    desk.post(calls.append, 1)
    desk.post(lambda: 1 / 0)
    desk.post(calls.append, 2)
    desk.close()
    assert calls == [1, 2]
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]
