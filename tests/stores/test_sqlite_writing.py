"""What of a job's row is written, new or changed, and that it is enough."""

from contextlib import closing

import pytest

from app.core import State
from app.jobs.model import Cancellation, Hold, Job, Outcome, Progress, Stopped
from app.stores.rows import COURSE, ENDS, JOB, MOVING, NEW, course_row, moving_row, new_row
from app.stores.sqlite import SqliteStore
from app.stores.sqlite_memory import Entry
from app.stores.sqlite_statements import insert_rows
from tests.stores.driving import NOW, SELDOM, get, insert, new_job

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
        worker="w",
        token=7,
        version=4,
    )
    all_of_them = dict(zip(MOVING, moving_row(1, job, None, 0), strict=True))
    assert course_row(1, job) == tuple(all_of_them[column] for column in COURSE)


# -- new jobs: the columns at the end that none of a batch has anything for are left out -----------


@pytest.fixture
def store(tmp_path):
    with closing(SqliteStore(tmp_path / "jobs.db")) as store:
        yield store


@pytest.mark.parametrize("changes", SELDOM)
def test_a_new_job_is_read_as_it_was_inserted_alone_or_among_others(store, changes):
    alone, *among = new_job(tenant="theirs", **changes), new_job(), new_job(**changes), new_job()
    insert(store, alone)
    insert(store, *among)
    assert [get(store, job, job.tenant) for job in (alone, *among)] == [alone, *among]


def test_a_row_of_a_new_job_has_all_that_makes_one_but_what_it_cannot_have_yet():
    told = {name for name in JOB if name.startswith(("progress_", "cancel_"))}
    assert set(JOB) - set(NEW) == {*told, "blocked_by", "outcome", "finished_at"}
    assert len(told) == 6
    assert set(NEW) < set(JOB)
    assert len(new_row(1, new_job(), Hold.NONE, 0)) == len(NEW)


def test_what_every_new_job_has_is_of_a_type_that_is_bound_without_a_search_for_an_adapter():
    job = new_job(state=State.RUNNING, started_at=NOW, worker="w", token=5, hold=Hold.PAUSED)
    first, id_, *others = new_row(1, job, job.hold, 0)[: NEW.index("timeout")]
    assert (type(first), type(id_), {type(value) for value in others}) == (int, bytes, {int, str})
    row = course_row(1, job._replace(outcome=Outcome.FAILED, finished_at=NOW))
    assert {type(value) for value in row} == {int, str}


@pytest.mark.parametrize(("value", "columns"), [(None, "a"), ("x", "a, b, c")])
def test_a_row_may_end_at_a_few_places_only_as_there_is_a_statement_for_each(value, columns):
    seen = []

    class Connection:
        def execute(self, sql, values):
            seen.append((sql, values))

    insert_rows(Connection(), "t", ("a", "b", "c"), [(1, value, None)], ends=(1, 3))
    [(sql, values)] = seen
    assert sql.startswith(f"INSERT INTO t ({columns}) VALUES")
    assert values == [1, value, None][: len(values)]


def test_new_jobs_are_inserted_by_few_kinds_of_statements(store):
    begun = []
    store._db.set_trace_callback(begun.append)
    for changes in SELDOM:
        insert(store, new_job(**changes))
    kinds = {sql.partition(" VALUES")[0] for sql in begun if sql.startswith("INSERT INTO jobs ")}
    assert len(kinds) == len(ENDS) == 4


def test_only_columns_that_are_empty_in_all_rows_are_left_out(store):
    store._db.execute("CREATE TEMP TABLE seen (a, b DEFAULT 'left out', c DEFAULT 'left out')")
    for rows in ([(1, None, None)], [(2, None, None), (3, 4, None)], [(5, None, None), (6, None, 7)]):
        insert_rows(store._db, "seen", ("a", "b", "c"), rows)
    assert store._db.execute("SELECT * FROM seen ORDER BY a").fetchall() == [
        (1, "left out", "left out"),
        (2, None, "left out"),
        (3, 4, "left out"),
        (5, None, None),
        (6, None, 7),
    ]
