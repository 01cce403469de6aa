"""The embedded store: one SQLite file, in WAL mode, written by one thread.

Durability: `synchronous=FULL`, so COMMIT returns after the log is on the disk. Reads
go over connections of their own; WAL lets them see the last commit without waiting
for the writer, so `get` is answered on the event loop itself.
"""

import asyncio
import logging
import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from app.core import ThreadPoolExecutor
from app.core.precedence import PRECEDENCE
from app.jobs.model import Job
from app.jobs.points import reached
from app.stores import migrate
from app.stores.base import (
    EXAMINED,
    Applied,
    Filter,
    Once,
    Operation,
    Page,
    Paging,
    Queue,
    Records,
    Replayed,
    StoredRecord,
    StoreUnavailableError,
    StoreUnusableError,
)
from app.stores.counters import Counters
from app.stores.figures import Counts, Recent
from app.stores.held_files import HeldFiles
from app.stores.lanes import Lanes
from app.stores.ownership import Ownership
from app.stores.sqlite_batch import Batch
from app.stores.sqlite_log import Log
from app.stores.sqlite_memory import Memory, ReadyJobs, RunningJobs
from app.stores.sqlite_reads import LAST_POSITION, Reads, reason_of
from app.stores.sqlite_statements import STATEMENTS, data_version, waiting_lanes
from app.stores.sqlite_work import Work

LOGGER = logging.getLogger(__name__)

OLDEST_SQLITE = (3, 38, 0)
"""The first with strict tables, and `->>`."""

APPLICATION_ID = 0x45727264
"""Marks a database file as ours: "Errd"."""

AT_ONCE = 100
"""Jobs that are read on the event loop at a stretch."""

LOCK_TIMEOUT = 5.0
"""Seconds that a write waits for another program's lock on the database."""

NEXT_LOCK_TIMEOUT = 0.5
"""Seconds that it waits once one has waited in vain: what has gathered meanwhile has waited too."""


class SqliteStore:
    """A Store in the file `path`, which is made when it is not there.

    examined: rows that a page of a list examines at most. lock_timeout: seconds that a
    write waits for another program's lock on the database. Raises StoreUnusableError,
    with what to do about it, when the file cannot be used.
    """

    def __init__(self, path: Path, *, examined: int = EXAMINED, lock_timeout: float = LOCK_TIMEOUT) -> None:
        require_version()
        _require_folder(path)
        self._path = path
        self._lock_timeout = lock_timeout
        self._impatient = False
        """Whether a write has waited for a lock in vain, and none has succeeded since."""
        # What was opened is closed again when the next step fails.
        with ExitStack() as opened:
            opened.callback(_own(path).release)
            _require_file_of_log(path)
            _create(path)
            try:
                self._db = opened.enter_context(closing(_connect(path, lock_timeout)))
                _prepare(self._db, path)
                self._log = Log(self._db)
                self._memory = _load_memory(self._db)
                reader = opened.enter_context(closing(_connect_reader(path, lock_timeout)))
                # The event loop waits for no lock.
                reader.execute("PRAGMA busy_timeout = 0")
                scanner = opened.enter_context(closing(_connect_reader(path, lock_timeout)))
                counter = opened.enter_context(closing(_connect_reader(path, lock_timeout)))
            except (sqlite3.Error, ValueError, TypeError) as exc:
                # ValueError: SQLite's own words may bear some of the damage. TypeError: a row is missing.
                raise StoreUnusableError(f"{path} cannot be opened: {reason_of(path, exc)}") from exc
            self._looks = Reads(reader, path, examined)
            self._scanning = Reads(scanner, path, examined)
            self._counting = Reads(counter, path, examined)
            self._files = HeldFiles(path)
            self._saved: set[str] = set()
            self._scans = ThreadPoolExecutor(1, "errand-scan")
            self._counts = ThreadPoolExecutor(1, "errand-count")
            self._opened = opened.pop_all()

    def apply(self, operations: Sequence[Operation], now: int) -> Applied:
        """See Store.apply."""
        self._require_in_place()
        try:
            with _transaction(self._db):
                work = Work(self._db, self._memory, now)
                applied = Batch(work).run(operations)
        except sqlite3.Error as exc:
            if _is_ours(exc):
                raise
            if getattr(exc, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                self._lose_patience()
            raise StoreUnavailableError(f"{self._path}: {reason_of(self._path, exc)}") from exc
        work.remember()
        self._log.grow()
        if self._impatient:
            self._db.execute(f"PRAGMA busy_timeout = {round(self._lock_timeout * 1000)}")
            self._impatient = False
        return applied

    def tidy(self) -> bool:
        """See Store.tidy."""
        return self._log.shorten()

    def _lose_patience(self) -> None:
        """Wait less for another program's lock until a write succeeds."""
        (milliseconds,) = self._db.execute("PRAGMA busy_timeout").fetchone()
        if milliseconds > NEXT_LOCK_TIMEOUT * 1000:
            self._db.execute(f"PRAGMA busy_timeout = {round(NEXT_LOCK_TIMEOUT * 1000)}")
            self._impatient = True

    def _require_in_place(self) -> None:
        try:
            self._files.require_in_place()
        except StoreUnavailableError:
            self._save_log()
            raise

    def _save_log(self) -> None:
        """Bring what only the log has into the file that is held: once removed, it ends with this process.

        When another file has been put in its place, the log is emptied too: the next start
        would take it for that file's.
        """
        mode = "TRUNCATE" if self._files.is_replaced() else "FULL"
        if mode not in self._saved:
            with suppress(sqlite3.Error):
                busy, _, _ = self._db.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
                self._saved |= set() if busy else {mode}

    async def get(self, tenant: str, job_id: str) -> Job | None:
        """See Store.get."""
        return self._looks.get(tenant, job_id)

    async def list(self, tenant: str, where: Filter, paging: Paging) -> Page:
        """See Store.list."""
        # A filter that no index serves reads many rows: not on the event loop.
        return await self._scans.submit(self._scanning.page, tenant, where, paging)

    async def recall(self, tenant: str, once: Once, now: int) -> Replayed | None:
        """See Store.recall."""
        ids = self._looks.remembered(tenant, once, now)
        if ids is None:
            return None
        jobs: list[Job] = []
        for at in range(0, len(ids), AT_ONCE):
            if at:
                # A batch may have thousands: others have their turn in between.
                await asyncio.sleep(0)
            found = (self._looks.get(tenant, job_id) for job_id in ids[at : at + AT_ONCE])
            jobs += [job for job in found if job is not None]
        return Replayed(jobs)

    async def records(
        self, tenant: str, after: int, limit: int, *, job_id: str | None = None, where: Filter | None = None
    ) -> Records:
        """See Store.records."""
        if job_id is not None:
            return self._looks.records_of_job(tenant, job_id, after, limit)
        return await self._scans.submit(self._scanning.records, tenant, after, limit, where or Filter())

    async def last_position(self) -> int:
        """See Store.last_position."""
        return self._looks.last_position()

    async def log(self, tenant: str, job_id: str) -> Sequence[StoredRecord]:
        """See Store.log."""
        return await self._scans.submit(self._scanning.log, tenant, job_id)

    async def queues(self, tenant: str) -> Sequence[Queue]:
        """See Store.queues."""
        # Apart from the lists: it walks all that waits.
        return await self._counts.submit(self._counting.queues, tenant)

    async def counts(self, tenant: str) -> Counts:
        """See Store.counts."""
        return await self._counts.submit(self._counting.counts, tenant)

    def recent(self, after: int, examined: int) -> Recent:
        """See Store.recent."""
        return self._counts.submit(self._counting.recent, after, examined).result()

    def close(self) -> None:
        """See Store.close."""
        self._scans.shutdown()
        self._counts.shutdown()
        self._opened.close()


def _is_ours(exc: sqlite3.Error) -> bool:
    """Tell whether an operation is at fault (a constraint, a wrong statement), and not the disk or a lock."""
    if type(exc) is sqlite3.OperationalError:
        return getattr(exc, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    return type(exc) not in (sqlite3.DatabaseError, sqlite3.InternalError)


# -- opening -----------------------------------------------------------------


def _require_folder(path: Path) -> None:
    folder = path.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        msg = f"{path}: the folder {folder} does not exist or cannot be written"
        raise StoreUnusableError(msg)


def _own(path: Path) -> Ownership:
    try:
        return Ownership(path)
    except OSError as exc:
        raise StoreUnusableError(f"{path}: its lock file cannot be made: {exc.strerror}") from exc


def _require_file_of_log(path: Path) -> None:
    """Refuse a log whose database is gone: SQLite would make a new one, and throw the log away."""
    log = Path(f"{os.path.realpath(path)}-wal")
    if _size(log) and not _size(path):
        msg = f"{path} is gone, and its log {log} is not: put the file back, or remove the log to begin anew"
        raise StoreUnusableError(msg)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _create(path: Path) -> None:
    """Make the file, for its owner alone: arguments and results may be anybody's secrets."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as exc:
        raise StoreUnusableError(f"{path} cannot be opened: {exc.strerror}") from exc


def _connect(path: Path, lock_timeout: float) -> sqlite3.Connection:
    # Each connection is used by one thread at a time, but not by the one that opens it.
    return sqlite3.connect(
        path,
        isolation_level=None,
        check_same_thread=False,
        timeout=lock_timeout,
        cached_statements=STATEMENTS,
    )


def _connect_reader(path: Path, lock_timeout: float) -> sqlite3.Connection:
    db = _connect(path, lock_timeout)
    try:
        db.execute("PRAGMA query_only = ON")
        # The first read may have to wait for another program; later ones hardly ever.
        db.execute("SELECT count(*) FROM probe").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    """Make the writing connection durable, and the schema what this program knows."""
    _require_ours(db, path)
    _require(db, "PRAGMA journal_mode = WAL", "wal", path)
    db.execute("PRAGMA synchronous = FULL")
    # What a statement would have to undo if it failed half-way is kept meanwhile; in a file, it is
    # written twice and made anew for each transaction.
    db.execute("PRAGMA temp_store = MEMORY")
    if sys.platform == "darwin":
        # fsync alone leaves the data in the drive's cache there.
        db.execute("PRAGMA fullfsync = ON")
    _migrate(db)


def require_version() -> None:
    """Raise StoreUnusableError when the SQLite that Python brings is too old for what is asked of it."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        msg = f"SQLite {sqlite3.sqlite_version} is too old: {oldest} or newer is needed"
        raise StoreUnusableError(msg)


def _require_ours(db: sqlite3.Connection, path: Path) -> None:
    mark = db.execute("PRAGMA application_id").fetchone()[0]
    empty = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    if mark != APPLICATION_ID and not empty:
        msg = f"{path} is a database of another program; name another file"
        raise StoreUnusableError(msg)


def _require(db: sqlite3.Connection, pragma: str, answer: str, path: Path) -> None:
    if db.execute(pragma).fetchone()[0] != answer:
        msg = f"{path}: `{pragma}` is refused; it must lie on a local disk"
        raise StoreUnusableError(msg)


def _migrate(db: sqlite3.Connection) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    for step in migrate.missing("sqlite", version):
        LOGGER.info("schema: %s", step.name)
        marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {step.version};"
        try:
            db.executescript(f"BEGIN EXCLUSIVE; {step.sql} {marks} COMMIT;")
        except sqlite3.Error:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    # IMMEDIATE: a read lock that is to become a write lock can fail half-way.
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        reached("batch-written")
        with PRECEDENCE.lifted():
            db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


def _load_memory(db: sqlite3.Connection) -> Memory:
    return Memory(
        _load_counters(db),
        _load_lanes(db),
        last_key=db.execute("SELECT coalesce(max(key), 0) FROM jobs").fetchone()[0],
        last_position=db.execute(LAST_POSITION).fetchone()[0],
        version=data_version(db),
        running=RunningJobs(),
        ready=ReadyJobs(),
        paused=frozenset(db.execute("SELECT tenant, queue FROM pauses").fetchall()),
    )


def _load_counters(db: sqlite3.Connection) -> Counters:
    with closing(db.execute("SELECT tenant, queue, task, state, n FROM counters")) as rows:
        return Counters({(tenant, queue, task, state): n for tenant, queue, task, state, n in rows})


def _load_lanes(db: sqlite3.Connection) -> Lanes:
    lanes = Lanes()
    for lane, first, last in waiting_lanes(db):
        lanes.restore(lane, first, last)
    return lanes
