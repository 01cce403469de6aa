"""The log of the SQLite store: brought into the file when everybody has been told, and never lost."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app.stores.base import Insert, StoreUnavailableError
from app.stores.sqlite import SqliteStore
from app.stores.sqlite_log import LONG, TOO_LONG, USUAL
from tests.stores.driving import NOW, get, insert, new_job

FRAME = 24 + 4096
"""Bytes of a page in the log (SQLite, Database File Format, section 4.1)."""

ENOUGH = 4 * LONG
"""Commits after which any log would have been long."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.db"


@pytest.fixture
def store(path):
    store = SqliteStore(path, lock_timeout=0)
    yield store
    store.close()


def pages_in_log(path: Path) -> float:
    return Path(f"{path}-wal").stat().st_size / FRAME


def commits_until_tidy(store: SqliteStore, jobs: int) -> int:
    """Insert so many jobs with each commit until the log is brought in; return the number of commits."""
    for commits in range(1, ENOUGH):
        insert(store, *(new_job() for _ in range(jobs)))
        if store.tidy():
            return commits
    pytest.fail("the log was never brought in")


def test_no_commit_changes_the_file_and_tidy_brings_in_what_is_in_the_log(store, path):
    for _ in range(3):
        before = path.read_bytes()
        while True:
            insert(store, new_job())
            assert path.read_bytes() == before
            if store.tidy():
                break
        assert path.stat().st_size > len(before)
        assert store.tidy() is False


def test_what_commits_add_is_learnt_so_that_the_log_is_neither_long_nor_short_when_it_is_brought_in(store):
    first, *later = (commits_until_tidy(store, jobs=1) for _ in range(5))
    assert first == LONG / USUAL
    # Of one job each they add less than is usual.
    assert min(later) > first
    _, *large = (commits_until_tidy(store, jobs=500) for _ in range(4))
    assert max(large) < first


def test_the_log_is_begun_anew_once_all_of_it_was_brought_in(store, path):
    for _ in range(6):
        commits_until_tidy(store, jobs=3)
    assert pages_in_log(path) < 2 * LONG


def test_a_log_that_grows_unforeseen_is_brought_in_within_a_commit(store, path):
    text = '{"args":["' + "x" * 1_000_000 + '"],"kwargs":{}}'
    for _ in range(30):
        insert(store, new_job(arguments=text))
    # Each of these adds 250 pages, not 20, and nobody has called `tidy`.
    assert pages_in_log(path) < TOO_LONG + 1000


def test_a_reader_keeps_in_the_log_what_it_reads_and_is_not_asked_after_each_commit(store, path):
    job = new_job()
    insert(store, job)
    # If it waited for the reader, it would do so longer than a test may take.
    store._db.execute("PRAGMA busy_timeout = 61000")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
        first, *later = (commits_until_tidy(store, jobs=1) for _ in range(3))
        # The very first commit is that of the job. What is kept is not taken for what commits add.
        assert first == LONG / USUAL - 1
        assert min(later) > 1.5 * first
        assert reader.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
        reader.execute("COMMIT")
    assert pages_in_log(path) > 2 * LONG
    # The next time all of it is brought in, and the log begun anew; its file keeps its size.
    commits_until_tidy(store, jobs=1)
    longest = pages_in_log(path)
    for _ in range(3):
        commits_until_tidy(store, jobs=1)
    assert pages_in_log(path) == longest
    assert get(store, job).id == job.id


def test_a_log_that_cannot_be_brought_in_is_left_and_tried_again_later(store):
    commits = commits_until_tidy(store, jobs=1)
    for _ in range(commits * 2):
        insert(store, new_job())
    store._db.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
    assert store.tidy() is True
    store._db.set_authorizer(None)
    assert commits_until_tidy(store, jobs=1) > 1


def test_a_batch_that_fails_does_not_count(store, path):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(round(LONG / USUAL)):
            with pytest.raises(StoreUnavailableError):
                store.apply([Insert([new_job()])], NOW)
        assert store.tidy() is False
