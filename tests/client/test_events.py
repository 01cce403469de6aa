"""The reader of Server-Sent Events, fed by hand."""

import json
from itertools import pairwise

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.client import AnswerError, ProblemError, ServiceUnreachableError
from app.client.events import Parser, Subscription

JOB = "0198c0de-0000-7000-8000-000000000000"


def sent(kind, id_, **data):
    text = json.dumps({"job": JOB, "at": "2026-01-01T00:00:00.000000Z", **data}, ensure_ascii=False)
    return f"event: {kind}\nid: {id_}\ndata: {text}\n\n".encode()


STREAM = (
    b": events follow\nretry: 2000\n\n"
    + sent("state", "a", state="pending", message="one\u2028two\x85three")
    + b": still here\nid: b\n\n"
    + sent("log", "c", message="ü")
)


def feed(parser, *pieces):
    return [event for piece in pieces for event in parser.feed(piece)]


@given(st.sets(st.integers(0, len(STREAM))))
def test_events_are_the_same_however_they_are_cut(cuts):
    edges = [0, *sorted(cuts), len(STREAM)]
    parser = Parser()
    events = feed(parser, *(STREAM[a:b] for a, b in pairwise(edges)))
    assert [(event.id, event.kind) for event in events] == [("a", "state"), ("c", "log")]
    assert events[0].data["message"] == "one\u2028two\x85three"
    assert (events[0].job, events[0].at.year) == (JOB, 2026)


def test_lines_may_end_as_in_mail():
    (event,) = feed(Parser(), sent("state", "a", state="pending").replace(b"\n", b"\r\n"))
    assert event.id == "a"


@pytest.mark.parametrize("end", [b"\r", b"\r\n", b"\n"])
@given(cuts=st.sets(st.integers(0, 200)))
def test_any_end_of_line_will_do_wherever_it_is_cut(end, cuts):
    data = sent("state", "a", state="pending").replace(b"\n", end) + b"id: b" + end + end + b"x"
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    parser = Parser()
    events = feed(parser, *(data[a:b] for a, b in pairwise(edges)))
    assert [event.id for event in events] == ["a"]
    assert parser.last_id == "b"


def test_a_stream_may_begin_with_a_byte_order_mark():
    (event,) = feed(Parser(), b"\xef\xbb\xbf" + sent("state", "a", state="pending"))
    assert event.kind == "state"


def test_an_id_with_a_nul_is_none():
    parser = Parser()
    feed(parser, b"id: a\n\nid: b\0\n\n")
    assert parser.last_id == "a"


def test_an_event_without_a_name_is_a_message():
    (event,) = feed(Parser(), b"event:\ndata: {}\n\n")
    assert event.kind == "message"


def test_data_of_several_lines_is_one():
    (event,) = feed(Parser(), b'data: {"job":\ndata: null}\n\n')
    assert (event.kind, event.data) == ("message", {"job": None})


def test_a_sign_of_life_moves_the_reader_on():
    parser = Parser()
    assert feed(parser, b": still here\nid: x\n\n") == []
    assert parser.last_id == "x"


def test_what_is_half_told_when_the_connection_is_lost_is_told_again():
    parser = Parser()
    assert feed(parser, sent("state", "a", state="running")[:-1]) == []
    parser.lose()
    (event,) = feed(parser, sent("log", "b", message="x"))
    assert (event.kind, event.id) == ("log", "b")


@pytest.mark.parametrize(
    "data",
    [
        b"data: x\n\n",
        b"data: []\n\n",
        b'data: {"at": "noon"}\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
        b"data: 1\n\n",
    ],
)
def test_what_is_no_event_of_ours_is_an_error(data):
    with pytest.raises(AnswerError, match="an event that makes no sense"):
        feed(Parser(), data)


def test_a_subscription_asks_to_go_on_where_it_was():
    subscription = Subscription(None, None, {"task": "add", "tags": {"a": "b:c"}}, 5)
    first = subscription.request()
    assert (first.path, first.params) == ("/events", [("task", "add"), ("tag", "a:b:c")])
    assert "Last-Event-ID" not in first.headers
    assert not subscription.goes_on
    list(subscription.feed(STREAM))
    assert subscription.request().headers["Last-Event-ID"] == "c"
    assert subscription.goes_on


def test_a_jobs_subscription_is_over_with_its_end_unless_it_is_run_again():
    subscription = Subscription(JOB, None, {}, 5)
    list(subscription.feed(sent("state", "a", state="finished")))
    assert subscription.over
    list(subscription.feed(sent("state", "b", state="pending")))
    assert not subscription.over


def test_a_subscription_to_all_jobs_is_not_over_with_one_of_them():
    subscription = Subscription(None, None, {}, 5)
    list(subscription.feed(sent("state", "a", state="finished")))
    assert not subscription.over


def test_a_lost_connection_is_made_anew_until_patience_ends():
    error = httpx.ReadError("", request=httpx.Request("GET", "http://errand.test/events"))
    subscription = Subscription(None, None, {}, patience=0.5)
    assert [subscription.closed(error), subscription.closed(error)] == [0.1, 0.2]
    with pytest.raises(ServiceUnreachableError):
        subscription.closed(error)
    # A sign of life, and it begins anew.
    list(subscription.feed(b": only words\n\n"))
    with pytest.raises(ServiceUnreachableError):
        subscription.closed(error)
    list(subscription.feed(b": still here\nid: x\n\n"))
    assert subscription.closed(error) == 0.1
    assert subscription.closed() == 0.2


def test_a_stream_that_is_closed_each_time_before_anything_comes_is_given_up():
    subscription = Subscription(None, None, {}, patience=0.5)
    assert [subscription.closed(), subscription.closed()] == [0.1, 0.2]
    with pytest.raises(ServiceUnreachableError, match="/events is closed again and again"):
        subscription.closed()


def test_a_service_says_when_to_come_again():
    subscription = Subscription(None, None, {}, patience=3600)
    busy = ProblemError(503, {}, retry_after=7.0)
    assert subscription.closed(busy) == 7.0
    assert subscription.closed(ProblemError(503, {}, retry_after=1e9)) == 60.0


@pytest.mark.parametrize("status", [200, 204, 301])
def test_what_is_no_stream_is_an_error(status):
    subscription = Subscription(None, None, {}, patience=60)
    answer = httpx.Response(
        status,
        headers={"Content-Type": "text/html"},
        request=httpx.Request("GET", "http://errand.test/events"),
    )
    with pytest.raises(AnswerError, match=f"answered with {status} text/html, and no events"):
        subscription.opened(answer)


def test_a_jobs_stream_may_be_over_before_it_begins():
    subscription = Subscription(JOB, "z", {}, patience=60)
    subscription.opened(httpx.Response(204))
    assert subscription.over


@pytest.mark.parametrize("job_id", ["../tasks?x=", "a/b"])
def test_whatever_an_id_is_only_a_job_is_asked_for(job_id):
    path = Subscription(job_id, None, {}, patience=60).request().path
    assert path.count("/") == 3
    assert "?" not in path


@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_refusal_that_will_not_pass_is_raised_at_once(status):
    subscription = Subscription(None, None, {}, patience=60)
    with pytest.raises(ProblemError) as caught:
        subscription.opened(httpx.Response(status, json={}))
    with pytest.raises(ProblemError):
        subscription.closed(caught.value)


def test_a_proxy_that_misses_the_service_is_asked_again():
    subscription = Subscription(None, None, {}, patience=60)
    with pytest.raises(ProblemError) as caught:
        subscription.opened(httpx.Response(502, json={}))
    assert subscription.closed(caught.value) == 0.1
