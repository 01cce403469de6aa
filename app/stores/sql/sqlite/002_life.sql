-- The whole life of a job: retries, runs, expiry, limits, pauses, keys, history, retention.

ALTER TABLE jobs ADD COLUMN backoff TEXT;                           -- JSON: first, factor, longest, jitter; NULL: the usual
ALTER TABLE jobs ADD COLUMN limit_key TEXT;                         -- NULL: its task has no limit
ALTER TABLE jobs ADD COLUMN blocked_by TEXT;                        -- the limit that holds it back (bit 16 of `hold`)
ALTER TABLE jobs ADD COLUMN logged INTEGER NOT NULL DEFAULT 0;      -- what is stored of its log, by the cost of its lines
ALTER TABLE jobs ADD COLUMN trimmed INTEGER NOT NULL DEFAULT 0;     -- the last event of it that was dropped
ALTER TABLE jobs ADD COLUMN kept_until INTEGER NOT NULL DEFAULT 0;  -- an idempotency key points to it

ALTER TABLE arguments ADD COLUMN shown TEXT;                        -- without secrets; NULL: there are none

-- Admission: what waits for a limit, in the order of its claim; and what has its permit and is not claimed.
CREATE INDEX jobs_blocked ON jobs (blocked_by, priority DESC, turn, key) WHERE state = 'pending' AND hold = 16;
CREATE INDEX jobs_admitted ON jobs (task, limit_key)
    WHERE state = 'pending' AND hold = 0 AND limit_key IS NOT NULL;

-- Expiry: what has never begun.
CREATE INDEX jobs_expiring ON jobs (expires_at)
    WHERE state = 'pending' AND attempt = 0 AND expires_at IS NOT NULL;

-- Uniqueness: who holds a key.
CREATE INDEX jobs_by_unique_key ON jobs (tenant, task, unique_key)
    WHERE unique_key IS NOT NULL AND state IN ('pending', 'running');

-- Retention, in the order in which it comes to them.
CREATE INDEX jobs_done ON jobs (max(finished_at, kept_until)) WHERE finished_at IS NOT NULL;

-- Executions before the one that runs, or was the last.
CREATE TABLE attempts (
    job                 INTEGER NOT NULL REFERENCES jobs (key),
    run                 INTEGER NOT NULL,
    number              INTEGER NOT NULL,
    worker              TEXT,
    started_at          INTEGER,
    finished_at         INTEGER,
    exception_type      TEXT,
    exception_message   TEXT,
    exception_traceback TEXT,
    PRIMARY KEY (job, run, number)
) STRICT, WITHOUT ROWID;

-- What happened to jobs: states, progress, what they logged.
CREATE TABLE events (
    position INTEGER PRIMARY KEY,              -- grows, and is never used again: it is the readers' cursor
    job      INTEGER NOT NULL REFERENCES jobs (key),
    kind     TEXT NOT NULL,
    at       INTEGER NOT NULL,
    data     TEXT NOT NULL                     -- JSON; empty: that of a job that was submitted
) STRICT;

CREATE INDEX events_of_job ON events (job, position);

-- What idempotency keys stand for.
CREATE TABLE idempotency (
    tenant     TEXT NOT NULL,
    route      TEXT NOT NULL,
    key        TEXT NOT NULL,
    digest     BLOB NOT NULL,                  -- of the body
    jobs       BLOB NOT NULL,                  -- ids, 16 bytes each
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, route, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_by_age ON idempotency (created_at);

-- Queues that are paused.
CREATE TABLE pauses (
    tenant TEXT NOT NULL,
    queue  TEXT NOT NULL,
    since  INTEGER NOT NULL,
    PRIMARY KEY (tenant, queue)
) STRICT, WITHOUT ROWID;

-- The last event that was dropped of any job of a tenant.
CREATE TABLE trimmed (
    tenant   TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
