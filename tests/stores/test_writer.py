"""The writer: batches that threads share, and what may go wrong in one."""

import asyncio
import logging
import sqlite3
import threading
from contextlib import closing

import pytest

from app.core import Future, State
from app.core.precedence import PRECEDENCE
from app.jobs.errors import JobFinishedError
from app.jobs.lifecycle import CancelRequested, Succeeded
from app.jobs.model import Slot
from app.stores.base import (
    Change,
    Claim,
    Insert,
    JobNotFoundError,
    Limits,
    OperationFailedError,
    Probe,
    Promote,
    QueueFullError,
    StoreUnavailableError,
)
from app.stores.outbox import Outbox
from app.stores.sqlite import SqliteStore
from app.stores.writer import BATCH, MANY, REST, Claimer, Writer
from tests.stores.driving import NOW, get, new_job

SOON = 30  # seconds: a bound on waiting for what must come, never a delay


class GatedStore(SqliteStore):
    """Lets each batch through only when the test says so, and keeps a record of them."""

    def __init__(self, path):
        super().__init__(path, lock_timeout=0)
        self.gate = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)
        self.batches = []

    def apply(self, operations, now):
        self.batches.append(list(operations))
        self.entered.release()
        assert self.gate.acquire(timeout=SOON)
        return super().apply(operations, now)


class Slots(Claimer):
    """A worker that never runs anything."""

    def __init__(self, free):
        self.free = free
        self.taken = []
        self.took = threading.Event()
        self.misses = 0

    def request(self):
        return Claim("worker", {Slot.THREAD: self.free}) if self.free else None

    def take(self, jobs):
        self.free -= len(jobs)
        self.taken += jobs
        if jobs:
            self.took.set()

    def missed(self):
        self.misses += 1


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.db"


@pytest.fixture
def store(path):
    store = SqliteStore(path, lock_timeout=0)
    yield store
    store.close()


@pytest.fixture
def writer(store):
    writer = Writer(store, lambda: NOW)
    yield writer
    writer.close()


@pytest.fixture
def gated(path):
    """A store and its writer, which is held in its first batch until the gate is opened."""
    store = GatedStore(path)
    writer = Writer(store, lambda: NOW)
    first = writer.submit(Probe())
    assert store.entered.acquire(timeout=SOON)
    yield store, writer
    store.gate.release(10_000)
    assert first.result(SOON) is None
    writer.close()
    store.close()


def test_what_threads_submit_during_a_commit_shares_the_next_one(gated):
    store, writer = gated
    jobs = [new_job() for _ in range(40)]
    futures = []
    threads = [
        threading.Thread(
            target=lambda part=part: futures.extend(writer.submit(Insert([job])) for job in part)
        )
        for part in (jobs[:10], jobs[10:20], jobs[20:30], jobs[30:])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.gate.release(2)
    assert {future.result(SOON)[0].id for future in futures} == {job.id for job in jobs}
    assert [len(batch) for batch in store.batches] == [1, 40]


def test_what_a_loop_submits_in_one_turn_is_one_batch_of_its_own(gated):
    store, writer = gated

    async def submit():
        outbox = Outbox(writer)
        futures = [outbox.submit(Insert([new_job()])) for _ in range(40)]
        store.gate.release(2)
        return [await future for future in futures]

    assert len(asyncio.run(submit())) == 40
    assert [len(batch) for batch in store.batches] == [1, 40]


def test_whoever_stops_waiting_leaves_the_operation_to_be_carried_out(gated):
    store, writer = gated

    async def submit():
        outbox = Outbox(writer)
        left, other = outbox.submit(Insert([new_job()])), outbox.submit(Probe())
        left.cancel()
        store.gate.release(2)
        await other
        return left

    assert asyncio.run(submit()).cancelled()
    assert [len(batch) for batch in store.batches] == [1, 2]


def test_a_loop_that_submits_after_the_end_is_refused(store):
    writer = Writer(store, lambda: NOW)
    writer.close()

    async def submit():
        return await Outbox(writer).submit(Probe())

    with pytest.raises(StoreUnavailableError, match="the service has stopped"):
        asyncio.run(submit())


def test_only_after_a_batch_of_many_the_writer_rests(gated, monkeypatch):
    store, writer = gated
    rests = []
    monkeypatch.setattr(
        "app.stores.writer.sleep", lambda seconds: rests.append((seconds, len(store.batches)))
    )
    store.gate.release(10)
    for size in (MANY, MANY - 1, 1):
        futures = [Future() for _ in range(size)]
        writer.submit_all([(Probe(), future) for future in futures])
        for future in futures:
            future.result(SOON)
    writer.close()
    # The first batch is the fixture's.
    assert rests == [(REST, 2)]


def test_when_everybody_was_told_the_store_is_tidied_and_after_that_it_does_not_rest(gated, monkeypatch):
    store, writer = gated
    futures = [Future() for _ in range(MANY)]
    rests, told = [], []

    def tidy():
        told.append((len(store.batches), all(future.done() for future in futures)))
        return len(store.batches) == 2

    store.tidy = tidy
    monkeypatch.setattr("app.stores.writer.sleep", lambda _: rests.append(len(store.batches)))
    writer.submit_all([(Probe(), future) for future in futures])
    store.gate.release(10)
    for future in futures:
        future.result(SOON)
    writer.close()
    assert (told, rests) == ([(1, False), (2, True)], [])


def test_a_store_that_raises_when_it_is_tidied_ends_nothing(gated):
    store, writer = gated

    def tidy():
        raise OSError("the disk is gone")

    store.tidy = tidy
    store.gate.release(10)
    for _ in range(3):
        assert writer.submit(Probe()).result(SOON) is None


def test_it_has_precedence_for_a_batch_but_not_while_the_disk_is_waited_for(store, writer):
    seen = {}
    store._db.set_trace_callback(lambda sql: seen.setdefault(sql.split()[0], PRECEDENCE.taken))
    writer.listen(lambda _: seen.setdefault("told", PRECEDENCE.taken))
    writer.submit(Insert([new_job()])).result()
    writer.close()
    assert {said: seen[said] for said in ("INSERT", "COMMIT", "told")} == {
        "INSERT": True,
        "COMMIT": False,
        "told": True,
    }
    assert not PRECEDENCE.taken


def test_a_batch_has_a_largest_size(gated):
    store, writer = gated
    futures = [writer.submit(Probe()) for _ in range(BATCH + 1)]
    store.gate.release(3)
    assert [future.result(SOON) for future in futures] == [None] * (BATCH + 1)
    assert [len(batch) for batch in store.batches] == [1, BATCH, 1]


def test_each_future_gets_its_own_outcome(gated):
    store, writer = gated
    job = new_job()
    inserted = writer.submit(Insert([job]))
    full = writer.submit(Insert([new_job()], Limits(queue=1)))
    unknown = writer.submit(Change(new_job().id, (CancelRequested(),)))
    cancelled = writer.submit(Change(job.id, (CancelRequested(),)))
    store.gate.release(2)
    assert inserted.result(SOON) == [job]
    assert isinstance(full.exception(SOON), QueueFullError)
    assert isinstance(unknown.exception(SOON), JobNotFoundError)
    assert cancelled.result(SOON).state is State.CANCELLED


def test_a_result_is_durable_before_it_is_told(path, writer):
    job = new_job()
    writer.submit(Insert([job])).result(SOON)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM jobs").fetchone() == (1,)


def test_the_clock_is_asked_once_for_each_batch(store):
    times = iter(range(NOW, NOW + 100))
    writer = Writer(store, lambda: next(times))
    job = new_job()
    writer.submit(Insert([job])).result(SOON)
    assert writer.submit(Change(job.id, (CancelRequested(),))).result(SOON).finished_at == NOW + 1
    writer.close()


# -- claims ------------------------------------------------------------------


def test_a_claim_rides_in_the_batch_that_inserts_and_in_the_one_that_settles(store, writer):
    worker = Slots(1)
    writer.attach(worker)
    first, second = new_job(), new_job()
    assert writer.submit(Insert([first])).result(SOON) == [first]
    assert [job.id for job in worker.taken] == [first.id]
    writer.submit(Insert([second])).result(SOON)
    assert len(worker.taken) == 1

    worker.free += 1
    writer.submit(Change(first.id, (Succeeded(worker.taken[0].token, "1"),))).result(SOON)
    assert [job.id for job in worker.taken] == [first.id, second.id]
    assert get(store, second) == worker.taken[1]


def test_claimed_jobs_are_taken_before_anybody_is_told(writer):
    order = []
    worker = Slots(1)
    worker.take = lambda jobs: order.append("taken")
    writer.attach(worker)
    writer.listen(lambda jobs: order.append("listener"))
    writer.follow(lambda applied: order.append("follower"))
    future = writer.submit(Insert([new_job()]))
    future.add_done_callback(lambda _: order.append("future"))
    future.result(SOON)
    writer.close()
    assert order[:3] == ["taken", "follower", "listener"]
    assert order.count("future") == 1


@pytest.mark.parametrize("part", ["request", "take", "missed"])
def test_a_worker_that_raises_holds_up_nobody(store, writer, caplog, part):
    def broken(*_):
        raise RuntimeError("worker is broken")

    worker = Slots(1)
    if part == "missed":
        worker.request = lambda: Claim("\ud800", {Slot.THREAD: 1})
    setattr(worker, part, broken)
    writer.attach(worker)
    job = new_job()
    assert writer.submit(Insert([job])).result(SOON) == [job]
    assert writer.submit(Probe()).result(SOON) is None
    assert "worker is broken" in caplog.text


# -- what goes wrong ---------------------------------------------------------


def test_a_poisonous_operation_fails_alone(gated, caplog):
    store, writer = gated
    before, poison, after = new_job(), new_job(task="\ud800"), new_job()
    futures = [writer.submit(Insert([job])) for job in (before, poison, after)]
    store.gate.release(100)
    assert futures[0].result(SOON) == [before]
    assert isinstance(futures[1].exception(SOON), OperationFailedError)
    assert str(futures[1].exception()) == "an operation failed: UnicodeEncodeError"
    assert futures[2].result(SOON) == [after]
    assert get(store, after) == after
    assert "a batch of 3 operations failed" in caplog.text


def test_what_is_stored_beside_a_poisonous_operation_is_claimed(gated):
    store, writer = gated
    worker = Slots(2)
    writer.attach(worker)
    good = new_job()
    futures = [writer.submit(Insert([good])), writer.submit(Insert([good])), writer.submit(Promote())]
    store.gate.release(100)
    assert futures[0].result(SOON) == [good]
    assert isinstance(futures[1].exception(SOON), OperationFailedError)
    assert futures[2].result(SOON).promoted == 0
    assert worker.took.wait(SOON)  # with no further batch
    assert [job.id for job in worker.taken] == [good.id]


def test_a_claim_that_fails_harms_no_other_operation_and_leaves_them_in_one_batch(gated, caplog):
    store, writer = gated
    worker = Slots(1)
    worker.request = lambda: Claim("\ud800", {Slot.THREAD: 1})
    writer.attach(worker)
    jobs = [new_job() for _ in range(3)]
    futures = [writer.submit(Insert([job])) for job in jobs]
    store.gate.release(100)
    assert [future.result(SOON) for future in futures] == [[job] for job in jobs]
    assert writer.submit(Probe()).result(SOON) is None
    assert [get(store, job).state for job in jobs] == [State.PENDING] * 3
    assert [len(batch) for batch in store.batches[:4]] == [1, 4, 3, 1]
    # The second time may be told a little later than the probe's result.
    assert worker.misses in {1, 2}
    assert "a batch of 3 operations and a claim failed" in caplog.text
    assert "a batch of 3 operations failed" not in caplog.text


def test_a_store_that_is_unavailable_refuses_the_whole_batch_and_the_next_one_works(
    path, store, writer, caplog
):
    job = new_job()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        futures = [writer.submit(operation) for operation in (Insert([job]), Probe())]
        refusals = [future.exception(SOON) for future in futures]
    assert [type(refusal) for refusal in refusals] == [StoreUnavailableError] * 2
    assert refusals[0] is not refusals[1]
    assert "database is locked" in caplog.text
    assert get(store, job) is None
    assert writer.submit(Insert([job])).result(SOON) == [job]


def test_a_store_that_stays_down_is_told_once_and_so_is_its_return(path, writer, caplog):
    caplog.set_level(logging.INFO)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(50):
            assert isinstance(writer.submit(Probe()).exception(SOON), StoreUnavailableError)
    writer.submit(Probe()).result(SOON)
    writer.submit(Probe()).result(SOON)
    down, over = caplog.messages
    assert down.startswith("the store cannot be written: ")
    assert over == "the store cannot be written: this is over"


def test_a_worker_hears_that_its_claim_was_refused_before_anybody_else_does(path, store, writer):
    worker = Slots(1)
    writer.attach(worker)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused = writer.submit(Probe())
        misses = []
        refused.add_done_callback(lambda _: misses.append(worker.misses))
        assert isinstance(refused.exception(SOON), StoreUnavailableError)
    assert writer.submit(Probe()).result(SOON) is None
    assert (misses, worker.misses) == ([1], 1)


def test_nobody_hears_of_a_claim_that_was_not_made(path, store, writer):
    worker = Slots(0)
    writer.attach(worker)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert isinstance(writer.submit(Probe()).exception(SOON), StoreUnavailableError)
    assert worker.misses == 0


def test_a_row_that_cannot_be_read_stops_no_claim(store, writer, caplog):
    bad, good = new_job(), new_job()
    writer.submit(Insert([bad])).result(SOON)
    store._db.execute("UPDATE jobs SET tags = '{'")
    worker = Slots(1)
    writer.attach(worker)
    writer.submit(Insert([good])).result(SOON)
    assert ([job.id for job in worker.taken], worker.misses) == ([good.id], 0)
    assert f"job {bad.id} cannot be read" in caplog.text


def test_whether_the_last_batch_was_committed_is_known(path, writer):
    assert not writer.committed_within(SOON)
    writer.submit(Probe()).result(SOON)
    assert writer.committed_within(10 * SOON)
    assert not writer.committed_within(-1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert isinstance(writer.submit(Probe()).exception(SOON), StoreUnavailableError)
    assert not writer.committed_within(10 * SOON)
    writer.submit(Probe()).result(SOON)
    assert writer.committed_within(10 * SOON)


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, KeyboardInterrupt])
def test_callbacks_and_listeners_that_raise_do_not_end_the_writer(gated, caplog, error):
    store, writer = gated
    heard = []

    def broken(_):
        raise error("not mine")

    writer.follow(broken)
    writer.listen(broken)
    writer.listen(heard.append)
    job = new_job()
    futures = [writer.submit(Insert([job])), writer.submit(Probe())]
    futures[0].add_done_callback(broken)
    store.gate.release(100)
    assert futures[0].result(SOON) == [job]
    assert futures[1].result(SOON) is None
    assert writer.submit(Probe()).result(SOON) is None
    assert [job] in heard
    assert caplog.text.count("the writer goes on after an error") >= 3


def test_a_future_cancelled_before_its_batch_is_never_carried_out(gated):
    store, writer = gated
    job, other = new_job(), new_job()
    dropped, kept = writer.submit(Insert([job])), writer.submit(Insert([other]))
    assert dropped.cancel()
    store.gate.release(100)
    assert kept.result(SOON) == [other]
    assert not kept.cancel()
    assert get(store, job) is None


def test_an_operation_that_is_being_carried_out_can_no_longer_be_cancelled(gated):
    store, writer = gated
    future = writer.submit(Probe())
    store.gate.release()
    assert store.entered.acquire(timeout=SOON)
    assert not future.cancel()
    store.gate.release()
    assert future.result(SOON) is None


def test_listeners_hear_what_was_changed_and_not_what_was_refused(writer):
    heard = []
    writer.listen(heard.extend)
    job = new_job()
    writer.submit(Insert([job])).result(SOON)
    writer.submit(Insert([new_job()], Limits(queue=0))).exception(SOON)
    cancelled = writer.submit(Change(job.id, (CancelRequested(),))).result(SOON)
    assert heard == [job, cancelled]


def test_followers_learn_of_each_commit_and_of_no_other_batch(writer):
    followed = []
    writer.follow(followed.append)
    job = new_job()
    writer.submit(Insert([job])).result(SOON)
    writer.submit(Insert([new_job()], Limits(queue=0))).exception(SOON)
    cancelled = writer.submit(Change(job.id, (CancelRequested(),))).result(SOON)
    assert [list(applied.inserted) for applied in followed] == [[job], [], []]
    assert [list(applied.ended) for applied in followed] == [[], [], [cancelled]]


# -- the end -----------------------------------------------------------------


def test_closing_carries_out_what_was_submitted_and_refuses_what_comes_later(gated):
    store, writer = gated
    futures = [writer.submit(Insert([new_job()])) for _ in range(5)]
    closer = threading.Thread(target=writer.close)
    closer.start()
    store.gate.release(100)
    closer.join(SOON)
    assert all(get(store, future.result(0)[0]) for future in futures)
    late = writer.submit(Insert([new_job()]))
    assert isinstance(late.exception(0), StoreUnavailableError)
    writer.close()


def test_a_full_batch_at_the_end_is_followed_by_the_rest(gated):
    store, writer = gated
    futures = [writer.submit(Probe()) for _ in range(2 * BATCH)]
    store.gate.release(100)
    writer.close()
    assert all(future.done() for future in futures)
    assert [len(batch) for batch in store.batches] == [1, BATCH, BATCH]


def test_a_writer_that_was_never_used_ends(store, caplog):
    with caplog.at_level(logging.DEBUG):
        Writer(store, lambda: NOW).close()
    assert caplog.text == ""


def test_refusals_of_the_lifecycle_reach_the_caller(writer):
    worker = Slots(1)
    writer.attach(worker)
    job = new_job()
    writer.submit(Insert([job])).result(SOON)
    writer.submit(Change(job.id, (Succeeded(worker.taken[0].token, "1"),))).result(SOON)
    refusal = writer.submit(Change(job.id, (CancelRequested(),))).exception(SOON)
    assert isinstance(refusal, JobFinishedError)
