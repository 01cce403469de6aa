"""Queues as the service shows them, and pauses that have many jobs to move."""

import asyncio

from app.jobs.model import wall_clock
from app.service import Submission
from app.stores.base import Insert, Pause
from tests.worker.house import PATIENCE


def add(a: int, b: int) -> int:
    return a + b


def test_a_pause_of_many_jobs_goes_on_behind_its_answer(serve):
    async def test(service):
        house = service.house
        jobs = [house.job(add, 1, 2)._replace(tenant="t") for _ in range(3 * Pause("t", "q", True).limit)]
        await house.writer.submit(Insert(jobs))
        status = await service.queues.pause("t", "default", paused=True)
        assert (status.paused, status.pending) == (True, len(jobs))
        while service.queues._moving:
            await asyncio.gather(*service.queues._moving)
        held = house.store._db.execute("SELECT count(*) FROM jobs WHERE hold = 8").fetchone()[0]
        assert held == len(jobs)
        await service.queues.pause("t", "default", paused=False)
        house.start()
        for job in jobs:
            assert (await service.wait("t", job.id, PATIENCE)).result == "3"

    serve(test, add, start=False)


def test_a_queue_that_nobody_has_used_can_be_paused_and_resumed(serve):
    async def test(service):
        assert (await service.queues.pause("t", "empty", paused=True)).paused
        assert [queue.name for queue in await service.queues.list("t")] == ["empty"]
        assert not (await service.queues.pause("t", "empty", paused=False)).paused
        assert await service.queues.list("t") == []

    serve(test, add)


def test_the_age_of_a_queue_is_that_of_its_oldest_job(serve):
    async def test(service):
        await service.queues.pause("t", "default", paused=True)
        begun = wall_clock()
        await service.submit("t", Submission("add", [1, 2]))
        (queue,) = await service.queues.list("t")
        assert 0 <= queue.oldest_age * 1e6 <= wall_clock() - begun

    serve(test, add)
