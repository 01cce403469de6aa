"""Queues: how they stand, and how they are paused."""

from urllib.parse import quote

import pytest

from app.jobs.model import Slot
from app.stores.base import Claim
from tests.api.conftest import running


def problem(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


def queues(api, **headers):
    return api.client.get("/queues", headers=headers).json()


def claim_one(api):
    return api.writer.submit(Claim("worker-1", {Slot.THREAD: 1})).result(10)


def test_a_queue_shows_what_waits_and_what_runs_in_it(api):
    assert queues(api) == {"tenant": "default", "queues": []}
    api.submit(priority=9)
    claim_one(api)
    api.submit(queue="a/ü b")
    api.submit()
    api.submit()
    answer = api.client.get("/queues")
    assert answer.content.endswith(b"}\n")
    found = {queue.pop("name"): queue for queue in answer.json()["queues"]}
    ages = [queue.pop("oldest_age") for queue in found.values()]
    assert found == {
        "a/ü b": {"paused": False, "pending": 1, "running": 0},
        "default": {"paused": False, "pending": 2, "running": 1},
    }
    assert all(0 <= age < 60 for age in ages)


def test_a_queue_in_which_nothing_is_due_has_no_age(api):
    api.submit(queue="later", delay=3600)
    api.submit(queue="busy")
    claim_one(api)
    assert [queue["oldest_age"] for queue in queues(api)["queues"]] == [None, None]


def test_a_paused_queue_takes_jobs_and_runs_none_until_it_is_resumed(api):
    api.submit(queue="q")
    paused = api.client.post("/queues/q/pause")
    assert (paused.status_code, paused.json()["paused"]) == (200, True)
    assert paused.json() | {"oldest_age": 0} == {
        "name": "q", "paused": True, "pending": 1, "running": 0, "oldest_age": 0
    }  # fmt: skip
    job = api.submit(queue="q", args=[2])
    assert job["state"] == "pending"
    assert api.claim() == []
    other = api.submit(queue="other")
    assert [claimed.id for claimed in api.claim()] == [other["id"]]
    resumed = api.client.post("/queues/q/resume").json()
    assert (resumed["paused"], resumed["pending"]) == (False, 2)
    assert len(api.claim()) == 2


def test_pausing_twice_is_pausing_once(api):
    for call in ("pause", "pause", "resume", "resume"):
        answer = api.client.post(f"/queues/q/{call}")
        assert (answer.status_code, answer.json()) == (
            200,
            {"name": "q", "paused": call == "pause", "pending": 0, "running": 0, "oldest_age": None},
        )
    assert queues(api)["queues"] == []


@pytest.mark.parametrize("name", ["q", "a/b", "/", "pause", "a/pause", "ü %?#", "q" * 100, "...", " "])
def test_any_name_that_a_submission_may_have_can_be_paused(api, name):
    address = f"/queues/{quote(name, safe='').replace('.', '%2E')}/pause"
    answer = api.client.post(address)
    assert (answer.status_code, answer.json()["name"]) == (200, name)
    api.submit(queue=name)
    assert api.claim() == []
    assert [queue["name"] for queue in queues(api)["queues"]] == [name]


@pytest.mark.parametrize("name", ["", "q" * 101, "%00", "a%00b", "%2E%2E", "a/%2E%2E/b"])
@pytest.mark.parametrize("call", ["pause", "resume"])
def test_a_name_that_no_submission_may_have_is_a_422(shared, name, call):
    answer = shared.client.post(f"/queues/{name}/{call}")
    assert problem(answer) == (422, "invalid-parameters")
    assert answer.json()["errors"][0]["loc"] == ["path", "name"]


def test_a_pause_survives_a_restart(tmp_path):
    with running(tmp_path / "jobs.db") as api:
        api.client.post("/queues/q/pause")
    with running(tmp_path / "jobs.db") as api:
        assert queues(api)["queues"] == [
            {"name": "q", "paused": True, "pending": 0, "running": 0, "oldest_age": None}
        ]
        api.submit(queue="q")
        assert api.claim() == []


def test_a_tenant_sees_and_pauses_queues_of_its_own(serve):
    api = serve(api_keys="books:one,ops:two")
    books, ops = ({"Authorization": f"Bearer {secret}"} for secret in ("one", "two"))
    for headers in (books, ops):
        api.client.post("/jobs", json={"task": "add", "args": [1]}, headers=headers)
    api.client.post("/queues/default/pause", headers=books)
    assert [job.tenant for job in api.claim()] == ["ops"]
    shown = [queues(api, **headers) for headers in (books, ops)]
    assert [found["tenant"] for found in shown] == ["books", "ops"]
    assert [found["queues"][0]["paused"] for found in shown] == [True, False]
    assert problem(api.client.get("/queues")) == (401, "unauthorized")
    assert problem(api.client.post("/queues/default/pause")) == (401, "unauthorized")


@pytest.mark.parametrize("call", ["pause", "resume"])
def test_a_pause_takes_neither_body_nor_parameters(shared, call):
    here = f"/queues/q/{call}"
    assert problem(shared.client.post(here, json={"until": "monday"})) == (422, "invalid-body")
    assert problem(shared.client.post(here, content=b"x")) == (415, "unsupported-media-type")
    assert problem(shared.client.post(f"{here}?until=monday")) == (422, "invalid-parameters")
    assert problem(shared.client.get("/queues?limit=1")) == (422, "invalid-parameters")
    assert problem(shared.client.get(here)) == (405, "method-not-allowed")
    assert problem(shared.client.post("/queues/q")) == (404, "not-found")
    answer = shared.client.post(here, headers={"Origin": "https://evil.example"})
    assert problem(answer) == (403, "cross-site")


def test_a_service_that_stops_still_pauses(api):
    api.service.drain()
    assert api.client.post("/queues/q/pause").json()["paused"]
    assert not api.client.post("/queues/q/resume").json()["paused"]


def test_a_store_that_cannot_be_written_pauses_nothing(api):
    api.writer.close()
    assert problem(api.client.post("/queues/q/pause")) == (503, "store-unavailable")
