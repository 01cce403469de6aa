-- Jobs, and what hangs on them. Times are microseconds since the epoch, UTC.

CREATE TABLE jobs (
    key                 INTEGER PRIMARY KEY,   -- grows with each insertion, so it is the list's order too
    id                  BLOB NOT NULL,         -- UUIDv7, 16 bytes
    tenant              TEXT NOT NULL,
    task                TEXT NOT NULL,
    slot                TEXT NOT NULL,
    created_at          INTEGER NOT NULL,
    run_at              INTEGER NOT NULL,
    queue               TEXT NOT NULL,
    priority            INTEGER NOT NULL,
    tags                TEXT NOT NULL,
    unique_key          TEXT,
    state               TEXT NOT NULL,
    outcome             TEXT,
    hold                INTEGER NOT NULL,      -- why it is not ready; 0: it is
    run                 INTEGER NOT NULL,
    attempt             INTEGER NOT NULL,
    max_attempts        INTEGER NOT NULL,
    losses              INTEGER NOT NULL,
    timeout             REAL,
    started_at          INTEGER,
    finished_at         INTEGER,
    expires_at          INTEGER,
    progress_done       ANY,                   -- integer or real, as the function gave it
    progress_total      ANY,
    progress_message    TEXT,
    cancel_requested_at INTEGER,
    cancel_outcome      TEXT,
    cancel_reason       TEXT,
    worker              TEXT,
    token               INTEGER,               -- of the claim that holds it
    parent              TEXT,
    root                TEXT,
    step                INTEGER,
    traceparent         TEXT,
    version             INTEGER NOT NULL,
    turn                INTEGER NOT NULL       -- its place in the claim's order, dealt when it becomes ready
) STRICT;

CREATE UNIQUE INDEX jobs_by_id ON jobs (id);

-- The claim: ready rows only, in its order, so that nothing that waits makes it slower.
CREATE INDEX jobs_ready ON jobs (slot, priority DESC, turn, key) WHERE state = 'pending' AND hold = 0;

-- Promotion: what is held back by its due time (bit 1 of `hold`).
CREATE INDEX jobs_due ON jobs (run_at) WHERE state = 'pending' AND hold & 1;

-- Recovery: what ran when the last process ended.
CREATE INDEX jobs_running ON jobs (key) WHERE state = 'running';

-- Lists: each costs the same on any page.
CREATE INDEX jobs_of_tenant ON jobs (tenant, key);
CREATE INDEX jobs_by_state ON jobs (tenant, state, key);
CREATE INDEX jobs_by_task ON jobs (tenant, task, key);
CREATE INDEX jobs_by_queue ON jobs (tenant, queue, key);

-- What may be large, apart from the rows that every scan reads.
CREATE TABLE arguments (
    job       INTEGER PRIMARY KEY REFERENCES jobs (key),
    arguments TEXT NOT NULL                    -- {"args": [...], "kwargs": {...}}, as sent
) STRICT;

CREATE TABLE results (
    job                 INTEGER PRIMARY KEY REFERENCES jobs (key),
    exception_type      TEXT,
    exception_message   TEXT,
    exception_traceback TEXT,
    result              TEXT                   -- JSON
) STRICT;

-- How many jobs there are of each kind; kept by every batch, read for limits and statistics.
CREATE TABLE counters (
    tenant TEXT NOT NULL,
    queue  TEXT NOT NULL,
    task   TEXT NOT NULL,
    state  TEXT NOT NULL,
    n      INTEGER NOT NULL,
    PRIMARY KEY (tenant, queue, task, state)
) STRICT, WITHOUT ROWID;

-- One row, written to show that the database can be.
CREATE TABLE probe (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    at  INTEGER NOT NULL
) STRICT;
