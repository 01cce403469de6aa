"""Changes of all the jobs that a filter fits."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.jobs.lifecycle import Failed
from app.jobs.model import Failure
from app.service.bulk import BATCH
from app.stores.base import Purge

CALLS = ("/jobs/cancel", "/jobs/retry")


def problem(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


def change(api, call, **where):
    answer = api.client.post(f"/jobs/{call}", json=where)
    assert answer.status_code == 200, answer.text
    tally = answer.json()
    assert tally.keys() == {"matched", "changed"}
    return tally["matched"], tally["changed"]


def shown(api, job):
    return api.client.get(f"/jobs/{job['id']}").json()


def states(api, *jobs):
    return [shown(api, job)["state"] for job in jobs]


def submit_many(api, count, **body):
    items = [{"task": "add", "args": [1], **body}] * count
    return api.client.post("/jobs/batch", json={"jobs": items}).json()["jobs"]


def fail(api, job):
    """Let a job that was claimed raise."""
    api.apply(job.id, Failed(job.token, Failure("ValueError", "", "")))


def fail_all(api):
    for jobs in iter(api.claim, []):
        for job in jobs:
            fail(api, job)


# Cancelling


def test_what_waits_and_what_runs_is_cancelled_and_the_rest_is_only_counted(api):
    succeeded = api.submit()
    api.finish(succeeded["id"])
    running = api.submit()
    api.claim()
    waiting, cancelled = api.submit(), api.submit()
    api.client.delete(f"/jobs/{cancelled['id']}")
    other = api.submit(task="anything")
    assert change(api, "cancel", task="add") == (4, 2)
    assert states(api, succeeded, running, waiting, cancelled) == [
        "finished", "running", "cancelled", "cancelled"
    ]  # fmt: skip
    assert shown(api, running)["cancellation"]["outcome"] == "pending"
    assert states(api, other) == ["pending"]
    # Once more: what runs was asked already.
    assert change(api, "cancel", task="add") == (4, 0)


def test_a_filter_has_the_conditions_of_a_list(api):
    books = api.submit(tags={"team": "books", "a": "b"}, queue="q1")
    ops = api.submit(tags={"team": "ops"})
    late = api.submit(task="anything", delay=3600)
    conditions = [
        {"state": "running"},
        {"outcome": "failed"},
        {"task": "nowhere"},
        {"queue": "q2"},
        {"tag": "team:book"},
        {"tag": ["team:books", "a:c"]},
        {"created_after": late["created_at"]},
        {"created_before": books["created_at"]},
        {"q": "nowhere"},
    ]
    assert [change(api, "cancel", **where) for where in conditions] == [(0, 0)] * len(conditions)
    between = {"created_after": books["created_at"], "created_before": late["created_at"]}
    assert change(api, "cancel", **between) == (1, 1)
    assert change(api, "cancel", tag=["team:books", "a:b"], queue="q1", state="pending") == (1, 1)
    assert change(api, "cancel", tag="team:books") == (1, 0)
    assert change(api, "cancel", q="ANYTH") == (1, 1)
    assert states(api, books, ops, late) == ["cancelled"] * 3


@pytest.mark.parametrize(
    ("where", "loc"),
    [
        ({}, []),
        ([], []),
        (None, []),
        ("state=pending", []),
        ({"state": None}, ["state"]),
        ({"task": "add", "queue": None}, ["queue"]),
        ({"tag": []}, ["tag"]),
        ({"tag": {}}, ["tag"]),
        ({"tag": "team"}, ["tag"]),
        ({"tag": ["a:b", "team"]}, ["tag", 1]),
        ({"tag": ["a:b", 1]}, ["tag", 1]),
        ({"tag": ["a:b", ["c", "d"]]}, ["tag", 1]),
        ({"tag": ["a:b"] * 51}, ["tag"]),
        ({"tags": {"a": "b"}}, ["tags"]),
        ({"state": "done"}, ["state"]),
        ({"state": 1}, ["state"]),
        ({"state": ["pending"]}, ["state"]),
        ({"outcome": True}, ["outcome"]),
        ({"task": ""}, ["task"]),
        ({"task": 1}, ["task"]),
        ({"queue": "q" * 101}, ["queue"]),
        ({"created_after": 1}, ["created_after"]),
        ({"created_before": "now"}, ["created_before"]),
        ({"q": ""}, ["q"]),
        ({"q": 10**400}, ["q"]),
        ({"q": "\ud800"}, ["q"]),
        ({"task": "add", "limit": 5}, ["limit"]),
        ({"task": "add", "cursor": "AAAAAAAAAAA"}, ["cursor"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_filter_or_none_is_a_422_that_names_the_place_and_changes_nothing(shared, call, where, loc):
    sent = {"content": json.dumps(where), "headers": {"Content-Type": "application/json"}}
    answer = shared.client.post(call, **sent)
    assert problem(answer) == (422, "invalid-body")
    assert [fault["loc"] for fault in answer.json()["errors"]] == [loc]


@pytest.mark.parametrize("call", CALLS)
def test_a_filter_is_a_body_like_any_other(shared, call):
    def sent(content, **headers):
        return problem(shared.client.post(call, content=content, headers=headers))

    assert sent(b"") == sent(b'{"task": "add"}') == (415, "unsupported-media-type")
    assert sent(b"{", **{"Content-Type": "application/json"}) == (400, "invalid-json")
    in_query = shared.client.post(f"{call}?state=pending", json={"task": "add"})
    assert problem(in_query) == (422, "invalid-parameters")


def test_more_than_a_batch_is_changed_page_by_page(api):
    count = BATCH * 2 + 1
    submit_many(api, count, delay=3600)
    assert change(api, "cancel", state="pending") == (count, count)
    assert change(api, "cancel", state="pending") == (0, 0)
    assert change(api, "retry", outcome="cancelled") == (count, count)
    assert change(api, "cancel", task="add") == (count, count)


def test_of_two_calls_at_once_each_says_what_it_has_changed(api):
    submit_many(api, BATCH)
    with ThreadPoolExecutor(4) as pool:
        tallies = list(pool.map(lambda _: change(api, "cancel", state="pending"), range(4)))
    assert sum(changed for _, changed in tallies) == BATCH


def test_what_has_begun_since_it_was_listed_is_not_cancelled_as_waiting(api):
    job = api.submit()
    listed = api.service._store.list

    async def list_and_claim(*args):
        page = await listed(*args)
        api.claim()
        return page

    api.service._store.list = list_and_claim
    assert change(api, "cancel", state="pending") == (1, 0)
    assert (shown(api, job)["state"], shown(api, job)["cancellation"]) == ("running", None)
    assert change(api, "cancel", task="add") == (1, 1)
    assert shown(api, job)["cancellation"]["outcome"] == "pending"


def test_what_is_erased_or_finished_since_it_was_listed_is_only_counted(api):
    gone, ended = api.submit(), api.submit()
    claimed = {job.id: job for job in api.claim()}
    listed = api.service._store.list

    async def list_and_end(*args):
        page = await listed(*args)
        for job in claimed.values():
            fail(api, job)
        api.writer.submit(Purge(gone["id"], "default")).result(10)
        return page

    api.service._store.list = list_and_end
    assert change(api, "cancel", task="add") == (2, 0)
    assert shown(api, ended)["outcome"] == "failed"


# Running again


def test_what_failed_or_was_cancelled_is_run_again_and_the_rest_is_only_counted(api):
    failed, succeeded, cancelled = api.submit(), api.submit(), api.submit()
    api.client.delete(f"/jobs/{cancelled['id']}")
    api.fail(failed["id"])
    waiting = api.submit(delay=3600)
    succeeded = api.submit()
    api.finish(succeeded["id"])
    assert change(api, "retry", outcome="failed") == (1, 1)
    assert change(api, "retry", task="add") == (5, 1)
    assert [shown(api, job)["run"] for job in (failed, cancelled, waiting, succeeded)] == [2, 2, 1, 1]
    assert change(api, "retry", task="add") == (5, 0)


def test_a_job_that_fails_again_at_once_is_not_run_again_by_the_same_call(api):
    count = BATCH + 1
    submit_many(api, count)
    fail_all(api)
    listed = api.service._store.list

    async def fail_then_list(*args):
        # A worker that is as quick as can be: all that was run again has failed by the next page.
        fail_all(api)
        return await listed(*args)

    api.service._store.list = fail_then_list
    assert change(api, "retry", outcome="failed") == (count, count)
    runs = {job["run"] for job in api.client.get("/jobs?limit=500").json()["jobs"]}
    assert runs == {2}


def test_a_job_whose_key_another_holds_is_only_counted(api):
    first = api.submit(key="a")
    api.client.delete(f"/jobs/{first['id']}")
    second = api.submit(key="a")
    api.client.delete(f"/jobs/{second['id']}")
    assert change(api, "retry", task="add") == (2, 1)
    assert states(api, first, second) == ["cancelled", "pending"]


def test_a_service_that_stops_cancels_many_and_runs_none_again(api):
    api.submit()
    api.service.drain()
    answer = api.client.post("/jobs/retry", json={"task": "add"})
    assert problem(answer) == (503, "draining")
    assert int(answer.headers["retry-after"]) > 0
    assert change(api, "cancel", task="add") == (1, 1)


def test_a_walk_that_a_stop_interrupts_says_so(api):
    submit_many(api, BATCH + 1)
    change(api, "cancel", task="add")
    listed = api.service._store.list

    async def list_and_drain(*args):
        page = await listed(*args)
        api.service.drain()
        return page

    api.service._store.list = list_and_drain
    assert problem(api.client.post("/jobs/retry", json={"task": "add"})) == (503, "draining")
    assert len(api.client.get("/jobs?state=pending&limit=500").json()["jobs"]) == BATCH


def test_another_tenants_jobs_are_not_there(serve):
    api = serve(api_keys="books:one,ops:two")
    books, ops = ({"Authorization": f"Bearer {secret}"} for secret in ("one", "two"))
    api.client.post("/jobs", json={"task": "add", "args": [1]}, headers=books)
    for call in CALLS:
        answer = api.client.post(call, json={"task": "add"}, headers=ops)
        assert answer.json() == {"matched": 0, "changed": 0}
        assert problem(api.client.post(call, json={"task": "add"})) == (401, "unauthorized")


@pytest.mark.parametrize("call", CALLS)
def test_a_store_that_cannot_be_written_is_a_503(api, call):
    job = api.submit()
    if call == "/jobs/retry":
        api.client.delete(f"/jobs/{job['id']}")
    api.writer.close()
    assert problem(api.client.post(call, json={"task": "add"})) == (503, "store-unavailable")
