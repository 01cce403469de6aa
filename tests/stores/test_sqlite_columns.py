"""Many rows inserted at once: that they are as those inserted one by one, and by how few statements."""

import asyncio
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.precedence import PRECEDENCE
from app.jobs.history import SUBMITTED, Record, RecordKind
from app.jobs.model import NO_ARGUMENTS, Hold, Job
from app.stores.base import Insert
from app.stores.rows import ENDS, NEW, new_columns, new_row
from app.stores.sqlite import SqliteStore
from app.stores.sqlite_columns import HEAVY, MANY, insert_columns
from app.stores.sqlite_statements import insert_rows
from tests.stores.driving import NOW, QUICK, SELDOM, claim, get, new_job

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)
INTEGER = st.integers(-(2**63), 2**63 - 1)
REAL = st.floats(allow_nan=False, allow_infinity=False)
BYTES = st.binary(min_size=16, max_size=16)
VALUES = {"t": TEXT, "u": TEXT, "i": INTEGER, "r": REAL}
SCHEMA = "k INTEGER PRIMARY KEY, b BLOB, t TEXT, u TEXT, i INTEGER, r REAL"


def column(values):
    """Return a column of many values, all of them the same, or none, or any."""
    some = st.lists(st.none() | values, min_size=1, max_size=5)
    return some.map(lambda few: [few[number % len(few)] for number in range(MANY)])


COLUMNS = st.fixed_dictionaries(
    {"k": st.integers(0, 2**62).map(lambda begin: range(begin, begin + MANY))},
    optional={
        "b": st.lists(BYTES, min_size=MANY, max_size=MANY),
        **{name: column(values) for name, values in VALUES.items()},
    },
)


class Watched:
    """A connection that takes note of what it executes."""

    def __init__(self, db):
        self._db = db
        self.seen = []

    def execute(self, sql, values):
        self.seen.append((sql, list(values), PRECEDENCE.taken))
        return self._db.execute(sql, values)


@pytest.fixture
def db():
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute(f"CREATE TABLE one ({SCHEMA}) STRICT")
        db.execute(f"CREATE TABLE other ({SCHEMA}) STRICT")
        yield db


@QUICK
@given(columns=COLUMNS)
def test_rows_are_the_same_as_if_they_were_bound_value_by_value(columns):
    with closing(sqlite3.connect(":memory:")) as db:
        for table in ("one", "other"):
            db.execute(f"CREATE TABLE {table} ({SCHEMA}) STRICT")
        insert_columns(db, "one", columns)
        insert_rows(db, "other", tuple(columns), list(zip(*columns.values(), strict=True)))
        one, other = (
            db.execute(f"SELECT * FROM {table} ORDER BY k").fetchall() for table in ("one", "other")
        )
        assert list(map(repr, one)) == list(map(repr, other))
        assert len(one) == MANY


@pytest.mark.parametrize("count", [MANY, MANY + 1, 3000])
def test_many_are_one_statement_that_does_not_depend_on_how_many(db, count):
    watched = Watched(db)
    ids = [number.to_bytes(16, "big") for number in range(count)]
    columns = {"k": range(5, count + 5), "b": ids, "t": ["x"] * count, "u": [None] * count}
    insert_columns(watched, "one", columns)
    ((sql, values, _),) = watched.seen
    assert (
        sql
        == "INSERT INTO one (t, k, b) SELECT ?1, ?2 + key, substr(?3, key * 16 + 1, 16) FROM json_each(?4)"
    )
    assert values[:3] == ["x", 5, b"".join(ids)]
    assert db.execute("SELECT count(*), min(k), max(k), count(u) FROM one").fetchone() == (
        count,
        5,
        count + 4,
        0,
    )


def test_others_have_the_interpreter_while_sqlite_inserts_many(db):
    watched = Watched(db)
    with PRECEDENCE:
        insert_columns(watched, "one", {"k": range(MANY), "t": ["x"] * MANY})
        insert_columns(watched, "other", {"k": range(MANY), "r": [n / 3 for n in range(MANY)]})
        assert PRECEDENCE.taken
    assert [taken for *_, taken in watched.seen] == [False, True]


def test_what_is_large_is_not_written_as_json(db):
    watched, texts = Watched(db), ["x" * (HEAVY // MANY) for _ in range(MANY)]
    for begin, more in ((0, ""), (1000, "y")):
        own = [text + more + str(number % 2) for number, text in enumerate(texts)]
        insert_columns(watched, "one", {"k": range(begin, begin + MANY), "t": own})
    assert not any("json_each" in sql for sql, *_ in watched.seen)
    assert db.execute("SELECT count(*), sum(length(t)) FROM one").fetchone() == (
        2 * MANY,
        2 * HEAVY + 3 * MANY,
    )
    watched.seen.clear()
    insert_columns(watched, "other", {"k": range(MANY), "t": [str(number) for number in range(MANY)]})
    assert ["json_each" in sql for sql, *_ in watched.seen] == [True]


def test_a_text_does_not_end_at_a_nul(db):
    texts = [f"a\0{number}" for number in range(MANY)]
    insert_columns(db, "one", {"k": range(MANY), "t": texts})
    assert [text for (text,) in db.execute("SELECT t FROM one")] == texts


def test_one_that_is_there_already_is_told(db):
    insert_columns(db, "one", {"k": range(MANY)})
    with pytest.raises(sqlite3.IntegrityError):
        insert_columns(db, "one", {"k": range(MANY - 1, 2 * MANY)})
    assert db.execute("SELECT count(*) FROM one").fetchone() == (MANY,)


# -- new jobs -----------------------------------------------------------------


def alike(_: int) -> Job:
    return new_job(hold=Hold.PAUSED)


def waiting(_: int) -> Job:
    return new_job()


def various(number: int) -> Job:
    """Return the job of a number, which has something in each column that a new one may have."""
    changes = dict(SELDOM[number % len(SELDOM)])
    texts = {name: f"{name} {number % 3}" for name in ("task", "queue", "arguments", "shown")}
    tags = [{}, {"n": "1"}, {"a": "b", "c": "d"}, {"c": "d", "a": "b"}][number % 4]
    return new_job(priority=number % 2, tags=tags, **texts, **changes)


def differently_tagged(number: int) -> Job:
    return new_job(tags=dict(sorted({"a": "b", "c": "d"}.items(), reverse=number % 2 == 1)))


@pytest.mark.parametrize("make", [alike, waiting, various, differently_tagged])
def test_a_column_has_what_rows_have_in_that_place(make):
    new = [(key, make(key), Hold.PAUSED if key % 7 else Hold.NONE, key % 4) for key in range(1, 100)]
    columns = new_columns(new)
    assert tuple(columns) == NEW
    expected = [new_row(*one) for one in new]
    assert list(map(repr, zip(*columns.values(), strict=True))) == list(map(repr, expected))


CALL = '{"args":[1],"kwargs":{}}'


@pytest.mark.parametrize("every", [1, 2, 90, 1_000])
def test_of_a_call_without_arguments_nothing_is_kept_and_it_is_read_as_such(tmp_path, every):
    jobs = [
        new_job(arguments=NO_ARGUMENTS if number % every else CALL, shown="*" if number == 7 else None)
        for number in range(200)
    ]
    with closing(SqliteStore(tmp_path / "errand.db")) as store:
        for part in (jobs[:3], jobs[3:]):
            store.apply([Insert(part)], NOW)
        kept = store._db.execute("SELECT job, arguments, shown FROM arguments").fetchall()
        assert kept == [
            (key, job.arguments, job.shown)
            for key, job in enumerate(jobs, 1)
            if (job.arguments, job.shown) != (NO_ARGUMENTS, None)
        ]
        found = [get(store, job) for job in jobs]
        claimed = claim(store, len(jobs))
    for read in (found, claimed):
        assert [(job.id, job.arguments, job.shown) for job in read] == [
            (job.id, job.arguments, job.shown) for job in jobs
        ]


def test_keys_with_a_gap_are_refused():
    new = [(key, alike(key), Hold.PAUSED, 0) for key in range(MANY) if key != 5]
    with pytest.raises(ValueError, match="gap"):
        new_columns(new)


def test_an_id_that_is_none_is_refused_and_moves_no_other():
    jobs = [alike(key) if key != 5 else alike(key)._replace(id="ab") for key in range(MANY)]
    new = [(key, job, Hold.PAUSED, 0) for key, job in enumerate(jobs)]
    with pytest.raises(ValueError, match="no UUID"):
        new_columns(new)


def test_what_is_not_inserted_as_json_ends_at_the_few_places_too(tmp_path):
    jobs = [new_job(timeout=number / 3, hold=Hold.PAUSED) for number in range(MANY)]
    begun = []
    with closing(SqliteStore(tmp_path / "jobs.db")) as store:
        store._db.set_trace_callback(begun.append)
        store.apply([Insert(jobs)], NOW)
        (sql,) = [sql for sql in begun if sql.startswith("INSERT INTO jobs ")]
        assert sql.partition(")")[0].count(",") + 1 in ENDS
        assert [get(store, job) for job in jobs] == jobs


@pytest.mark.parametrize("count", [MANY - 1, MANY, 1000])
@pytest.mark.parametrize("make", [alike, waiting, various, differently_tagged])
def test_many_new_jobs_are_read_as_they_were_inserted(tmp_path, make, count):
    jobs = [make(number) for number in range(count)]
    unique = {job.key: job for job in jobs if job.key is not None}
    jobs = [job for job in jobs if unique.get(job.key, job) is job]
    with closing(SqliteStore(tmp_path / "jobs.db")) as store:
        store.apply([Insert(jobs)], NOW)
        assert [get(store, job) for job in jobs] == jobs
        for job in (jobs[0], jobs[-1]):
            (record,) = asyncio.run(store.records("ours", 0, 9, job_id=job.id)).records
            assert record.record == Record(RecordKind.STATE, NOW, SUBMITTED)
