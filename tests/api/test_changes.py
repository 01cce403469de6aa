"""Changes of one job: editing what waits, running again what has ended, erasing what is done."""

import json

import pytest

from app.jobs.lifecycle import Failed, Succeeded
from app.jobs.model import Failure

NO_ID = "0198c0de-0000-7000-8000-000000000000"


def problem(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


@pytest.fixture
def ended(api):
    """Return a function that submits a job and brings it to an end, and returns its address."""

    def end(how, **body):
        job = api.submit(**body)
        if how == "cancelled":
            api.client.delete(f"/jobs/{job['id']}")
        else:
            {"failed": api.fail, "succeeded": api.finish}[how](job["id"])
        return f"/jobs/{job['id']}"

    return end


# Editing


def test_what_waits_can_be_edited(api):
    job = api.submit(tags={"a": "b"})
    edit = {"priority": 7, "run_at": "2040-01-31T10:00:00+01:00", "tags": {"c": "d"}}
    answer = api.client.patch(f"/jobs/{job['id']}", json=edit)
    expected = {**job, **edit, "run_at": "2040-01-31T09:00:00.000000Z", "version": 2}
    assert (answer.status_code, answer.json(), answer.headers["etag"]) == (200, expected, '"2"')
    assert api.client.get(f"/jobs/{job['id']}").json() == expected
    assert api.claim() == []


def test_an_edit_leaves_alone_what_it_does_not_name(api):
    job = api.submit(tags={"a": "b"}, priority=3)
    assert api.client.patch(f"/jobs/{job['id']}", json={"priority": 3}).json() == job
    cleared = api.client.patch(f"/jobs/{job['id']}", json={"tags": {}}).json()
    assert cleared == {**job, "tags": {}, "version": 2}
    past = api.client.patch(f"/jobs/{job['id']}", json={"run_at": "1970-01-01T00:00:00Z"}).json()
    assert past == {**cleared, "run_at": "1970-01-01T00:00:00.000000Z", "version": 3}
    assert [claimed.id for claimed in api.claim()] == [job["id"]]


@pytest.mark.parametrize(
    ("edit", "loc"),
    [
        ({}, []),
        ([], []),
        (None, []),
        ({"priority": None}, ["priority"]),
        ({"run_at": None}, ["run_at"]),
        ({"tags": None}, ["tags"]),
        ({"queue": "other"}, ["queue"]),
        ({"priority": 1, "state": "finished"}, ["state"]),
        ({"priority": 101}, ["priority"]),
        ({"priority": 10**400}, ["priority"]),
        ({"priority": True}, ["priority"]),
        ({"priority": "1"}, ["priority"]),
        ({"run_at": "tomorrow"}, ["run_at"]),
        ({"run_at": 5}, ["run_at"]),
        ({"tags": {"a:b": ""}}, ["tags", "a:b", "[key]"]),
        ({"tags": {"a": "\ud800"}}, ["tags", "a"]),
        ({"tags": {str(n): "" for n in range(51)}}, ["tags"]),
    ],
    ids=str,
)
def test_an_edit_that_is_wrong_is_a_422_that_names_the_place_and_changes_nothing(api, edit, loc):
    job = api.submit()
    answer = api.client.patch(
        f"/jobs/{job['id']}", content=json.dumps(edit), headers={"Content-Type": "application/json"}
    )
    assert problem(answer) == (422, "invalid-body")
    assert [fault["loc"] for fault in answer.json()["errors"]] == [loc]
    assert api.client.get(f"/jobs/{job['id']}").json() == job


def test_an_edit_has_to_be_json_and_say_so(api):
    job = api.submit()
    here = f"/jobs/{job['id']}"
    assert problem(api.client.patch(here, content=b'{"priority": 1}')) == (415, "unsupported-media-type")
    sent = {"headers": {"Content-Type": "application/json"}}
    assert problem(api.client.patch(here, content=b"{", **sent)) == (400, "invalid-json")
    assert problem(api.client.patch(here, content=b" " * 1_048_577, **sent)) == (413, "body-too-large")
    assert problem(api.client.patch(f"{here}?wait=1", json={"priority": 1})) == (422, "invalid-parameters")


def test_what_has_begun_or_ended_cannot_be_edited(api, ended):
    job = api.submit()
    api.claim()
    running = f"/jobs/{job['id']}"
    for here in (running, ended("failed"), ended("succeeded"), ended("cancelled")):
        assert problem(api.client.patch(here, json={"priority": 1})) == (409, "job-not-pending")


@pytest.mark.parametrize("job_id", [NO_ID, "1", "%00"])
def test_an_unknown_job_is_a_404_for_every_change(api, job_id):
    here = f"/jobs/{job_id}"
    assert problem(api.client.patch(here, json={"priority": 1})) == (404, "job-not-found")
    assert problem(api.client.post(f"{here}/retry")) == (404, "job-not-found")
    assert problem(api.client.delete(f"{here}?purge=true")) == (404, "job-not-found")


# Running again


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_what_failed_or_was_cancelled_is_run_again_under_the_same_id(api, ended, how):
    here = ended(how, expires_in=3600)
    answer = api.client.post(f"{here}/retry")
    job = answer.json()
    assert answer.status_code == 202
    assert (answer.headers["location"], answer.headers["etag"]) == (here, f'"{job["version"]}"')
    assert (job["state"], job["run"], job["attempt"], job["outcome"]) == ("pending", 2, 0, None)
    assert (job["exception"], job["cancellation"], job["expires_at"]) == (None, None, None)
    assert len(job["attempts"]) == (1 if how == "failed" else 0)
    assert f"/jobs/{api.claim()[0].id}" == here
    assert api.client.get(here).json()["state"] == "running"


def test_what_waits_runs_or_has_succeeded_is_not_run_again(api, ended):
    running = api.submit()
    api.claim()
    waiting = api.submit(delay=3600)
    for here in (f"/jobs/{running['id']}", f"/jobs/{waiting['id']}", ended("succeeded")):
        before = api.client.get(here).content
        assert problem(api.client.post(f"{here}/retry")) == (409, "job-not-retriable")
        assert api.client.get(here).content == before


def test_a_job_is_not_run_again_while_another_has_its_key(api, ended):
    here = ended("failed", key="a")
    other = api.submit(key="a")
    assert problem(api.client.post(f"{here}/retry")) == (409, "key-held")
    api.client.delete(f"/jobs/{other['id']}")
    assert api.client.post(f"{here}/retry").status_code == 202


@pytest.mark.parametrize(
    ("content", "content_type"),
    [(b"", None), (b"", "text/plain"), (b"{}", "application/json"), (b" { } ", "application/json")],
)
def test_a_new_run_needs_no_body(api, ended, content, content_type):
    headers = {"Content-Type": content_type} if content_type else {}
    answer = api.client.post(f"{ended('failed')}/retry", content=content, headers=headers)
    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("content", "content_type", "expected"),
    [
        (b"{}", "text/plain", (415, "unsupported-media-type")),
        (b"{", "application/json", (400, "invalid-json")),
        (b"null", "application/json", (422, "invalid-body")),
        (b'{"max_attempts": 5}', "application/json", (422, "invalid-body")),
    ],
)
def test_a_body_that_would_be_ignored_is_refused(api, ended, content, content_type, expected):
    here = ended("failed")
    answer = api.client.post(f"{here}/retry", content=content, headers={"Content-Type": content_type})
    assert problem(answer) == expected
    assert api.client.get(here).json()["run"] == 1


# Erasing


@pytest.mark.parametrize("how", ["failed", "succeeded", "cancelled"])
def test_what_is_done_can_be_erased(api, ended, how):
    here = ended(how)
    answer = api.client.delete(f"{here}?purge=true")
    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-length" not in answer.headers
    assert "content-type" not in answer.headers
    assert problem(api.client.get(here)) == (404, "job-not-found")
    assert problem(api.client.get(f"{here}/result")) == (404, "job-not-found")
    assert problem(api.client.delete(f"{here}?purge=true")) == (404, "job-not-found")
    assert api.count() == 0


def test_what_waits_or_runs_cannot_be_erased(api):
    running = api.submit()
    api.claim()
    for job in (running, api.submit()):
        here = f"/jobs/{job['id']}"
        before = api.client.get(here).content
        assert problem(api.client.delete(f"{here}?purge=true")) == (409, "job-not-done")
        assert api.client.get(here).content == before


def test_a_delete_that_says_not_to_purge_cancels(api):
    job = api.submit()
    assert api.client.delete(f"/jobs/{job['id']}?purge=false").json()["state"] == "cancelled"


# Whose it is, and when


def test_another_tenants_job_is_not_there(serve):
    api = serve(api_keys="books:one,ops:two")
    books, ops = ({"Authorization": f"Bearer {secret}"} for secret in ("one", "two"))
    job = api.client.post("/jobs", json={"task": "add", "args": [1]}, headers=books).json()
    here = f"/jobs/{job['id']}"
    assert problem(api.client.patch(here, json={"priority": 1}, headers=ops)) == (404, "job-not-found")
    api.fail(job["id"])
    assert problem(api.client.post(f"{here}/retry", headers=ops)) == (404, "job-not-found")
    assert problem(api.client.delete(f"{here}?purge=true", headers=ops)) == (404, "job-not-found")
    assert problem(api.client.post(f"{here}/retry")) == (401, "unauthorized")
    assert api.client.get(here, headers=books).json()["outcome"] == "failed"


def test_a_delete_of_what_waits_leaves_alone_what_has_begun(api):
    here = f"/jobs/{api.submit()['id']}?state=pending"
    assert len(api.claim()) == 1
    assert problem(api.client.delete(here)) == (409, "job-not-pending")
    assert api.client.get(here.partition("?")[0]).json()["cancellation"] is None


def test_a_delete_of_what_waits_cancels_it_and_may_come_again(api):
    here = f"/jobs/{api.submit()['id']}?state=pending"
    answer = api.client.delete(here)
    assert (answer.status_code, answer.json()["cancellation"]["outcome"]) == (200, "not_started")
    again = api.client.delete(here)
    assert (again.status_code, again.json()) == (200, answer.json())


def test_a_delete_of_what_waits_is_refused_for_what_has_finished(api):
    here = f"/jobs/{api.submit()['id']}?state=pending"
    api.finish(here.rsplit("/", maxsplit=1)[-1].partition("?")[0])
    assert problem(api.client.delete(here)) == (409, "job-not-pending")


@pytest.mark.parametrize("query", ["state=running", "state=pending&purge=true", "state="])
def test_a_delete_of_what_makes_no_sense_is_refused(api, query):
    here = f"/jobs/{api.submit()['id']}"
    assert api.client.delete(f"{here}?{query}").status_code == 422
    assert api.client.get(here).json()["state"] == "pending"


def test_a_service_that_stops_still_cancels_edits_and_erases_and_runs_nothing_again(api, ended):
    failed, waiting = ended("failed"), f"/jobs/{api.submit()['id']}"
    api.service.drain()
    answer = api.client.post(f"{failed}/retry")
    assert problem(answer) == (503, "draining")
    assert int(answer.headers["retry-after"]) > 0
    assert api.client.patch(waiting, json={"priority": 1}).status_code == 200
    assert api.client.delete(waiting).status_code == 200
    assert api.client.delete(f"{failed}?purge=true").status_code == 204


@pytest.mark.parametrize("path", ["/retry", ""])
def test_a_web_page_of_another_site_changes_nothing(api, ended, path):
    here = ended("failed")
    method = "POST" if path else "DELETE"
    answer = api.client.request(method, here + path, headers={"Origin": "https://evil.example"})
    assert problem(answer) == (403, "cross-site")
    assert api.client.get(here).json()["run"] == 1


def test_what_is_cancelled_while_it_would_be_retried_stays_cancelled(api):
    job = api.submit(retry={"max_attempts": 3})
    [claimed] = api.claim()
    api.client.delete(f"/jobs/{job['id']}")
    api.apply(claimed.id, Failed(claimed.token, Failure("ValueError", "", ""), 0))
    shown = api.client.get(f"/jobs/{job['id']}").json()
    assert (shown["state"], shown["cancellation"]["outcome"]) == ("cancelled", "cooperative")


def test_a_new_run_has_a_result_of_its_own(api, ended):
    here = ended("failed")
    api.client.post(f"{here}/retry")
    [claimed] = api.claim()
    api.apply(claimed.id, Succeeded(claimed.token, "42"))
    assert api.client.get(f"{here}/result").content == b"42\n"
