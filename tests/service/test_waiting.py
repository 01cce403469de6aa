import asyncio
import threading

import pytest

from app.core import Future, State
from app.jobs.context import progress
from app.jobs.errors import JobFinishedError
from app.jobs.model import Outcome, Stopped
from app.service import NoSuchJobError, Submission

HOUR = 3600
"""Seconds that no wait in here lasts: the limit of each test is shorter, and would show it."""


def double(n: int = 1):
    return n * 2


class Gates:
    """A generator that waits for the test, without a thread."""

    def __init__(self):
        self.go = Future()
        go = self.go

        def gated():
            return (yield go)

        self.task = gated


async def submit(service, *args, task="double", **options):
    return (await service.submit("t", Submission(task, args, **options))).job


def nobody_waits(service):
    return not service._waiters._by_job


def test_a_wait_for_a_job_that_is_done_answers_at_once(serve):
    async def test(service):
        job = await submit(service, 4)
        await service.wait("t", job.id, HOUR)
        return await service.wait("t", job.id, 0), nobody_waits(service)

    job, clean = serve(test, double)
    assert (job.result, clean) == ("8", True)


def test_a_wait_answers_when_the_job_is_done(serve):
    gates = Gates()

    async def test(service):
        job = await submit(service, task="gated")
        waiting = asyncio.ensure_future(service.wait("t", job.id, HOUR))
        while (await service.wait("t", job.id, HOUR, 1)).state is State.PENDING:
            pass
        assert not waiting.done()
        gates.go.set_result("late")
        return await waiting, nobody_waits(service)

    job, clean = serve(test, gates.task)
    assert (job.result, clean) == ('"late"', True)


def test_a_wait_that_takes_too_long_answers_with_the_job_as_it_is(serve):
    async def test(service):
        job = await submit(service)
        return await service.wait("t", job.id, 0.001), nobody_waits(service)

    job, clean = serve(test, double, start=False)
    assert (job.state, clean) == (State.PENDING, True)


def test_a_wait_for_no_time_only_looks(serve):
    async def test(service):
        job = await submit(service)
        return await service.wait("t", job.id, 0)

    assert serve(test, double, start=False).state is State.PENDING


def test_a_wait_with_a_version_answers_on_any_change(serve):
    said, go = threading.Event(), threading.Semaphore(0)

    def plain():
        for n in range(3):
            progress(n)
            said.set()
            go.acquire()

    async def test(service):
        job = await submit(service, task="plain")
        seen = []
        while not job.done:
            job = await service.wait("t", job.id, HOUR, job.version)
            if job.progress and job.progress.done not in seen:
                seen.append(job.progress.done)
                go.release()
        return seen, nobody_waits(service)

    assert serve(test, plain) == ([0, 1, 2], True)


def test_a_wait_with_an_old_version_answers_at_once(serve):
    async def test(service):
        job = await submit(service)
        cancelled = await service.cancel("t", job.id)
        return cancelled, await service.wait("t", job.id, HOUR, job.version)

    cancelled, waited = serve(test, double, start=False)
    assert waited == cancelled


def test_all_who_wait_for_a_job_are_answered(serve):
    gates = Gates()

    async def test(service):
        job = await submit(service, task="gated")
        waiting = [asyncio.ensure_future(service.wait("t", job.id, HOUR)) for _ in range(100)]
        await asyncio.sleep(0)
        assert len(service._waiters._by_job[job.id]) == 100
        gates.go.set_result("done")
        return {answer.result for answer in await asyncio.gather(*waiting)}, nobody_waits(service)

    assert serve(test, gates.task) == ({'"done"'}, True)


def test_a_waiter_for_one_job_is_not_answered_by_another(serve):
    gates = Gates()

    async def test(service):
        job = await submit(service, task="gated")
        waiting = asyncio.ensure_future(service.wait("t", job.id, HOUR))
        other = await submit(service, 4)
        await service.wait("t", other.id, HOUR)
        answered = waiting.done()
        gates.go.set_result("done")
        return answered, (await waiting).result

    assert serve(test, gates.task, double) == (False, '"done"')


def test_a_waiter_looks_again_only_when_its_job_has_changed(serve):
    speak, end, looks = Future(), Future(), []

    def speaks():
        yield speak
        progress(1)
        return (yield end)

    async def test(service):
        get = service.house.store.get

        async def counted(tenant, job_id):
            looks.append(job_id)
            return await get(tenant, job_id)

        service.house.store.get = counted
        job = await submit(service, task="speaks")
        waiting = asyncio.ensure_future(service.wait("t", job.id, HOUR))
        while job.state is State.PENDING:
            job = await service.wait("t", job.id, HOUR, job.version)
        speak.set_result(None)
        await service.wait("t", job.id, HOUR, job.version)
        before = looks.count(job.id)
        for n in range(50):
            await service.wait("t", (await submit(service, n)).id, HOUR)
        end.set_result("done")
        result = (await waiting).result
        return looks.count(job.id) - before, result

    looked, result = serve(test, speaks, double)
    # When it was done.
    assert looked == 1
    assert result == '"done"'


def test_progress_wakes_nobody_who_waits_for_the_end(serve):
    looks, go = [], threading.Semaphore(0)

    def speaks():
        for n in range(3):
            go.acquire()
            progress(n)
        return "done"

    async def test(service):
        get = service.house.store.get
        job = await submit(service, task="speaks")

        async def counted(tenant, job_id):
            looks.append(asyncio.current_task())
            return await get(tenant, job_id)

        service.house.store.get = counted
        waiting = [asyncio.ensure_future(service.wait("t", job.id, HOUR)) for _ in range(5)]
        for n in range(2):
            go.release()
            while job.progress is None or job.progress.done != n:
                job = await service.wait("t", job.id, HOUR, job.version)
        before = [looks.count(waiter) for waiter in waiting]
        go.release()
        answers = await asyncio.gather(*waiting)
        return before, [looks.count(waiter) for waiter in waiting], {answer.result for answer in answers}

    assert serve(test, speaks) == ([1] * 5, [2] * 5, {'"done"'})


def test_no_wake_up_is_lost_however_the_wait_and_the_end_race(serve):
    async def test(service):
        for n in range(150):
            job = await submit(service, n)
            # Sometimes the end comes before the wait, sometimes in the middle of its beginning.
            for _ in range(n % 5):
                await asyncio.sleep(0)
            waiters = [service.wait("t", job.id, HOUR) for _ in range(3)]
            answers = await asyncio.gather(*waiters)
            assert {answer.result for answer in answers} == {str(2 * n)}
        return nobody_waits(service)

    assert serve(test, double)


def test_no_wake_up_is_lost_when_many_jobs_end_together(serve):
    async def test(service):
        async def one(n):
            job = await submit(service, n)
            return (await service.wait("t", job.id, HOUR)).result

        return await asyncio.gather(*(one(n) for n in range(300))), nobody_waits(service)

    assert serve(test, double) == ([str(2 * n) for n in range(300)], True)


def test_a_cancelled_waiter_leaves_nothing_behind_and_the_job_goes_on(serve):
    gates = Gates()

    async def test(service):
        job = await submit(service, task="gated")
        waiting = asyncio.ensure_future(service.wait("t", job.id, HOUR))
        await asyncio.sleep(0)
        assert not nobody_waits(service)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        clean = nobody_waits(service)
        gates.go.set_result("done")
        return clean, (await service.wait("t", job.id, HOUR)).result

    assert serve(test, gates.task) == (True, '"done"')


def test_a_wait_for_no_job_leaves_nothing_behind(serve):
    async def test(service):
        with pytest.raises(NoSuchJobError):
            await service.wait("t", "0198a7e1-0000-7000-8000-000000000000", HOUR)
        return nobody_waits(service)

    assert serve(test, double)


def test_released_waiters_get_the_job_as_it_is_and_later_ones_do_not_wait(serve):
    async def test(service):
        job = await submit(service)
        waiting = [asyncio.ensure_future(service.wait("t", job.id, HOUR)) for _ in range(10)]
        await asyncio.sleep(0)
        service.release_waiters()
        answers = await asyncio.gather(*waiting)
        answers.append(await service.wait("t", job.id, HOUR))
        return {answer.state for answer in answers}, nobody_waits(service)

    assert serve(test, double, start=False) == ({State.PENDING}, True)


# -- cancelling


def test_a_pending_job_is_cancelled_at_once_and_again_without_a_change(serve):
    async def test(service):
        job = await submit(service)
        return await service.cancel("t", job.id), await service.cancel("t", job.id)

    first, second = serve(test, double, start=False)
    assert (first.state, first.cancellation.outcome) == (State.CANCELLED, Stopped.NOT_STARTED)
    assert second == first


def test_whoever_waits_for_a_job_hears_of_its_cancellation(serve):
    async def test(service):
        job = await submit(service)
        waiting = asyncio.ensure_future(service.wait("t", job.id, HOUR))
        await asyncio.sleep(0)
        await service.cancel("t", job.id)
        return await waiting

    assert serve(test, double, start=False).outcome is Outcome.CANCELLED


def test_a_running_job_is_asked_and_says_what_became_of_it(serve):
    gates = Gates()

    async def test(service):
        job = await submit(service, task="gated")
        while job.state is State.PENDING:
            job = await service.wait("t", job.id, HOUR, job.version)
        asked = await service.cancel("t", job.id)
        return asked, await service.wait("t", job.id, HOUR)

    asked, ended = serve(test, gates.task)
    assert (asked.state, asked.cancellation.outcome) == (State.RUNNING, Stopped.PENDING)
    assert (ended.state, ended.cancellation.outcome) == (State.CANCELLED, Stopped.COOPERATIVE)


def test_a_finished_job_cannot_be_cancelled(serve):
    async def test(service):
        job = await submit(service, 4)
        before = await service.wait("t", job.id, HOUR)
        with pytest.raises(JobFinishedError):
            await service.cancel("t", job.id)
        return before, await service.get("t", job.id)

    before, after = serve(test, double)
    assert before == after


def test_a_cancelled_request_to_cancel_is_carried_out_all_the_same(serve):
    async def test(service):
        job = await submit(service)
        request = asyncio.ensure_future(service.cancel("t", job.id))
        await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        return await service.wait("t", job.id, HOUR)

    assert serve(test, double, start=False).outcome is Outcome.CANCELLED
