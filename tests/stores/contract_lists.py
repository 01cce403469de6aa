"""The contract of stores, third part: lists."""

import itertools

import pytest

from app.core import State
from app.jobs.lifecycle import (
    CancelRequested,
    Failed,
    Succeeded,
)
from app.jobs.model import Job, Outcome
from app.stores.base import (
    Filter,
    Page,
    Paging,
)
from tests.stores.driving import BROKEN, Database, change, claim, get, ids, insert, new_job, page, pages


class Listing(Database):
    # -- lists ---------------------------------------------------------------

    def test_a_list_shows_the_newest_first_and_leaves_out_what_may_be_large(self, store):
        jobs = [new_job(arguments='{"args":["long"],"kwargs":{}}') for _ in range(3)]
        insert(store, *jobs)
        (first, second) = claim(store, 2)
        change(store, first, Succeeded(first.token, '"long"'))
        change(store, second, Failed(second.token, BROKEN))
        listed = page(store, Filter(), Paging())
        assert ids(listed.jobs) == ids(jobs[::-1])
        assert listed.next is None
        assert {job.arguments for job in listed.jobs} == {'{"args":[],"kwargs":{}}'}
        assert [job.result for job in listed.jobs] == [None] * 3
        assert [job.exception for job in listed.jobs] == [None, BROKEN._replace(traceback=""), None]

    def filled(self, store) -> list[Job]:
        """Store jobs of every state, outcome, task and queue, and return them, newest first."""
        jobs = [
            new_job(task=task, queue=queue)
            for task, queue, _ in itertools.product(("plain", "other"), ("q", "r"), range(6))
        ]
        insert(store, *jobs)
        for n, running in enumerate(claim(store, 16)):
            match n % 4:
                case 0:
                    change(store, running, Succeeded(running.token, "1"))
                case 1:
                    change(store, running, Failed(running.token, BROKEN))
                case 2:
                    change(store, running, CancelRequested(), Failed(running.token, BROKEN))
        return [get(store, job) for job in reversed(jobs)]

    @pytest.mark.parametrize("limit", [1, 3, 50])
    def test_filters_hold_alone_and_combined(self, store, limit):
        jobs = self.filled(store)
        chosen = itertools.product((None, *State), (None, *Outcome), (None, "plain", "none"), (None, "q"))
        for values in chosen:
            where = Filter(*values)
            expected = [
                job.id
                for job in jobs
                if all(
                    value in (None, is_)
                    for value, is_ in zip(values, (job.state, job.outcome, job.task, job.queue), strict=True)
                )
            ]
            if limit < 50 and sum(value is not None for value in values) > 1:
                continue
            listed = pages(store, where, limit)
            assert [job_id for shown in listed for job_id in ids(shown.jobs)] == expected
            assert all(len(shown.jobs) <= limit for shown in listed)

    def test_paging_shows_each_job_once_while_jobs_are_added(self, store):
        jobs = [new_job() for _ in range(20)]
        insert(store, *jobs)
        shown: list[str] = []
        paging = Paging(3)
        while True:
            read = page(store, Filter(), paging)
            shown += ids(read.jobs)
            insert(store, new_job(), new_job())
            if read.next is None:
                break
            paging = Paging(3, read.next)
        assert shown == ids(jobs[::-1])

    @pytest.mark.parametrize("where", [Filter(outcome=Outcome.SUCCEEDED), Filter(task="plain", queue="rare")])
    def test_a_page_examines_so_many_rows_and_may_be_short_or_empty(self, open_store, where):
        store = open_store(examined=5)
        rare = new_job(queue="rare", priority=1)
        insert(store, rare)
        (running,) = claim(store, 1)
        change(store, running, Succeeded(running.token, "1"))
        insert(store, *[new_job() for _ in range(12)])
        listed = pages(store, where, 50)
        assert [len(shown.jobs) for shown in listed] == [0, 0, 1]
        assert ids(listed[-1].jobs) == [rare.id]
        store.close()

    @pytest.mark.parametrize(
        "where", [Filter(), Filter(state=State.PENDING), Filter(task="plain"), Filter(queue="q")]
    )
    def test_a_filter_that_an_index_serves_fills_its_pages(self, open_store, where):
        store = open_store(examined=2)
        insert(store, *[new_job(queue="q") for _ in range(7)])
        assert [len(shown.jobs) for shown in pages(store, where, 3)] == [3, 3, 1]
        store.close()

    def test_a_page_that_ends_with_the_list_has_no_next(self, store):
        insert(store, *[new_job() for _ in range(4)])
        assert [len(shown.jobs) for shown in pages(store, Filter(), 2)] == [2, 2]

    @pytest.mark.parametrize("before", [2**63 - 1, 2**63, 2**64 - 1])
    def test_a_position_beyond_all_jobs_is_the_beginning(self, store, before):
        job = new_job()
        insert(store, job)
        assert ids(page(store, Filter(), Paging(before=before)).jobs) == [job.id]
        assert page(store, Filter(), Paging(before=0)) == Page([], None)

    def test_a_filter_that_no_stored_text_can_equal_finds_nothing(self, store):
        insert(store, new_job())
        assert page(store, Filter(task="\ud800"), Paging()) == Page([], None)
        assert page(store, Filter(task="plain", queue="\udfff"), Paging()) == Page([], None)
