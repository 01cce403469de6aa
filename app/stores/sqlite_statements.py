"""Statements of the SQLite schema for many rows.

`executemany` gives up the interpreter after every row, and with a busy thread beside it waits
for it again each time. One statement of many rows waits once.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from typing import Any, TypeVar

from app.jobs.model import Attempt, Hold
from app.stores.lanes import Lane
from app.stores.rows import ATTEMPT, CALLED, Row, attempt_of, id_to_bytes

SIZES = (256, 64)
"""How many of many rows one statement takes.

Fewer than these are one statement, whatever their number: after each, the interpreter has to
be waited for. There is a prepared statement for each number, see `STATEMENTS`.
"""

STATEMENTS = 1024
"""Prepared statements that the writing connection keeps.

There are some ten kinds, for each number of rows; of new jobs also for each of ENDS. Those by columns differ
by which of these all rows share, a few in practice; if they were many, the oldest would be prepared anew.
"""

T = TypeVar("T")


def insert_rows(  # noqa: PLR0913  (what a statement is made of)
    db: sqlite3.Connection,
    table: str,
    columns: Sequence[str],
    rows: Sequence[Row],
    *,
    verb: str = "INSERT",
    ends: Sequence[int] | None = None,
) -> None:
    """Insert rows. Raises sqlite3.IntegrityError when one is there already, unless the verb is REPLACE.

    The columns at the end that are None in all of them are left out, so by default they have to be NULL.
    ends: after how many columns a row may end, in ascending order, the last being all; None: after any.
    """
    for chunk in _chunks(rows):
        width = _width(chunk)
        if ends is not None:
            width = next(end for end in ends if end >= width)
        values = [row[:width] for row in chunk]
        db.execute(_insert(verb, table, tuple(columns[:width]), len(chunk)), _flat(values))


def _width(rows: Sequence[Row]) -> int:
    """Return how many columns there are up to the last one that is not None in all of the rows."""
    if rows[0][-1] is not None:
        return len(rows[0])
    columns = list(zip(*rows, strict=True))
    while columns[-1].count(None) == len(rows):
        columns.pop()
    return len(columns)


def add_counts(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Add to `counters`; a row is tenant, queue, task, state and what to add."""
    for chunk in _chunks(rows):
        db.execute(_add(len(chunk)), _flat(chunk))
    # Callers choose the names of queues, so those that are empty again must not pile up.
    for chunk in _chunks([row[:-1] for row in rows if row[-1] < 0]):
        db.execute(delete_zeros(len(chunk)), _flat(chunk))


@lru_cache(STATEMENTS)
def delete_zeros(count: int) -> str:
    """Return the statement that deletes so many rows of `counters`, those of them that are zero."""
    # Not `IN (VALUES ...)`, for which SQLite reads the whole table.
    keys = " OR ".join(["(tenant, queue, task, state) = (?, ?, ?, ?)"] * count)
    return f"DELETE FROM counters WHERE n = 0 AND ({keys})"


def update_jobs(db: sqlite3.Connection, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Update `jobs` from rows of those columns, of which the first is the key."""
    for chunk in _chunks(rows):
        db.execute(_update(tuple(columns), len(chunk)), _flat(chunk))


def delete_where(db: sqlite3.Connection, table: str, column: str, values: Sequence[Any]) -> None:
    """Delete the rows of a table that have one of these values in a column."""
    for chunk in _chunks(values):
        db.execute(f"DELETE FROM {table} WHERE {column} IN ({_marks(len(chunk))})", chunk)


def select_jobs(db: sqlite3.Connection, ids: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of CALLED of those ids that there are."""
    for chunk in _chunks(list(_known_forms(ids))):
        sql = f"""
            SELECT {CALLED} FROM jobs LEFT JOIN arguments ON arguments.job = jobs.key
            WHERE id IN ({_marks(len(chunk))})"""
        yield from db.execute(sql, chunk).fetchall()


def select_attempts(db: sqlite3.Connection, key: int) -> tuple[Attempt, ...]:
    """Return what a job has tried before, in order."""
    sql = f"SELECT {', '.join(ATTEMPT)} FROM attempts WHERE job = ? ORDER BY run, number"
    return tuple(map(attempt_of, db.execute(sql, (key,)).fetchall()))


def data_version(db: sqlite3.Connection) -> int:
    """Return the number that changes when another connection has written to the database."""
    version: int
    (version,) = db.execute("PRAGMA data_version").fetchone()
    return version


LANES = """
    SELECT {place}, priority, tenant, queue, coalesce(limit_key, ''), min(turn), max(turn) FROM jobs
    WHERE state = 'pending' AND hold = {hold} GROUP BY 1, 2, 3, 4, 5"""


def waiting_lanes(db: sqlite3.Connection) -> Iterator[tuple[Lane, int, int]]:
    """Yield each lane in which jobs wait for their turn, with the first and the last of these."""
    for place, hold in (("slot", Hold.NONE), ("blocked_by", Hold.LIMITED)):
        for *lane, first, last in db.execute(LANES.format(place=place, hold=int(hold))).fetchall():
            # The slot as text, which is as good a key: a damaged one must not keep the store closed.
            yield tuple(lane), first, last


def _known_forms(ids: Sequence[str]) -> Iterator[bytes]:
    for job_id in ids:
        # What is no UUID is the id of no job.
        with suppress(ValueError):
            yield id_to_bytes(job_id)


def _chunks(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    start = 0
    # Most are fewer than any of the sizes.
    for size in SIZES if len(rows) >= SIZES[-1] else ():
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size
    if start < len(rows):
        yield rows[start:]


# Each made once: SQLite's module looks for the statement that it has prepared by the text, and a text
# that is the same object is found at once.


@lru_cache(STATEMENTS)
def _insert(verb: str, table: str, columns: tuple[str, ...], count: int) -> str:
    return f"{verb} INTO {table} ({', '.join(columns)}) VALUES {_values(count, len(columns))}"


@lru_cache(STATEMENTS)
def _add(count: int) -> str:
    return f"INSERT INTO counters VALUES {_values(count, 5)} ON CONFLICT DO UPDATE SET n = n + excluded.n"


@lru_cache(STATEMENTS)
def _update(columns: tuple[str, ...], count: int) -> str:
    numbered = list(enumerate(columns[1:], 2))
    if count == 1:
        # The values of many are a table first, which for one takes longer than the update.
        return f"UPDATE jobs SET {', '.join(f'{column} = ?{n}' for n, column in numbered)} WHERE key = ?1"
    changes = ", ".join(f"{column} = new.column{n}" for n, column in numbered)
    values = _values(count, len(columns))
    return f"UPDATE jobs SET {changes} FROM (VALUES {values}) AS new WHERE key = new.column1"


def _values(count: int, width: int) -> str:
    return ", ".join([f"({_marks(width)})"] * count)


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _flat(rows: Sequence[Row]) -> list[Any]:
    return list(chain.from_iterable(rows))
