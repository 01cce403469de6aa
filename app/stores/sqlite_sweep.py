"""What is erased from the SQLite store: on request, and by retention.

Pages of the file that become free are used again by what is stored next.
"""

from collections.abc import Sequence

from app.core import State
from app.jobs.errors import JobNotDoneError
from app.jobs.model import Job, Slot
from app.stores.base import ONCE_KEPT, JobNotFoundError, Purge, Refusal, Sweep, Swept
from app.stores.rows import Row, id_to_text
from app.stores.sqlite_statements import delete_where
from app.stores.sqlite_work import Work

HANGING = ("arguments", "results", "attempts", "events")
"""Tables of what hangs on a job."""

OLD = """
    SELECT key, id, tenant, queue, task, state FROM jobs INDEXED BY jobs_done
    WHERE finished_at IS NOT NULL AND max(finished_at, kept_until) <= ?
    ORDER BY max(finished_at, kept_until) LIMIT ?"""

# By the same index, from where the last look has ended.
RESULTS = """
    SELECT max(finished_at, kept_until), key, outcome FROM jobs INDEXED BY jobs_done
    WHERE finished_at IS NOT NULL AND max(finished_at, kept_until) <= ?
        AND (max(finished_at, kept_until), key) > (?, ?)
    ORDER BY max(finished_at, kept_until), key LIMIT ?"""

LAST_EVENT = "SELECT max(position) FROM events WHERE job = ?"

OLD_KEYS = """
    SELECT tenant, route, key FROM idempotency INDEXED BY idempotency_by_age
    WHERE created_at <= ? ORDER BY created_at LIMIT ?"""


class Eraser:
    """Erases jobs that are done."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def purge(self, operation: Purge) -> Refusal | None:
        """Erase one job, whatever still points to it."""
        entry = self._work.entries.get(operation.id)
        if entry is None or entry.job.tenant != operation.tenant:
            return JobNotFoundError(operation.id)
        if not entry.job.done:
            return JobNotDoneError(f"job {operation.id} is {entry.job.state}")
        self._work.save()
        # Whoever waits for its end, which may have come in this batch, or follows it, learns of it.
        self._work.erased[operation.id] = entry.job
        self._erase([entry.key], [entry.job])
        return None

    def sweep(self, operation: Sweep) -> Swept:
        """Erase some of what is old enough."""
        work = self._work
        work.save()
        rows = work.db.execute(OLD, (operation.jobs, operation.limit)).fetchall()
        self._erase([row[0] for row in rows], list(map(_counted, rows)))
        results, more = self._drop_results(operation)
        keys = self._forget_keys(operation.limit)
        return Swept(len(rows), results, more or operation.limit in (len(rows), keys))

    def _erase(self, keys: Sequence[int], jobs: Sequence[Job]) -> None:
        work = self._work
        for key, job in zip(keys, jobs, strict=True):
            (last,) = work.db.execute(LAST_EVENT, (key,)).fetchone()
            if last is not None:
                work.histories.trim_to(job.tenant, last)
            work.deltas.forget(job)
            work.entries.pop(job.id, None)
        for table in HANGING:
            delete_where(work.db, table, "job", keys)
        delete_where(work.db, "jobs", "key", keys)

    def _drop_results(self, operation: Sweep) -> tuple[int, bool]:
        """Drop results; return how many, and whether there may be more."""
        work = self._work
        if operation.results <= operation.jobs:
            # They went with their jobs.
            return 0, False
        if operation.results < work.swept[0]:
            # The clock was set back: jobs may have ended since then that are older than what was swept.
            work.swept = (0, 0)
        values = (operation.results, *work.swept, operation.limit)
        rows = work.db.execute(RESULTS, values).fetchall()
        if not rows:
            return 0, False
        work.swept = rows[-1][0], rows[-1][1]
        succeeded = [key for _, key, outcome in rows if outcome == "succeeded"]
        delete_where(work.db, "results", "job", succeeded)
        for key in succeeded:
            # What is read of it has changed, so its entity tag has to.
            work.db.execute("UPDATE jobs SET version = version + 1 WHERE key = ?", (key,))
        return len(succeeded), len(rows) == operation.limit

    def _forget_keys(self, limit: int) -> int:
        work = self._work
        keys = work.db.execute(OLD_KEYS, (work.now - ONCE_KEPT, limit)).fetchall()
        work.db.executemany("DELETE FROM idempotency WHERE tenant = ? AND route = ? AND key = ?", keys)
        return len(keys)


def _counted(row: Row) -> Job:
    """Return as much of a job as its counts need."""
    _, id_, tenant, queue, task, state = row
    return Job(id_to_text(id_), tenant, task, Slot.THREAD, 0, 0, queue=queue, state=State(state))
