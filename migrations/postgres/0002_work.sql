-- Work items, the focuses that run them, and what these write.

CREATE TABLE works (
    tenant          TEXT COLLATE "C" NOT NULL REFERENCES tenants,
    id              TEXT COLLATE "C" NOT NULL,
    faculty         TEXT COLLATE "C" NOT NULL,
    source          TEXT             NOT NULL,
    instruction     TEXT             NOT NULL,
    params          TEXT             NOT NULL,
    state           TEXT COLLATE "C" NOT NULL
        CHECK (state IN ('queued', 'running', 'completed', 'failed', 'dead', 'cancelled', 'merged')),
    disposal        TEXT COLLATE "C" NOT NULL CHECK (disposal IN ('queue', 'held')),
    dedup_key       TEXT COLLATE "C",
    idempotency_key TEXT COLLATE "C",
    merged_into     TEXT COLLATE "C",
    priority        BIGINT           NOT NULL,
    attempts        BIGINT           NOT NULL DEFAULT 0,
    max_attempts    BIGINT           NOT NULL CHECK (max_attempts > 0),
    takeovers       BIGINT           NOT NULL DEFAULT 0,
    not_before_ms   BIGINT           NOT NULL,
    parent          TEXT COLLATE "C",
    depth           BIGINT           NOT NULL CHECK (depth >= 0),
    cap             TEXT,
    allowance       TEXT             NOT NULL,
    workspace       TEXT,
    trace           TEXT,
    cancelling      BOOLEAN          NOT NULL DEFAULT false,
    focus           TEXT COLLATE "C",
    outcome         TEXT,
    error           TEXT,
    tokens          BIGINT           NOT NULL DEFAULT 0,
    cost_microusd   BIGINT           NOT NULL DEFAULT 0,
    created_ms      BIGINT           NOT NULL,
    updated_ms      BIGINT           NOT NULL,
    -- How many entries its ledger has: whoever raises it gives out the next number.
    entries         BIGINT           NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, id),
    CHECK ((state = 'merged') = (merged_into IS NOT NULL)),
    FOREIGN KEY (tenant, parent) REFERENCES works DEFERRABLE INITIALLY DEFERRED,
    FOREIGN KEY (tenant, merged_into) REFERENCES works DEFERRABLE INITIALLY DEFERRED
)
-- Room for the next versions of a row on its own page: counters change often, and none of them is in an index.
WITH (fillfactor = 80);
CREATE INDEX works_by_state ON works (tenant, state, id);
CREATE INDEX works_completed ON works (tenant, updated_ms) WHERE state = 'completed';
CREATE INDEX works_by_parent ON works (tenant, parent, id) WHERE parent IS NOT NULL;
-- What may be claimed, in the order in which it is.
CREATE INDEX works_ready ON works (tenant, priority DESC, id) WHERE state = 'queued' AND disposal = 'queue';
CREATE UNIQUE INDEX works_alike ON works (tenant, faculty, dedup_key)
    WHERE dedup_key IS NOT NULL AND state IN ('queued', 'running');
CREATE UNIQUE INDEX works_by_submit ON works (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL;
SELECT protect('works', 'SELECT, INSERT, UPDATE');

CREATE TABLE focuses (
    tenant         TEXT COLLATE "C" NOT NULL,
    id             TEXT COLLATE "C" NOT NULL,
    work           TEXT COLLATE "C" NOT NULL,
    -- Who may write for it: 1 for the host that began it, one more for each that took it over.
    token          BIGINT           NOT NULL CHECK (token > 0),
    -- Until then nobody takes it over.
    lease_until_ms BIGINT           NOT NULL,
    -- Who runs it: `process@machine`.
    host           TEXT             NOT NULL,
    plugins        TEXT             NOT NULL,
    started_ms     BIGINT           NOT NULL,
    ended_ms       BIGINT,
    -- How many intents its journal has: whoever raises it gives out the next number.
    effects        BIGINT           NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, work) REFERENCES works ON DELETE CASCADE
)
WITH (fillfactor = 50);
CREATE INDEX focuses_by_work ON focuses (tenant, work);
-- Without the end of the lease, which every heartbeat moves: few are open, and the rest of the row stays on its page.
CREATE INDEX focuses_open ON focuses (tenant, id) WHERE ended_ms IS NULL;
SELECT protect('focuses', 'SELECT, INSERT, UPDATE');
ALTER TABLE works ADD FOREIGN KEY (tenant, focus) REFERENCES focuses DEFERRABLE INITIALLY DEFERRED;

CREATE TABLE ledger (
    tenant       TEXT COLLATE "C" NOT NULL,
    work         TEXT COLLATE "C" NOT NULL,
    seq          BIGINT           NOT NULL CHECK (seq > 0),
    entry_type   TEXT COLLATE "C" NOT NULL
        CHECK (entry_type IN ('plan', 'finding', 'decision', 'step', 'error', 'note')),
    content      TEXT             NOT NULL,
    created_ms   BIGINT           NOT NULL,
    -- An append that is repeated when its focus is resumed is the same append.
    origin_focus TEXT COLLATE "C",
    origin_seq   BIGINT,
    PRIMARY KEY (tenant, work, seq),
    FOREIGN KEY (tenant, work) REFERENCES works ON DELETE CASCADE
);
CREATE UNIQUE INDEX ledger_by_origin ON ledger (tenant, origin_focus, origin_seq) WHERE origin_focus IS NOT NULL;
CREATE INDEX ledger_by_type ON ledger (tenant, entry_type, created_ms);
SELECT protect('ledger', 'SELECT, INSERT');
CREATE TRIGGER ledger_is_append_only BEFORE UPDATE ON ledger FOR EACH ROW EXECUTE FUNCTION refuse();

-- Intents and outcomes are two tables that only grow: an outcome without its intent, or a second outcome, cannot be
-- written at all, and a long request is not written again when its outcome arrives.
CREATE TABLE journal_intents (
    tenant     TEXT COLLATE "C" NOT NULL,
    focus      TEXT COLLATE "C" NOT NULL,
    seq        BIGINT           NOT NULL CHECK (seq > 0),
    kind       TEXT             NOT NULL
        CHECK (kind IN ('phase', 'llm', 'tool', 'http', 'ledger', 'memory', 'child', 'hook', 'code', 'host')),
    caller     TEXT             NOT NULL,
    subject    TEXT             NOT NULL,
    request    TEXT             NOT NULL,
    parent     BIGINT           CHECK (parent < seq),
    started_ms BIGINT           NOT NULL,
    PRIMARY KEY (tenant, focus, seq),
    FOREIGN KEY (tenant, focus) REFERENCES focuses ON DELETE CASCADE,
    FOREIGN KEY (tenant, focus, parent) REFERENCES journal_intents
);
SELECT protect('journal_intents', 'SELECT, INSERT');
CREATE TRIGGER intents_are_append_only BEFORE UPDATE ON journal_intents FOR EACH ROW EXECUTE FUNCTION refuse();

CREATE TABLE journal_outcomes (
    tenant   TEXT COLLATE "C" NOT NULL,
    focus    TEXT COLLATE "C" NOT NULL,
    seq      BIGINT           NOT NULL,
    outcome  TEXT             NOT NULL,
    ended_ms BIGINT           NOT NULL,
    PRIMARY KEY (tenant, focus, seq),
    FOREIGN KEY (tenant, focus, seq) REFERENCES journal_intents ON DELETE CASCADE
);
SELECT protect('journal_outcomes', 'SELECT, INSERT');
CREATE TRIGGER outcomes_are_append_only BEFORE UPDATE ON journal_outcomes FOR EACH ROW EXECUTE FUNCTION refuse();

-- What the watchers of work were told.
CREATE TABLE events (
    tenant TEXT COLLATE "C" NOT NULL,
    work   TEXT COLLATE "C" NOT NULL,
    seq    BIGINT           NOT NULL CHECK (seq > 0),
    event  TEXT             NOT NULL,
    at_ms  BIGINT           NOT NULL,
    PRIMARY KEY (tenant, work, seq),
    FOREIGN KEY (tenant, work) REFERENCES works ON DELETE CASCADE
);
SELECT protect('events', 'SELECT, INSERT');
