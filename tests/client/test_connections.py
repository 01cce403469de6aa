"""What the clients do when the way to the service breaks, or somebody else answers."""

import json
import socket
from contextlib import closing

import pytest

from app.client import (
    AnswerError,
    BusyError,
    ClientError,
    ProblemError,
    ServiceUnreachableError,
    Submission,
    UnauthorizedError,
)
from app.core import QueueError, QueueUnavailableError
from tests.client.network import answering

SOON = 30
JSON = {"Content-Type": "application/json"}
BUSY = (503, {"Retry-After": "0"}, b'{"type":"/problems/draining","status":503,"title":"It stops"}')


def nobodys_address():
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        return "http://127.0.0.1:{1}".format(*listening.getsockname())


def test_a_service_that_is_not_there_is_unreachable(connect):
    url = nobodys_address()
    with pytest.raises(ServiceUnreachableError, match=f"^{url} cannot be reached: ") as caught:
        connect(url, patience=0).submit("nothing")
    assert isinstance(caught.value, QueueUnavailableError)


def test_a_submission_whose_answer_is_lost_is_made_once(connect, way):
    client = connect(way.url)
    tags = {"lost": way.url}
    way.lose_answers = 2
    job = client.options(tags=tags).submit("add", 1)
    assert [found.id for found in client.jobs(tags=tags)] == [job.id]
    assert len([line for line in way.requests if line.startswith(b"POST")]) == 3


def test_a_batch_whose_answer_is_lost_is_stored_once(connect, way):
    client = connect(way.url)
    tags = {"batch": way.url}
    way.lose_answers = 1
    made = client.submit_many([Submission("add", [n], tags=tags) for n in range(3)])
    assert [job.id for job in client.jobs(tags=tags)] == [job.id for job in made][::-1]


def test_a_retry_whose_answer_is_lost_is_not_asked_for_again(connect, way):
    client = connect(way.url)
    job = client.submit("fail", "x")
    client.until_done(job.id, SOON)
    way.lose_answers = 1
    with pytest.raises(ServiceUnreachableError):
        client.retry(job.id)
    assert client.until_done(job.id, SOON).run == 2


def test_what_would_be_done_twice_is_not_asked_for_again(connect, way):
    client = connect(way.url)
    job = client.submit("fail", "x")
    client.until_done(job.id, SOON)
    for call in (lambda: client.retry_all(q=job.id), lambda: client.purge(job.id)):
        client.until_done(job.id, SOON)
        asked, way.lose_answers = len(way.requests), 1
        with pytest.raises(ServiceUnreachableError):
            call()
        assert len(way.requests) == asked + 1


def test_a_cancellation_of_what_waits_whose_answer_is_lost_has_cancelled_it(connect, way):
    client = connect(way.url)
    job = client.options(delay=3600).submit("add", 1)
    way.lose_answers = 1
    assert client.cancel(job.id, waiting=True).outcome == "cancelled"


def test_events_go_on_where_a_lost_connection_left_off(connect, way, gate):
    client = connect(way.url)
    job = client.submit("hold")
    assert gate.BEGUN.acquire(timeout=SOON)
    events = client.events(job.id)
    heard = [next(events), next(events)]
    way.cut()
    gate.GO_ON.set()
    heard += list(events)
    assert [event.data["state"] for event in heard] == ["pending", "running", "finished"]


def test_events_of_a_service_that_is_gone_end_with_an_error(connect):
    with pytest.raises(ServiceUnreachableError):
        next(connect(nobodys_address(), patience=0.2).events())


def test_a_busy_service_is_asked_again_when_it_says(connect):
    tasks = 200, JSON, b'{"tasks": []}'
    with answering(BUSY, BUSY, tasks) as (url, asked):
        assert connect(url).tasks() == []
        assert len(asked) == 3


def test_whether_it_is_ready_is_asked_once(connect):
    with answering(BUSY) as (url, asked):
        assert connect(url).ready() is False
        assert len(asked) == 1


def test_what_is_busy_for_too_long_is_an_error(connect):
    with answering((503, {"Retry-After": "3600"}, BUSY[2])) as (url, asked):
        with pytest.raises(BusyError) as caught:
            connect(url).submit("nothing")
        assert (caught.value.retry_after, caught.value.kind, len(asked)) == (3600.0, "draining", 1)
        assert isinstance(caught.value, QueueUnavailableError)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((502, {"Content-Type": "text/html"}, b"<h1>Bad Gateway</h1>"), ProblemError),
        ((500, JSON, b"[]"), ProblemError),
        ((403, JSON, b'{"type": 7, "errors": null}'), UnauthorizedError),
        ((200, JSON, b"<h1>Welcome</h1>"), AnswerError),
        ((200, JSON, b'{"id": 1}'), AnswerError),
        ((204, {}, b""), AnswerError),
        ((400, JSON, b"[" * 100_000), ProblemError),
        ((200, JSON, b"[" * 100_000), AnswerError),
    ],
)
def test_what_others_answer_is_an_error_of_the_tree(connect, answer, error):
    with answering(answer) as (url, _), pytest.raises(error) as caught:
        connect(url).get("0198c0de-0000-7000-8000-000000000000")
    assert isinstance(caught.value, QueueError)
    assert str(caught.value)


def test_a_stream_of_something_else_is_an_error(connect):
    stream = 200, {"Content-Type": "text/event-stream"}, b"data: hello\n\n"
    with answering(stream) as (url, _), pytest.raises(AnswerError, match="an event that makes no sense"):
        next(connect(url).events())


def test_what_cannot_be_decoded_is_an_error_of_the_tree(connect):
    broken = 200, {"Content-Encoding": "gzip", **JSON}, b"not gzip"
    with answering(broken) as (url, _):
        with pytest.raises(AnswerError, match="cannot be read"):
            connect(url).tasks()
        with pytest.raises(AnswerError):
            next(connect(url).events())


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "localhost", "ftp://host", "http://", ""])
def test_an_address_is_looked_at_before_it_is_used(connect, url):
    with pytest.raises(ValueError, match="a service's address is like http://"):
        connect(url)


def test_a_client_that_was_closed_reaches_nothing(connect, service):
    client = connect(service.url)
    client.close()
    with pytest.raises(ServiceUnreachableError, match="the client was closed"):
        client.tasks()
    with pytest.raises(ServiceUnreachableError, match="the client was closed"):
        next(client.events())


@pytest.mark.parametrize("key", ["", "s3cret\n", "two words", "ü"])
def test_a_key_that_no_header_can_bear_is_refused_and_not_shown(connect, key):
    with pytest.raises(ValueError, match="visible ASCII") as caught:
        connect("http://127.0.0.1:8000", api_key=key)
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize(
    "after", ["http://elsewhere.test/jobs?x", "//elsewhere.test/jobs?x", "/jobs?limit=100", "x"]
)
def test_a_next_page_is_of_the_same_list_and_another_one(connect, after):
    body = json.dumps({"jobs": [], "next": after}).encode()
    with answering((200, JSON, body)) as (url, asked), pytest.raises(AnswerError, match="is no next page of"):
        list(connect(url).jobs())
    assert len(asked) == 1


def test_what_is_answered_by_somebody_else_is_no_success(connect):
    page = 200, {"Content-Type": "text/html"}, b"<h1>Log in</h1>"
    with answering(page) as (url, _):
        client = connect(url)
        with pytest.raises(AnswerError, match="answered an erasure with 200"):
            client.purge("0198c0de-0000-7000-8000-000000000000")
        with pytest.raises(AnswerError):
            client.ready()


def test_an_address_that_is_too_long_is_an_error_of_the_tree(connect, service):
    with pytest.raises(ClientError, match="there can be no such address"):
        connect(service.url).get("x" * 100_000)


def test_a_newer_service_may_say_more(connect, service):
    job = connect(service.url).submit("nothing")
    document = json.loads(job.model_dump_json()) | {"news": 1, "outcome": None}
    with answering((200, JSON, json.dumps(document).encode())) as (url, _):
        assert connect(url).get(job.id).id == job.id
