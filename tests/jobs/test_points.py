import re
from pathlib import Path

import pytest

from app.jobs import points
from app.jobs.points import POINTS, at, clear, reached

APP = Path(points.__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def nothing_installed():
    yield
    clear()


def test_each_point_of_the_list_is_in_the_code_and_none_is_there_that_the_list_does_not_have():
    sources = "\n".join(path.read_text("utf-8") for path in APP.rglob("*.py"))
    assert set(re.findall(r'\breached\("([a-z-]+)"\)', sources)) == set(POINTS)


def test_nothing_happens_at_a_point_by_default():
    assert [reached(name) for name in POINTS] == [None] * len(POINTS)


def test_what_was_installed_is_called_at_each_passage_of_its_point_and_at_no_other():
    passages = []
    at("batch-gathered", lambda: passages.append(1))
    for name in (*POINTS, "batch-gathered"):
        reached(name)
    assert len(passages) == 2
    clear()
    reached("batch-gathered")
    assert len(passages) == 2


def test_a_name_that_is_not_in_the_list_is_refused():
    with pytest.raises(KeyError, match="nowhere"):
        at("nowhere", print)


def test_what_an_action_raises_passes_through():
    def stop():
        raise ZeroDivisionError

    at("claim-taken", stop)
    with pytest.raises(ZeroDivisionError):
        reached("claim-taken")
