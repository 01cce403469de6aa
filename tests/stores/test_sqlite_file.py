"""The SQLite store's file: durability settings, ownership, what can be wrong with it, indexes."""

import errno
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from app.core import State
from app.jobs.lifecycle import CancelRequested
from app.jobs.model import NO_ARGUMENTS, Backoff
from app.stores import migrate
from app.stores.base import (
    Insert,
    Limits,
    Probe,
    QueueFullError,
    StoreUnavailableError,
    StoreUnusableError,
)
from app.stores.ownership import Ownership
from app.stores.sqlite import APPLICATION_ID, SqliteStore, _migrate
from tests.stores.driving import NOW, change, claim, get, insert, new_job, one

PATIENCE = 20
"""Seconds that a store waits here which must not wait."""

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.db"


@pytest.fixture
def store(path):
    store = SqliteStore(path, lock_timeout=0)
    yield store
    store.close()


def pragma(store, name):
    return store._db.execute(f"PRAGMA {name}").fetchone()[0]


def run(script, *arguments):
    """Start another Python with the repository on its path; it speaks over its standard streams."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


OWNER = """
import sys
from pathlib import Path
from app.stores.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""

FORKING_OWNER = """
import os, sys
from pathlib import Path
from app.stores.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
if os.fork() == 0:
    print(os.getpid(), flush=True)
    sys.stdin.read()
os._exit(0)
"""


# -- durability --------------------------------------------------------------


def test_an_sqlite_that_is_too_old_is_said_so_before_a_file_is_made(path, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))
    with pytest.raises(StoreUnusableError, match=r"too old: 3\.38\.0 or newer"):
        SqliteStore(path)
    assert list(path.parent.iterdir()) == []


def test_a_commit_waits_until_the_log_is_on_the_disk(store):
    assert pragma(store, "journal_mode") == "wal"
    assert pragma(store, "synchronous") == 2
    assert pragma(store, "application_id") == APPLICATION_ID


def test_closing_leaves_the_database_and_the_lock_file_and_nothing_else(path):
    store = SqliteStore(path)
    insert(store, new_job())
    store.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["jobs.db", "jobs.db.lock"]


def test_what_was_acknowledged_outlives_a_kill(path):
    script = """
import os, signal, sys
from pathlib import Path
from app.stores.base import Insert
from app.stores.sqlite import SqliteStore
from tests.stores.driving import NOW, new_job
store = SqliteStore(Path(sys.argv[1]))
job = new_job()
store.apply([Insert([job])], NOW)
print(job.id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    with run(script, path) as process:
        job_id = process.stdout.read().strip()
    assert process.returncode == -signal.SIGKILL
    with closing(SqliteStore(path)) as store:
        assert get(store, job_id).state is State.PENDING


# -- ownership ---------------------------------------------------------------


def test_a_second_process_is_refused_and_told_whose_the_database_is(path):
    with run(OWNER, path) as owner:
        assert owner.stdout.readline() == "open\n"
        with pytest.raises(StoreUnusableError) as refusal:
            SqliteStore(path)
        since = json.loads(Path(f"{path}.lock").read_text())["since"]
        owner.communicate()
    text = str(refusal.value)
    assert f"{path} is in use by process {owner.pid} on {socket.gethostname()} since {since}" in text


def test_a_killed_process_leaves_no_lock_behind(path):
    with run(OWNER, path) as owner:
        assert owner.stdout.readline() == "open\n"
        owner.kill()
    with closing(SqliteStore(path)) as store:
        assert one(store, Probe()) is None


def test_a_forked_child_that_outlives_its_parent_does_not_hold_the_lock(path):
    with run(FORKING_OWNER, path) as parent:
        child = int(parent.stdout.readline())
        assert parent.wait() == 0
        with closing(SqliteStore(path)) as store:
            os.kill(child, 0)  # it still lives
            assert one(store, Probe()) is None
        parent.stdin.close()
        assert parent.stdout.read() == ""  # until it has ended


def test_two_names_of_one_file_are_one_database(path, store):
    other = path.with_name("other.db")
    other.symlink_to(path)
    with pytest.raises(StoreUnusableError, match=f"in use by process {os.getpid()} "):
        SqliteStore(other)


@pytest.mark.parametrize("text", ["", "[]", '{"pid": 1}', "\ud800".encode("utf-8", "surrogatepass")])
def test_a_lock_file_that_says_nothing_names_nobody(path, text):
    ownership = Ownership(path)
    lock = Path(f"{path}.lock")
    lock.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(StoreUnusableError, match="in use by another process"):
        Ownership(path)
    ownership.release()
    ownership.release()
    Ownership(path).release()


# -- what cannot be opened ---------------------------------------------------


def opened_in(folder):
    files = (link.resolve() for link in Path("/proc/self/fd").iterdir())
    return [file for file in files if file.is_relative_to(folder)]


def refused(path, match):
    with pytest.raises(StoreUnusableError, match=match) as refusal:
        SqliteStore(path, lock_timeout=0)
    if sys.platform == "linux":
        # Neither a connection nor the lock stays open.
        assert opened_in(path.parent) == []
    return str(refusal.value)


def test_a_folder_that_is_missing(tmp_path):
    refused(tmp_path / "none" / "jobs.db", "folder .*none does not exist or cannot be written")


def test_a_folder_in_place_of_the_file(path):
    path.mkdir()
    refused(path, "jobs.db cannot be opened: Is a directory")


def test_a_folder_in_place_of_the_lock_file(path):
    Path(f"{path}.lock").mkdir()
    refused(path, "its lock file cannot be made: Is a directory")


def test_a_file_that_is_no_database(path):
    path.write_bytes(b"no database " * 1000)
    refused(path, "cannot be opened: file is not a database")
    assert path.read_bytes() == b"no database " * 1000


def test_a_damaged_database(path):
    with closing(SqliteStore(path)) as store:
        insert(store, *[new_job() for _ in range(500)])
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"\xff" * 4000 + whole[4100:])
    refused(path, "cannot be opened: .*malformed")


def test_the_database_of_another_program_is_left_as_it_is(path):
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    refused(path, "is a database of another program")
    assert path.read_bytes() == before


def test_a_schema_of_a_later_version(path):
    SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 999")
    refused(path, "has schema version 999, and this version of Errand knows 3: start a newer one")


def test_a_database_that_another_program_holds_while_it_is_made(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnusableError, match="cannot be opened: database is locked"):
            SqliteStore(path, lock_timeout=0)
    SqliteStore(path).close()


def test_an_empty_file_becomes_a_database(path):
    path.touch()
    with closing(SqliteStore(path)) as store:
        insert(store, new_job())


def test_a_folder_that_knows_no_locks(path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    refused(path, "its lock file cannot be made: No locks available")


def test_a_folder_that_knows_no_write_ahead_log(path, monkeypatch):
    # A database in memory answers as one on a network's disk does: by another mode.
    connect = sqlite3.connect
    monkeypatch.setattr("sqlite3.connect", lambda _, **options: connect(":memory:", **options))
    refused(path, "`PRAGMA journal_mode = WAL` is refused; it must lie on a local disk")


# -- what cannot be written --------------------------------------------------


def test_a_database_locked_by_another_program_is_unavailable_until_it_is_let_go(path, store):
    job = new_job()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="database is locked"):
            store.apply([Insert([job])], NOW)
        assert get(store, job) is None
    insert(store, job)
    assert get(store, job) == job


def test_a_batch_takes_the_write_lock_before_it_reads(path, store):
    job = new_job()
    insert(store, job)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        # Nothing would be written: what it read could be out of date all the same when it is.
        with pytest.raises(StoreUnavailableError):
            change(store, job, CancelRequested(), tenant="theirs")
    assert get(store, job) == job


def test_a_full_disk_makes_the_store_unavailable_until_there_is_room(store):
    job, large = new_job(), new_job(arguments="x" * 1_000_000)
    store._db.execute(f"PRAGMA max_page_count = {pragma(store, 'page_count') + 10}")
    with pytest.raises(StoreUnavailableError, match="disk is full"):
        store.apply([Insert([job], Limits(queue=1)), Insert([large], Limits(queue=2))], NOW)
    assert (get(store, job), get(store, large)) == (None, None)
    assert claim(store, 9) == []

    store._db.execute("PRAGMA max_page_count = 1000000")
    first, second = store.apply(
        [Insert([large], Limits(queue=1)), Insert([job], Limits(queue=1))], NOW
    ).outcomes
    assert first == [large] == [get(store, large)]
    assert isinstance(second, QueueFullError)


def test_a_fault_of_an_operation_is_not_taken_for_the_disk(store):
    job = new_job()
    insert(store, job)
    with pytest.raises(sqlite3.IntegrityError):
        store.apply([Insert([job])], NOW)
    with pytest.raises(OverflowError):
        store.apply([Insert([new_job(run_at=2**63)])], NOW)
    with pytest.raises(UnicodeEncodeError):
        store.apply([Insert([new_job(tenant="\ud800")])], NOW)
    store._db.execute("ALTER TABLE probe RENAME TO elsewhere")
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        store.apply([Probe()], NOW)


def test_damage_found_later_makes_the_store_unavailable(store):
    insert(store, *[new_job() for _ in range(500)])
    # A row that no version of the program has written.
    store._db.execute("PRAGMA writable_schema = ON")
    root = "(SELECT rootpage FROM sqlite_schema WHERE name = 'jobs_by_id')"
    store._db.execute(f"UPDATE sqlite_schema SET rootpage = {root} WHERE name = 'jobs'")
    store._db.execute("PRAGMA writable_schema = RESET")
    with pytest.raises(StoreUnavailableError):
        claim(store, 1)


def test_reads_of_a_closed_store_say_that_it_is_unavailable(path):
    store = SqliteStore(path)
    store.close()
    with pytest.raises(StoreUnavailableError):
        get(store, new_job())


# -- readers -----------------------------------------------------------------


def test_a_reader_cannot_write_and_the_one_on_the_event_loop_waits_for_no_lock(path):
    with closing(SqliteStore(path)) as store:
        for reads, waits in ((store._looks, 0), (store._scanning, 5000)):
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                reads._db.execute("INSERT INTO probe VALUES (1, 1)")
            assert reads._db.execute("PRAGMA busy_timeout").fetchone() == (waits,)


# A writer that was killed while it wrote the index of the log, and another program that repairs that:
# it holds the locks for writing, checkpoints and recovery. Not in this process: locks are the process's.
REPAIRER = """
import fcntl, sys
with open(sys.argv[1] + "-shm", "r+b") as index:
    fcntl.lockf(index, fcntl.LOCK_EX | fcntl.LOCK_NB, 3, 120)
    index.write(b"half-written")
    index.flush()
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_read_on_the_event_loop_does_not_wait_while_another_program_repairs_the_log(path):
    job = new_job()
    with closing(SqliteStore(path, lock_timeout=PATIENCE)) as store:
        insert(store, job)
        with run(REPAIRER, path) as repairer:
            assert repairer.stdout.readline() == "locked\n"
            began = time.monotonic()
            with pytest.raises(StoreUnavailableError, match="locked"):
                get(store, job)
            assert time.monotonic() - began < PATIENCE / 2
            repairer.communicate()
        assert get(store, job) == job


def test_who_has_waited_for_a_lock_in_vain_waits_for_less_until_a_write_succeeds(path):
    with closing(SqliteStore(path, lock_timeout=0.7)) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for timeout in (700, 500):
                assert store._db.execute("PRAGMA busy_timeout").fetchone() == (timeout,)
                with pytest.raises(StoreUnavailableError, match="locked"):
                    store.apply([Probe()], NOW)
        store.apply([Probe()], NOW)
        assert store._db.execute("PRAGMA busy_timeout").fetchone() == (700,)


# -- the schema ---------------------------------------------------------------


def test_a_new_database_has_the_newest_schema(store):
    assert pragma(store, "user_version") == migrate.migrations("sqlite")[-1].version


def test_each_migration_has_a_number_of_its_own_and_none_is_left_out():
    versions = [step.version for step in migrate.migrations("sqlite")]
    assert versions == list(range(1, len(versions) + 1))


def test_a_migration_that_fails_leaves_nothing_behind(path, monkeypatch):
    known = migrate.migrations("sqlite")
    number = len(known) + 1
    broken = migrate.Migration(number, "broken.sql", "CREATE TABLE extra (x); CREATE TABLE jobs (x);")
    monkeypatch.setattr(migrate, "migrations", lambda _: [*known, broken])
    refused(path, "table jobs already exists")
    monkeypatch.undo()
    with closing(SqliteStore(path)) as store:
        assert pragma(store, "user_version") == len(known)
        assert store._db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'extra'").fetchone() == (0,)


def test_a_database_of_the_first_version_keeps_its_jobs(path, monkeypatch):
    known = migrate.migrations("sqlite")
    monkeypatch.setattr(migrate, "migrations", lambda _: known[:1])
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        _migrate(db)
        db.execute(FIRST_JOB, (bytes(16), NOW, NOW))
        db.execute('INSERT INTO arguments VALUES (1, \'{"args":[7],"kwargs":{}}\')')
        db.execute("INSERT INTO counters VALUES ('ours', 'default', 'plain', 'pending', 1)")
    monkeypatch.undo()
    with closing(SqliteStore(path)) as store:
        (job,) = claim(store, 1)
        assert (job.id, job.arguments) == (str(UUID(int=0)), '{"args":[7],"kwargs":{}}')
        assert (job.backoff, job.limit_key, job.attempts, job.logged) == (Backoff(), None, (), 0)


def test_a_database_of_the_second_version_loses_what_says_nothing(path, monkeypatch):
    known = migrate.migrations("sqlite")
    calls = [(NO_ARGUMENTS, None), ('{"args":[7],"kwargs":{}}', None), (NO_ARGUMENTS, "*")]
    monkeypatch.setattr(migrate, "migrations", lambda _: known[:2])
    with closing(SqliteStore(path)) as store:
        insert(store, *(new_job(arguments=arguments, shown=shown) for arguments, shown in calls))
        store._db.execute("DELETE FROM arguments")
        rows = [(key, *call) for key, call in enumerate(calls, 1)]
        store._db.executemany("INSERT INTO arguments VALUES (?, ?, ?)", rows)
    monkeypatch.undo()
    with closing(SqliteStore(path)) as store:
        assert store._db.execute("SELECT job FROM arguments").fetchall() == [(2,), (3,)]
        assert [(job.arguments, job.shown) for job in claim(store, 3)] == calls


FIRST_JOB = """
    INSERT INTO jobs (key, id, tenant, task, slot, created_at, run_at, queue, priority, tags, state, hold,
        run, attempt, max_attempts, losses, version, turn)
    VALUES (1, ?, 'ours', 'plain', 'thread', ?, ?, 'default', 0, '{}', 'pending', 0, 1, 0, 1, 0, 1, 1)"""


def test_only_what_is_missing_is_migrated():
    assert migrate.missing("sqlite", 0) == migrate.migrations("sqlite")
    assert migrate.missing("sqlite", migrate.migrations("sqlite")[-1].version) == []


def test_what_a_statement_keeps_for_the_case_that_it_fails_is_kept_in_memory(tmp_path):
    """In a file it would be written twice, in one made anew for each transaction."""
    with closing(SqliteStore(tmp_path / "errand.db")) as store:
        (in_memory,) = store._db.execute("PRAGMA temp_store").fetchone()
        assert in_memory == 2
