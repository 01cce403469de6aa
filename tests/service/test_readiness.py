import asyncio
import sqlite3
import threading
from contextlib import closing

import pytest

from app import service as service_module
from app.service import DrainingError, StoreDownError, Submission, UnavailableError
from app.stores.base import Probe
from tests.worker.house import PATIENCE


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
        return (await service.submit("t", Submission("double"))).task

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


def test_a_draining_service_is_not_ready(serve):
    async def test(service):
        service.drain()
        with pytest.raises(DrainingError):
            await service.check_ready()
        return True

    assert serve(test, double)
