import asyncio
import sqlite3
import threading
from contextlib import closing

import pytest

from app.core import State
from app.jobs.model import Hold
from app.service import DrainingError, StoreDownError, Submission, UnavailableError
from app.service import service as service_module
from app.stores import ticker as ticker_module
from app.stores.base import Probe
from tests.worker.house import PATIENCE, ManualClock


def double(n: int = 1):
    return n * 2


def probed_at(house):
    with closing(sqlite3.connect(house.path)) as other:
        row = other.execute("SELECT at FROM probe").fetchone()
    return row and row[0]


def test_a_service_that_works_is_ready(serve):
    async def test(service):
        return await service.check_ready()

    assert serve(test, double) is None


def test_a_recent_commit_is_proof_enough(serve):
    async def test(service):
        await service.submit("t", Submission("double"))
        await service.check_ready()
        return probed_at(service.house)

    assert serve(test, double) is None


def test_without_a_recent_commit_something_is_written_to_find_out(serve, monkeypatch):
    monkeypatch.setattr(service_module, "PROBE_AFTER", -1)

    async def test(service):
        await service.check_ready()
        return probed_at(service.house)

    assert serve(test, double) > 0


def test_a_store_that_cannot_be_written_is_not_ready_and_is_again_when_it_can(serve):
    async def test(service):
        database = service.house.store._db
        database.execute("PRAGMA query_only = ON")
        with pytest.raises(StoreDownError):
            await service.submit("t", Submission("double"))
        with pytest.raises(StoreDownError):
            await service.check_ready()
        database.execute("PRAGMA query_only = OFF")
        await service.check_ready()
        return (await service.submit("t", Submission("double"))).job.task

    assert serve(test, double) == "double"


def test_a_store_that_does_not_answer_is_not_ready(serve, monkeypatch):
    monkeypatch.setattr(service_module, "PROBE_AFTER", -1)
    monkeypatch.setattr(service_module, "PROBE_TIMEOUT", 0.001)
    release, inside = threading.Event(), threading.Event()

    def hangs(_):
        inside.set()
        release.wait(PATIENCE)

    async def test(service):
        # The writer's thread is kept busy from within a batch.
        service.house.writer.listen(hangs)
        service.house.writer.submit(Probe())
        assert await asyncio.to_thread(inside.wait, PATIENCE)
        try:
            with pytest.raises(StoreDownError, match="has not answered"):
                await service.check_ready()
        finally:
            release.set()
        return True

    assert serve(test, double)


def test_a_service_whose_worker_takes_no_jobs_is_not_ready(serve):
    async def test(service):
        with pytest.raises(UnavailableError, match="no worker takes jobs"):
            await service.check_ready()
        return True

    assert serve(test, double, start=False)


def test_a_row_that_cannot_be_read_stops_neither_other_jobs_nor_readiness(serve):
    async def test(service):
        house = service.house
        await service.submit("t", Submission("double"))
        house.store._db.execute("UPDATE jobs SET tags = '{'")
        house.start()
        good = (await service.submit("t", Submission("double", (4,)))).job
        result = (await service.wait("t", good.id, PATIENCE)).result
        await service.check_ready()
        return result, house.store._db.execute("SELECT state, hold FROM jobs WHERE key = 1").fetchone()

    assert serve(test, double, start=False) == ("8", (State.PENDING, Hold.UNREADABLE))


def test_a_service_whose_claims_fail_is_not_ready_and_is_again_when_they_are_answered(serve, monkeypatch):
    monkeypatch.setattr(ticker_module, "RETRY_INTERVAL", 0.01)

    async def test(service):
        worker = service.house.worker
        name, worker.name = worker.name, "\ud800"  # which no store can keep
        job = (await service.submit("t", Submission("double", (4,)))).job
        # The job was stored, and its claim tried, in the same turn of the writer's.
        service.house.flush()
        with pytest.raises(UnavailableError, match="no worker takes jobs"):
            await service.check_ready()
        worker.name = name
        result = (await service.wait("t", job.id, PATIENCE)).result
        await service.check_ready()
        return result

    assert serve(test, double) == "8"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_service_whose_ticker_has_died_is_not_ready(serve):
    class DeadlyClock(ManualClock):
        deadly = False

        def __call__(self):
            if self.deadly and threading.current_thread().name == "errand-ticker":
                raise SystemExit
            return super().__call__()

    clock = DeadlyClock()

    async def test(service):
        await service.check_ready()
        clock.deadly = True
        await service.submit("t", Submission("double", delay=3600))
        await asyncio.to_thread(service.house.worker._ticker.join, PATIENCE)
        with pytest.raises(UnavailableError, match="no worker takes jobs"):
            await service.check_ready()
        return True

    assert serve(test, double, clock=clock)


def test_a_draining_service_is_not_ready(serve):
    async def test(service):
        service.drain()
        with pytest.raises(DrainingError):
            await service.check_ready()
        return True

    assert serve(test, double)
