-- Skills: versions that are kept, which of them is active, and what became of each.

CREATE TABLE skills (
    tenant TEXT COLLATE "C" NOT NULL REFERENCES tenants,
    name   TEXT COLLATE "C" NOT NULL,
    -- The version that is active; none while the first one waits, or when none was approved.
    active BIGINT,
    -- The newest number given out, so that no version comes twice even when old ones are gone.
    newest BIGINT           NOT NULL CHECK (newest > 0),
    PRIMARY KEY (tenant, name)
);
SELECT protect('skills', 'SELECT, INSERT, UPDATE, DELETE');

CREATE TABLE skill_versions (
    tenant            TEXT COLLATE "C" NOT NULL,
    name              TEXT COLLATE "C" NOT NULL,
    version           BIGINT           NOT NULL CHECK (version > 0),
    -- Where it stands in its own right; whether an approved one is the active one, the table above says.
    state             TEXT             NOT NULL CHECK (state IN ('pending', 'approved', 'rejected')),
    digest            TEXT             NOT NULL,
    files             BYTEA            NOT NULL,
    created_by        TEXT             NOT NULL CHECK (created_by IN ('animus', 'human')),
    -- Where it came from, JSON: work item, focus, findings. No reference: it outlives the work.
    origin            TEXT             NOT NULL,
    plugin_generation BIGINT,
    report            TEXT,
    reason            TEXT,
    at_ms             BIGINT           NOT NULL,
    PRIMARY KEY (tenant, name, version),
    FOREIGN KEY (tenant, name) REFERENCES skills ON DELETE CASCADE
);
CREATE INDEX skills_pending ON skill_versions (tenant, at_ms) WHERE state = 'pending';
SELECT protect('skill_versions', 'SELECT, INSERT, UPDATE, DELETE');
ALTER TABLE skills ADD FOREIGN KEY (tenant, name, active) REFERENCES skill_versions DEFERRABLE INITIALLY DEFERRED;

-- One row for each time; a focus that activates a skill twice did so once.
CREATE TABLE skill_activations (
    tenant  TEXT COLLATE "C" NOT NULL,
    name    TEXT COLLATE "C" NOT NULL,
    focus   TEXT COLLATE "C" NOT NULL,
    work    TEXT COLLATE "C" NOT NULL,
    version BIGINT           NOT NULL,
    how     TEXT             NOT NULL CHECK (how IN ('manual', 'auto', 'depends')),
    at_ms   BIGINT           NOT NULL,
    PRIMARY KEY (tenant, name, focus),
    FOREIGN KEY (tenant, name) REFERENCES skills ON DELETE CASCADE,
    FOREIGN KEY (tenant, focus) REFERENCES focuses ON DELETE CASCADE
);
CREATE INDEX skill_activations_by_focus ON skill_activations (tenant, focus);
SELECT protect('skill_activations', 'SELECT, INSERT');

-- Counted apart from the versions, which are pruned and removed: how often what the agent made was let through, and how
-- often anything here changed.
CREATE TABLE skill_totals (
    tenant   TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES tenants,
    revision BIGINT           NOT NULL DEFAULT 0,
    auto     BIGINT           NOT NULL DEFAULT 0,
    approved BIGINT           NOT NULL DEFAULT 0,
    rejected BIGINT           NOT NULL DEFAULT 0
);
SELECT protect('skill_totals', 'SELECT, INSERT, UPDATE');
