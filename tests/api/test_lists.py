"""Lists of jobs: pages, filters, and what is wrong with them."""

import re

import httpx
import pytest

from app.api.incoming import CURSOR


def problem(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


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
    assert ids_of(api, f"q={one['id'][-12:]}") == [one["id"]]
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
