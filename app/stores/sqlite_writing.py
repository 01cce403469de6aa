"""Writes the jobs that a transaction on the SQLite store has changed back to their rows."""

import sqlite3
from collections.abc import Sequence
from itertools import chain

from app.stores.rows import (
    ATTEMPT,
    COURSE,
    MOVING,
    RARE,
    RESULT,
    Row,
    course_row,
    has_payload,
    moving_row,
    rare_row,
    result_row,
)
from app.stores.sqlite_memory import Entry
from app.stores.sqlite_statements import delete_where, insert_rows, update_jobs


def write_back(db: sqlite3.Connection, dirty: Sequence[Entry]) -> None:
    """Write jobs that are not as they were written. After that they are."""
    _write_jobs(db, dirty)
    _write_results(db, dirty)
    attempts = list(chain.from_iterable(entry.new_attempts() for entry in dirty))
    insert_rows(db, "attempts", ("job", *ATTEMPT), attempts)
    for entry in dirty:
        entry.written, entry.written_place = entry.job, (entry.turn, entry.blocked_by)


def _write_jobs(db: sqlite3.Connection, dirty: Sequence[Entry]) -> None:
    course: list[Row] = []
    moving: list[Row] = []
    for entry in dirty:
        if entry.keeps_its_place:
            course.append(course_row(entry.key, entry.job))
        else:
            moving.append(moving_row(entry.key, entry.job, entry.blocked_by, entry.turn))
    rare = [rare_row(entry.key, entry.job) for entry in dirty if entry.is_changed_rarely]
    for columns, rows in ((COURSE, course), (MOVING, moving), (RARE, rare)):
        update_jobs(db, columns, rows)


def _write_results(db: sqlite3.Connection, dirty: Sequence[Entry]) -> None:
    # A run may have begun and ended within a batch.
    reopened = [
        entry.key
        for entry in dirty
        if entry.written.done and (entry.written.run != entry.job.run or not entry.job.done)
    ]
    delete_where(db, "results", "job", reopened)
    ended = [
        result_row(entry.key, entry.job)
        for entry in dirty
        if entry.job.done and not entry.written.done and has_payload(entry.job)
    ]
    insert_rows(db, "results", RESULT, ended, verb="REPLACE")
