import logging

import pytest

from app.stores import trouble as trouble_module
from app.stores.trouble import APART, REMINDER, Trouble


class Clock:
    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(trouble_module, "time", clock)
    return clock


@pytest.fixture
def trouble(clock, caplog):
    caplog.set_level(logging.INFO)
    return Trouble(logging.getLogger("tests"), "the well cannot be used")


def test_a_trouble_that_lasts_is_told_at_its_beginning_and_now_and_then(trouble, clock, caplog):
    for _ in range(50):
        trouble.met("dry")
    assert caplog.messages == ["the well cannot be used: dry"]
    clock.now += REMINDER
    trouble.met("dry")
    assert caplog.messages[1:] == ["the well cannot be used: dry (49 times more since the last such line)"]
    trouble.over()
    trouble.over()
    assert caplog.messages[2:] == ["the well cannot be used: this is over"]


def test_another_reason_is_told_soon_but_never_at_once(trouble, clock, caplog):
    trouble.met("dry")
    trouble.met("frozen")
    assert len(caplog.messages) == 1
    clock.now += APART
    trouble.met("frozen")
    assert caplog.messages[-1] == "the well cannot be used: frozen (1 times more since the last such line)"


def test_a_trouble_that_comes_and_goes_is_not_told_each_time(trouble, caplog):
    for _ in range(50):
        trouble.met("dry")
        trouble.over()
    assert len(caplog.messages) == 2


def test_what_works_is_not_worth_a_line(trouble, caplog):
    trouble.over()
    assert caplog.messages == []


def test_who_tells_it_otherwise_is_told_when(trouble, clock, caplog):
    assert [trouble.is_news("dry") for _ in range(3)] == [True, False, False]
    clock.now += REMINDER
    assert trouble.is_news("dry")
    assert caplog.messages == []
