"""Submissions that are repeated under an idempotency key: each has its effect once."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.api.idempotency import digest_of
from app.jobs.registry import Kind, Registry, TaskDefinition
from app.stores.base import Limits
from tests.api.conftest import running

BODY = {"task": "add", "args": [1]}


def problem(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


def post(api, body=BODY, key="k", path="/jobs", **headers):
    return api.client.post(path, json=body, headers={"Idempotency-Key": key, **headers})


def replayed(answer):
    return answer.headers.get("idempotency-replayed") == "true"


@pytest.fixture
def key():
    return str(uuid.uuid4())


def test_the_same_key_and_body_bring_the_job_back_as_it_is_now(api, key):
    first = post(api, key=key)
    assert (first.status_code, replayed(first)) == (202, False)
    again = post(api, key=key)
    assert (again.status_code, replayed(again), again.content) == (200, True, first.content)
    assert (again.headers["location"], again.headers["etag"]) == (first.headers["location"], '"1"')
    api.finish(first.json()["id"])
    done = post(api, key=key)
    assert (done.status_code, done.json()["outcome"], done.headers["etag"]) == (200, "succeeded", '"3"')
    assert api.count() == 1


def test_another_body_under_the_same_key_is_a_422(api, key):
    post(api, key=key)
    answer = post(api, {**BODY, "priority": 1}, key)
    assert problem(answer) == (422, "idempotency-key-reused")
    assert answer.json()["errors"][0]["loc"] == ["header", "Idempotency-Key"]
    assert not replayed(answer)
    assert api.count() == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}),
        ({"a": 1}, {"a": 1.0}),
        ([1e3, -0.0, [{"x": {"y": 2.0}}]], [1000, 0, [{"x": {"y": 2}}]]),
        ([1e22], [10**22]),
        (["é"], json.loads('["\\u00e9"]')),
    ],
)
def test_the_same_json_is_the_same_body_however_it_is_written(one, other):
    assert digest_of({"jobs": [{"args": one}]}) == digest_of({"jobs": [{"args": other}]})
    assert digest_of(one) == digest_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (0, False),
        (0, None),
        (1, "1"),
        ("", None),
        ([], {}),
        ([1, 2], [2, 1]),
        ([[1], 2], [[1, 2]]),
        ([[1, 2]], [[1], [2]]),
        ([1, [2]], [[1], 2]),
        ([12], [1, 2]),
        ({"a": {}}, {"a": []}),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
        ({"a": {"b": 1}}, {"a": {}, "b": 1}),
        (["a,b"], ["a", "b"]),
        (['a"'], ["a"]),
        (1.5, 1),
        (2**53 + 1, float(2**53)),
        (1e308, 1e307),
    ],
)
def test_other_json_is_another_body(one, other):
    for wrap in (lambda v: v, lambda v: [v], lambda v: {"jobs": [v]}, lambda v: {"jobs": [{"args": [v]}]}):
        assert digest_of(wrap(one)) != digest_of(wrap(other))


def test_space_order_and_the_kind_of_number_make_no_difference_over_http(api, key):
    sent = {"Content-Type": "application/json", "Idempotency-Key": key}
    bodies = (
        b'{"task":"anything","args":[1,{"b":2,"a":"\xc3\xa9"}],"kwargs":{}}',
        b'{ "kwargs": {}, "args": [1.0, {"a": "\\u00e9", "b": 2e0}], "task": "anything" }',
    )
    first, again = (api.client.post("/jobs", content=body, headers=sent) for body in bodies)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert again.json()["args"] == [1, {"b": 2, "a": "é"}]


# The header


@pytest.mark.parametrize("value", ['"k-1"', "k-1"])
def test_a_key_may_stand_in_quotes(api, value):
    post(api, key="k-1")
    assert replayed(post(api, key=value))


def test_a_backslash_makes_a_quote_part_of_a_quoted_key(api):
    post(api, key='a"b\\c')
    assert replayed(post(api, key='"a\\"b\\\\c"'))


@pytest.mark.parametrize("value", ["x", "~" * 255, '"' + "!" * 255 + '"', "a,b", "a;b=c"])
def test_a_key_may_have_any_visible_characters(api, value):
    assert [post(api, key=value).status_code for _ in range(2)] == [202, 200]


@pytest.mark.parametrize(
    "value",
    [
        "",
        '""',
        '"',
        '"a',
        "a b",
        '"a b"',
        '"a"b',
        '"a";p=1',
        '"a", "b"',
        '"a\\b"',
        '"a\\"',
        "k" * 256,
        "é",
        "a\tb",
    ],
)
@pytest.mark.parametrize("path", ["/jobs", "/jobs/batch"])
def test_what_is_no_key_is_a_422_and_nothing_is_stored(shared, value, path):
    headers = [(b"Idempotency-Key", value.encode())]
    answer = shared.client.post(path, json=BODY, headers=headers)
    assert problem(answer) == (422, "invalid-parameters")
    assert answer.json()["errors"][0]["loc"] == ["header", "Idempotency-Key"]


@pytest.mark.parametrize("path", ["/jobs", "/jobs/batch"])
def test_several_keys_are_a_422_even_if_they_are_the_same(shared, path):
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "a")]
    answer = shared.client.post(path, json=BODY, headers=headers)
    assert problem(answer) == (422, "invalid-parameters")


# What a key is for


def test_a_key_stands_for_one_thing_on_each_route(api, key):
    single = post(api, key=key)
    batch = post(api, {"jobs": [BODY]}, key, "/jobs/batch")
    assert [single.status_code, batch.status_code] == [202, 202]
    assert replayed(post(api, key=key))
    assert replayed(post(api, {"jobs": [BODY]}, key, "/jobs/batch"))
    assert api.count() == 2


def test_a_key_is_a_tenants_own(serve, key):
    api = serve(api_keys="books:one,ops:two")
    answers = [post(api, key=key, Authorization=f"Bearer {secret}") for secret in ("one", "two", "one")]
    assert [answer.status_code for answer in answers] == [202, 202, 200]
    assert answers[0].json()["id"] == answers[2].json()["id"] != answers[1].json()["id"]


def test_what_is_refused_is_not_remembered(api, key):
    assert problem(post(api, {"task": "ad"}, key)) == (422, "unknown-task")
    assert problem(post(api, {"task": "add"}, key)) == (422, "invalid-arguments")
    assert problem(post(api, {"task": "add", "x": 1}, key)) == (422, "invalid-submission")
    assert post(api, key=key).status_code == 202


def test_a_submission_whose_key_is_held_is_remembered_as_that_job(api, key):
    holder = api.submit(key="u")
    body = {**BODY, "key": "u"}
    answers = [post(api, body, key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [replayed(answer) for answer in answers] == [False, True]
    api.client.delete(f"/jobs/{holder['id']}")
    again = post(api, body, key)
    assert (again.json()["id"], again.json()["state"]) == (holder["id"], "cancelled")
    assert api.count() == 1


def test_a_replay_may_wait_as_a_submission_may(api, key):
    post(api, key=key)
    answer = post(api, key=key, Prefer="wait=0.01")
    assert (answer.status_code, replayed(answer)) == (200, True)
    assert answer.headers["preference-applied"] == "wait=0.01"


# Whatever happens meanwhile


def test_of_racing_requests_with_one_key_one_is_stored(api, key):
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: post(api, key=key), range(64)))
    assert sorted(answer.status_code for answer in answers) == [200] * 63 + [202]
    assert [replayed(answer) for answer in answers].count(False) == 1
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert api.count() == 1


def test_of_racing_requests_with_one_key_and_many_bodies_one_is_stored(api, key):
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: post(api, {**BODY, "args": [n]}, key), range(32)))
    assert sorted(answer.status_code for answer in answers) == [202] + [422] * 31
    assert api.count() == 1


def test_of_racing_batches_with_one_key_one_is_stored(api, key):
    body = {"jobs": [BODY] * 10}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(api, body, key, "/jobs/batch"), range(16)))
    assert sorted(answer.status_code for answer in answers) == [200] * 15 + [202]
    assert len({answer.content for answer in answers}) == 1
    assert api.count() == 10


def test_a_replay_is_answered_by_a_service_that_stops(api, key):
    first = post(api, key=key)
    batch = post(api, {"jobs": [BODY]}, key, "/jobs/batch")
    api.service.drain()
    assert post(api, key=key).json() == first.json()
    assert post(api, {"jobs": [BODY]}, key, "/jobs/batch").json() == batch.json()
    assert problem(post(api, key="new")) == (503, "draining")
    assert problem(post(api, {**BODY, "priority": 1}, key)) == (422, "idempotency-key-reused")


def test_a_replay_is_answered_when_the_queue_is_full_or_the_quota_used_up(serve, key):
    api = serve(limits=Limits(queue=1, tenant=1))
    first = post(api, key=key)
    assert post(api, key="new").status_code in {429, 503}
    assert (post(api, key=key).status_code, post(api, key=key).json()) == (200, first.json())


def test_a_replay_is_answered_after_a_restart_though_tasks_are_not_what_they_were(tmp_path, key):
    def add(a: str):
        """Take something else than before."""

    batch = {"jobs": [BODY, {"task": "anything"}]}
    with running(tmp_path / "jobs.db") as api:
        first = post(api, key=key)
        many = post(api, batch, key, "/jobs/batch")
    others = Registry([TaskDefinition("add", add, Kind.PLAIN, "default", 0)])
    with running(tmp_path / "jobs.db", registry=others) as api:
        again = post(api, key=key)
        assert (again.status_code, replayed(again), again.content) == (200, True, first.content)
        assert post(api, batch, key, "/jobs/batch").content == many.content
        assert problem(post(api, key="new")) == (422, "invalid-arguments")


def test_the_replay_of_a_job_that_was_erased_is_a_410_and_stores_nothing(api, key):
    job = post(api, key=key).json()
    api.client.delete(f"/jobs/{job['id']}")
    assert api.client.delete(f"/jobs/{job['id']}?purge=true").status_code == 204
    answer = post(api, key=key)
    assert problem(answer) == (410, "job-erased")
    assert replayed(answer)
    assert api.count() == 0


def test_the_replay_of_a_batch_leaves_out_what_was_erased(api, key):
    body = {"jobs": [BODY] * 3}
    jobs = post(api, body, key, "/jobs/batch").json()["jobs"]
    api.client.delete(jobs[1]["location"])
    api.client.delete(f"{jobs[1]['location']}?purge=true")
    again = post(api, body, key, "/jobs/batch")
    assert (again.status_code, again.json()) == (200, {"jobs": [jobs[0], jobs[2]]})


def test_a_batch_shows_the_states_of_now_when_it_is_replayed(api, key):
    body = {"jobs": [BODY] * 2}
    first = post(api, body, key, "/jobs/batch").json()["jobs"]
    api.client.delete(first[0]["location"])
    again = post(api, body, key, "/jobs/batch").json()["jobs"]
    assert [job["state"] for job in again] == ["cancelled", "pending"]
    assert [job["id"] for job in again] == [job["id"] for job in first]
