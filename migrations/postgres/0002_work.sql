-- Work items, the focuses that run them, and what these write.

CREATE TABLE works (
    tenant        TEXT COLLATE "C" NOT NULL REFERENCES tenants,
    id            TEXT COLLATE "C" NOT NULL,
    faculty       TEXT             NOT NULL,
    source        TEXT             NOT NULL,
    instruction   TEXT             NOT NULL,
    params        TEXT             NOT NULL,
    state         TEXT             NOT NULL CHECK (state IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    attempts      BIGINT           NOT NULL DEFAULT 0,
    focus         TEXT COLLATE "C",
    outcome       TEXT,
    error         TEXT,
    tokens        BIGINT           NOT NULL DEFAULT 0,
    cost_microusd BIGINT           NOT NULL DEFAULT 0,
    created_ms    BIGINT           NOT NULL,
    updated_ms    BIGINT           NOT NULL,
    -- How many entries its ledger has.
    entries       BIGINT           NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX works_by_state ON works (tenant, state, id);
SELECT protect('works', 'SELECT, INSERT, UPDATE');

CREATE TABLE focuses (
    tenant     TEXT COLLATE "C" NOT NULL,
    id         TEXT COLLATE "C" NOT NULL,
    work       TEXT COLLATE "C" NOT NULL,
    -- The process that runs it: when that is gone before `ended_ms` is set, the focus was cut off.
    process    BIGINT           NOT NULL,
    plugins    TEXT             NOT NULL,
    started_ms BIGINT           NOT NULL,
    ended_ms   BIGINT,
    -- How many intents its journal has.
    effects    BIGINT           NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, work) REFERENCES works ON DELETE CASCADE
);
CREATE INDEX focuses_by_work ON focuses (tenant, work);
CREATE INDEX focuses_open ON focuses (tenant, process) WHERE ended_ms IS NULL;
SELECT protect('focuses', 'SELECT, INSERT, UPDATE');
ALTER TABLE works ADD FOREIGN KEY (tenant, focus) REFERENCES focuses DEFERRABLE INITIALLY DEFERRED;

CREATE TABLE ledger (
    tenant     TEXT COLLATE "C" NOT NULL,
    work       TEXT COLLATE "C" NOT NULL,
    seq        BIGINT           NOT NULL CHECK (seq > 0),
    entry_type TEXT             NOT NULL
        CHECK (entry_type IN ('plan', 'finding', 'decision', 'step', 'error', 'note')),
    content    TEXT             NOT NULL,
    created_ms BIGINT           NOT NULL,
    PRIMARY KEY (tenant, work, seq),
    FOREIGN KEY (tenant, work) REFERENCES works ON DELETE CASCADE
);
SELECT protect('ledger', 'SELECT, INSERT');
CREATE TRIGGER ledger_is_append_only BEFORE UPDATE ON ledger FOR EACH ROW EXECUTE FUNCTION refuse();

-- Intents and outcomes are two tables that only grow: an outcome without its intent, or a second outcome, cannot be
-- written at all, and a long request is not written again when its outcome arrives.
CREATE TABLE journal_intents (
    tenant     TEXT COLLATE "C" NOT NULL,
    focus      TEXT COLLATE "C" NOT NULL,
    seq        BIGINT           NOT NULL CHECK (seq > 0),
    kind       TEXT             NOT NULL CHECK (kind IN ('phase', 'llm', 'tool', 'http', 'ledger', 'memory')),
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
