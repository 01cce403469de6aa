"""What is repeated, and when: no I/O is needed to see it."""

import time

import httpx
import pytest

from app.client import BusyError, ClientError, ConflictError, ServiceUnreachableError
from app.client.steps import LONGEST_PAUSE, Pause, Request, pauses, persistent

SAFE = Request("GET", "/tasks")
ONCE = Request("POST", "/jobs/1/retry", repeatable=False)
OK = httpx.Response(200, text="fine")
URL = httpx.Request("GET", "http://errand.test:8000/tasks?a=b")
REFUSED = httpx.ConnectError("refused", request=URL)
CUT = httpx.ReadError("", request=URL)


def busy(after):
    return httpx.Response(503, json={"type": "/problems/draining"}, headers={"Retry-After": after})


def call(request):
    return (yield request).text


class Perform:
    """Performs steps as told: what is an error is thrown in, what is an answer is sent."""

    def __init__(self, request, *answers, patience=60.0):
        self.steps = []
        self._todo = persistent(call(request), patience)
        self._answers = list(answers)

    def run(self):
        try:
            step = next(self._todo)
            while True:
                self.steps.append(step)
                answer = None if isinstance(step, Pause) else self._answers.pop(0)
                error = isinstance(answer, Exception)
                step = self._todo.throw(answer) if error else self._todo.send(answer)
        except StopIteration as end:
            return end.value


def test_an_answer_is_the_calls():
    performing = Perform(SAFE, OK)
    assert performing.run() == "fine"
    assert performing.steps == [SAFE]


@pytest.mark.parametrize(
    "error",
    [REFUSED, CUT, httpx.ReadTimeout("", request=URL), busy("0"), httpx.Response(502, request=URL)],
)
def test_what_does_no_harm_is_repeated(error):
    performing = Perform(SAFE, error, error, OK)
    assert performing.run() == "fine"
    assert performing.steps == [SAFE, Pause(0.1), SAFE, Pause(0.2), SAFE]


def test_what_may_do_harm_is_repeated_only_if_it_was_not_heard():
    performing = Perform(ONCE, REFUSED, CUT)
    with pytest.raises(
        ServiceUnreachableError, match=r"^http://errand.test:8000 cannot be reached: ReadError$"
    ):
        performing.run()
    assert performing.steps == [ONCE, Pause(0.1), ONCE]


def test_a_service_says_when_to_come_again():
    performing = Perform(SAFE, busy("7"), OK)
    assert performing.run() == "fine"
    assert performing.steps == [SAFE, Pause(7.0), SAFE]


@pytest.mark.parametrize("header", [{}, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}])
def test_one_whose_quota_is_used_up_until_nobody_knows_when_is_not_asked_again(header):
    performing = Perform(SAFE, httpx.Response(429, headers=header, request=URL))
    with pytest.raises(BusyError) as caught:
        performing.run()
    assert caught.value.retry_after is None


def test_a_refusal_is_not_repeated():
    performing = Perform(SAFE, httpx.Response(409, json={"detail": "no"}))
    with pytest.raises(ConflictError, match=r"^no$"):
        performing.run()


@pytest.mark.parametrize(("error", "patience"), [(REFUSED, 0), (busy("8"), 7.9)])
def test_patience_has_an_end(error, patience):
    performing = Perform(SAFE, error, patience=patience)
    with pytest.raises((ServiceUnreachableError, BusyError)):
        performing.run()


def test_patience_begins_with_the_first_failure_however_long_an_answer_was_waited_for(monkeypatch):
    now = [0.0]
    performing = Perform(SAFE, CUT, OK, patience=5)
    monkeypatch.setattr("app.client.steps.time.monotonic", lambda: now[0])

    def slowly(request):
        now[0] += 60
        return (yield request).text

    performing._todo = persistent(slowly(SAFE), 5)
    assert performing.run() == "fine"


def test_who_says_to_come_back_in_years_is_asked_again_in_a_minute():
    performing = Perform(SAFE, busy("315360000"), OK, patience=3600)
    assert performing.run() == "fine"
    assert performing.steps == [SAFE, Pause(60.0), SAFE]


def test_what_cannot_be_sent_is_not_repeated_nor_shown():
    error = httpx.LocalProtocolError("Illegal header value b'Bearer s3cret'", request=URL)
    with pytest.raises(ClientError, match="GET /tasks cannot be sent: LocalProtocolError") as caught:
        Perform(SAFE, error).run()
    assert "s3cret" not in str(caught.value)


def test_patience_has_an_end_that_is_counted(monkeypatch):
    now = time.monotonic()
    performing = Perform(SAFE, *[REFUSED] * 100, patience=60)

    def later():
        nonlocal now
        now += 10
        return now

    monkeypatch.setattr("app.client.steps.time.monotonic", later)
    with pytest.raises(ServiceUnreachableError):
        performing.run()
    assert 3 <= performing.steps.count(SAFE) <= 6


def test_pauses_grow_up_to_a_limit():
    found = pauses()
    some = [next(found) for _ in range(10)]
    assert some[:3] == [0.1, 0.2, 0.4]
    assert some[-1] == LONGEST_PAUSE


def test_an_error_reaches_the_call_that_can_do_something_about_it():
    def careful():
        try:
            yield ONCE
        except BusyError:
            return "not now"

    performing = Perform(ONCE, busy("0"))
    performing._todo = persistent(careful(), 60)
    assert performing.run() == "not now"
