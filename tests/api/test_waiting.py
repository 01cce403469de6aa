"""Waiting for a job: who is answered when, and what becomes of a waiter whose client has gone."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.api.parameters import preferred_wait
from app.jobs.lifecycle import Succeeded
from tests.api.conftest import running


@pytest.fixture
def aside():
    """A thread for the request that waits."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit


def waiting(api, reads):
    """Return when the request has read the job so often: it waits from then on."""
    for _ in range(reads):
        assert api.service.reads.acquire(timeout=10)


def test_a_submission_that_waits_is_answered_with_200_when_the_job_is_done(api, aside):
    body = {"task": "add", "args": [1]}
    answer = aside(api.client.post, "/jobs", json=body, headers={"Prefer": "wait=30"})
    waiting(api, 1)
    [claimed] = api.claim()
    api.apply(claimed.id, Succeeded(claimed.token, "2"))
    response = answer.result(20)
    job = response.json()
    assert (response.status_code, job["state"], job["result"]) == (200, "finished", 2)
    assert response.headers["preference-applied"] == "wait=30"
    assert response.headers["location"] == f"/jobs/{job['id']}"
    assert response.headers["etag"] == f'"{job["version"]}"'


def test_a_submission_whose_wait_ends_first_is_a_202(api):
    answer = api.client.post("/jobs?wait=0.01", json={"task": "add", "args": [1]})
    assert (answer.status_code, answer.json()["state"]) == (202, "pending")
    assert "preference-applied" not in answer.headers


@pytest.mark.parametrize("path", ["", "/result"])
def test_a_read_that_waits_is_answered_when_the_job_is_done_and_not_when_it_starts(api, aside, path):
    job = api.submit()
    answer = aside(api.client.get, f"/jobs/{job['id']}{path}?wait=30")
    waiting(api, 1 if path else 2)
    api.finish(job["id"])
    response = answer.result(20)
    assert response.status_code == 200
    assert response.json() == 2 if path else response.json()["state"] == "finished"


def test_a_read_that_waits_for_a_known_version_is_answered_on_any_change(api, aside):
    job = api.submit()
    answer = aside(api.client.get, f"/jobs/{job['id']}?wait=30", headers={"If-None-Match": '"1"'})
    waiting(api, 2)
    api.claim()
    assert (answer.result(20).status_code, answer.result().json()["state"]) == (200, "running")


def test_a_read_that_waits_for_a_known_version_is_a_304_when_nothing_changes(api):
    job = api.submit()
    answer = api.client.get(f"/jobs/{job['id']}?wait=0.01", headers={"If-None-Match": '"1"'})
    assert (answer.status_code, answer.content) == (304, b"")


def test_a_read_that_knows_an_older_version_is_answered_at_once(api):
    job = api.submit()
    api.claim()
    # The client would have given up after half a minute.
    answer = api.client.get(f"/jobs/{job['id']}?wait=60", headers={"If-None-Match": '"1"'})
    assert (answer.status_code, answer.json()["state"]) == (200, "running")


@pytest.mark.parametrize("path", ["", "/result"])
def test_a_job_that_is_done_is_answered_at_once(api, path):
    job = api.submit()
    api.finish(job["id"])
    # The client would have given up after half a minute.
    assert api.client.get(f"/jobs/{job['id']}{path}?wait=60").status_code == 200


def test_waiting_for_an_unknown_job_is_a_404_at_once(api):
    path = "/jobs/0198c0de-0000-7000-8000-000000000000"
    assert api.client.get(f"{path}?wait=60").status_code == 404
    assert api.client.get(f"{path}/result?wait=60").status_code == 404


def test_a_service_that_stops_lets_waiters_go_with_the_job_as_it_is(api, aside):
    job = api.submit()
    answer = aside(api.client.get, f"/jobs/{job['id']}?wait=60")
    waiting(api, 2)
    api.service._waiters._loop.call_soon_threadsafe(api.service.release_waiters)
    assert (answer.result(20).status_code, answer.result().json()) == (200, job)


# How long


@pytest.mark.parametrize("query", ["wait=61", "wait=1e9"])
def test_a_wait_that_is_too_long_is_cut_and_the_answer_says_so(api, query):
    job = api.submit()
    api.finish(job["id"])
    assert api.client.get(f"/jobs/{job['id']}?{query}").headers["preference-applied"] == "wait=60"


def test_a_preference_that_is_too_long_is_cut_and_the_answer_says_so(api):
    job = api.submit()
    api.finish(job["id"])
    answer = api.client.get(f"/jobs/{job['id']}/result", headers={"Prefer": "wait=100"})
    assert answer.headers["preference-applied"] == "wait=60"


def test_the_query_comes_before_the_preference(api):
    job = api.submit()
    answer = api.client.get(f"/jobs/{job['id']}?wait=0", headers={"Prefer": "wait=60"})
    assert answer.json() == job
    assert "preference-applied" not in answer.headers


@pytest.mark.parametrize(
    "query",
    [
        "wait=-1",
        "wait=nan",
        "wait=inf",
        "wait=-inf",
        "wait=1e999",
        "wait=soon",
        "wait=",
        "wait=1&wait=2",
        "wiat=1",
    ],
)
@pytest.mark.parametrize("path", ["", "/result"])
def test_a_bad_wait_is_a_422_that_names_it(shared_job, query, path):
    api, job = shared_job
    answer = api.client.get(f"/jobs/{job['id']}{path}?{query}")
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-parameters")
    assert answer.json()["errors"][0]["loc"] == ["query", query.partition("=")[0]]


@pytest.fixture(scope="module")
def shared_job(tmp_path_factory):
    """A job that no test changes."""
    with running(tmp_path_factory.mktemp("shared") / "jobs.db") as api:
        yield api, api.submit()


def test_a_bad_wait_on_a_submission_stores_nothing(api):
    assert api.client.post("/jobs?wait=-1", json={"task": "add", "args": [1]}).status_code == 422
    assert api.count() == 0


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ([], None),
        (["wait=10"], 10),
        (["WAIT = 2.5"], 2.5),
        (['wait="7"'], 7),
        (["respond-async, wait=10"], 10),
        (["respond-async", 'foo; bar="a, wait=3", wait=10; baz'], 10),
        (["wait=1, wait=2"], 1),
        (["wait=1", "wait=2"], 1),
        (["wait=x, wait=2"], None),
        (["wait"], None),
        (["wait="], None),
        (["wait=-1"], None),
        (["wait=nan"], None),
        (["wait=inf"], None),
        (["wait=1_0"], None),
        (["waiting=10"], None),
        (['"', ",,", 'a="'], None),
    ],
)
def test_preferences_are_read_as_rfc_7240_says(lines, seconds):
    assert preferred_wait(lines) == seconds


def test_a_bad_preference_is_ignored(api):
    answer = api.client.post("/jobs", json={"task": "add", "args": [1]}, headers={"Prefer": "wait=soon"})
    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers


def test_a_preference_for_no_wait_is_honoured(api):
    answer = api.client.post("/jobs", json={"task": "add", "args": [1]}, headers={"Prefer": "wait=0"})
    assert answer.headers["preference-applied"] == "wait=0"


# Hanging up


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_waiter_whose_client_hangs_up_is_let_go_and_the_job_goes_on(api, method):
    job = api.submit()
    path, body = "/jobs?wait=60", json.dumps({"task": "add", "args": [2]})
    if method == "GET":
        path, body = f"/jobs/{job['id']}?wait=60", ""
    host, port = api.url.removeprefix("http://").split(":")
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        sock.sendall((head + body).encode())
        waiting(api, 1 if method == "POST" else 2)
    # The wait ends long before its minute is over.
    assert api.service.left.acquire(timeout=20)
    listed = api.client.get("/jobs").json()["jobs"]
    assert {job["state"] for job in listed} == {"pending"}
    assert len(listed) == (2 if method == "POST" else 1)


def test_a_client_that_hangs_up_in_the_middle_of_its_body_stores_nothing(api):
    host, port = api.url.removeprefix("http://").split(":")
    head = f"POST /jobs HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    head += "Content-Length: 100\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        sock.sendall(f'{head}{{"task": "add"'.encode())
    assert api.count() == 0
