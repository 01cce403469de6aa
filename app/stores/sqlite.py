"""The embedded store: one SQLite file, in WAL mode, written by one thread.

Durability: `synchronous=FULL`, so COMMIT returns after the log is on the disk. Reads
go over connections of their own; WAL lets them see the last commit without waiting
for the writer, so `get` is answered on the event loop itself.
"""

import logging
import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from app.core import ThreadPoolExecutor
from app.jobs.model import Job
from app.stores import migrate
from app.stores.base import (
    EXAMINED,
    Applied,
    Filter,
    Operation,
    Page,
    Paging,
    StoreUnavailableError,
    StoreUnusableError,
)
from app.stores.counters import Counters
from app.stores.lanes import Lanes
from app.stores.ownership import Ownership
from app.stores.rows import LISTED, WHOLE, id_to_bytes, job_of
from app.stores.sqlite_batch import Batch, Memory

LOGGER = logging.getLogger(__name__)

APPLICATION_ID = 0x45727264
"""Marks a database file as ours: "Errd"."""

LOCK_TIMEOUT = 5.0
"""Seconds that a write waits for another program's lock on the database."""


class SqliteStore:
    """A Store in the file `path`, which is made when it is not there.

    Raises StoreUnusableError, with what to do about it, when the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        folder = path.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            msg = f"{path}: the folder {folder} does not exist or cannot be written"
            raise StoreUnusableError(msg)
        self._path = path
        self._ownership = _own(path)
        try:
            self._db = _open(path)
            self._memory = Memory(_load_counters(self._db), _load_lanes(self._db), _last_key(self._db))
            self._reader = _connect(path)
            self._scanner = _connect(path)
        except sqlite3.Error as exc:
            self._ownership.release()
            raise StoreUnusableError(f"{path} cannot be opened: {exc}") from exc
        except BaseException:
            self._ownership.release()
            raise
        self._scans = ThreadPoolExecutor(1, "errand-scan")

    def apply(self, operations: Sequence[Operation], now: int) -> Applied:
        """See Store.apply."""
        try:
            with _transaction(self._db):
                batch = Batch(self._db, self._memory, now)
                applied = batch.run(operations)
        except (sqlite3.OperationalError, sqlite3.InternalError) as exc:
            raise StoreUnavailableError(f"{self._path}: {exc}") from exc
        except sqlite3.DatabaseError as exc:
            if type(exc) is not sqlite3.DatabaseError:
                # A constraint or a wrong use: a fault of ours in one operation, not of the disk's.
                raise
            raise StoreUnavailableError(f"{self._path}: {exc}") from exc
        batch.remember()
        return applied

    async def get(self, tenant: str, job_id: str) -> Job | None:
        """See Store.get."""
        sql = f"""
            SELECT {WHOLE} FROM jobs
            LEFT JOIN arguments ON arguments.job = jobs.key LEFT JOIN results ON results.job = jobs.key
            WHERE id = ? AND tenant = ?"""
        rows = self._read(self._reader, sql, (id_to_bytes(job_id), tenant))
        return job_of(rows[0]) if rows else None

    async def list(self, tenant: str, where: Filter, paging: Paging) -> Page:
        """See Store.list."""
        # A filter that no index serves reads many rows: not on the event loop.
        return await self._scans.submit(self._page, tenant, where, paging)

    def close(self) -> None:
        """See Store.close."""
        self._scans.shutdown()
        for connection in (self._reader, self._scanner, self._db):
            connection.close()
        self._ownership.release()

    def _page(self, tenant: str, where: Filter, paging: Paging) -> Page:
        index, scan, values = _scan(tenant, where, paging)
        rows = self._read(
            self._scanner,
            f"""
            SELECT {LISTED} FROM (SELECT * FROM jobs INDEXED BY {index} {scan} LIMIT {EXAMINED}) AS jobs
            LEFT JOIN results ON results.job = jobs.key
            WHERE {_conditions(where)} ORDER BY jobs.key DESC LIMIT :limit + 1""",
            values,
        )
        page, more = rows[: paging.limit], rows[paging.limit :]
        if more:
            return Page([job_of(row) for row in page], page[-1][0])
        examined = self._read(
            self._scanner,
            f"SELECT count(*), min(key) FROM (SELECT key FROM jobs INDEXED BY {index} {scan} LIMIT {EXAMINED})",
            values,
        )[0]
        return Page([job_of(row) for row in page], examined[1] if examined[0] == EXAMINED else None)

    def _read(self, connection: sqlite3.Connection, sql: str, values: Any) -> Sequence[Any]:
        try:
            return connection.execute(sql, values).fetchall()
        except sqlite3.Error as exc:
            raise StoreUnavailableError(f"{self._path}: {exc}") from exc


def _scan(tenant: str, where: Filter, paging: Paging) -> tuple[str, str, dict[str, Any]]:
    """Return the index that serves the filter best, its part of the query, and the values."""
    values = {
        "tenant": tenant,
        "state": where.state,
        "outcome": where.outcome,
        "task": where.task,
        "queue": where.queue,
        "before": (1 << 63) - 1 if paging.before is None else paging.before,
        "limit": paging.limit,
    }
    indexes = {"task": "jobs_by_task", "queue": "jobs_by_queue", "state": "jobs_by_state"}
    column = next((column for column in indexes if values[column] is not None), None)
    term = "" if column is None else f"AND {column} = :{column}"
    scan = f"WHERE tenant = :tenant {term} AND key < :before ORDER BY key DESC"
    return indexes.get(column or "", "jobs_of_tenant"), scan, values


def _conditions(where: Filter) -> str:
    columns = [name for name in ("state", "outcome", "task", "queue") if getattr(where, name) is not None]
    return " AND ".join(["1", *(f"{column} = :{column}" for column in columns)])


# -- opening -----------------------------------------------------------------


def _own(path: Path) -> Ownership:
    try:
        return Ownership(path)
    except OSError as exc:
        raise StoreUnusableError(f"{path}: its lock file cannot be made: {exc.strerror}") from exc


def _connect(path: Path) -> sqlite3.Connection:
    # Each connection is used by one thread at a time, but not by the one that opens it.
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=LOCK_TIMEOUT, cached_statements=256
    )
    connection.execute("PRAGMA foreign_keys = OFF")  # rows are written together, in one transaction
    return connection


def _open(path: Path) -> sqlite3.Connection:
    db = _connect(path)
    try:
        _require_ours(db, path)
        _require(db, "PRAGMA journal_mode = WAL", "wal", path)
        db.execute("PRAGMA synchronous = FULL")
        if sys.platform == "darwin":
            # fsync alone leaves the data in the drive's cache there.
            db.execute("PRAGMA fullfsync = ON")
        _migrate(db)
    except BaseException:
        db.close()
        raise
    return db


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
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


def _load_counters(db: sqlite3.Connection) -> Counters:
    with closing(db.execute("SELECT tenant, queue, task, state, n FROM counters")) as rows:
        return Counters({(tenant, queue, task, state): n for tenant, queue, task, state, n in rows})


def _load_lanes(db: sqlite3.Connection) -> Lanes:
    lanes = Lanes()
    sql = """
        SELECT slot, priority, tenant, queue, min(turn), max(turn) FROM jobs
        WHERE state = 'pending' AND hold = 0 GROUP BY slot, priority, tenant, queue"""
    for *lane, first, last in db.execute(sql).fetchall():
        lanes.restore(tuple(lane), first, last)
    return lanes


def _last_key(db: sqlite3.Connection) -> int:
    key: int = db.execute("SELECT coalesce(max(key), 0) FROM jobs").fetchone()[0]
    return key
