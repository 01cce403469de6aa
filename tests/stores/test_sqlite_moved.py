"""Files that are removed or replaced while the store is open: nothing may be acknowledged any more."""

import shutil
import stat
from pathlib import Path

import pytest

from app.stores.base import Insert, StoreUnavailableError
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


@pytest.mark.parametrize("suffix", ["", "-wal", ".lock"])
def test_a_file_that_was_removed_is_noticed_before_anything_is_promised(store, path, suffix):
    Path(f"{path}{suffix}").unlink()
    with pytest.raises(StoreUnavailableError, match="removed or replaced"):
        store.apply([Insert([new_job()])], NOW)


@pytest.mark.parametrize("suffix", ["", "-wal", ".lock"])
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


def test_a_file_that_was_replaced_is_another_one(store, path, tmp_path):
    shutil.copy(path, tmp_path / "copy")
    (tmp_path / "copy").replace(path)
    with pytest.raises(StoreUnavailableError, match="removed or replaced"):
        store.apply([Insert([new_job()])], NOW)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", ".lock"])
def test_nobody_else_can_read_the_files(store, path, suffix):
    assert stat.S_IMODE(Path(f"{path}{suffix}").stat().st_mode) == 0o600
