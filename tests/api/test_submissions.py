"""Wrong submissions: each gets the problem that says what is wrong and where, and nothing is stored."""

import json
import socket

import pytest

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
