-- Memories: versions, vectors, and what is needed to keep an index of vectors in memory current.

ALTER TABLE memories ADD COLUMN version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0);
ALTER TABLE memories ADD COLUMN updated_ms INTEGER NOT NULL DEFAULT 0;
UPDATE memories SET updated_ms = created_ms;

-- What each memory said before.
CREATE TABLE memory_versions (
    tenant   TEXT    NOT NULL,
    id       TEXT    NOT NULL,
    version  INTEGER NOT NULL CHECK (version > 0),
    content  TEXT    NOT NULL,
    since_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, id, version),
    FOREIGN KEY (tenant, id) REFERENCES memories ON DELETE CASCADE
) STRICT;

-- What is counted over all memories of a tenant. The row is made with the first memory.
CREATE TABLE memory_totals (
    tenant     TEXT    NOT NULL PRIMARY KEY REFERENCES tenants,
    memories   INTEGER NOT NULL,
    -- The newest `memories.doc` that was given out: none comes twice, so that an index which missed a forgetting cannot
    -- take one memory for another.
    newest_doc INTEGER NOT NULL,
    -- Grows with every change of a vector.
    revision   INTEGER NOT NULL,
    -- Of changes up to this revision the forgettings are no longer told: an index that is older starts anew.
    floor      INTEGER NOT NULL
) STRICT;
INSERT INTO memory_totals (tenant, memories, newest_doc, revision, floor)
    SELECT tenant, count(*), max(doc), 0, 0 FROM memories GROUP BY tenant;

-- A model and a number of dimensions: vectors are comparable within one.
CREATE TABLE memory_spaces (
    tenant TEXT    NOT NULL REFERENCES tenants,
    space  INTEGER NOT NULL CHECK (space > 0),
    model  TEXT    NOT NULL,
    dims   INTEGER NOT NULL CHECK (dims > 0),
    PRIMARY KEY (tenant, space),
    UNIQUE (tenant, model, dims)
) STRICT;

-- The vectors, twice: rounded to one byte a dimension to be searched, and exact to be compared. Two tables, because the
-- first is read whole.
CREATE TABLE memory_codes (
    tenant   TEXT    NOT NULL,
    doc      INTEGER NOT NULL,
    -- When it last changed, as a revision of memory_totals.
    revision INTEGER NOT NULL,
    -- None, like scale and code, when the memory has no vector any more.
    space    INTEGER,
    scale    REAL,
    code     BLOB,
    PRIMARY KEY (tenant, doc),
    FOREIGN KEY (tenant, doc) REFERENCES memories (tenant, doc) ON DELETE CASCADE,
    FOREIGN KEY (tenant, space) REFERENCES memory_spaces
) STRICT;
CREATE INDEX memory_codes_by_revision ON memory_codes (tenant, revision);
CREATE INDEX memory_codes_by_space ON memory_codes (tenant, space);

CREATE TABLE memory_vectors (
    tenant TEXT    NOT NULL,
    doc    INTEGER NOT NULL,
    -- 32-bit floating point numbers, the low byte first.
    exact  BLOB    NOT NULL,
    PRIMARY KEY (tenant, doc),
    FOREIGN KEY (tenant, doc) REFERENCES memory_codes ON DELETE CASCADE
) STRICT;

-- That something was forgotten, and nothing of what: for indexes in memory, and so that a store which is repeated after a
-- crash does not bring it back. Rows go after a month.
CREATE TABLE memories_forgotten (
    tenant   TEXT    NOT NULL REFERENCES tenants,
    id       TEXT    NOT NULL,
    doc      INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    at_ms    INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;
CREATE INDEX memories_forgotten_by_revision ON memories_forgotten (tenant, revision);

-- What a focus is told of other work.
CREATE INDEX works_completed ON works (tenant, updated_ms) WHERE state = 'completed';
CREATE INDEX ledger_findings ON ledger (tenant, created_ms) WHERE entry_type = 'finding';
