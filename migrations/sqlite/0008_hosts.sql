-- Hosts that take work from the queue, as they say themselves every few seconds.
CREATE TABLE hosts (
    tenant   TEXT    NOT NULL REFERENCES tenants,
    -- `process@machine`.
    host     TEXT    NOT NULL,
    beat     TEXT    NOT NULL,
    since_ms INTEGER NOT NULL,
    seen_ms  INTEGER NOT NULL,
    PRIMARY KEY (tenant, host)
) STRICT;
