"""Wrong submissions: each gets the problem that says what is wrong and where, and nothing is stored."""

import asyncio
import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.jobs.model import Backoff
from app.stores.base import Limits
from tests.api.conftest import running

JSON = {"Content-Type": "application/json"}
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A service for what is refused: whatever one test stores by mistake, all that follow see."""
    with running(tmp_path_factory.mktemp("empty") / "jobs.db") as api:
        yield api


def post(api, content, headers=JSON):
    return api.client.post("/jobs", content=content, headers=headers)


def refused(api, answer, status, kind):
    """Check a problem document, and that nothing was stored; returns the document."""
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (status, f"/problems/{kind}"), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.content.endswith(b"\n")
    assert problem["status"] == status
    assert problem["instance"] == "/jobs"
    assert problem["title"]
    assert problem["detail"]
    assert api.count() == 0
    return problem


def nested(depth):
    """Return a submission whose body is nested so deep."""
    return b'{"task":"anything","args":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"task=add",
        b"{'task': 'add'}",
        b'{"task": "add",}',
        b'{"task": "add"} x',
        b'{"task": "a\x00dd"}',
        b'\xef\xbb\xbf{"task": "add"}',
        '{"task": "add"}'.encode("utf-16"),
        b'{"task": "\xff"}',
        nested(101),
        nested(5_000),
        nested(200_000),
        b"[" * 900_000,
        b'{"task": "add", "args": [' + b"1" * 5_000 + b"]}",
    ],
    ids=lambda content: repr(content[:20]) + str(len(content)),
)
def test_what_is_not_usable_json_is_a_400(empty, content):
    refused(empty, post(empty, content), 400, "invalid-json")


def test_a_body_nested_to_the_limit_is_taken(api):
    assert post(api, nested(100)).status_code == 202


def test_brackets_in_texts_and_beside_each_other_are_no_nesting(api):
    args = ["[{" * 500, [[] for _ in range(500)]]
    assert api.submit(task="anything", args=args)["args"] == args


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ('{"task": "anything", "args": [NaN]}', ["args", 0]),
        ('{"task": "anything", "args": [[0, {"a": -Infinity}]]}', ["args", 0, 1, "a"]),
        ('{"task": "anything", "kwargs": {"x": 1e999}}', ["kwargs", "x"]),
        ('{"task": "anything", "args": [%s.0]}' % ("9" * 400), ["args", 0]),
        ('{"task": "anything", "args": ["\\ud800"]}', ["args", 0]),
        ('{"task": "anything", "args": ["\\uDC00\\uD83D"]}', ["args", 0]),
        ('{"task": "anything", "args": ["a\\u0000b"]}', ["args", 0]),
        ('{"task": "anything", "kwargs": {"a\\u0000": 1}}', ["kwargs", "a\0"]),
        ('{"task": "anything", "kwargs": {"\\udead": 1}}', ["kwargs", "\udead"]),
        ('{"task": "anything", "tags": {"a": "\\u0000"}}', ["tags", "a"]),
        ('{"task": "anything", "delay": 1e400}', ["delay"]),
        ('{"task": "anything", "timeout": NaN}', ["timeout"]),
        ('{"task": "anything", "key": "\\u0000"}', ["key"]),
        ('{"task": "anything", "key": "\\ud800"}', ["key"]),
        ('{"task": "anything", "expires_in": Infinity}', ["expires_in"]),
        ('{"task": "anything", "retry": {"backoff": NaN}}', ["retry", "backoff"]),
        ('{"task": "anything", "timeout": Infinity}', ["timeout"]),
        ('{"task": "\\u0000"}', ["task"]),
    ],
)
def test_what_no_store_can_keep_is_a_422_that_names_the_place(empty, body, loc):
    problem = refused(empty, post(empty, body.encode()), 422, "invalid-submission")
    assert [fault["loc"] for fault in problem["errors"]] == [loc]
    assert problem["errors"][0].keys() == {"loc", "msg", "type"}


def test_all_faults_are_named_in_the_order_of_the_document(empty):
    body = b'{"task": "anything", "args": [NaN, 1, ["\\ud800"], Infinity], "kwargs": {"x": "\\u0000"}}'
    problem = refused(empty, post(empty, body), 422, "invalid-submission")
    places = [["args", 0], ["args", 2, 0], ["args", 3], ["kwargs", "x"]]
    assert [fault["loc"] for fault in problem["errors"]] == places


def test_no_more_than_a_hundred_faults_are_named(empty):
    body = json.dumps({"task": "anything", "args": [float("nan")] * 200}).encode()
    assert len(refused(empty, post(empty, body), 422, "invalid-submission")["errors"]) == 100


def test_pairs_of_surrogates_and_escaped_backslashes_are_ordinary_text(api):
    args = ["\U0001f600", "\\ud800", "\\u0000", "é", "\x7f"]
    answer = post(api, json.dumps({"task": "anything", "args": args}).encode())
    assert (answer.status_code, answer.json()["args"]) == (202, args)


@pytest.mark.parametrize(
    ("change", "loc"),
    [
        ({"frobnicate": 1}, ["frobnicate"]),
        ({"retry": 3}, ["retry"]),
        ({"retry": []}, ["retry"]),
        ({"retry": {"max_attempts": 0}}, ["retry", "max_attempts"]),
        ({"retry": {"max_attempts": 1001}}, ["retry", "max_attempts"]),
        ({"retry": {"max_attempts": 10**400}}, ["retry", "max_attempts"]),
        ({"retry": {"max_attempts": 2.0}}, ["retry", "max_attempts"]),
        ({"retry": {"max_attempts": True}}, ["retry", "max_attempts"]),
        ({"retry": {"max_attempts": "2"}}, ["retry", "max_attempts"]),
        ({"retry": {"max_attempts": None}}, ["retry", "max_attempts"]),
        ({"retry": {"backoff": -1}}, ["retry", "backoff"]),
        ({"retry": {"backoff": 31_536_001}}, ["retry", "backoff"]),
        ({"retry": {"backoff": 10**400}}, ["retry", "backoff"]),
        ({"retry": {"backoff": True}}, ["retry", "backoff"]),
        ({"retry": {"factor": 0.5}}, ["retry", "factor"]),
        ({"retry": {"factor": 1e300}}, ["retry", "factor"]),
        ({"retry": {"max_backoff": "1"}}, ["retry", "max_backoff"]),
        ({"retry": {"jitter": 1}}, ["retry", "jitter"]),
        ({"retry": {"jitter": "true"}}, ["retry", "jitter"]),
        ({"retry": {"on": ["ValueError"]}}, ["retry", "on"]),
        ({"key": ""}, ["key"]),
        ({"key": "k" * 201}, ["key"]),
        ({"key": 1}, ["key"]),
        ({"key": ["k"]}, ["key"]),
        ({"expires_in": 0}, ["expires_in"]),
        ({"expires_in": -0.5}, ["expires_in"]),
        ({"expires_in": 1e10}, ["expires_in"]),
        ({"expires_in": 10**400}, ["expires_in"]),
        ({"expires_in": "5"}, ["expires_in"]),
        ({"expires_in": True}, ["expires_in"]),
        ({"task": 1}, ["task"]),
        ({"task": ""}, ["task"]),
        ({"task": "x" * 201}, ["task"]),
        ({"args": {}}, ["args"]),
        ({"args": None}, ["args"]),
        ({"args": "ab"}, ["args"]),
        ({"kwargs": []}, ["kwargs"]),
        ({"queue": ""}, ["queue"]),
        ({"queue": "q" * 101}, ["queue"]),
        ({"queue": 1}, ["queue"]),
        ({"priority": 101}, ["priority"]),
        ({"priority": -101}, ["priority"]),
        ({"priority": 10**30}, ["priority"]),
        ({"priority": 1.0}, ["priority"]),
        ({"priority": True}, ["priority"]),
        ({"priority": "1"}, ["priority"]),
        ({"delay": -1}, ["delay"]),
        ({"delay": 1e10}, ["delay"]),
        ({"delay": 10**400}, ["delay"]),
        ({"delay": "1"}, ["delay"]),
        ({"delay": True}, ["delay"]),
        ({"delay": None}, ["delay"]),
        ({"timeout": 0}, ["timeout"]),
        ({"timeout": -0.0}, ["timeout"]),
        ({"timeout": -1}, ["timeout"]),
        ({"timeout": 31_536_001}, ["timeout"]),
        ({"timeout": 10**400}, ["timeout"]),
        ({"timeout": "1"}, ["timeout"]),
        ({"timeout": True}, ["timeout"]),
        ({"timeout": [1]}, ["timeout"]),
        ({"run_at": "2030-01-31T09:00:00"}, ["run_at"]),
        ({"run_at": "2030-01-31"}, ["run_at"]),
        ({"run_at": "2030-W05-4T09:00:00Z"}, ["run_at"]),
        ({"run_at": "2030-02-30T09:00:00Z"}, ["run_at"]),
        ({"run_at": "2030-01-31T25:00:00Z"}, ["run_at"]),
        ({"run_at": "0001-01-01T00:00:00+23:00"}, ["run_at"]),
        ({"run_at": "9999-12-31T23:59:59-01:00"}, ["run_at"]),
        ({"run_at": "99999-01-01T00:00:00Z"}, ["run_at"]),
        ({"run_at": "tomorrow"}, ["run_at"]),
        ({"run_at": 1893456000}, ["run_at"]),
        ({"run_at": True}, ["run_at"]),
        ({"delay": 5, "run_at": "2030-01-31T09:00:00Z"}, ["run_at"]),
        ({"tags": []}, ["tags"]),
        ({"tags": {"a": 1}}, ["tags", "a"]),
        ({"tags": {"a": None}}, ["tags", "a"]),
        ({"tags": {"a": "x" * 257}}, ["tags", "a"]),
        ({"tags": {"a:b": "x"}}, ["tags", "a:b", "[key]"]),
        ({"tags": {"": "x"}}, ["tags", "", "[key]"]),
        ({"tags": {str(n): "" for n in range(51)}}, ["tags"]),
    ],
    ids=str,
)
def test_a_wrong_field_is_a_422_that_names_it(empty, change, loc):
    body = json.dumps({"task": "add", "args": [1], **change}).encode()
    problem = refused(empty, post(empty, body), 422, "invalid-submission")
    assert [fault["loc"] for fault in problem["errors"]] == [loc]


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"add"', b'[{"task": "add"}]'])
def test_a_body_that_is_no_object_is_a_422(empty, body):
    assert refused(empty, post(empty, body), 422, "invalid-submission")["errors"][0]["loc"] == []


def test_a_missing_task_is_a_422(empty):
    problem = refused(empty, post(empty, b"{}"), 422, "invalid-submission")
    assert problem["errors"] == [{"loc": ["task"], "msg": "Field required", "type": "missing"}]


def test_an_unknown_task_is_a_422_with_the_nearest_names(empty):
    problem = refused(empty, post(empty, b'{"task": "ad"}'), 422, "unknown-task")
    assert "'add'" in problem["detail"]
    assert problem["errors"][0]["loc"] == ["task"]


def test_an_unknown_task_that_is_like_none_points_to_the_list(empty):
    assert "GET /tasks" in refused(empty, post(empty, b'{"task": "zzz"}'), 422, "unknown-task")["detail"]


@pytest.mark.parametrize(
    ("call", "loc"),
    [
        ({}, ["kwargs", "a"]),
        ({"args": ["one"]}, ["args", 0]),
        ({"args": [1, 2, 3]}, ["args", 2]),
        ({"args": [1], "kwargs": {"a": 2}}, ["kwargs", "a"]),
        ({"args": [1], "kwargs": {"c": 2}}, ["kwargs", "c"]),
        ({"kwargs": {"a": 1, "b": []}}, ["kwargs", "b"]),
    ],
    ids=str,
)
def test_arguments_that_do_not_fit_are_a_422_that_names_them(empty, call, loc):
    answer = post(empty, json.dumps({"task": "add", **call}).encode())
    problem = refused(empty, answer, 422, "invalid-arguments")
    assert [fault["loc"] for fault in problem["errors"]] == [loc]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": ""},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/merge-patch+json"},
        {"Content-Type": "application/json, text/plain"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        [("Content-Type", "application/json"), ("Content-Type", "text/plain")],
    ],
    ids=str,
)
def test_a_body_that_is_not_announced_as_json_is_a_415_that_shows_the_header(empty, headers):
    answer = post(empty, b'{"task": "add", "args": [1]}', headers)
    assert "Content-Type: application/json" in refused(empty, answer, 415, "unsupported-media-type")["detail"]


@pytest.mark.parametrize(
    "value",
    ["application/json", "Application/JSON", 'application/json; charset="UTF-8"', "application/json;a=b"],
)
def test_json_may_be_announced_in_any_case_and_with_parameters(api, value):
    assert post(api, b'{"task": "add", "args": [1]}', {"Content-Type": value}).status_code == 202


def large(size):
    """Return a good submission of so many bytes."""
    head, tail = b'{"task": "anything", "args": ["', b'"]}'
    return head + b"x" * (size - len(head) - len(tail)) + tail


def test_a_body_of_a_mebibyte_is_taken_and_one_byte_more_is_a_413(api):
    refused(api, post(api, large(MIB + 1)), 413, "body-too-large")
    assert post(api, large(MIB)).status_code == 202


def test_a_body_without_a_length_is_measured_as_it_comes(api):
    def chunks(size):
        body = large(size)
        yield from (body[at : at + 65536] for at in range(0, size, 65536))

    refused(api, post(api, chunks(MIB + 1)), 413, "body-too-large")
    assert post(api, chunks(MIB)).status_code == 202


def test_a_body_announced_as_too_large_is_refused_before_it_is_sent(api):
    host, port = api.url.removeprefix("http://").split(":")
    head = (
        f"POST /jobs HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        "Content-Length: 99999999999999999999999999\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        sock.sendall(head.replace("99999999999999999999999999", "9999999999").encode())
        assert sock.recv(12) == b"HTTP/1.1 413"
    assert api.count() == 0


def test_a_quota_used_up_is_a_429_that_says_when_to_ask_again(serve):
    api = serve(limits=Limits(tenant=1))
    api.submit()
    answer = post(api, b'{"task": "add", "args": [1]}')
    assert (answer.status_code, answer.json()["type"]) == (429, "/problems/too-many-jobs")
    assert int(answer.headers["retry-after"]) > 0
    assert api.count() == 1


def test_a_full_queue_is_a_503_that_says_when_to_ask_again(serve):
    api = serve(limits=Limits(queue=1))
    api.submit()
    answer = post(api, b'{"task": "add", "args": [1]}')
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/queue-full")
    assert int(answer.headers["retry-after"]) > 0
    assert api.count() == 1


def test_a_service_that_stops_takes_no_jobs_but_shows_those_it_has(api):
    job = api.submit()
    api.service.drain()
    answer = post(api, b'{"task": "add", "args": [1]}')
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/draining")
    assert int(answer.headers["retry-after"]) > 0
    assert api.client.get(f"/jobs/{job['id']}").status_code == 200
    assert api.count() == 1


def test_a_store_that_cannot_be_written_is_a_503_without_details(api):
    api.writer.close()
    answer = post(api, b'{"task": "add", "args": [1]}')
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/store-unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert "jobs.db" not in answer.text
    assert api.count() == 0


# What is right


def test_a_submission_with_all_fields_is_stored_as_sent(api):
    body = {
        "task": "anything",
        "args": ["ü", 1.5, 10**20, None, True, {"b": [], "a": {}}],
        "kwargs": {"x": "y"},
        "queue": "reports",
        "priority": -7,
        "run_at": "2040-01-31T10:00:00.5+01:00",
        "tags": {"team": "books"},
    }
    job = api.submit(**body)
    assert job.pop("run_at") == "2040-01-31T09:00:00.500000Z"
    assert {key: job[key] for key in body if key != "run_at"} == {
        k: v for k, v in body.items() if k != "run_at"
    }


def test_the_tasks_own_options_come_before_the_defaults_and_the_submissions_before_those(api):
    own = api.submit(task="nap")
    assert (own["queue"], own["priority"]) == ("slow", 5)
    given = api.submit(task="nap", queue="fast", priority=0)
    assert (given["queue"], given["priority"]) == ("fast", 0)
    given = {"task": "grind", "args": [1]}
    assert [api.submit(**given, **timeout)["timeout"] for timeout in ({}, {"timeout": None})] == [60, 60]
    assert api.submit(**given, timeout=0.5)["timeout"] == 0.5
    assert [api.submit(timeout=given)["timeout"] for given in (None, 31_536_000)] == [None, 31_536_000]


def test_the_defaults_written_out_are_the_same_as_left_out(api):
    job = api.submit(kwargs={}, delay=0, run_at=None, tags={})
    assert job["run_at"] == job["created_at"]


def test_a_delay_moves_the_time_to_run(api):
    job = api.submit(delay=86400)
    assert job["run_at"][11:] == job["created_at"][11:]
    assert job["run_at"] > job["created_at"]
    assert api.claim() == []


def test_a_time_to_run_in_the_past_means_at_once(api):
    job = api.submit(run_at="1969-07-20t20:17:40z")
    assert job["run_at"] == "1969-07-20T20:17:40.000000Z"
    assert [claimed.id for claimed in api.claim()] == [job["id"]]


def test_arguments_are_stored_as_sent_and_not_as_coerced(api):
    assert api.submit(args=["1"])["args"] == ["1"]


def test_of_a_key_that_is_there_twice_the_last_counts(api):
    answer = post(api, b'{"task": "zzz", "task": "anything", "kwargs": {"a": 1, "a": 2}}')
    assert answer.json()["kwargs"] == {"a": 2}


def test_of_a_tasks_own_retries_only_those_fields_are_changed_that_are_sent(api):
    def waits_of(**body):
        job = asyncio.run(api.service.get("default", api.submit(task="flaky", args=[], **body)["id"]))
        return job.max_attempts, job.backoff

    own = Backoff(10, 3, 60, False)
    assert waits_of() == waits_of(retry=None) == waits_of(retry={}) == (5, own)
    assert waits_of(retry={"max_attempts": 1}) == (1, own)
    assert waits_of(retry={"backoff": 0, "jitter": True}) == (5, Backoff(0, 3, 60, True))
    everything = {"max_attempts": 1000, "backoff": 31_536_000, "factor": 1, "max_backoff": 0, "jitter": True}
    assert waits_of(retry=everything) == (1000, Backoff(31_536_000, 1, 0, True))


def test_a_task_without_retries_of_its_own_gets_those_that_are_sent(api):
    job = api.submit(retry={"max_attempts": 3})
    assert job["max_attempts"] == 3
    assert asyncio.run(api.service.get("default", job["id"])).backoff == Backoff(1, 2, 300, True)


def test_a_job_expires_so_many_seconds_after_it_was_created(api):
    job = api.submit(expires_in=86400)
    assert job["expires_at"][11:] == job["created_at"][11:]
    assert job["expires_at"] > job["created_at"]
    assert api.submit(expires_in=3_162_240_000)["expires_at"] > job["expires_at"]
    assert api.submit(expires_in=None)["expires_at"] is None


def test_a_job_has_the_limit_key_that_its_arguments_make(api):
    job = api.submit(task="bill", args=["acme"], kwargs={"password": "x"})
    assert asyncio.run(api.service.get("default", job["id"])).limit_key == "acme"


def test_secrets_are_shown_nowhere_and_stored_as_they_are(api):
    job = api.submit(task="bill", args=["acme"], kwargs={"password": "x"})
    shown = {"customer": ["acme"], "kwargs": {"password": "***"}}
    assert (job["args"], job["kwargs"]) == (shown["customer"], shown["kwargs"])
    assert api.client.get(f"/jobs/{job['id']}").json() == job
    assert api.client.delete(f"/jobs/{job['id']}").json()["kwargs"] == shown["kwargs"]
    assert '"x"' in asyncio.run(api.service.get("default", job["id"])).arguments


# Uniqueness


def test_a_submission_whose_key_is_held_gets_that_job(api):
    first = api.submit(key="k" * 200)
    answer = api.client.post("/jobs", json={"task": "add", "args": [7], "key": "k" * 200})
    assert (answer.status_code, answer.json()) == (200, first)
    assert answer.headers["location"] == f"/jobs/{first['id']}"
    assert answer.headers["etag"] == '"1"'
    assert "idempotency-replayed" not in answer.headers
    assert api.count() == 1


def test_a_key_is_held_by_a_job_of_the_same_task_until_that_is_done(api):
    first = api.submit(key="a")
    other_task = api.submit(task="anything", key="a")
    other_key = api.submit(key="b")
    api.client.delete(f"/jobs/{first['id']}")
    again = api.submit(key="a")
    assert len({job["id"] for job in (first, other_task, other_key, again)}) == 4
    assert [job["key"] for job in (other_key, again, api.submit(key=None))] == ["b", "a", None]


def test_a_submission_may_wait_for_the_job_that_holds_its_key(api):
    job = api.submit(key="a")
    answer = api.client.post("/jobs?wait=0.01", json={"task": "add", "args": [1], "key": "a"})
    assert (answer.status_code, answer.json()["id"]) == (200, job["id"])


def test_of_racing_submissions_with_one_key_one_is_stored(api):
    def submit(n):
        return api.client.post("/jobs", json={"task": "add", "args": [n], "key": "a"})

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(submit, range(64)))
    assert sorted(answer.status_code for answer in answers) == [200] * 63 + [202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert api.count() == 1
