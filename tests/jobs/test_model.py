"""The job as a value, and its identifiers."""

import time
import uuid

import pytest

from app.core import State
from app.jobs.lifecycle import CancelRequested, transition
from app.jobs.model import Cancellation, Hold, Job, Slot, Stopped, new_id, new_ids, wall_clock

NOW = 1_750_000_000_000_000
JOB = Job("0198f00d-0000-7000-8000-000000000001", "default", "plain", Slot.THREAD, NOW, NOW)


def test_an_id_is_a_uuid_of_version_7_and_of_the_rfc_variant():
    made = uuid.UUID(new_id(NOW))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert str(made) == new_id(NOW, lambda: (made.int & (1 << 80) - 1).to_bytes(10, "big"))


@pytest.mark.parametrize("entropy", [b"\x00" * 10, b"\xff" * 10])
def test_an_id_has_its_bits_where_the_rfc_puts_them(entropy):
    value = uuid.UUID(new_id(NOW + 999, lambda: entropy)).int
    filled = (1 << 74) - 1 if entropy[0] else 0
    assert value >> 80 == NOW // 1000
    assert value >> 76 & 0xF == 7
    assert value >> 62 & 0b11 == 0b10
    assert (value >> 64 & 0xFFF) << 62 | value & ((1 << 62) - 1) == filled


@pytest.mark.parametrize("now", [0, 999, (1 << 48) * 1000 - 1])
def test_an_id_bears_the_milliseconds_of_its_time(now):
    assert int(new_id(now).replace("-", "")[:12], 16) == now // 1000


def test_ids_are_unique_within_a_microsecond_and_sorted_by_time():
    assert len({new_id(NOW) for _ in range(10_000)}) == 10_000
    later = [new_id(NOW + milliseconds * 1000) for milliseconds in range(100)]
    assert later == sorted(later)


def test_ids_of_a_batch_are_unique_and_ascending_and_like_those_made_one_by_one():
    made = new_ids(NOW, 10_000)
    assert made == sorted(set(made))
    assert len(made) == 10_000
    values = [uuid.UUID(job_id) for job_id in made]
    assert {(value.version, value.variant) for value in values} == {(7, uuid.RFC_4122)}
    assert {value.int >> 80 for value in values} == {NOW // 1000}
    # Each of the random bits is set in about half of them: none is always the same.
    ones = [sum(value.int >> bit & 1 for value in values) for bit in (*range(62), *range(64, 76))]
    assert 4_500 < min(ones) <= max(ones) < 5_500


def test_a_batch_may_have_no_ids():
    assert new_ids(NOW, 0) == []


def test_the_wall_clock_counts_microseconds():
    before = time.time_ns() // 1000
    assert before <= wall_clock() <= time.time_ns() // 1000


@pytest.mark.parametrize("state", State)
def test_a_job_is_done_when_it_is_cancelled_or_has_finished(state):
    assert JOB._replace(state=state).done == (state in (State.CANCELLED, State.FINISHED))


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("hold", [*Hold, Hold.NONE])
def test_a_job_is_ready_when_it_is_pending_and_nothing_holds_it(state, hold):
    ready = JOB._replace(state=state, hold=hold).ready
    assert ready == (state is State.PENDING and hold is Hold.NONE)


def test_only_a_running_job_counts_as_asked_to_stop():
    asked = JOB._replace(state=State.RUNNING, cancellation=Cancellation(NOW, Stopped.PENDING))
    assert asked.asked_to_stop
    assert not JOB._replace(state=State.RUNNING).asked_to_stop
    assert not transition(JOB, CancelRequested(), NOW).asked_to_stop


def test_a_job_is_a_value():
    assert Job(*JOB) == JOB
    assert hash(JOB._replace(tags=())) == hash(JOB._replace(tags=()))
    with pytest.raises(AttributeError):
        JOB.state = State.RUNNING


CHANGES = [{name: f"other {name}"} for name in Job._fields] + [{"state": State.RUNNING, "version": 7}, {}]


@pytest.mark.parametrize("changes", CHANGES, ids=lambda changes: "-".join(changes) or "none")
def test_a_job_with_some_fields_changed_is_otherwise_the_same(changes):
    changed = JOB._replace(**changes)
    assert type(changed) is Job
    assert changed._asdict() == {**JOB._asdict(), **changes}


def test_only_fields_can_be_changed():
    with pytest.raises(TypeError, match="a job has no field 'colour'"):
        JOB._replace(colour="red")
