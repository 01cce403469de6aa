"""What a job's history says of each event, and what it never says."""

import json

import pytest

from app.jobs.history import MESSAGE_SHOWN, SUBMITTED, Record, RecordKind, records_of
from app.jobs.lifecycle import (
    CancelRequested,
    Claimed,
    Due,
    Failed,
    Logged,
    Progressed,
    Succeeded,
    transition,
)
from app.jobs.model import SECOND, Failure, Hold, Job, Line, Progress, Slot

NOW = 1_750_000_000_000_000
SECRET = '{"args":["hidden"],"kwargs":{}}'
PENDING = Job(
    "0198f00d-0000-7000-8000-000000000001", "ours", "plain", Slot.THREAD, NOW, NOW, arguments=SECRET
)
RUNNING = transition(PENDING, Claimed(7, "worker"), NOW)


def told(event, job):
    return [(record.kind, json.loads(record.data)) for record in records_of(event, job, NOW)]


def state_after(job, event):
    ((kind, data),) = told(event, transition(job, event, NOW))
    assert kind is RecordKind.STATE
    return data


def test_a_submission_is_the_first_record():
    assert json.loads(SUBMITTED) == {
        "state": "pending",
        "outcome": None,
        "run": 1,
        "attempt": 0,
        "version": 1,
        "exception": None,
        "cancellation": None,
    }


def test_each_change_of_state_is_a_record():
    assert state_after(PENDING, Claimed(7, "worker"))["state"] == "running"
    asked = state_after(RUNNING, CancelRequested("why"))
    assert (asked["state"], asked["cancellation"]) == ("running", {"outcome": "pending", "reason": "why"})
    ended = state_after(RUNNING, Failed(7, Failure("ValueError", "bad", "Traceback")))
    assert (ended["outcome"], ended["exception"]) == ("failed", {"type": "ValueError", "message": "bad"})


def test_that_a_job_is_due_is_no_record():
    held = PENDING._replace(hold=Hold.DUE_LATER)
    assert told(Due(), transition(held, Due(), NOW)) == []


def test_progress_is_a_record():
    event = Progressed(7, Progress(1, 3, "reading"))
    assert told(event, transition(RUNNING, event, NOW)) == [
        (RecordKind.PROGRESS, {"done": 1, "total": 3, "message": "reading"})
    ]


def test_each_line_is_a_record_of_its_own_time():
    event = Logged(7, (Line("mine", 30, 1.5, "careful"), Line("", 20, 2.0, "printed")))
    records = list(records_of(event, RUNNING, NOW))
    assert [record.at for record in records] == [round(1.5 * SECOND), 2 * SECOND]
    assert json.loads(records[0].data) == {
        "level": "WARNING",
        "run": 1,
        "attempt": 1,
        "logger": "mine",
        "message": "careful",
    }


@pytest.mark.parametrize("event", [Succeeded(7, '"hidden"'), Failed(7, Failure("E", "x", "hidden"))])
def test_no_record_bears_arguments_results_or_tracebacks(event):
    after = transition(RUNNING, event, NOW)
    for record in records_of(event, after, NOW):
        assert isinstance(record, Record)
        assert "hidden" not in record.data


def test_a_long_message_is_shown_in_part():
    event = Failed(7, Failure("E", "x" * 9999, ""))
    assert state_after(RUNNING, event)["exception"]["message"] == "x" * MESSAGE_SHOWN
