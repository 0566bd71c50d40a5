-- Hosts that take work from the queue, as they say themselves every few seconds.
CREATE TABLE hosts (
    tenant   TEXT COLLATE "C" NOT NULL REFERENCES tenants,
    -- `process@machine`.
    host     TEXT COLLATE "C" NOT NULL,
    beat     TEXT             NOT NULL,
    since_ms BIGINT           NOT NULL,
    seen_ms  BIGINT           NOT NULL,
    PRIMARY KEY (tenant, host)
);
SELECT protect('hosts', 'SELECT, INSERT, UPDATE, DELETE');
