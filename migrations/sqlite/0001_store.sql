-- The store of a host, SQLite dialect. Times are milliseconds since the epoch; columns of structured data hold JSON.
--
-- The tenant is the first column of every key and of every reference, so that no row can point into another tenant.
-- `artifacts` alone has none: equal bytes are equal whoever installed them, and a tenant reaches them only through a
-- generation of its own.

CREATE TABLE tenants (
    tenant           TEXT    NOT NULL PRIMARY KEY,
    -- Names the tenant's full-text table, `memory_text_<number>`: see host/store/src/sqlite/memories.rs.
    number           INTEGER NOT NULL UNIQUE,
    plugins_revision INTEGER NOT NULL DEFAULT 0,
    created_ms       INTEGER NOT NULL
) STRICT;

CREATE TABLE works (
    tenant        TEXT    NOT NULL REFERENCES tenants,
    id            TEXT    NOT NULL,
    faculty       TEXT    NOT NULL,
    source        TEXT    NOT NULL,
    instruction   TEXT    NOT NULL,
    params        TEXT    NOT NULL,
    state         TEXT    NOT NULL CHECK (state IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    attempts      INTEGER NOT NULL DEFAULT 0,
    focus         TEXT,
    outcome       TEXT,
    error         TEXT,
    tokens        INTEGER NOT NULL DEFAULT 0,
    cost_microusd INTEGER NOT NULL DEFAULT 0,
    created_ms    INTEGER NOT NULL,
    updated_ms    INTEGER NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, focus) REFERENCES focuses DEFERRABLE INITIALLY DEFERRED
) STRICT;
CREATE INDEX works_by_state ON works (tenant, state, id);

CREATE TABLE focuses (
    tenant     TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    work       TEXT    NOT NULL,
    -- The process that runs it: when that is gone before `ended_ms` is set, the focus was cut off.
    process    INTEGER NOT NULL,
    plugins    TEXT    NOT NULL,
    started_ms INTEGER NOT NULL,
    ended_ms   INTEGER,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, work) REFERENCES works ON DELETE CASCADE
) STRICT;
CREATE INDEX focuses_by_work ON focuses (tenant, work);
CREATE INDEX focuses_open ON focuses (tenant, process) WHERE ended_ms IS NULL;

CREATE TABLE ledger (
    tenant     TEXT    NOT NULL,
    work       TEXT    NOT NULL,
    seq        INTEGER NOT NULL CHECK (seq > 0),
    entry_type TEXT    NOT NULL CHECK (entry_type IN ('plan', 'finding', 'decision', 'step', 'error', 'note')),
    content    TEXT    NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, work, seq),
    FOREIGN KEY (tenant, work) REFERENCES works ON DELETE CASCADE
) STRICT;

-- Intents and outcomes are two tables that only grow: an outcome without its intent, or a second outcome, cannot be
-- written at all, and a long request is not written again when its outcome arrives. Long responses stay in their row:
-- SQLite keeps them on overflow pages that no other query touches, and a table of their own would only add a join.
CREATE TABLE journal_intents (
    tenant     TEXT    NOT NULL,
    focus      TEXT    NOT NULL,
    seq        INTEGER NOT NULL CHECK (seq > 0),
    kind       TEXT    NOT NULL CHECK (kind IN ('phase', 'llm', 'tool', 'http', 'ledger', 'memory')),
    caller     TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    request    TEXT    NOT NULL,
    parent     INTEGER CHECK (parent < seq),
    started_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, focus, seq),
    FOREIGN KEY (tenant, focus) REFERENCES focuses ON DELETE CASCADE,
    FOREIGN KEY (tenant, focus, parent) REFERENCES journal_intents
) STRICT;

CREATE TABLE journal_outcomes (
    tenant   TEXT    NOT NULL,
    focus    TEXT    NOT NULL,
    seq      INTEGER NOT NULL,
    outcome  TEXT    NOT NULL,
    ended_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, focus, seq),
    FOREIGN KEY (tenant, focus, seq) REFERENCES journal_intents ON DELETE CASCADE
) STRICT;

CREATE TABLE memories (
    tenant     TEXT    NOT NULL REFERENCES tenants,
    id         TEXT    NOT NULL,
    -- The row's number in the tenant's full-text table.
    doc        INTEGER NOT NULL,
    content    TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    -- Sorted, one space between two: tags have no spaces.
    tags       TEXT    NOT NULL,
    source     TEXT    NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, doc)
) STRICT;

CREATE TABLE artifacts (
    digest TEXT NOT NULL PRIMARY KEY,
    bytes  BLOB NOT NULL
) STRICT;

CREATE TABLE plugins (
    tenant     TEXT    NOT NULL REFERENCES tenants,
    name       TEXT    NOT NULL,
    -- The one that serves.
    generation INTEGER NOT NULL,
    -- What the operator granted; it belongs to the plugin, so it survives an upgrade.
    granted    TEXT,
    PRIMARY KEY (tenant, name),
    FOREIGN KEY (tenant, name, generation) REFERENCES plugin_generations DEFERRABLE INITIALLY DEFERRED
) STRICT;

CREATE TABLE plugin_generations (
    tenant       TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    generation   INTEGER NOT NULL CHECK (generation > 0),
    digest       TEXT    NOT NULL REFERENCES artifacts,
    version      TEXT    NOT NULL,
    manifest     TEXT    NOT NULL,
    source       TEXT    NOT NULL,
    -- Whether the manifest requests anything; what requests nothing serves without a grant.
    requests     INTEGER NOT NULL CHECK (requests IN (0, 1)),
    tools        TEXT    NOT NULL,
    is_faculty   INTEGER NOT NULL CHECK (is_faculty IN (0, 1)),
    installed_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, name, generation),
    FOREIGN KEY (tenant, name) REFERENCES plugins ON DELETE CASCADE
) STRICT;
CREATE INDEX plugin_generations_by_digest ON plugin_generations (digest, tenant);

CREATE TABLE secrets (
    tenant TEXT    NOT NULL REFERENCES tenants,
    handle TEXT    NOT NULL,
    -- Nonce and XChaCha20-Poly1305 ciphertext, bound to tenant and handle.
    sealed BLOB    NOT NULL,
    set_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, handle)
) STRICT;

CREATE TABLE audit (
    tenant  TEXT    NOT NULL REFERENCES tenants,
    seq     INTEGER NOT NULL CHECK (seq > 0),
    at_ms   INTEGER NOT NULL,
    actor   TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    detail  TEXT    NOT NULL,
    hash    TEXT    NOT NULL,
    PRIMARY KEY (tenant, seq)
) STRICT;

-- A wall against our own mistakes; against others there is the hash chain.
CREATE TRIGGER ledger_is_append_only BEFORE UPDATE ON ledger
    BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER intents_are_append_only BEFORE UPDATE ON journal_intents
    BEGIN SELECT raise(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER outcomes_are_append_only BEFORE UPDATE ON journal_outcomes
    BEGIN SELECT raise(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit
    BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit
    BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
