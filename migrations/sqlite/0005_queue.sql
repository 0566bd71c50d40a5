-- The queue: work that any host may claim under a lease, merge, retry and cancel; and what the watchers of work were told.
-- The checks of three tables change, so they are made anew, with foreign keys off while this runs (host/store/src/sqlite/
-- pool.rs): their rows, and those of others that refer to them, stay.

CREATE TABLE works_new (
    tenant          TEXT    NOT NULL REFERENCES tenants,
    id              TEXT    NOT NULL,
    faculty         TEXT    NOT NULL,
    source          TEXT    NOT NULL,
    instruction     TEXT    NOT NULL,
    params          TEXT    NOT NULL,
    state           TEXT    NOT NULL
        CHECK (state IN ('queued', 'running', 'completed', 'failed', 'dead', 'cancelled', 'merged')),
    disposal        TEXT    NOT NULL CHECK (disposal IN ('queue', 'held')),
    dedup_key       TEXT,
    idempotency_key TEXT,
    merged_into     TEXT,
    priority        INTEGER NOT NULL,
    attempts        INTEGER NOT NULL DEFAULT 0,
    max_attempts    INTEGER NOT NULL CHECK (max_attempts > 0),
    takeovers       INTEGER NOT NULL DEFAULT 0,
    not_before_ms   INTEGER NOT NULL,
    parent          TEXT,
    depth           INTEGER NOT NULL CHECK (depth >= 0),
    cap             TEXT,
    allowance       TEXT    NOT NULL,
    workspace       TEXT,
    trace           TEXT,
    cancelling      INTEGER NOT NULL DEFAULT 0 CHECK (cancelling IN (0, 1)),
    focus           TEXT,
    outcome         TEXT,
    error           TEXT,
    tokens          INTEGER NOT NULL DEFAULT 0,
    cost_microusd   INTEGER NOT NULL DEFAULT 0,
    created_ms      INTEGER NOT NULL,
    updated_ms      INTEGER NOT NULL,
    PRIMARY KEY (tenant, id),
    CHECK ((state = 'merged') = (merged_into IS NOT NULL)),
    FOREIGN KEY (tenant, focus) REFERENCES focuses DEFERRABLE INITIALLY DEFERRED,
    FOREIGN KEY (tenant, parent) REFERENCES works DEFERRABLE INITIALLY DEFERRED,
    FOREIGN KEY (tenant, merged_into) REFERENCES works DEFERRABLE INITIALLY DEFERRED
) STRICT;
INSERT INTO works_new
    SELECT tenant, id, faculty, source, instruction, params, state, 'held', NULL, NULL, NULL, 0, attempts,
           max(attempts, 1), 0, 0, NULL, 0, NULL, '{}', NULL, NULL, 0, focus, outcome, error, tokens, cost_microusd,
           created_ms, updated_ms
    FROM works;
DROP TABLE works;
ALTER TABLE works_new RENAME TO works;
CREATE INDEX works_by_state ON works (tenant, state, id);
CREATE INDEX works_by_parent ON works (tenant, parent, id) WHERE parent IS NOT NULL;
-- What may be claimed, in the order in which it is.
CREATE INDEX works_ready ON works (tenant, priority DESC, id) WHERE state = 'queued' AND disposal = 'queue';
CREATE INDEX works_leased ON works (tenant, id) WHERE state = 'running';
CREATE UNIQUE INDEX works_alike ON works (tenant, faculty, dedup_key)
    WHERE dedup_key IS NOT NULL AND state IN ('queued', 'running');
CREATE UNIQUE INDEX works_by_submit ON works (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE focuses_new (
    tenant         TEXT    NOT NULL,
    id             TEXT    NOT NULL,
    work           TEXT    NOT NULL,
    -- Who may write for it: 1 for the host that began it, one more for each that took it over.
    token          INTEGER NOT NULL CHECK (token > 0),
    -- Until then nobody takes it over.
    lease_until_ms INTEGER NOT NULL,
    -- Who runs it: `process@machine`.
    host           TEXT    NOT NULL,
    plugins        TEXT    NOT NULL,
    started_ms     INTEGER NOT NULL,
    ended_ms       INTEGER,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, work) REFERENCES works ON DELETE CASCADE
) STRICT;
INSERT INTO focuses_new SELECT tenant, id, work, 1, 0, process || '@', plugins, started_ms, ended_ms FROM focuses;
DROP TABLE focuses;
ALTER TABLE focuses_new RENAME TO focuses;
CREATE INDEX focuses_by_work ON focuses (tenant, work);
CREATE INDEX focuses_open ON focuses (tenant, lease_until_ms) WHERE ended_ms IS NULL;

-- An append that is repeated when its focus is resumed is the same append.
ALTER TABLE ledger ADD COLUMN origin_focus TEXT;
ALTER TABLE ledger ADD COLUMN origin_seq INTEGER;
CREATE UNIQUE INDEX ledger_by_origin ON ledger (tenant, origin_focus, origin_seq) WHERE origin_focus IS NOT NULL;
CREATE INDEX ledger_by_type ON ledger (tenant, entry_type, created_ms);

CREATE TABLE journal_intents_new (
    tenant     TEXT    NOT NULL,
    focus      TEXT    NOT NULL,
    seq        INTEGER NOT NULL CHECK (seq > 0),
    kind       TEXT    NOT NULL
        CHECK (kind IN ('phase', 'llm', 'tool', 'http', 'ledger', 'memory', 'child', 'hook', 'code', 'host')),
    caller     TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    request    TEXT    NOT NULL,
    parent     INTEGER CHECK (parent < seq),
    started_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, focus, seq),
    FOREIGN KEY (tenant, focus) REFERENCES focuses ON DELETE CASCADE,
    FOREIGN KEY (tenant, focus, parent) REFERENCES journal_intents
) STRICT;
INSERT INTO journal_intents_new SELECT * FROM journal_intents;
DROP TABLE journal_intents;
ALTER TABLE journal_intents_new RENAME TO journal_intents;
CREATE TRIGGER intents_are_append_only BEFORE UPDATE ON journal_intents
    BEGIN SELECT raise(ABORT, 'the journal is append-only'); END;

CREATE TABLE events (
    tenant TEXT    NOT NULL,
    work   TEXT    NOT NULL,
    seq    INTEGER NOT NULL CHECK (seq > 0),
    event  TEXT    NOT NULL,
    at_ms  INTEGER NOT NULL,
    PRIMARY KEY (tenant, work, seq),
    FOREIGN KEY (tenant, work) REFERENCES works ON DELETE CASCADE
) STRICT;
