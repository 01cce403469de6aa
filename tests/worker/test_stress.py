"""Jobs of all kinds, cancelled at any moment: each ends once, with a true record."""

import asyncio
import random
import threading

from app.core import State
from app.jobs.context import checkpoint, progress, submit
from app.jobs.errors import JobFinishedError
from app.jobs.lifecycle import CancelRequested
from app.jobs.model import Outcome, Stopped
from app.stores.base import Change, Insert
from tests.worker.house import PATIENCE

JOBS = 400
THREADS = 4


def part(n: int):
    got = yield submit(abs, n)
    return got


def plain(n: int):
    progress(n)
    checkpoint()
    if n % 7 == 0:
        raise LookupError(n)
    return submit(part, -n).result()


def generator(n: int):
    first, second = yield [submit(part, -n), submit(abs, -n)]
    checkpoint()
    if n % 7 == 0:
        raise LookupError(n)
    return (first + second) // 2


async def coroutine(n: int):
    progress(n)
    await asyncio.sleep(0)
    if n % 7 == 0:
        raise LookupError(n)
    return await submit(part, -n)


KINDS = (plain, generator, coroutine)


def submit_and_cancel(house, seed, jobs):
    dice = random.Random(seed)
    for n in range(1, JOBS // THREADS + 1):
        job = house.job(dice.choice(KINDS), n)
        stored = house.writer.submit(Insert([job]))
        if dice.random() < 0.5:
            stored.result(PATIENCE)
        request = house.writer.submit(Change(job.id, (CancelRequested(),))) if dice.random() < 0.5 else None
        jobs.append((n, job, request))


def is_true(n, job, request):
    """Tell whether the record fits what was asked, and what the function does."""
    refusal = request and request.exception(PATIENCE)
    assert refusal is None or isinstance(refusal, JobFinishedError)
    asked = request is not None and refusal is None
    if job.state is State.CANCELLED:
        return asked and job.cancellation.outcome in {Stopped.NOT_STARTED, Stopped.COOPERATIVE}
    if job.outcome is Outcome.FAILED:
        return not asked and job.cancellation is None and job.exception.type == "LookupError" and n % 7 == 0
    late = job.cancellation.outcome is Stopped.TOO_LATE if asked else job.cancellation is None
    return job.result == str(n) and late


def test_every_job_ends_once_with_a_true_record_whatever_is_cancelled_when(run):
    house, jobs = run(*KINDS, threads=3, coroutines=20), []
    threads = [
        threading.Thread(target=submit_and_cancel, args=(house, seed, jobs)) for seed in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended = [(n, house.wait_for(job), request) for n, job, request in jobs]
    assert len(ended) == JOBS
    assert [job for n, job, request in ended if not is_true(n, job, request)] == []
    house.flush()
    finals = [job.id for batch in house.batches for job in batch if job.done]
    assert len(finals) == len(set(finals)) == JOBS
    assert (house.worker._free, house.worker._executions) == (
        {"thread": 3, "coroutine": 20},
        {},
    )
