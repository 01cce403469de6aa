"""Getting and listing jobs, and what one tenant sees of another."""

import base64

import pytest

from app.core import State
from app.jobs.model import Outcome
from app.service import Filter, InvalidCursorError, NoSuchJobError, Submission
from tests.worker.house import PATIENCE


def double(n: int = 1):
    return n * 2


def fail():
    raise LookupError("no")


UNKNOWN = "0198a7e1-0000-7000-8000-000000000000"


async def submit(service, *args, tenant="t", task="double", **options):
    return (await service.submit(tenant, Submission(task, args, **options))).job


async def pages(service, limit, **filters):
    found, cursor = [], None
    while True:
        page = await service.list("t", Filter(**filters), limit=limit, cursor=cursor)
        found.append([job.id for job in page.jobs])
        if page.cursor is None:
            return found
        cursor = page.cursor


def test_an_unknown_job_is_not_there(serve):
    async def test(service):
        for call in (service.get("t", UNKNOWN), service.cancel("t", UNKNOWN)):
            with pytest.raises(NoSuchJobError):
                await call
        return True

    assert serve(test, double)


def test_another_tenants_job_is_not_there_and_stays_as_it_is(serve):
    async def test(service):
        job = await submit(service)
        calls = (service.get("x", job.id), service.cancel("x", job.id), service.wait("x", job.id, PATIENCE))
        for call in calls:
            with pytest.raises(NoSuchJobError):
                await call
        assert (await service.list("x")).jobs == []
        return job, await service.get("t", job.id)

    before, after = serve(test, double, start=False)
    assert before == after


def test_a_list_shows_the_newest_first_in_pages_without_gaps_or_repeats(serve):
    async def test(service):
        ids = [(await submit(service, n)).id for n in range(7)]
        return ids, await pages(service, 3), await pages(service, 7), await pages(service, 100)

    ids, threes, sevens, hundreds = serve(test, double, start=False)
    ids.reverse()
    assert threes == [ids[:3], ids[3:6], ids[6:]]
    assert sevens == hundreds == [ids]


def test_a_page_goes_on_where_the_last_one_ended_although_jobs_were_added(serve):
    async def test(service):
        ids = [(await submit(service, n)).id for n in range(4)]
        first = await service.list("t", limit=2)
        await submit(service)
        second = await service.list("t", limit=2, cursor=first.cursor)
        return ids, [job.id for job in (*first.jobs, *second.jobs)], second.cursor

    ids, seen, cursor = serve(test, double, start=False)
    assert (seen, cursor) == (ids[::-1], None)


def test_filters_are_applied_together(serve):
    async def test(service):
        done = await submit(service, 1, queue="a")
        failed = await submit(service, task="fail", queue="a")
        later = await submit(service, 1, queue="b", delay=3600)
        for job in (done, failed):
            await service.wait("t", job.id, PATIENCE)
        names = {done.id: "done", failed.id: "failed", later.id: "later"}

        async def find(**filters):
            return [names[job.id] for job in (await service.list("t", Filter(**filters))).jobs]

        return [
            await find(),
            await find(state=State.FINISHED),
            await find(outcome=Outcome.FAILED),
            await find(task="double"),
            await find(queue="a"),
            await find(queue="a", task="double", state=State.FINISHED, outcome=Outcome.SUCCEEDED),
            await find(queue="b", state=State.FINISHED),
        ]

    assert serve(test, double, fail) == [
        ["later", "failed", "done"],
        ["failed", "done"],
        ["failed"],
        ["later", "done"],
        ["failed", "done"],
        ["done"],
        [],
    ]


def test_a_list_leaves_out_what_may_be_large(serve):
    async def test(service):
        job = await submit(service, 21)
        await service.wait("t", job.id, PATIENCE)
        return (await service.list("t")).jobs[0]

    listed = serve(test, double)
    assert (listed.outcome, listed.result) == (Outcome.SUCCEEDED, None)
    assert "21" not in listed.arguments


def test_a_cursor_says_nothing_in_plain_text(serve):
    async def test(service):
        for n in range(3):
            await submit(service, n)
        return (await service.list("t", limit=1)).cursor

    cursor = serve(test, double, start=False)
    assert not cursor.isdecimal()
    assert cursor == cursor.strip("=")


BAD = [
    "",
    "1",
    "nonsense",
    "AAAAAAAAAAA=",
    "AAAAAAAAAAAA",
    "é",
    "\ud800",
    "A" * 10_000,
    # Numbers that no store has as a position.
    base64.urlsafe_b64encode(b"\xff" * 8).decode().rstrip("="),
    base64.urlsafe_b64encode(b"\x80" + bytes(7)).decode().rstrip("="),
]


@pytest.mark.parametrize("cursor", BAD, ids=range(len(BAD)))
def test_what_is_no_cursor_is_refused(serve, cursor):
    async def test(service):
        with pytest.raises(InvalidCursorError):
            await service.list("t", cursor=cursor)
        return True

    assert serve(test, double, start=False)


def test_the_tasks_are_those_registered(serve):
    async def test(service):
        return [task.name for task in service.tasks()]

    assert serve(test, double, fail, start=False) == ["double", "fail"]
