"""What of a job's row is written back, and that it is enough."""

import pytest

from app.core import State
from app.jobs.model import Cancellation, Hold, Job, Outcome, Progress, Stopped
from app.stores.rows import COURSE, MOVING, course_row, moving_row
from app.stores.sqlite_memory import Entry
from tests.stores.driving import NOW, new_job

# One change, at least, for each column of MOVING; of the entry for its place, of the job for the others.
CHANGES = {
    "priority": {"priority": 5},
    "run_at": {"run_at": NOW + 1},
    "state": {"state": State.RUNNING},
    "outcome": {"outcome": Outcome.FAILED},
    "hold": {"hold": Hold.PAUSED},
    "attempt": {"attempt": 1},
    "losses": {"losses": 1},
    "started_at": {"started_at": NOW},
    "finished_at": {"finished_at": NOW},
    "progress_done": {"progress": Progress(1)},
    "progress_total": {"progress": Progress(0, 2)},
    "progress_message": {"progress": Progress(0, None, "half")},
    "cancel_requested_at": {"cancellation": Cancellation(NOW, Stopped.PENDING)},
    "cancel_outcome": {"cancellation": Cancellation(0, Stopped.KILLED)},
    "cancel_reason": {"cancellation": Cancellation(0, Stopped.PENDING, "why")},
    "worker": {"worker": "w"},
    "token": {"token": 7},
    "version": {"version": 2},
    "logged": {"logged": 40},
    "blocked_by": {"blocked_by": "a limit"},
    "turn": {"turn": 3},
}


def entry_of(job: Job) -> Entry:
    return Entry(1, 0, None, job, job, job, (0, None))


@pytest.mark.parametrize("column", MOVING[1:])
def test_a_change_is_written_by_the_few_columns_only_if_it_is_among_them(column):
    job = new_job()
    entry = entry_of(job)
    for name, value in CHANGES[column].items():
        if name in Job._fields:
            entry.job = entry.job._replace(**{name: value})
        else:
            setattr(entry, name, value)
    assert entry.keeps_its_place is (column in COURSE)


def test_the_few_columns_have_the_same_values_as_among_all():
    job = new_job(
        state=State.FINISHED,
        outcome=Outcome.CANCELLED,
        attempt=2,
        started_at=NOW,
        finished_at=NOW + 1,
        cancellation=Cancellation(NOW, Stopped.TOO_LATE, "why"),
        worker="w",
        token=7,
        version=4,
    )
    all_of_them = dict(zip(MOVING, moving_row(1, job, None, 0), strict=True))
    assert course_row(1, job) == tuple(all_of_them[column] for column in COURSE)
