"""Reading, listing and cancelling jobs, and fetching results."""

import re

import httpx
import pytest
from pydantic import TypeAdapter

from app.api.documents import job_document, listed_job
from app.api.incoming import CURSOR
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
    document = TypeAdapter(dict).validate_json(job_document(job))
    assert document.keys() == JobDocument.model_fields.keys()
    assert listed_job(job).keys() == ListedJob.model_fields.keys()


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


# Lists


def test_a_list_is_newest_first_and_leaves_out_what_may_be_large(api):
    ids = [api.submit()["id"] for _ in range(3)]
    answer = api.client.get("/jobs")
    listed = answer.json()
    assert [job["id"] for job in listed["jobs"]] == ids[::-1]
    assert listed["next"] is None
    assert "link" not in answer.headers
    whole = api.client.get(f"/jobs/{ids[0]}").json()
    left_out = {"args", "kwargs", "result", "attempts"}
    assert listed["jobs"][-1] == {key: value for key, value in whole.items() if key not in left_out}


def test_a_listed_job_shows_its_exceptions_type_and_message(api):
    job = api.submit()
    api.fail(job["id"])
    [listed] = api.client.get("/jobs").json()["jobs"]
    assert listed["exception"] == {"type": "ValueError", "message": "too bad"}


def test_pages_follow_each_other_by_relative_links(api):
    ids = [api.submit(queue="a&b")["id"] for _ in range(5)]
    api.submit(queue="other")
    found, address = [], "/jobs?queue=a%26b&limit=2"
    while address:
        answer = api.client.get(address)
        page = answer.json()
        assert len(page["jobs"]) <= 2
        found += [job["id"] for job in page["jobs"]]
        address = page["next"]
        assert answer.headers.get("link") == (f'<{address}>; rel="next"' if address else None)
        assert address is None or address.startswith("/jobs?")
        assert address is None or re.match(CURSOR, address.rpartition("cursor=")[2])
    assert found == ids[::-1]


def test_filters_select(api):
    failed, cancelled = api.submit(), api.submit(task="anything")
    api.client.delete(f"/jobs/{cancelled['id']}")
    api.fail(failed["id"])
    pending = api.submit(queue="other")

    def ids(**params):
        return [job["id"] for job in api.client.get("/jobs", params=params).json()["jobs"]]

    assert ids(state="pending") == [pending["id"]]
    assert ids(state="finished", outcome="failed") == [failed["id"]]
    assert ids(outcome="cancelled") == [cancelled["id"]]
    assert ids(task="anything") == [cancelled["id"]]
    assert ids(task="add", queue="other") == [pending["id"]]
    assert ids(queue="nowhere") == []
    assert ids(task="nowhere") == []


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("sate=pending", "sate"),
        ("state=done", "state"),
        ("state=", "state"),
        ("outcome=ok", "outcome"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=many", "limit"),
        ("limit=1&limit=2", "limit"),
        ("cursor=zzz", "cursor"),
        ("cursor=" + "x" * 101, "cursor"),
        ("cursor=__________8", "cursor"),
        ("cursor=%F0%9F%98%80", "cursor"),
        ("queue=", "queue"),
        ("tag=a", "tag"),
        ("tag=:b", "tag"),
        ("tag=", "tag"),
        ("tag=a:b&tag=c", "tag"),
        ("tag=" + "k" * 65 + ":", "tag"),
        ("tag=k:" + "v" * 257, "tag"),
        ("&".join(["tag=a:b"] * 51), "tag"),
        ("created_after=2030-01-31", "created_after"),
        ("created_after=", "created_after"),
        ("created_after=1893456000", "created_after"),
        ("created_before=2030-01-31T09:00:00", "created_before"),
        ("created_before=2030-01-31T09:00:00+01:00", "created_before"),
        ("created_before=2030-01-31T09:00:00Z&created_before=2030-01-31T09:00:00Z", "created_before"),
        ("q=", "q"),
        ("q=" + "q" * 201, "q"),
        ("q=a&q=a", "q"),
        ("wait=1", "wait"),
    ],
)
def test_a_wrong_parameter_of_a_list_is_a_422_that_names_it(api, query, name):
    answer = api.client.get(f"/jobs?{query}")
    assert problem(answer) == (422, "invalid-parameters")
    assert [fault["loc"] for fault in answer.json()["errors"]] == [["query", name]]


def ids_of(api, query=""):
    return [job["id"] for job in api.client.get(f"/jobs?{query}").json()["jobs"]]


def test_a_list_may_ask_for_several_tags_which_a_job_must_all_have(api):
    both = api.submit(tags={"team": "books", "at": "a:b&c"})
    books = api.submit(tags={"team": "books"})
    empty = api.submit(tags={"team": ""})
    assert ids_of(api, "tag=team:books") == [books["id"], both["id"]]
    assert ids_of(api, "tag=team:books&tag=at:a%3Ab%26c") == [both["id"]]
    assert ids_of(api, "tag=team:books&tag=team:books") == [books["id"], both["id"]]
    assert ids_of(api, "tag=team:") == [empty["id"]]
    assert ids_of(api, "tag=team:books&tag=team:") == []


def test_a_list_may_ask_for_a_time_of_creation_whose_ends_are_not_in_it(api):
    jobs = [api.submit() for _ in range(3)]
    first, second, third = (job["created_at"] for job in jobs)
    assert ids_of(api, f"created_after={first}&created_before={third}") == [jobs[1]["id"]]
    assert ids_of(api, f"created_after={second}") == [jobs[2]["id"]]
    assert ids_of(api, "created_after=9999-12-31T23:59:59Z") == []
    assert len(ids_of(api, "created_before=2999-01-01T00:00:00%2B23:59")) == 3


def test_a_list_may_ask_for_the_beginning_of_an_id_or_a_part_of_a_tasks_name(api):
    one, other = api.submit(), api.submit(task="anything")
    assert ids_of(api, f"q={one['id']}") == [one["id"]]
    assert ids_of(api, "q=YTHI") == [other["id"]]
    assert ids_of(api, "q=%25") == ids_of(api, "q=_") == ids_of(api, "q=%00") == ids_of(api, "q=%FF") == []


def test_the_next_page_asks_for_the_same_as_this_one(api):
    ids = [api.submit(tags={"a": "ü&=", "b": "+"}, queue="x y")["id"] for _ in range(5)]
    query = "tag=a:%C3%BC%26%3D&tag=b:%2B&queue=x+y&created_after=1970-01-01T01:00:00%2B01:00&q=D&limit=2"
    found, address = [], f"/jobs?{query}"
    while address:
        page = api.client.get(address).json()
        found += [job["id"] for job in page["jobs"]]
        address = page["next"]
        assert address is None or {("tag", "a:ü&="), ("tag", "b:+"), ("limit", "2")} < set(
            httpx.URL(address).params.multi_items()
        )
    assert found == ids[::-1]


def test_claims_of_a_job_show_in_its_document(api):
    job = api.submit()
    api.apply(job["id"], Claimed(7, "worker-2"))
    assert api.client.get(f"/jobs/{job['id']}").json()["attempts"][0]["worker"] == "worker-2"
