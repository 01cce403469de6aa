"""What holds back, or lets go, any number of jobs of the SQLite store: recovery, and pauses.

Recovery by the database alone: after a slip in the list of task modules this may be every job
that waits. What the statements do to one job is what `Work.move` would do to it.
"""

import json
from collections import Counter
from collections.abc import Mapping

from app.jobs.lifecycle import Lost
from app.jobs.model import Hold
from app.stores.base import Caps, Pause, Recover, Recovered
from app.stores.permits import NO_CAPS, limit_of_key, limit_of_task
from app.stores.rows import SELECT_JOB
from app.stores.sqlite_statements import waiting_lanes
from app.stores.sqlite_work import Work

RUNNING = f"SELECT {SELECT_JOB} FROM jobs WHERE state = 'running' AND NOT hold & {Hold.UNREADABLE:d}"

TRY_AGAIN = f"UPDATE jobs SET hold = 0 WHERE state = 'running' AND hold & {Hold.UNREADABLE:d}"

# All that wait, found through an index: done jobs may be many more.
WAITING = "state = 'pending' AND tenant IN (SELECT tenant FROM counters WHERE state = 'pending' AND n > 0)"

COUNT_UNKNOWN = f"""
    SELECT task, count(*) FROM jobs INDEXED BY jobs_by_state WHERE {WAITING} AND hold & 2 GROUP BY task"""

HOLD_BACK = f"""
    UPDATE jobs INDEXED BY jobs_by_state
    SET hold = hold & ~24 | 2, blocked_by = NULL, version = version + 1
    WHERE {WAITING} AND NOT hold & 2 AND task NOT IN (SELECT key FROM json_each(?))"""

LET_GO = f"""
    UPDATE jobs INDEXED BY jobs_by_state
    SET hold = hold & ~6, slot = known.value, version = version + 1, turn = 0 FROM json_each(?) AS known
    WHERE {WAITING} AND task = known.key AND (hold & 6 OR slot <> known.value)"""

# -- gates: `hold` is 0, 8 or 16 where nothing else holds a job back ----------

GATE_PAUSED = f"""
    UPDATE jobs INDEXED BY jobs_by_state SET hold = 8, blocked_by = NULL, turn = 0
    WHERE {WAITING} AND hold IN (0, 16) AND (tenant, queue) IN (SELECT tenant, queue FROM pauses)"""

# What was submitted before its task had a limit, or a key.
GIVE_KEY = f"""
    UPDATE jobs INDEXED BY jobs_by_state SET limit_key = ''
    WHERE {WAITING} AND limit_key IS NULL AND task IN (SELECT key FROM json_each(?))"""

LIFT_LIMITS = f"""
    UPDATE jobs INDEXED BY jobs_by_state SET hold = 0, blocked_by = NULL, turn = 0
    WHERE {WAITING} AND hold = 16 AND task NOT IN (SELECT key FROM json_each(?))"""

# As many as may be ready beside those that run, by the place that each has among those that share the limit.
LIMIT = f"""
    WITH sharing AS (
        SELECT key, task, limit_key, priority, hold, turn, 0 AS waits FROM jobs INDEXED BY jobs_running
        WHERE state = 'running' AND limit_key IS NOT NULL
        UNION ALL
        SELECT key, task, limit_key, priority, hold, turn, 1 FROM jobs INDEXED BY jobs_by_state
        WHERE {WAITING} AND {{among}} AND limit_key IS NOT NULL
    ), ranked AS (
        SELECT sharing.key, waits, {{name}} AS name, caps.value ->> '{{member}}' AS most, row_number() OVER (
            PARTITION BY {{name}} ORDER BY waits, priority DESC, hold, turn, sharing.key
        ) AS place
        FROM sharing JOIN json_each(?) AS caps ON caps.key = task
    ), gated AS (
        SELECT key, iif(place > most, 16, 0) AS hold, iif(place > most, name, NULL) AS name
        FROM ranked WHERE waits
    )
    UPDATE jobs SET hold = gated.hold, blocked_by = gated.name, turn = 0 FROM gated
    WHERE jobs.key = gated.key AND (jobs.hold, jobs.blocked_by) IS NOT (gated.hold, gated.name)"""

LIMIT_EACH = LIMIT.format(name="task || '/' || limit_key", member="$[0]", among="hold IN (0, 16)")
LIMIT_ALL = LIMIT.format(name="'/' || task", member="$[1]", among="hold = 0")

# The rest of a pause that has ended; see `Routes.pause`.
RESUME_REST = f"""
    UPDATE jobs INDEXED BY jobs_by_state SET hold = 0, turn = 0
    WHERE {WAITING} AND hold = 8 AND (tenant, queue) NOT IN (SELECT tenant, queue FROM pauses)"""

PART_OF_QUEUE = f"""
    SELECT {SELECT_JOB}, arguments FROM jobs INDEXED BY jobs_by_state
    LEFT JOIN arguments ON arguments.job = jobs.key
    WHERE tenant = ? AND state = 'pending' AND key > ? AND queue = ? AND hold IN (0, 8, 16)
    ORDER BY key LIMIT ?"""

# A turn for each waiting job that was left without one, as `Turns.enter` would deal it: behind its
# lane, or from the turn that is served on its level.
DEAL_TURNS = """
    WITH waiting AS (
        SELECT key, turn,
            max(turn) OVER (PARTITION BY {place}, priority, tenant, queue, limit_key) AS last,
            min(nullif(turn, 0)) OVER (PARTITION BY {place}, priority) - 1 AS served,
            row_number() OVER (
                PARTITION BY {place}, priority, tenant, queue, limit_key, turn = 0 ORDER BY key
            ) AS place
        FROM jobs WHERE state = 'pending' AND hold = {hold}
    )
    UPDATE jobs SET turn = max(waiting.last, coalesce(waiting.served, 0)) + waiting.place
    FROM waiting WHERE jobs.key = waiting.key AND waiting.turn = 0"""

DEALS = (DEAL_TURNS.format(place="slot", hold=0), DEAL_TURNS.format(place="blocked_by", hold=16))

PERMITS = (
    """SELECT task, limit_key, hold, NULL, count(*) FROM jobs
    WHERE state = 'running' AND limit_key IS NOT NULL GROUP BY 1, 2""",
    """SELECT task, limit_key, 0, NULL, count(*) FROM jobs INDEXED BY jobs_admitted
    WHERE state = 'pending' AND hold = 0 AND limit_key IS NOT NULL GROUP BY 1, 2""",
    """SELECT task, limit_key, 16, blocked_by, count(*) FROM jobs INDEXED BY jobs_blocked
    WHERE state = 'pending' AND hold = 16 AND blocked_by = '/' || task GROUP BY 1, 2""",
)


class Routes:
    """Routes jobs to the slots and gates where they belong."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def recover(self, operation: Recover) -> Recovered:
        """See Recover."""
        work = self._work
        work.save()
        work.db.execute(TRY_AGAIN)
        lost = work.apply_to(work.find(RUNNING), lambda job: Lost(job.token or 0))
        work.save()
        work.slots = operation.slots
        self._route(operation)
        unknown = work.db.execute(COUNT_UNKNOWN).fetchall()
        return Recovered([work.entries[job.id].job for job in lost], dict(unknown))

    def _route(self, operation: Recover) -> None:
        work = self._work
        # Which tenants have jobs that wait is read from there.
        work.save_counters()
        known, capped = json.dumps(dict(operation.slots)), json.dumps(dict(operation.caps))
        for sql, *values in (
            (HOLD_BACK, known),
            (LET_GO, known),
            (GATE_PAUSED,),
            (RESUME_REST,),
            (GIVE_KEY, capped),
            (LIFT_LIMITS, capped),
        ):
            work.db.execute(sql, values)
        work.moving = {}
        self._gate(operation.caps)

    def _gate(self, caps: Mapping[str, Caps]) -> None:
        """Let limits hold back what is too much, deal turns, and see what has become of the jobs in work."""
        work = self._work
        for sql in (LIMIT_EACH, LIMIT_ALL) if caps else ():
            work.db.execute(sql, (json.dumps(dict(caps)),))
        for sql in DEALS:
            work.db.execute(sql)
        work.turns.last.update((lane, last) for lane, _, last in waiting_lanes(work.db))
        work.reload()
        work.grants.restore(caps, self._held(caps))

    def _held(self, caps: Mapping[str, Caps]) -> Counter[str]:
        """Count the permits that are held."""
        held: Counter[str] = Counter()
        for sql in PERMITS if caps else ():
            for task, limit_key, _, blocked_by, n in self._work.db.execute(sql):
                each, all_ = caps.get(task, NO_CAPS)
                if each is not None:
                    held[limit_of_key(task, limit_key)] += n
                if all_ is not None and blocked_by is None:
                    held[limit_of_task(task)] += n
        return held

    # -- pauses --------------------------------------------------------------

    def pause(self, operation: Pause) -> bool:
        """See Pause."""
        work = self._work
        queue = (operation.tenant, operation.queue)
        if operation.paused != (queue in work.paused):
            self._note(queue, paused=operation.paused)
        after = work.moving.get(queue)
        if after is None:
            return False
        # One after the other: all at once, hundreds of thousands of them would hold up everybody.
        work.save()
        found = work.find(PART_OF_QUEUE, (queue[0], after, queue[1], operation.limit))
        for _, entry in found:
            work.move(entry, entry.job)
        left = {other: key for other, key in work.moving.items() if other != queue}
        work.moving = {**left, queue: found[-1][1].key} if len(found) == operation.limit else left
        return queue in work.moving

    def _note(self, queue: tuple[str, str], *, paused: bool) -> None:
        work = self._work
        if paused:
            work.db.execute("INSERT INTO pauses VALUES (?, ?, ?)", (*queue, work.now))
            work.paused = work.paused | {queue}
        else:
            work.db.execute("DELETE FROM pauses WHERE tenant = ? AND queue = ?", queue)
            work.paused = work.paused - {queue}
        work.moving = {**work.moving, queue: 0}
