"""What jobs in processes say is printed here, and whoever reads it slowly holds up nobody."""

import io
import sys
import threading

import pytest

from app.core import ThreadPoolExecutor
from app.jobs.model import Line
from app.worker import speaker as speaker_module
from app.worker.speaker import Speaker
from tests.worker.house import PATIENCE


@pytest.fixture
def speaker():
    speaker = Speaker()
    yield speaker
    speaker.shutdown()


def line(text):
    return Line("", 20, 0.0, text)


class Slow(io.StringIO):
    """A pipe whose reader takes his time."""

    def __init__(self):
        super().__init__()
        self.begun, self.read = threading.Event(), threading.Event()

    def write(self, text):
        self.begun.set()
        self.read.wait(PATIENCE)
        return super().write(text)


def test_lines_are_printed_when_say_returns(speaker, capsys):
    speaker.say([line("one"), line("two")], "the job")
    assert capsys.readouterr().out == "one\ntwo\n"


def test_while_nobody_reads_lines_are_dropped_and_nobody_waits_for_ever(speaker, monkeypatch):
    monkeypatch.setattr(speaker_module, "PATIENCE", 0.01)
    slow = Slow()
    monkeypatch.setattr(sys, "stdout", slow)
    speaker.say([line("slow")], "the job")
    speaker.say([line("dropped")], "the job")
    assert slow.begun.wait(PATIENCE)
    slow.read.set()
    speaker._late.result(PATIENCE)
    monkeypatch.setattr(speaker_module, "PATIENCE", PATIENCE)
    speaker.say([line("after")], "the job")
    assert slow.getvalue() == "slow\nafter\n"


def test_after_its_end_it_says_nothing(speaker, capsys):
    speaker.shutdown()
    speaker.say([line("late")], "the job")
    assert capsys.readouterr().out == ""


def test_several_speak_one_after_the_other(speaker, capsys):
    with ThreadPoolExecutor(4) as several:
        several.map(speaker.say, [[line(str(n)), line(str(n))] for n in range(40)], ["the job"] * 40)
    printed = capsys.readouterr().out.split()
    assert printed[::2] == printed[1::2]
    assert sorted(map(int, printed[::2])) == list(range(40))
