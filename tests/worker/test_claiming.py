"""A claim that the store could not answer is repeated, though nothing else comes along for it to ride in."""

import sqlite3
import threading

import pytest

from app.core import State
from app.stores import ticker as ticker_module
from app.stores.base import Claim, Insert, OperationFailedError, Probe, StoreUnavailableError
from tests.worker.house import PATIENCE


@pytest.fixture(autouse=True)
def tries_often(monkeypatch):
    monkeypatch.setattr(ticker_module, "RETRY_INTERVAL", 0.01)


@pytest.fixture
def other():
    """Another program's connection to the house's database."""
    connections = []

    def connect(house):
        # A locked database is refused at once.
        house.store._db.execute("PRAGMA busy_timeout = 0")
        connections.append(sqlite3.connect(house.path, isolation_level=None, check_same_thread=False))
        return connections[-1]

    yield connect
    for connection in connections:
        connection.close()


def plain(n: int = 0):
    return n


class Locking:
    """Has another program lock the database when a batch comes that `chosen` chooses; counts from then on."""

    def __init__(self, house, other, chosen):
        self._apply = house.store.apply
        self._other = other
        self._chosen = chosen
        self.locked = False
        self.refused = threading.Semaphore(0)
        house.store.apply = self

    def __call__(self, operations, now):
        if not self.locked and self._chosen(operations):
            self._other.execute("BEGIN IMMEDIATE")
            self.locked = True
        try:
            return self._apply(operations, now)
        finally:
            if self.locked:
                self.refused.release()

    def wait(self, times):
        for _ in range(times):
            assert self.refused.acquire(timeout=PATIENCE)


def submit_together(house, *operations):
    """Hand over operations while the writer is busy, so that they share a batch."""
    inside, go = threading.Event(), threading.Event()

    def hold(_):
        inside.set()
        assert go.wait(PATIENCE)

    house.writer.listen(hold)
    house.writer.submit(Probe())
    assert inside.wait(PATIENCE)
    futures = [house.writer.submit(operation) for operation in operations]
    go.set()
    return futures


def test_a_claim_refused_apart_from_its_batch_is_repeated_until_it_is_answered(run, other):
    house = run(plain)
    program = other(house)
    # The batch fails by its second job; then its parts are carried out, and the claim is the last.
    locking = Locking(house, program, lambda batch: [type(part) for part in batch] == [Claim])
    job, poison = house.job(plain, 4), house.job(plain, tags={"lone": "\ud800"})
    stored, failed = submit_together(house, Insert([job]), Insert([poison]))
    assert stored.result(PATIENCE) == [job]
    assert isinstance(failed.exception(PATIENCE), OperationFailedError)
    locking.wait(3)
    assert house.read(job).state is State.PENDING
    assert not house.worker.claiming
    program.execute("ROLLBACK")
    assert house.wait_for(job).result == "4"
    assert house.worker.claiming


def test_a_claim_refused_with_its_whole_batch_is_repeated_until_it_is_answered(run, other):
    house = run(plain)
    program = other(house)
    house.flush()
    # Past the writer, which rests, so that no batch with a claim comes with it.
    job = house.job(plain, 4)
    house.store.apply([Insert([job])], house.clock())
    locking = Locking(house, program, lambda _: True)
    assert isinstance(house.writer.submit(Probe()).exception(PATIENCE), StoreUnavailableError)
    locking.wait(3)
    assert house.read(job).state is State.PENDING
    assert not house.worker.claiming
    program.execute("ROLLBACK")
    assert house.wait_for(job).result == "4"
    assert house.worker.claiming
