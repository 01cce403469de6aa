"""Batches and idempotency keys, below HTTP."""

import asyncio
import threading
from typing import Annotated

import pytest
from pydantic import AfterValidator

from app.jobs.errors import InvalidArgumentsError, UnknownTaskError
from app.jobs.model import SECOND, Backoff
from app.jobs.registry import TaskDefinition
from app.jobs.retry import Retry
from app.service import (
    DrainingError,
    InvalidBatchError,
    InvalidSubmissionError,
    KeyReusedError,
    Once,
    QueueFullError,
    Service,
    Submission,
)
from app.stores.base import ONCE_KEPT, Limits
from tests.worker.house import PATIENCE, ManualClock


def double(n: int):
    return n * 2


def definition_of(check):
    def task(n: Annotated[int, AfterValidator(check)]):
        return n

    # The annotation is local, so it is given as it is, and not by name.
    task.__annotations__ = {"n": Annotated[int, AfterValidator(check)]}
    return task


def with_options(service, **options):
    """Give the task `double` other options than it has."""
    tasks = service.house.registry._tasks
    own = tasks["double"]
    tasks["double"] = TaskDefinition(own.name, own.fn, own.kind, own.queue, own.priority, **options)


async def count(service):
    return len((await service.list("t", limit=500)).jobs)


def test_a_batch_is_stored_in_its_order(serve):
    async def test(service):
        done = await service.submit_batch("t", (Submission("double", (n,)) for n in range(100)))
        assert (done.new, done.replayed) == (True, False)
        ended = [await service.wait("t", job.id, PATIENCE) for job in done.jobs]
        return [job.result for job in ended]

    assert serve(test, double) == [str(2 * n) for n in range(100)]


def test_of_a_batch_with_faults_all_are_told_by_place_and_nothing_is_stored(serve):
    bad = InvalidSubmissionError([])

    async def test(service):
        batch = [Submission("double", (1,)), bad, Submission("dubble"), Submission("double", ("x",))]
        with pytest.raises(InvalidBatchError) as caught:
            await service.submit_batch("t", batch)
        assert await count(service) == 0
        return {place: type(error) for place, error in caught.value.errors.items()}

    assert serve(test, double) == {1: InvalidSubmissionError, 2: UnknownTaskError, 3: InvalidArgumentsError}


def test_a_batch_without_end_of_faults_is_not_read_to_its_end(serve):
    read = []

    def submissions():
        for n in range(100_000):
            read.append(n)
            yield Submission("dubble")

    async def test(service):
        with pytest.raises(InvalidBatchError) as caught:
            await service.submit_batch("t", submissions())
        return len(caught.value.errors)

    assert serve(test, double) == len(read) == 100


@pytest.mark.parametrize("exception", [ValueError, SystemExit, KeyboardInterrupt])
def test_whatever_a_validator_raises_is_a_fault_of_its_item(serve, exception):
    def check(n):
        if n == 1:
            raise exception
        return n

    async def test(service):
        with pytest.raises(InvalidBatchError) as caught:
            await service.submit_batch("t", [Submission("task", (n,)) for n in range(3)])
        return {place: type(error) for place, error in caught.value.errors.items()}

    assert serve(test, definition_of(check)) == {1: InvalidArgumentsError}


def test_a_batch_is_read_and_checked_off_the_event_loop(serve):
    threads = set()

    def check(n):
        threads.add(threading.current_thread().name.partition("_")[0])
        return n

    def submissions():
        threads.add(threading.current_thread().name.partition("_")[0])
        yield Submission("task", (1,))

    async def test(service):
        await service.submit_batch("t", submissions())

    serve(test, definition_of(check), start=False)
    assert threads == {"errand-check"}


def test_a_drain_that_begins_while_a_batch_is_checked_lets_none_of_it_slip_in(serve):
    checking, release = threading.Event(), threading.Event()

    def check(n):
        checking.set()
        assert release.wait(PATIENCE)
        return n

    async def test(service):
        submitting = asyncio.ensure_future(service.submit_batch("t", [Submission("task", (1,))]))
        assert await asyncio.to_thread(checking.wait, PATIENCE)
        service.drain()
        release.set()
        with pytest.raises(DrainingError):
            await submitting
        return await count(service)

    assert serve(test, definition_of(check), start=False) == 0


def test_batches_are_made_one_after_the_other(serve, monkeypatch):
    monkeypatch.setattr("app.service.service.BATCH_PATIENCE", PATIENCE)
    coming, inside, most = threading.Semaphore(0), [], []

    def batch(number):
        inside.append(number)
        if number == 0:
            for _ in range(3):
                assert coming.acquire(timeout=PATIENCE)
        for n in range(100):
            most.append(len(inside))
            yield Submission("double", (n,))
        inside.remove(number)

    class Watched(Service):
        def _make_jobs(self, tenant, submissions):
            coming.release()
            return super()._make_jobs(tenant, submissions)

    async def test(service):
        service.__class__ = Watched
        await asyncio.gather(*(service.submit_batch("t", batch(number)) for number in range(3)))
        return await count(service)

    assert serve(test, double, start=False) == 300
    assert (len(most), max(most)) == (300, 1)


def test_a_batch_whose_validators_hang_holds_up_no_other(serve):
    checking, release = threading.Event(), threading.Event()

    def check(n):
        checking.set()
        assert release.wait(PATIENCE)
        return n

    async def test(service):
        hanging = asyncio.ensure_future(service.submit_batch("t", [Submission("task", (1,))]))
        assert await asyncio.to_thread(checking.wait, PATIENCE)
        others = [await service.submit_batch("t", [Submission("double", (n,))]) for n in range(3)]
        before = await count(service)
        release.set()
        await hanging
        return len(others), before, await count(service)

    assert serve(test, definition_of(check), double, start=False) == (3, 3, 4)


# Options


def test_what_a_submission_says_of_retries_comes_before_what_its_task_says(serve):
    clock = ManualClock()

    async def test(service):
        with_options(service, retry=Retry(4, backoff=2, factor=3, max_backoff=9, jitter=False))
        retry = {"max_attempts": 7, "factor": 1.5}
        own = (await service.submit("t", Submission("double", (1,)))).job
        job = (await service.submit("t", Submission("double", (1,), retry=retry, expires_in=1.5))).job
        assert (own.max_attempts, own.backoff, own.expires_at) == (4, Backoff(2, 3, 9, False), None)
        assert (job.max_attempts, job.backoff) == (7, Backoff(2, 1.5, 9, False))
        return job.expires_at - clock.now

    assert serve(test, double, start=False, clock=clock) == 1.5 * SECOND


def test_a_limit_counts_a_job_by_what_its_arguments_are_and_not_by_how_they_were_sent(serve):
    async def test(service):
        with_options(service, max_running=1, limit_key="{n}")
        jobs = await service.submit_batch("t", [Submission("double", (n,)) for n in (7, "7", 7.0)])
        return [job.limit_key for job in jobs.jobs]

    assert serve(test, double, start=False) == ["7", "7", "7"]


# Idempotency


def test_a_key_is_known_for_a_day(serve):
    clock = ManualClock()
    once = Once("/jobs", "k", b"digest")

    async def test(service):
        assert await service.recall("t", once) is None
        first = await service.submit("t", Submission("double", (1,)), once)
        clock.now += ONCE_KEPT - 1
        assert (await service.recall("t", once)).job == first.job
        assert await service.recall("t", once._replace(route="/jobs/batch")) is None
        assert await service.recall("u", once) is None
        with pytest.raises(KeyReusedError):
            await service.recall("t", once._replace(digest=b"other"))
        clock.now += 1
        assert await service.recall("t", once) is None
        again = await service.submit("t", Submission("double", (1,)), once)
        return again.replayed, again.job.id == first.job.id

    assert serve(test, double, start=False, clock=clock) == (False, False)


def test_who_comes_second_with_a_key_gets_what_the_first_one_stored(serve):
    async def test(service):
        once = Once("/jobs", "k", b"digest")
        calls = (service.submit("t", Submission("double", (1,)), once) for _ in range(20))
        answers = await asyncio.gather(*calls)
        assert len({answer.job.id for answer in answers}) == await count(service) == 1
        return sorted((answer.new, answer.replayed) for answer in answers)

    assert serve(test, double, start=False) == [(False, True)] * 19 + [(True, False)]


def test_a_refused_insertion_leaves_its_key_free(serve):
    async def test(service):
        once = Once("/jobs/batch", "k", b"digest")
        with pytest.raises(QueueFullError):
            await service.submit_batch("t", [Submission("double", (1,))] * 2, once)
        assert await service.recall("t", once) is None
        return (await service.submit_batch("t", [Submission("double", (1,))], once)).new

    assert serve(test, double, start=False, limits=Limits(queue=1))


def test_a_batch_whose_jobs_are_all_there_already_has_nothing_new(serve):
    async def test(service):
        first = await service.submit("t", Submission("double", (1,), key="a"))
        done = await service.submit_batch("t", [Submission("double", (n,), key="a") for n in range(3)])
        return done.new, {job.id for job in done.jobs} == {first.job.id}

    assert serve(test, double, start=False) == (False, True)
