"""Files that are removed or replaced while the store is open: nothing may be acknowledged any more."""

import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from app.stores.base import Insert, StoreUnavailableError, StoreUnusableError
from app.stores.sqlite import SqliteStore
from tests.stores.driving import NOW, insert, new_job


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.db"


@pytest.fixture
def store(path):
    store = SqliteStore(path)
    insert(store, new_job())
    yield store
    store.close()


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", ".lock"])
def test_a_file_that_was_removed_is_noticed_before_anything_is_promised(store, path, suffix):
    Path(f"{path}{suffix}").unlink()
    with pytest.raises(StoreUnavailableError, match="removed or replaced"):
        store.apply([Insert([new_job()])], NOW)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", ".lock"])
def test_the_files_behind_a_link_are_watched_too(store, path, tmp_path, suffix):
    store.close()
    link = tmp_path / "link.db"
    link.symlink_to(path)
    linked = SqliteStore(link)
    try:
        insert(linked, new_job())
        Path(f"{path}{suffix}").unlink()
        with pytest.raises(StoreUnavailableError, match="removed or replaced"):
            linked.apply([Insert([new_job()])], NOW)
    finally:
        linked.close()


def jobs_in_the_file_alone(path):
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as other:
        tables = {name for (name,) in other.execute("SELECT name FROM sqlite_schema")}
        return other.execute("SELECT count(*) FROM jobs").fetchone()[0] if "jobs" in tables else 0


def test_what_only_a_removed_log_had_is_in_the_database_by_the_next_refusal(store, path):
    Path(f"{path}-wal").unlink()
    assert jobs_in_the_file_alone(path) == 0
    with pytest.raises(StoreUnavailableError):
        store.apply([Insert([new_job()])], NOW)
    assert jobs_in_the_file_alone(path) == 1


def test_the_log_of_a_database_that_was_replaced_is_not_left_to_the_other_one(store, path, tmp_path):
    (tmp_path / "other.db").touch()
    (tmp_path / "other.db").replace(path)
    assert Path(f"{path}-wal").stat().st_size
    with pytest.raises(StoreUnavailableError):
        store.apply([Insert([new_job()])], NOW)
    assert Path(f"{path}-wal").stat().st_size == 0


def test_a_log_without_its_database_is_refused_and_an_empty_one_is_not(path):
    log = Path(f"{path}-wal")
    log.write_bytes(b"frames")
    with pytest.raises(StoreUnusableError, match=r"jobs.db is gone, and its log .*-wal is not: put the file"):
        SqliteStore(path)
    log.write_bytes(b"")
    SqliteStore(path).close()


def test_a_file_that_was_replaced_is_another_one(store, path, tmp_path):
    shutil.copy(path, tmp_path / "copy")
    (tmp_path / "copy").replace(path)
    with pytest.raises(StoreUnavailableError, match="removed or replaced"):
        store.apply([Insert([new_job()])], NOW)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", ".lock"])
def test_nobody_else_can_read_the_files(store, path, suffix):
    assert stat.S_IMODE(Path(f"{path}{suffix}").stat().st_mode) == 0o600
