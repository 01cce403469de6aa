"""Files that are removed or replaced while the store is open: nothing may be acknowledged any more."""

import os
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from app.stores.base import Insert, StoreUnavailableError, StoreUnusableError
from app.stores.held_files import SETTLED, HeldFiles
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


class Held:
    """Files in a folder, a clock of their own, and how often the system is asked of them."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self.path = folder / "jobs.db"
        for suffix in ("", "-wal", "-shm", ".lock"):
            Path(f"{self.path}{suffix}").touch()
        self.now = self.changed_at + SETTLED
        self.held = HeldFiles(self.path, lambda: self.now)
        self.asked = []
        ask = os.stat
        monkeypatch.setattr(os, "stat", lambda path, **how: (self.asked.append(path), ask(path, **how))[1])

    @property
    def changed_at(self):
        return self.folder.stat().st_ctime_ns

    def tick(self):
        """Return when a change of the folder bears another time than the last one: some clocks are slow."""
        beside, before = self.folder.with_name(f"{self.folder.name}-beside"), self.changed_at
        beside.mkdir()
        n = 0
        while beside.stat().st_ctime_ns <= before:
            (beside / str(n)).touch()
            n += 1

    def looks(self):
        """Return how many files and folders a look asks for."""
        self.asked.clear()
        self.held.require_in_place()
        return len(self.asked)


@pytest.fixture
def held(tmp_path, monkeypatch):
    return Held(tmp_path, monkeypatch)


def test_files_in_a_folder_that_is_as_it_was_are_not_looked_at_again(held):
    held.now += 1
    assert [held.looks() for _ in range(3)] == [5, 1, 1]
    held.tick()
    (held.folder / "another").touch()
    held.now = held.changed_at + SETTLED + 1
    assert [held.looks() for _ in range(3)] == [5, 1, 1]


def test_a_folder_that_has_just_changed_is_not_relied_upon(held):
    # The next change may bear the same time.
    assert [held.looks() for _ in range(3)] == [5, 5, 5]


def test_files_are_looked_at_when_the_clock_is_behind(held):
    held.now = 0
    assert [held.looks(), held.looks()] == [5, 5]


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", ".lock"])
def test_a_removal_long_after_the_last_change_is_noticed(held, suffix):
    held.now += 1
    assert [held.looks(), held.looks()] == [5, 1]
    held.tick()
    Path(f"{held.path}{suffix}").unlink()
    with pytest.raises(StoreUnavailableError, match="removed or replaced"):
        held.looks()


def test_a_folder_that_is_another_one_is_noticed(held):
    held.now += 1
    assert [held.looks(), held.looks()] == [5, 1]
    held.folder.rename(held.folder.with_name("moved"))
    held.folder.mkdir()
    with pytest.raises(StoreUnavailableError, match="removed or replaced"):
        held.looks()


def test_behind_a_link_every_file_is_looked_at_each_time(held):
    link = held.folder / "link.db"
    link.symlink_to(held.path)
    later = held.changed_at + SETTLED + 1
    held.held = HeldFiles(link, lambda: later)
    assert [held.looks(), held.looks()] == [4, 4]
