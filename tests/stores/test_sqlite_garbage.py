"""A database file in which a page was overwritten: whatever is asked of it ends in the store's own errors."""

import asyncio
import random
from contextlib import closing

import pytest

from app.jobs.lifecycle import CancelRequested, Logged, Succeeded
from app.jobs.model import Line
from app.stores.base import Change, Filter, Paging, Recover, StoreError, StoreUnusableError
from app.stores.sqlite import SqliteStore
from tests.stores.driving import KNOWN, NOW, claim, get, insert, new_job

PAGE = 4096


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A database of some pages, as bytes, and its jobs."""
    path = tmp_path_factory.mktemp("whole") / "jobs.db"
    jobs = [new_job() for _ in range(60)]
    with closing(SqliteStore(path)) as store:
        insert(store, *jobs)
        for job in claim(store, 20):
            said = Logged(job.token, (Line("mine", 20, 1.0, "x" * 300),))
            store.apply([Change(job.id, (said, Succeeded(job.token, f'"{"y" * 900}"')))], NOW)
    return path.read_bytes(), jobs


def garbage(whole, chance):
    """Yield the file with each of its pages overwritten, wholly or in places."""
    for page in range(len(whole) // PAGE):
        for places in (PAGE, 40):
            file = bytearray(whole)
            for _ in range(places):
                file[page * PAGE + chance.randrange(PAGE)] = chance.randrange(256)
            yield bytes(file)


def read_everything(store, jobs):
    """Return what each read has raised."""
    reads = [
        *(store.get("ours", job.id) for job in jobs),
        *(store.log("ours", job.id) for job in jobs),
        *(store.records("ours", 0, 100, job_id=job.id) for job in jobs),
        store.list("ours", Filter(), Paging(500)),
        store.list("ours", Filter(q="pl"), Paging(500)),
        store.records("ours", 0, 500),
        store.queues("ours"),
        store.last_position(),
    ]

    async def all_of_them():
        return await asyncio.gather(*reads, return_exceptions=True)

    return [answer for answer in asyncio.run(all_of_them()) if isinstance(answer, BaseException)]


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_is_read_of_a_damaged_file_ends_in_an_error_of_the_stores(whole, tmp_path, seed):
    file, jobs = whole
    opened = 0
    for number, damaged in enumerate(garbage(file, random.Random(seed))):
        path = tmp_path / f"{number}.db"
        path.write_bytes(damaged)
        try:
            store = SqliteStore(path)
        except StoreUnusableError:
            continue
        with closing(store):
            opened += 1
            raised = read_everything(store, jobs[::7])
            assert all(isinstance(exc, StoreError) for exc in raised), raised
    assert opened


def test_a_write_that_meets_damage_says_what_to_do_and_harms_nothing_that_is_whole(whole, tmp_path):
    file, jobs = whole
    path = tmp_path / "jobs.db"
    path.write_bytes(file)
    with closing(SqliteStore(path)) as store:
        store.apply([Recover(KNOWN)], NOW)
        (root,) = store._db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'jobs_ready'").fetchone()
        store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        with path.open("r+b") as open_file:
            open_file.seek((root - 1) * PAGE)
            open_file.write(b"\xff" * PAGE)
        store._db.execute("PRAGMA shrink_memory")
        with pytest.raises(StoreError, match="it is damaged: with the service stopped, put a backup"):
            claim(store, 1)
        done = jobs[0]
        assert get(store, done).done
        store.apply([Change(done.id, ())], NOW)
        assert store.apply([Change(new_job().id, (CancelRequested(),))], NOW).outcomes


def test_what_cannot_be_decoded_is_not_told_to_the_log(tmp_path, caplog):
    with closing(SqliteStore(tmp_path / "jobs.db")) as store:
        insert(store, job := new_job(arguments="s3cret"))
        store._db.execute("UPDATE arguments SET arguments = cast(x'733363726574ff' AS TEXT)")
        with pytest.raises(StoreError):
            get(store, job)
    assert "Could not decode to UTF-8 column 'arguments'" in caplog.text
    assert "s3cret" not in caplog.text
