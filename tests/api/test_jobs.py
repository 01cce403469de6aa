"""Reading and cancelling jobs, and fetching results."""

import re

import pytest
from pydantic import TypeAdapter

from app.api.documents import job_document, listed_job
from app.api.schemas import JobDocument, ListedJob
from app.jobs.lifecycle import Claimed, Failed, Progressed, Released, Succeeded
from app.jobs.model import Failure, Job, Progress, Slot
from app.stores.base import Sweep

NO_ID = "0198c0de-0000-7000-8000-000000000000"


def problem(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


# The job


def test_a_submission_is_answered_with_the_job_and_where_it_is(api):
    answer = api.client.post("/jobs", json={"task": "add", "args": [1]})
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/jobs/{job['id']}"
    assert answer.headers["etag"] == '"1"'
    assert answer.headers["content-type"] == "application/json"
    assert answer.content.endswith(b"}\n")
    got = api.client.get(answer.headers["location"])
    assert (got.status_code, got.content) == (200, answer.content)


def test_a_new_job_shows_every_field(api):
    job = api.submit()
    created = job["created_at"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", created)
    here = f"/jobs/{job['id']}"
    assert job == {
        "id": job["id"],
        "task": "add",
        "args": [1],
        "kwargs": {},
        "queue": "default",
        "priority": 0,
        "tags": {},
        "key": None,
        "state": "pending",
        "outcome": None,
        "result": None,
        "exception": None,
        "run": 1,
        "attempt": 0,
        "max_attempts": 1,
        "losses": 0,
        "attempts": [],
        "progress": None,
        "cancellation": None,
        "timeout": None,
        "created_at": created,
        "run_at": created,
        "started_at": None,
        "finished_at": None,
        "expires_at": None,
        "version": 1,
        "links": {
            "self": here,
            "result": f"{here}/result",
            "events": f"{here}/events",
            "logs": f"{here}/logs",
        },
    }


def test_a_running_job_shows_its_attempt_and_progress(api):
    submitted = api.submit()
    [claimed] = api.claim()
    api.apply(claimed.id, Progressed(claimed.token, Progress(3, 10, "reading")))
    job = api.client.get(f"/jobs/{submitted['id']}").json()
    assert (job["state"], job["attempt"]) == ("running", 1)
    assert job["progress"] == {"done": 3, "total": 10, "message": "reading"}
    assert job["attempts"] == [
        {
            "run": 1,
            "number": 1,
            "worker": "worker-1",
            "started_at": job["started_at"],
            "finished_at": None,
            "exception": None,
        }
    ]


def test_a_failed_job_shows_its_exception_in_the_attempt_too(api):
    submitted = api.submit()
    api.fail(submitted["id"])
    job = api.client.get(f"/jobs/{submitted['id']}").json()
    exception = {"type": "ValueError", "message": "too bad", "traceback": "Traceback ...\n"}
    assert (job["state"], job["outcome"], job["exception"]) == ("finished", "failed", exception)
    assert job["attempts"][0]["exception"] == exception
    assert job["attempts"][0]["finished_at"] == job["finished_at"]


def test_all_attempts_are_shown_those_before_first(api):
    submitted = api.submit(retry={"max_attempts": 2})
    for _ in range(2):
        [claimed] = api.claim()
        api.apply(claimed.id, Failed(claimed.token, Failure("ValueError", "too bad", "..."), 0))
    api.client.post(f"/jobs/{submitted['id']}/retry")
    waiting = api.client.get(f"/jobs/{submitted['id']}").json()
    assert [(a["run"], a["number"], a["exception"]["type"]) for a in waiting["attempts"]] == [
        (1, 1, "ValueError"),
        (1, 2, "ValueError"),
    ]
    assert (waiting["run"], waiting["attempt"], waiting["exception"]) == (2, 0, None)
    api.claim()
    running = api.client.get(f"/jobs/{submitted['id']}").json()
    assert running["attempts"][:2] == waiting["attempts"]
    assert (running["attempts"][2]["run"], running["attempts"][2]["number"]) == (2, 1)
    assert running["attempts"][2]["finished_at"] is None


def test_a_job_cancelled_before_it_began_shows_no_attempt(api):
    job = api.submit()
    assert api.client.delete(f"/jobs/{job['id']}").json()["attempts"] == []


def test_a_job_that_was_put_back_shows_no_attempt(api):
    job = api.submit()
    [claimed] = api.claim()
    api.apply(claimed.id, Released(claimed.token))
    assert api.client.get(f"/jobs/{job['id']}").json()["attempts"] == []


@pytest.mark.parametrize("raw", ['{"b": 1.10, "a":[1e5]}', '"ü\\u2028"', "null", "12345678901234567890"])
def test_a_result_goes_out_exactly_as_it_is_stored(api, raw):
    job = api.submit()
    api.finish(job["id"], raw)
    assert f'"result":{raw},'.encode() in api.client.get(f"/jobs/{job['id']}").content
    answer = api.client.get(f"/jobs/{job['id']}/result")
    assert (answer.status_code, answer.content) == (200, raw.encode() + b"\n")
    assert answer.headers["content-type"] == "application/json"


def test_documents_have_exactly_the_fields_of_the_published_schema():
    job = Job("id", "default", "add", Slot.THREAD, 0, 0)
    read = TypeAdapter(dict).validate_json
    assert read(job_document(job)).keys() == JobDocument.model_fields.keys()
    assert read(listed_job(job)).keys() == ListedJob.model_fields.keys()


@pytest.mark.parametrize("path", ["", "/result"])
@pytest.mark.parametrize("job_id", [NO_ID, "1", "x" * 36, NO_ID.replace("-", ""), NO_ID + "0", "%00"])
def test_an_id_that_is_unknown_or_no_uuid_is_a_404(api, job_id, path):
    assert problem(api.client.get(f"/jobs/{job_id}{path}")) == (404, "job-not-found")


def test_an_id_may_be_written_in_capitals(api):
    job = api.submit()
    answer = api.client.get(f"/jobs/{job['id'].upper()}")
    assert (answer.status_code, answer.json()) == (200, job)
    assert api.client.delete(f"/jobs/{job['id'].upper()}").json()["id"] == job["id"]


# ETag


@pytest.mark.parametrize("value", ['"1"', 'W/"1"', '"0", "1"', '"0",W/"1"', "*", '"a,b" , "1"'])
def test_a_job_that_has_not_changed_is_a_304_without_a_body(api, value):
    job = api.submit()
    answer = api.client.get(f"/jobs/{job['id']}", headers={"If-None-Match": value})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", '"1"')


@pytest.mark.parametrize("value", ['"2"', "1", "", '"11"', '"1', "W/1"])
def test_a_tag_that_does_not_fit_brings_the_job(api, value):
    job = api.submit()
    answer = api.client.get(f"/jobs/{job['id']}", headers={"If-None-Match": value})
    assert (answer.status_code, answer.json()) == (200, job)


def test_several_lines_of_tags_are_one_list(api):
    job = api.submit()
    headers = [("If-None-Match", '"7"'), ("If-None-Match", '"1"')]
    assert api.client.get(f"/jobs/{job['id']}", headers=headers).status_code == 304


def test_every_change_makes_a_new_tag(api):
    job = api.submit()
    tags = [api.client.get(f"/jobs/{job['id']}").headers["etag"]]
    [claimed] = api.claim()
    tags.append(api.client.get(f"/jobs/{job['id']}").headers["etag"])
    api.apply(claimed.id, Succeeded(claimed.token, "2"))
    tags.append(api.client.get(f"/jobs/{job['id']}").headers["etag"])
    assert len(set(tags)) == 3


# Results


def test_the_result_of_a_job_that_is_not_done_is_a_202_with_the_job(api):
    job = api.submit()
    answer = api.client.get(f"/jobs/{job['id']}/result")
    assert (answer.status_code, answer.json(), answer.headers["etag"]) == (202, job, '"1"')
    assert int(answer.headers["retry-after"]) > 0


def test_the_result_of_a_failed_job_is_a_409_with_the_exception(api):
    job = api.submit()
    api.fail(job["id"])
    answer = api.client.get(f"/jobs/{job['id']}/result")
    assert problem(answer) == (409, "job-failed")
    assert answer.json()["exception"] == {
        "type": "ValueError",
        "message": "too bad",
        "traceback": "Traceback ...\n",
    }


def test_the_result_of_a_cancelled_job_is_a_409(api):
    job = api.submit()
    api.client.delete(f"/jobs/{job['id']}")
    assert problem(api.client.get(f"/jobs/{job['id']}/result")) == (409, "job-cancelled")


def test_the_result_that_was_dropped_is_a_410(api):
    job = api.submit()
    api.finish(job["id"])
    api.writer.submit(Sweep(0, 1 << 60)).result(10)
    assert api.client.get(f"/jobs/{job['id']}").json()["result"] is None
    assert problem(api.client.get(f"/jobs/{job['id']}/result")) == (410, "result-gone")


# Cancelling


def test_deleting_a_pending_job_cancels_it_and_doing_so_again_changes_nothing(api):
    job = api.submit()
    answer = api.client.delete(f"/jobs/{job['id']}")
    assert answer.status_code == 200
    assert (answer.json()["state"], answer.json()["outcome"]) == ("cancelled", "cancelled")
    assert answer.json()["cancellation"] == {
        "requested_at": answer.json()["finished_at"],
        "outcome": "not_started",
        "reason": None,
    }
    again = api.client.delete(f"/jobs/{job['id']}")
    assert (again.status_code, again.content, again.headers["etag"]) == (
        200,
        answer.content,
        answer.headers["etag"],
    )


def test_deleting_a_running_job_asks_it_to_stop(api):
    job = api.submit()
    [claimed] = api.claim()
    answer = api.client.delete(f"/jobs/{job['id']}")
    assert (answer.status_code, answer.json()["state"]) == (202, "running")
    assert answer.json()["cancellation"]["outcome"] == "pending"
    api.apply(claimed.id, Succeeded(claimed.token, "2"))
    assert api.client.get(f"/jobs/{job['id']}").json()["cancellation"]["outcome"] == "too_late"


def test_deleting_a_finished_job_is_a_409(api):
    job = api.submit()
    api.finish(job["id"])
    assert problem(api.client.delete(f"/jobs/{job['id']}")) == (409, "job-finished")


def test_deleting_an_unknown_job_is_a_404(api):
    assert problem(api.client.delete(f"/jobs/{NO_ID}")) == (404, "job-not-found")
    assert problem(api.client.delete("/jobs/1")) == (404, "job-not-found")


@pytest.mark.parametrize("query", ["purge=yes", "purge=1", "purge=", "purge=true&purge=true", "prune=true"])
def test_a_parameter_that_delete_does_not_know_keeps_it_from_cancelling(api, query):
    job = api.submit()
    assert problem(api.client.delete(f"/jobs/{job['id']}?{query}")) == (422, "invalid-parameters")
    assert api.client.get(f"/jobs/{job['id']}").json() == job


def test_claims_of_a_job_show_in_its_document(api):
    job = api.submit()
    api.apply(job["id"], Claimed(7, "worker-2"))
    assert api.client.get(f"/jobs/{job['id']}").json()["attempts"][0]["worker"] == "worker-2"
