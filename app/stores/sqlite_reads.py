"""What is read of the SQLite store, over one connection that sees what was committed."""

import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.jobs.history import SUBMITTED, Record, RecordKind
from app.jobs.model import Failure, Job, Slot
from app.stores.base import (
    ONCE_KEPT,
    Filter,
    KeyReusedError,
    Once,
    OperationFailedError,
    Page,
    Paging,
    Queue,
    Records,
    StoredRecord,
    StoreUnavailableError,
)
from app.stores.figures import Counts, Recent, StateCounts
from app.stores.rows import AS_SUBMITTED, LISTED, OUTCOMES, WHOLE, id_to_bytes, id_to_text, job_of, shown_id
from app.stores.sqlite_insert import KNOWN, ids_of
from app.stores.sqlite_statements import select_attempts
from app.stores.trouble import Trouble

LOGGER = logging.getLogger(__name__)

LAST_KEY = (1 << 63) - 1
"""No key is larger, and no number that SQLite takes."""

INDEXES = {"task": "jobs_by_task", "queue": "jobs_by_queue", "state": "jobs_by_state"}
"""By which column of a filter to look first, and the index for it."""

GET = f"""
    SELECT {WHOLE} FROM jobs
    LEFT JOIN arguments ON arguments.job = jobs.key LEFT JOIN results ON results.job = jobs.key
    WHERE id = ? AND tenant = ?"""

TRIMMED = "SELECT position FROM trimmed WHERE tenant = ?"

# What was dropped may have been later than all that is there.
LAST_POSITION = """
    SELECT max(
        coalesce((SELECT max(position) FROM events), 0), coalesce((SELECT max(position) FROM trimmed), 0)
    )"""

JOB_KEY = "SELECT key, trimmed FROM jobs WHERE id = ? AND tenant = ?"

RECORD = "position, id, task, queue, kind, at, data"

OF_JOB = f"""
    SELECT {RECORD} FROM events JOIN jobs ON key = events.job
    WHERE events.job = ? AND position > ? AND kind >= ? AND kind <= ? ORDER BY position LIMIT ?"""

# In this order whatever the statistics say: it examines the records after a position, and no more.
OF_TENANT = f"""
    SELECT {RECORD} FROM events NOT INDEXED CROSS JOIN jobs ON key = events.job
    WHERE position > :after AND position <= :upto AND {{}} ORDER BY position LIMIT :limit"""

DEPTHS = """
    SELECT queue, sum(iif(state = 'pending', n, 0)), sum(iif(state = 'running', n, 0)) FROM counters
    WHERE tenant = ? AND state IN ('pending', 'running') GROUP BY queue"""

# Of all queues in one walk over what waits: there may be thousands of either.
OLDEST = """
    SELECT queue, min(run_at) FROM jobs INDEXED BY jobs_by_state
    WHERE tenant = ? AND state = 'pending' AND NOT hold & 1 GROUP BY queue"""

# One statement, so that all of it is of one moment. The kinds in the order of Counts.
COUNTS = """
    WITH own AS (
        SELECT task, queue, n * (state = 'pending') AS pending, n * (state = 'running') AS running,
            n * (state = 'cancelled') AS cancelled, n * (state = 'finished') AS finished
        FROM counters WHERE tenant = ?
    ), named (kind, name, pending, running, cancelled, finished) AS (
        SELECT 0, '', pending, running, cancelled, finished FROM own
        UNION ALL SELECT 1, task, pending, running, cancelled, finished FROM own
        UNION ALL SELECT 2, queue, pending, running, cancelled, finished FROM own
    )
    SELECT kind, name, sum(pending), sum(running), sum(cancelled), sum(finished) FROM named
    GROUP BY kind, name ORDER BY kind, name"""

FIGURES = """
    SELECT {}, id, tenant, task, created_at, run_at, outcome, started_at, finished_at,
        exception_type, exception_message
    FROM jobs {} LEFT JOIN results ON results.job = jobs.key AND outcome = 'failed'
    """

NEWEST = FIGURES.format("created_at", "NOT INDEXED") + "ORDER BY jobs.key DESC LIMIT ?"

# By the index of retention: it knows when each has ended, or until when a key points to it if that is later.
LATEST = f"""{FIGURES.format("max(finished_at, kept_until)", "INDEXED BY jobs_done")}
    WHERE finished_at IS NOT NULL AND max(finished_at, kept_until) >= ?
    ORDER BY max(finished_at, kept_until) DESC LIMIT ?"""


DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
"""What SQLite calls a file that it cannot make sense of."""


def reason_of(path: Path, exc: Exception) -> str:
    """Return an error of SQLite's for whoever looks after the file, with what to do if it is damaged."""
    # The last byte: the others say where it was met.
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    if isinstance(exc, sqlite3.Error) and code not in DAMAGED:
        # Without the text that it could not decode, which may be anybody's arguments.
        return str(exc).partition(" with text ")[0]
    ways = f"put a backup in its place, or save what `sqlite3 {path} .recover` finds"
    return f"{exc}; it is damaged: with the service stopped, {ways}"


class Reads:
    """Reads over one connection, by one thread at a time. Each raises StoreUnavailableError.

    examined: rows that a page of a list examines at most.
    """

    def __init__(self, db: sqlite3.Connection, path: Path, examined: int) -> None:
        self._db = db
        self._path = path
        self._examined = examined
        self._trouble = Trouble(LOGGER, "the store cannot be read")

    # -- jobs ----------------------------------------------------------------

    def get(self, tenant: str, job_id: str) -> Job | None:
        """See Store.get."""
        try:
            key = id_to_bytes(job_id)
        except ValueError:
            return None
        rows = self._read(GET, (key, tenant))
        if not rows:
            return None
        job = self._readable(rows[0])
        if job is None:
            raise OperationFailedError(f"job {job_id} cannot be read")
        if job.attempt > 1 or job.run > 1 or (job.attempt and job.started_at is None):
            job = job._replace(attempts=self._attempts(rows[0][0]))
        return job

    def _attempts(self, key: int) -> Any:
        try:
            return select_attempts(self._db, key)
        except sqlite3.Error as exc:
            raise self._unavailable(exc) from exc
        except Exception as exc:
            self._trouble.met(f"{self._path}: the attempts of job {key} are damaged ({type(exc).__name__})")
            raise OperationFailedError(f"job {key} cannot be read") from exc

    def page(self, tenant: str, where: Filter, paging: Paging) -> Page:
        """See Store.list."""
        query = Query(tenant, where, paging)
        try:
            # Before the page is read: what is inserted meanwhile is newer than both.
            floor = self._floor(query) if query.rest else None
            rows = self._read(query.page, {**query.values, "floor": floor or 0})
        except UnicodeEncodeError:
            # A lone surrogate: no text that is stored has one.
            return Page([], None)
        page, more = rows[: paging.limit], rows[paging.limit :]
        jobs = [job for job in map(self._readable, page) if job is not None]
        return Page(jobs, page[-1][0] if more else floor)

    def _floor(self, query: "Query") -> int | None:
        """Return the key of the last row that may be examined; None when there are fewer."""
        rows = self._read(query.floor, {**query.values, "examined": self._examined - 1})
        return rows[0][0] if rows else None

    def remembered(self, tenant: str, once: Once, now: int) -> Sequence[str] | None:
        """Return the ids of the jobs that an idempotency key stands for; otherwise see Store.recall."""
        rows = self._read(KNOWN, (tenant, once.route, once.key, now - ONCE_KEPT))
        if not rows:
            return None
        digest, packed = rows[0]
        if digest != once.digest:
            raise KeyReusedError(once.key)
        return ids_of(packed)

    # -- their history -------------------------------------------------------

    def records_of_job(self, tenant: str, job_id: str, after: int, limit: int) -> Records:
        """See Store.records."""
        found = self._key_of(tenant, job_id)
        if found is None:
            return Records([], after, trimmed=False, more=False)
        rows = self._read(OF_JOB, (found[0], min(after, LAST_KEY), "", "~", limit))
        # After the records: what goes between the two reads is said to be gone, rather than missed.
        _, trimmed = self._key_of(tenant, job_id) or found
        position = rows[-1][0] if rows else after
        return Records(self._records_of(rows), position, trimmed=trimmed > after, more=len(rows) == limit)

    def records(self, tenant: str, after: int, limit: int, where: Filter) -> Records:
        """See Store.records."""
        ((last,),) = self._read(LAST_POSITION, ())
        # No more than a page of a list examines: most of them may be other tenants'.
        upto = min(last, after + self._examined)
        conditions, values = _conditions(where)
        sql = OF_TENANT.format(_conjunction("tenant = :tenant", *conditions))
        bounds = {"tenant": tenant, "after": min(after, LAST_KEY), "upto": upto, "limit": limit}
        try:
            rows = self._read(sql, {**values, **bounds})
        except UnicodeEncodeError:
            rows = []
        # As above.
        trimmed = next(iter(self._read(TRIMMED, (tenant,))), (0,))[0]
        position = rows[-1][0] if len(rows) == limit else max(after, upto)
        return Records(self._records_of(rows), position, trimmed=trimmed > after, more=position < last)

    def last_position(self) -> int:
        """See Store.last_position."""
        ((last,),) = self._read(LAST_POSITION, ())
        return int(last)

    def log(self, tenant: str, job_id: str) -> Sequence[StoredRecord]:
        """See Store.log."""
        found = self._key_of(tenant, job_id)
        if found is None:
            return []
        kind = RecordKind.LOG
        return self._records_of(self._read(OF_JOB, (found[0], 0, kind, kind, LAST_KEY)))

    def _key_of(self, tenant: str, job_id: str) -> tuple[int, int] | None:
        try:
            rows = self._read(JOB_KEY, (id_to_bytes(job_id), tenant))
        except ValueError:
            return None
        return rows[0] if rows else None

    # -- queues --------------------------------------------------------------

    def queues(self, tenant: str) -> Sequence[Queue]:
        """See Store.queues."""
        depths = {name: (pending, running) for name, pending, running in self._read(DEPTHS, (tenant,))}
        paused = {name for (name,) in self._read("SELECT queue FROM pauses WHERE tenant = ?", (tenant,))}
        oldest = dict(self._read(OLDEST, (tenant,)))
        return [
            Queue(name, name in paused, *depths.get(name, (0, 0)), oldest.get(name))
            for name in sorted({*depths, *paused})
        ]

    # -- figures -------------------------------------------------------------

    def counts(self, tenant: str) -> Counts:
        """See Store.counts."""
        found: list[dict[str, StateCounts]] = [{}, {}, {}]
        for kind, name, *counts in self._read(COUNTS, (tenant,)):
            found[kind][name] = StateCounts(*counts)
        jobs, tasks, queues = found
        return Counts(jobs.get("", StateCounts()), tasks, queues)

    def recent(self, after: int, examined: int) -> Recent:
        """See Store.recent."""
        rows = self._read(NEWEST, (examined,))
        newest, latest, complete_from = self._figures(rows), {}, after
        if len(rows) == examined:
            # There are older ones too, and some of them may have ended only now.
            others = self._read(LATEST, (after, examined))
            latest = self._figures(others)
            # At the edge there may be more of the same time.
            edges = [rows[-1][0], *(row[0] for row in others[examined - 1 :])]
            complete_from = max(after, *(edge + 1 for edge in edges))
        ended = [job for job in {**latest, **newest}.values() if (job.finished_at or 0) >= after]
        return Recent([job for job in newest.values() if job.created_at >= after], ended, complete_from)

    def _figures(self, rows: Sequence[Sequence[Any]]) -> dict[str, Job]:
        """Return as much of jobs as figures need, without those that are damaged: as above."""
        found = {}
        for row in rows:
            try:
                job = _figures_of(row)
            except Exception as exc:  # noqa: BLE001  (as above)
                self._tell_damaged(row, exc)
            else:
                found[job.id] = job
        return found

    # -- all of them ---------------------------------------------------------

    def _read(self, sql: str, values: Any) -> Sequence[Any]:
        try:
            rows = self._db.execute(sql, values).fetchall()
        except sqlite3.Error as exc:
            raise self._unavailable(exc) from exc
        self._trouble.over()
        return rows

    def _unavailable(self, exc: sqlite3.Error) -> StoreUnavailableError:
        # Told here: who asked is told no more than that it cannot be read.
        text = f"{self._path}: {reason_of(self._path, exc)}"
        self._trouble.met(text)
        return StoreUnavailableError(text)

    def _readable(self, row: Sequence[Any]) -> Job | None:
        """Return the job of a row; None for a damaged one, which must not hide the others: the log tells."""
        try:
            return job_of(row)
        except Exception as exc:  # noqa: BLE001  (whatever damage may come to)
            self._tell_damaged(row, exc)
            return None

    def _tell_damaged(self, row: Sequence[Any], exc: Exception) -> None:
        text = f"the row of job {shown_id(row[1])} is damaged ({type(exc).__name__})"
        self._trouble.met(f"{self._path}: {text}")

    def _records_of(self, rows: Sequence[Sequence[Any]]) -> list[StoredRecord]:
        """Return the records of rows, without those that are damaged: as above."""
        return [record for record in map(self._record_of, rows) if record is not None]

    def _record_of(self, row: Sequence[Any]) -> StoredRecord | None:
        position, id_, task, queue, kind, at, data = row
        try:
            record = Record(RecordKind(kind), at, SUBMITTED if data == AS_SUBMITTED else data)
            return StoredRecord(position, id_to_text(id_), task, queue, record)
        except Exception as exc:  # noqa: BLE001  (as above)
            self._trouble.met(f"{self._path}: record {position!r} is damaged ({type(exc).__name__})")
            return None


def _figures_of(row: Sequence[Any]) -> Job:
    """Return what FIGURES has of a job."""
    _, id_, tenant, task, created_at, run_at, outcome, started_at, finished_at, error, message = row
    return Job(
        id_to_text(id_), tenant, task, Slot.THREAD, created_at, run_at, outcome=outcome and OUTCOMES[outcome],
        started_at=started_at, finished_at=finished_at,
        exception=None if error is None else Failure(error, message, ""),
    )  # fmt: skip


# -- filters -----------------------------------------------------------------

PLAIN = ("state", "outcome", "task", "queue")
"""What a filter compares as it is."""

CONDITIONS = {
    **{column: f"{column} = :{column}" for column in PLAIN},
    "created_after": "created_at > :created_after",
    "created_before": "created_at < :created_before",
    "q": """(instr(lower(hex(id)), :id_part) = 1 OR substr(lower(hex(id)), -length(:id_part)) = :id_part
        OR instr(lower(task), :task_part) > 0)""",
}

HAS_TAG = "EXISTS (SELECT 1 FROM json_each(tags) WHERE key = :tag{0} AND json_each.value = :value{0})"


def _conditions(where: Filter) -> tuple[list[str], dict[str, Any]]:
    """Return a filter as conditions, those of CONDITIONS first, and their values."""
    values: dict[str, Any] = {
        name: value for name in CONDITIONS if (value := getattr(where, name)) is not None
    }
    conditions = [CONDITIONS[name] for name in values]
    if where.q is not None:
        part = where.q.lower()
        # As hex() writes it; what cannot begin an id is found in none.
        values.update(id_part=part.replace("-", "") or "-", task_part=part)
    for number, (tag, value) in enumerate(where.tags):
        conditions.append(HAS_TAG.format(number))
        values.update({f"tag{number}": tag, f"value{number}": value})
    return conditions, values


class Query:
    """The statements for a page of a list: by the index that serves the filter best."""

    def __init__(self, tenant: str, where: Filter, paging: Paging) -> None:
        conditions, given = _conditions(where)
        indexed = next((column for column in INDEXES if column in given), None)
        served = None if indexed is None else CONDITIONS[indexed]
        self.rest = [condition for condition in conditions if condition != served]
        """Conditions of the filter that the index does not serve."""
        # A cursor comes from outside, and may be larger than any key.
        before = LAST_KEY if paging.before is None else min(paging.before, LAST_KEY)
        self.values = {**given, "tenant": tenant, "before": before, "limit": paging.limit + 1}
        index = INDEXES.get(indexed or "", "jobs_of_tenant")
        found = _conjunction("tenant = :tenant", served, "jobs.key < :before")
        fits = _conjunction(found, "jobs.key >= :floor", *self.rest)
        self.floor = f"""
            SELECT key FROM jobs INDEXED BY {index} WHERE {found}
            ORDER BY key DESC LIMIT 1 OFFSET :examined"""
        self.page = f"""
            SELECT {LISTED} FROM jobs INDEXED BY {index} LEFT JOIN results ON results.job = jobs.key
            WHERE {fits} ORDER BY jobs.key DESC LIMIT :limit"""


def _conjunction(*conditions: str | None) -> str:
    return " AND ".join(filter(None, conditions))
