import threading

import pytest

from app.core import Future, State
from app.jobs.context import progress, submit
from app.jobs.model import Progress
from tests.worker.house import PATIENCE
from tests.worker.test_settling import locked, wait_for_failed_reports


def test_progress_of_a_running_job_is_reported(run):
    gate = threading.Event()

    def plain():
        progress(1, 3, "reading")
        gate.wait(PATIENCE)

    house = run(plain)
    job = house.wait_for(house.submit(plain), lambda job: job.progress is not None)
    assert (job.state, job.progress) == (State.RUNNING, Progress(1, 3, "reading"))
    gate.set()
    assert house.wait_for(job).progress == Progress(1, 3, "reading")


@pytest.mark.parametrize("kind", ["plain", "generator", "coroutine"])
def test_the_last_progress_is_committed_together_with_the_settlement(run, kind):
    def plain():
        for n in range(10_000):
            progress(n)

    def generator():
        yield submit(int)
        plain()

    async def coroutine():
        plain()

    house = run(plain, generator, coroutine)
    job = house.run(house.registry.get(kind).fn)
    final = [found for batch in house.batches for found in batch if found.id == job.id][-1]
    assert (final.state, final.progress) == (State.FINISHED, Progress(9_999))


def test_many_reports_share_a_change(run):
    def plain():
        for n in range(10_000):
            progress(n)

    house = run(plain)
    job = house.run(plain)
    # Insertion, claim, settlement; and a tick may have come in between, four times a second.
    assert job.version < 100


def test_calls_report_for_their_job(run):
    def call():
        progress(2, 2, "in a call")

    def plain():
        submit(call).result()

    assert run(plain).run(plain).progress == Progress(2, 2, "in a call")


def test_every_report_is_followed_by_another_when_there_is_more_to_say(run):
    said, go = [], threading.Semaphore(0)

    def plain():
        for n in range(4):
            said.append(n)
            progress(n)
            go.acquire()

    house = run(plain)
    job = house.submit(plain)
    for n in range(4):
        house.wait_for(job, lambda job, n=n: job.progress == Progress(n))
        go.release()
    assert house.wait_for(job).progress == Progress(3)


@pytest.mark.parametrize("again", [True, False], ids=["with the next report", "with the settlement"])
def test_progress_that_could_not_be_stored_is_stored(run, again):
    waiting, reported = Future(), threading.Event()

    def generator():
        progress(7)
        reported.set()
        yield waiting

    house = run(generator)
    job = house.wait_for_state(house.submit(generator), State.RUNNING)
    assert reported.wait(PATIENCE)
    with locked(house):
        wait_for_failed_reports(house, job)
    if again:
        house.wait_for(job, lambda job: job.progress == Progress(7))
    waiting.set_result(None)
    assert house.wait_for(job).progress == Progress(7)


def test_progress_of_an_attempt_that_is_over_changes_nothing(run):
    gate = threading.Event()

    def plain():
        progress(1)
        gate.wait(PATIENCE)
        progress(2)

    house = run(plain)
    job = house.wait_for(house.submit(plain), lambda job: job.progress == Progress(1))
    house.worker.drain(0)
    gate.set()
    house.worker.pools.jobs.shutdown()
    house.flush()
    assert (house.read(job).state, house.read(job).progress) == (State.PENDING, None)
    assert house.close() is False


def test_bad_progress_raises_where_it_is_reported_and_nothing_of_it_is_stored(run):
    def plain():
        errors = []
        for bad in (float("nan"), float("inf"), "many", 10**400):
            try:
                progress(bad)
            except (TypeError, ValueError) as exc:
                errors.append(type(exc).__name__)
        progress(1, 2, "half a pair: \ud800, NUL: \0")
        return errors

    job = run(plain).run(plain)
    assert job.result == '["ValueError","ValueError","TypeError","ValueError"]'
    assert job.progress == Progress(1, 2, "half a pair: \\ud800, NUL: \\x00")
