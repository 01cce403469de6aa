"""What of a job's row is written, new or changed, and that it is enough."""

import asyncio
from contextlib import closing

import pytest

from app.core import State
from app.jobs.model import Backoff, Cancellation, Hold, Job, Outcome, Progress, Stopped
from app.stores.base import Insert
from app.stores.rows import COURSE, ENDS, JOB, MOVING, NEW, course_row, moving_row, new_columns, new_row
from app.stores.sqlite import SqliteStore
from app.stores.sqlite_memory import Entry
from app.stores.sqlite_statements import SIZES, insert_columns, insert_rows
from tests.stores.driving import NOW, get, insert, new_job

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


# -- many new jobs are inserted by their columns -----------------------------------------------------

MANY = 2 * sum(SIZES) + 1


def various(number: int) -> Job:
    """Return the job of a number, which has something in each column that a new one may have."""
    changes = dict(SELDOM[number % len(SELDOM)])
    texts = {name: f"{name} {number % 3}" for name in ("task", "queue", "arguments", "shown")}
    return new_job(priority=number % 2, tags={"n": str(number % 2)} if number % 5 else {}, **texts, **changes)


@pytest.mark.parametrize("make", [lambda _: new_job(), various], ids=["alike", "various"])
def test_a_column_has_what_rows_have_in_that_place(make):
    new = [(key, make(key), Hold.PAUSED if key % 7 else Hold.NONE, key % 4) for key in range(1, 100)]
    columns = new_columns(new)
    assert tuple(columns) == NEW
    assert list(zip(*columns.values(), strict=True)) == [new_row(*one) for one in new]
    types = [{type(value) for value in values} for values in columns.values()]
    assert [set(map(type, values)) for values in zip(*[new_row(*one) for one in new], strict=True)] == types


@pytest.mark.parametrize("count", [SIZES[-1] - 1, SIZES[-1], SIZES[-1] + 1, SIZES[0], MANY])
@pytest.mark.parametrize("make", [lambda _: new_job(hold=Hold.PAUSED), various], ids=["alike", "various"])
def test_many_new_jobs_are_read_as_they_were_inserted(store, make, count):
    jobs = [make(number) for number in range(count)]
    unique = {job.key: job for job in jobs if job.key is not None}
    jobs = [job for job in jobs if unique.get(job.key, job) is job]
    store.apply([Insert(jobs)], NOW)
    assert [get(store, job) for job in jobs] == jobs
    first = [asyncio.run(store.records("ours", 0, 9, job_id=job.id)).records for job in (jobs[0], jobs[-1])]
    assert [[record.record.kind for record in records] for records in first] == [["state"], ["state"]]


def test_what_many_rows_have_in_common_is_bound_once_and_what_is_null_not_at_all():
    seen = []

    class Connection:
        def execute(self, sql, values):
            seen.append((sql, values))

    count = SIZES[-1] + 1
    columns = {"a": range(count), "b": ["x"] * count, "c": [None] * count}
    insert_columns(Connection(), "t", columns)
    (sql, values), (rest, _) = seen
    assert sql == f"INSERT INTO t (b, a) VALUES {', '.join(['(?1, ?)'] * SIZES[-1])}"
    assert values == ["x", *range(SIZES[-1])]
    assert rest == "INSERT INTO t (a, b) VALUES (?, ?)"


# -- new jobs: the columns at the end that none of a batch has anything for are left out -----------

# One for each place where a row may end.
SELDOM = (
    {},
    {"timeout": 2.5},
    {"expires_at": NOW + 9},
    {"limit_key": "whose"},
    {"key": "the only one"},
    {"backoff": Backoff(first=3)},
    {"parent": "p"},
    {"root": "r"},
    {"step": 4},
    {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    {"state": State.RUNNING, "started_at": NOW, "worker": "w", "token": 5, "attempt": 1},
)


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
