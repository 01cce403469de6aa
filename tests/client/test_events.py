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
    "data", [b"data: x\n\n", b"data: []\n\n", b'data: {"at": "noon"}\n\n', b"data: 1\n\n"]
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
    list(subscription.feed(b": x\n\n"))
    assert subscription.closed(error) == 0.1
    assert subscription.closed() == 0.2


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
