"""Batches: stored in order and together, or not at all."""

import json
import json.scanner
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice

import pytest

from app.api import bodies, submissions
from app.api.submissions import KINDS
from app.service import service
from app.stores.base import Limits
from tests.api.conftest import running

JSON = {"Content-Type": "application/json"}
PATIENCE = 30
GOOD = {"task": "add", "args": [1]}
KEYED = {**JSON, "Idempotency-Key": "k"}


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A service for what is refused: whatever one test stores by mistake, all that follow see."""
    with running(tmp_path_factory.mktemp("empty") / "jobs.db") as api:
        yield api


def post(api, content, headers=JSON):
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    return api.client.post("/jobs/batch", content=content, headers=headers)


def refused(api, answer, status, kind):
    """Check a problem document, and that nothing was stored; returns the places of its faults."""
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (status, f"/problems/{kind}"), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["instance"] == "/jobs/batch"
    assert api.count() == 0
    return [fault["loc"] for fault in problem.get("errors", [])]


def test_a_batch_is_answered_in_its_order_with_where_each_job_is(api):
    answer = post(api, {"jobs": [{"task": "add", "args": [n], "delay": n % 2} for n in range(5)]})
    jobs = answer.json()["jobs"]
    assert answer.status_code == 202
    assert answer.content.endswith(b"\n")
    assert [job.keys() for job in jobs] == [{"id", "state", "location"}] * 5
    found = [api.client.get(job["location"]).json() for job in jobs]
    assert [job["args"] for job in found] == [[n] for n in range(5)]
    assert [(job["id"], job["state"]) for job in found] == [(job["id"], job["state"]) for job in jobs]
    assert [job["id"] for job in api.client.get("/jobs").json()["jobs"]] == [job["id"] for job in jobs][::-1]


def test_ten_thousand_are_taken_and_one_more_is_a_422(api):
    refused_at = refused(api, post(api, {"jobs": [GOOD] * 10_001}), 422, "invalid-submission")
    assert refused_at == [["jobs"]]
    answer = post(api, {"jobs": [GOOD] * 10_000})
    assert answer.status_code == 202
    assert len({job["id"] for job in answer.json()["jobs"]}) == 10_000


def test_all_faults_are_named_by_the_places_of_their_items(empty):
    body = [
        GOOD,
        {**GOOD, "priority": 101, "x": 1},
        {"task": "ad"},
        {"task": "add", "args": ["one"], "kwargs": {"c": 1}},
        [],
        {},
        {"task": "bill", "args": ["acme"]},
    ]
    places = refused(empty, post(empty, {"jobs": body}), 422, "invalid-submission")
    assert places == [
        [1, "priority"],
        [1, "x"],
        [2, "task"],
        [3, "args", 0],
        [3, "kwargs", "c"],
        [4],
        [5, "task"],
        [6, "kwargs", "password"],
    ]


@pytest.mark.parametrize(
    ("item", "kind", "loc"),
    [
        ({"task": "ad"}, "unknown-task", [1, "task"]),
        ({"task": "add", "args": ["one"]}, "invalid-arguments", [1, "args", 0]),
        ({"task": "add", "args": [1], "retry": {"factor": 0}}, "invalid-submission", [1, "retry", "factor"]),
        ({"task": "add", "args": [1], "key": ""}, "invalid-submission", [1, "key"]),
        (
            {"task": "add", "args": [1], "tags": {"a:b": ""}},
            "invalid-submission",
            [1, "tags", "a:b", "[key]"],
        ),
        ({"task": "add", "delay": 1, "run_at": "2030-01-01T00:00:00Z"}, "invalid-submission", [1, "run_at"]),
        (None, "invalid-submission", [1]),
        ("add", "invalid-submission", [1]),
        (7, "invalid-submission", [1]),
    ],
    ids=str,
)
def test_faults_of_one_kind_are_the_problem_that_a_single_submission_would_have(empty, item, kind, loc):
    assert refused(empty, post(empty, {"jobs": [GOOD, item]}), 422, kind) == [loc]


def test_a_fault_is_named_by_its_place_wherever_that_is(empty):
    # What was read before is not checked again; with many kinds, all are.
    bad = [{"task": "add"}, {**GOOD, "args": 1}, {**GOOD, "kwargs": []}, {**GOOD, "priority": True}, 5, None]
    jobs = [
        wrong if number % 11 == 3 else {**GOOD, **({"key": str(number)} if number > 3 * KINDS // 2 else {})}
        for number, wrong in enumerate(islice(cycle(bad), 3 * KINDS))
    ]
    jobs[0] = {**GOOD, "priority": 1}
    faults = post(empty, {"jobs": jobs}).json()["errors"]
    assert [fault["loc"][0] for fault in faults] == list(range(3, 3 * KINDS, 11))


def test_submissions_that_differ_are_not_taken_for_alike(api):
    options = [
        {},
        {"queue": "q"},
        {"queue": "q", "priority": 3},
        {"tags": {"a": "b"}},
        {"timeout": 5},
        {"delay": 60},
    ]
    jobs = [{**GOOD, **one} for one in [*options, *reversed(options)] for _ in range(2)]
    shown = [api.client.get(job["location"]).json() for job in post(api, {"jobs": jobs}).json()["jobs"]]
    for job, one in zip(shown, jobs, strict=True):
        kept = {name: job[name] for name in ("queue", "priority", "tags", "timeout")}
        assert kept == {"queue": "default", "priority": 0, "tags": {}, "timeout": None} | {
            name: value for name, value in one.items() if name in kept
        }
        assert (job["run_at"] > job["created_at"]) is ("delay" in one)
    assert [job["id"] for job in shown] == sorted({job["id"] for job in shown})


def test_an_unknown_task_in_a_batch_is_told_with_the_nearest_names(empty):
    answer = post(empty, {"jobs": [GOOD, {"task": "ad"}]})
    assert "'add'" in answer.json()["errors"][0]["msg"]


@pytest.mark.parametrize(
    ("content", "loc"),
    [
        (b'{"jobs": [{"task": "anything"}, {"task": "anything", "args": [NaN]}]}', [1, "args", 0]),
        (b'{"jobs": [{"task": "anything", "kwargs": {"x": "\\ud800"}}]}', [0, "kwargs", "x"]),
        (b'{"jobs": [{"task": "anything", "key": "\\u0000"}]}', [0, "key"]),
        (b'{"jobs": [1e999]}', [0]),
        (b'{"jobs": NaN}', ["jobs"]),
        (b'{"jobs": [], "\\u0000": 1}', ["\0"]),
        (b"NaN", []),
    ],
)
def test_what_no_store_can_keep_is_named_by_the_place_in_its_item(empty, content, loc):
    assert refused(empty, post(empty, content), 422, "invalid-submission") == [loc]


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"jobs": []}, ["jobs"]),
        ({"jobs": {}}, ["jobs"]),
        ({"jobs": None}, ["jobs"]),
        ({"jobs": "ab"}, ["jobs"]),
        ({}, ["jobs"]),
        ({"jobs": [GOOD], "priority": 1}, ["priority"]),
        ([GOOD], []),
        (None, []),
    ],
    ids=str,
)
def test_what_is_no_batch_is_a_422(empty, body, loc):
    assert refused(empty, post(empty, body), 422, "invalid-submission") == [loc]


def test_no_more_than_a_hundred_faults_of_ten_thousand_bad_items_are_named(empty):
    places = refused(empty, post(empty, {"jobs": [{"task": "zzz"}] * 10_000}), 422, "unknown-task")
    assert places == [[n, "task"] for n in range(100)]
    many = {"jobs": [{"task": "add", "args": [1], **{f"x{n}": 1 for n in range(40)}}] * 10_000}
    places = refused(empty, post(empty, many), 422, "invalid-submission")
    assert (len(places), places[0], places[-1]) == (100, [0, "x0"], [2, "x19"])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b'{"jobs": [' + b"[" * 5_000 + b"]" * 5_000 + b"]}",
        b"[" * 900_000,
        b'{"jobs": [' + b"1" * 5_000 + b"]}",
        b'{"jobs": [{"task": "anything", "args": ' + b"[" * 97 + b"]" * 97 + b"}]}" + b" " * 100_000 + b"x",
        b'{"jobs": [{"task": "anything", "args": ' + b"[" * 98 + b"]" * 98 + b"}]}" + b" " * 100_000,
    ],
    ids=lambda content: repr(content[:12]) + str(len(content)),
)
def test_what_is_not_usable_json_is_a_400(empty, content):
    assert refused(empty, post(empty, content), 400, "invalid-json") == []


def test_a_large_batch_may_be_nested_to_the_limit(api):
    content = b'{"jobs": [{"task": "anything", "args": ' + b"[" * 97 + b"]" * 97 + b"}]}" + b" " * 100_000
    assert post(api, content).status_code == 202


def test_a_batch_is_announced_as_json_like_any_body(empty):
    refused(
        empty, post(empty, {"jobs": [GOOD]}, {"Content-Type": "text/plain"}), 415, "unsupported-media-type"
    )
    refused(empty, post(empty, {"jobs": [GOOD]}, {}), 415, "unsupported-media-type")


def test_a_batch_may_take_32_mebibytes_and_not_a_byte_more(api):
    limit = 32 * 1024 * 1024
    head, tail = b'{"jobs": [{"task": "anything", "args": ["', b'"]}]}'
    body = head + b"x" * (limit - len(head) - len(tail)) + tail
    refused(api, post(api, body + b" "), 413, "body-too-large")
    assert post(api, body).status_code == 202


def test_a_batch_of_too_many_parts_is_refused_before_it_is_parsed(api):
    items = b",".join([b"[]"] * 1_000_001)
    refused(api, post(api, b'{"jobs": [{"task": "anything", "args": [%b]}]}' % items), 413, "body-too-large")


def test_a_batch_knows_no_wait(empty):
    answer = empty.client.post("/jobs/batch?wait=1", json={"jobs": [GOOD]})
    assert refused(empty, answer, 422, "invalid-parameters") == [["query", "wait"]]


def test_two_submissions_of_a_batch_with_one_key_get_the_same_job(api):
    held = api.submit(key="held")
    keyed = {**GOOD, "key": "a"}
    jobs = [keyed, GOOD, {**keyed, "args": [2]}, {**GOOD, "key": "held"}, {**keyed, "task": "anything"}]
    ids = [job["id"] for job in post(api, {"jobs": jobs}).json()["jobs"]]
    assert ids[0] == ids[2]
    assert ids[3] == held["id"]
    assert len(set(ids)) == 4
    assert api.client.get(f"/jobs/{ids[0]}").json()["args"] == [1]
    assert api.count() == 4


def test_a_batch_that_does_not_fit_the_limits_is_refused_as_a_whole(serve):
    api = serve(limits=Limits(queue=3, tenant=4))
    answer = post(api, {"jobs": [GOOD] * 4})
    refused(api, answer, 503, "queue-full")
    assert int(answer.headers["retry-after"]) > 0
    spread = [{**GOOD, "queue": str(n)} for n in range(5)]
    answer = post(api, {"jobs": spread})
    refused(api, answer, 429, "too-many-jobs")
    assert int(answer.headers["retry-after"]) > 0
    assert post(api, {"jobs": [GOOD] * 3}).status_code == 202


def test_a_service_that_stops_takes_no_batch(api):
    api.service.drain()
    refused(api, post(api, {"jobs": [GOOD]}), 503, "draining")
    refused(api, post(api, b"no JSON"), 503, "draining")
    # What comes with a key may be known, and is read for that.
    refused(api, post(api, b"no JSON", KEYED), 400, "invalid-json")


def test_all_options_of_a_submission_hold_in_a_batch(api):
    jobs = [
        {"task": "flaky", "retry": {"max_attempts": 9}, "expires_in": 5, "key": "k", "tags": {"a": "b"}},
        {"task": "bill", "args": ["acme"], "kwargs": {"password": "x"}},
    ]
    one, other = (api.client.get(job["location"]).json() for job in post(api, {"jobs": jobs}).json()["jobs"])
    assert (one["max_attempts"], one["key"], one["tags"]) == (9, "k", {"a": "b"})
    assert one["expires_at"] > one["created_at"]
    assert other["kwargs"] == {"password": "***"}


def held_up(function, reached, go):
    """Return the function as one that takes until it may go on."""

    def call(*args):
        reached.set()
        assert go.wait(PATIENCE)
        return function(*args)

    return call


@pytest.mark.parametrize(
    ("module", "name", "headers"),
    [
        (submissions, "parse", JSON),
        (submissions, "parse", KEYED),
        (submissions, "digest_of", KEYED),
        (service, "check_all", JSON),
        (service, "new_jobs", JSON),
    ],
)
def test_others_are_answered_while_a_batch_is_read_and_checked(api, monkeypatch, module, name, headers):
    reached, go = threading.Event(), threading.Event()
    monkeypatch.setattr(module, name, held_up(getattr(module, name), reached, go))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, api, {"jobs": [GOOD] * 3}, headers)
        assert reached.wait(PATIENCE)
        assert api.client.get("/jobs").status_code == 200
        go.set()
        assert answer.result(PATIENCE).status_code == 202


def test_others_are_answered_while_a_large_submission_is_read(api, monkeypatch):
    reached, go = threading.Event(), threading.Event()
    monkeypatch.setattr(submissions, "parse", held_up(submissions.parse, reached, go))
    with ThreadPoolExecutor(1) as pool:
        body = {"task": "anything", "args": ["x" * 70_000]}
        answer = pool.submit(api.client.post, "/jobs", json=body)
        assert reached.wait(PATIENCE)
        assert api.client.get("/jobs").status_code == 200
        go.set()
        assert answer.result(PATIENCE).status_code == 202


def test_a_parser_of_large_bodies_gives_up_the_interpreter(monkeypatch):
    # Python is called for each object: only then another thread may have its turn.
    seen = []
    monkeypatch.setattr(bodies._PATIENT, "object_hook", lambda value: seen.append(value) or value)
    monkeypatch.setattr(bodies._PATIENT, "scan_once", json.scanner.make_scanner(bodies._PATIENT))
    body = json.dumps({"jobs": [{"task": "add"}] * 5, "x": "x" * bodies.LARGE}).encode()
    assert bodies.parse(body) == json.loads(body)
    assert len(seen) == 6


def test_a_batch_of_thousands_is_replayed_in_its_order(api):
    headers = {**JSON, "Idempotency-Key": "k"}
    first, again = (post(api, {"jobs": [GOOD] * 1_001}, headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.content == first.content
