-- What hot reload remembers: loads that failed, and how generations fare.

-- The last failed load of each source. A fault belongs to a source and not to a plugin: what does not load may not even
-- say which plugin it is.
CREATE TABLE plugin_faults (
    tenant TEXT    NOT NULL REFERENCES tenants,
    source TEXT    NOT NULL,
    name   TEXT,
    error  TEXT    NOT NULL,
    at_ms  INTEGER NOT NULL,
    PRIMARY KEY (tenant, source)
) STRICT;

-- Only of generations that have failed; the others have no row here.
CREATE TABLE plugin_health (
    tenant     TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    -- In a row, up to now.
    failures   INTEGER NOT NULL CHECK (failures >= 0),
    -- Whether it was taken out of service because of them.
    retired    INTEGER NOT NULL DEFAULT 0 CHECK (retired IN (0, 1)),
    PRIMARY KEY (tenant, name, generation),
    FOREIGN KEY (tenant, name, generation) REFERENCES plugin_generations ON DELETE CASCADE
) STRICT;
