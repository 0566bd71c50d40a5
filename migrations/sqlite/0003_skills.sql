-- Skills: versions that are kept, which of them is active, and what became of each.

CREATE TABLE skills (
    tenant TEXT    NOT NULL REFERENCES tenants,
    name   TEXT    NOT NULL,
    -- The version that is active; none while the first one waits, or when none was approved.
    active INTEGER,
    -- The newest number given out, so that no version comes twice even when old ones are gone.
    newest INTEGER NOT NULL CHECK (newest > 0),
    PRIMARY KEY (tenant, name),
    FOREIGN KEY (tenant, name, active) REFERENCES skill_versions DEFERRABLE INITIALLY DEFERRED
) STRICT;

CREATE TABLE skill_versions (
    tenant            TEXT    NOT NULL,
    name              TEXT    NOT NULL,
    version           INTEGER NOT NULL CHECK (version > 0),
    -- Where it stands in its own right; whether an approved one is the active one, the table above says.
    state             TEXT    NOT NULL CHECK (state IN ('pending', 'approved', 'rejected')),
    digest            TEXT    NOT NULL,
    files             BLOB    NOT NULL,
    created_by        TEXT    NOT NULL CHECK (created_by IN ('animus', 'human')),
    -- Where it came from, JSON: work item, focus, findings. No reference: it outlives the work.
    origin            TEXT    NOT NULL,
    plugin_generation INTEGER,
    report            TEXT,
    reason            TEXT,
    at_ms             INTEGER NOT NULL,
    PRIMARY KEY (tenant, name, version),
    FOREIGN KEY (tenant, name) REFERENCES skills ON DELETE CASCADE
) STRICT;
CREATE INDEX skills_pending ON skill_versions (tenant, at_ms) WHERE state = 'pending';

-- One row for each time; a focus that activates a skill twice did so once.
CREATE TABLE skill_activations (
    tenant  TEXT    NOT NULL,
    name    TEXT    NOT NULL,
    focus   TEXT    NOT NULL,
    work    TEXT    NOT NULL,
    version INTEGER NOT NULL,
    how     TEXT    NOT NULL CHECK (how IN ('manual', 'auto', 'depends')),
    at_ms   INTEGER NOT NULL,
    PRIMARY KEY (tenant, name, focus),
    FOREIGN KEY (tenant, name) REFERENCES skills ON DELETE CASCADE,
    FOREIGN KEY (tenant, focus) REFERENCES focuses ON DELETE CASCADE
) STRICT;
CREATE INDEX skill_activations_by_focus ON skill_activations (tenant, focus);

-- Counted apart from the versions, which are pruned and removed: how often what the agent made was let through, and how
-- often anything here changed.
CREATE TABLE skill_totals (
    tenant   TEXT    NOT NULL PRIMARY KEY REFERENCES tenants,
    revision INTEGER NOT NULL DEFAULT 0,
    auto     INTEGER NOT NULL DEFAULT 0,
    approved INTEGER NOT NULL DEFAULT 0,
    rejected INTEGER NOT NULL DEFAULT 0
) STRICT;
