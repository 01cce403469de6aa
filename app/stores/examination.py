"""A look at a SQLite file from outside, which changes nothing in it: a service may be at work on it."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from app.stores.base import StoreUnusableError
from app.stores.migrate import migrations
from app.stores.sqlite import APPLICATION_ID
from app.stores.sqlite_reads import reason_of

STEPS = 10_000
"""Instructions of SQLite's machine between two looks at the clock."""

LOCK_TIMEOUT = 2.0
"""Seconds to wait for another program's lock."""


class Examined(NamedTuple):
    """What was found. version, known: of the schema, and the latest that this program knows.

    damage: what is wrong with the file's structure; None for nothing. whole: whether all of it was looked at.
    """

    version: int
    known: int
    damage: str | None
    whole: bool


def examine(path: Path, seconds: float) -> Examined:
    """Look at a database. seconds: how long the look at its structure may take.

    Raises StoreUnusableError when it cannot be read, or is another program's.
    """
    try:
        with closing(_open(path)) as db:
            mark = db.execute("PRAGMA application_id").fetchone()[0]
            version = db.execute("PRAGMA user_version").fetchone()[0]
            empty = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
            if mark != APPLICATION_ID and not empty:
                raise StoreUnusableError(f"{path} is a database of another program")
            damage, whole = _damage(db, seconds)
    except sqlite3.Error as exc:
        raise StoreUnusableError(f"{path} cannot be read: {reason_of(path, exc)}") from exc
    return Examined(version, migrations("sqlite")[-1].version, damage, whole)


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=LOCK_TIMEOUT)


def _damage(db: sqlite3.Connection, seconds: float) -> tuple[str | None, bool]:
    give_up = time.monotonic() + seconds
    db.set_progress_handler(lambda: time.monotonic() > give_up, STEPS)
    try:
        told = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as exc:
        if getattr(exc, "sqlite_errorcode", None) != sqlite3.SQLITE_INTERRUPT:
            raise
        return None, False
    return (None if told == "ok" else " ".join(str(told).split())), True
