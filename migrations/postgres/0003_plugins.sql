-- Installed plugins, their bytes, and how they fare.

-- Equal bytes are equal whoever installed them, so they are kept once, without a tenant. A tenant sees those of its own
-- generations; the functions below are all that changes the table.
CREATE TABLE artifacts (
    digest TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    bytes  BYTEA            NOT NULL
);
-- They are compressed little, and read whole.
ALTER TABLE artifacts ALTER COLUMN bytes SET STORAGE EXTERNAL;

CREATE TABLE plugins (
    tenant     TEXT COLLATE "C" NOT NULL REFERENCES tenants,
    name       TEXT COLLATE "C" NOT NULL,
    -- The one that serves.
    generation BIGINT           NOT NULL,
    -- What the operator granted; it belongs to the plugin, so it survives an upgrade.
    granted    TEXT,
    PRIMARY KEY (tenant, name)
);
SELECT protect('plugins', 'SELECT, INSERT, UPDATE, DELETE');

CREATE TABLE plugin_generations (
    tenant         TEXT COLLATE "C" NOT NULL,
    name           TEXT COLLATE "C" NOT NULL,
    generation     BIGINT           NOT NULL CHECK (generation > 0),
    digest         TEXT COLLATE "C" NOT NULL REFERENCES artifacts,
    version        TEXT             NOT NULL,
    manifest       TEXT             NOT NULL,
    source         TEXT             NOT NULL,
    -- Whether the manifest requests anything; what requests nothing serves without a grant.
    requests       BOOLEAN          NOT NULL,
    tools          TEXT             NOT NULL,
    is_faculty     BOOLEAN          NOT NULL,
    is_interpreter BOOLEAN          NOT NULL,
    installed_ms   BIGINT           NOT NULL,
    PRIMARY KEY (tenant, name, generation),
    FOREIGN KEY (tenant, name) REFERENCES plugins ON DELETE CASCADE
);
CREATE INDEX plugin_generations_by_digest ON plugin_generations (digest, tenant);
SELECT protect('plugin_generations', 'SELECT, INSERT, DELETE');
ALTER TABLE plugins ADD FOREIGN KEY (tenant, name, generation) REFERENCES plugin_generations
    DEFERRABLE INITIALLY DEFERRED;

ALTER TABLE artifacts ENABLE ROW LEVEL SECURITY;
ALTER TABLE artifacts FORCE ROW LEVEL SECURITY;
-- What a tenant sees of `plugin_generations` are its own.
CREATE POLICY own_tenant ON artifacts FOR SELECT
    USING (EXISTS (SELECT FROM plugin_generations AS g WHERE g.digest = artifacts.digest));
-- The functions below run as the owner, and must know what other tenants need.
CREATE POLICY host ON artifacts TO CURRENT_USER USING (true);
CREATE POLICY host ON plugin_generations FOR SELECT TO CURRENT_USER USING (true);

-- Keeps bytes under their digest, and holds them until the transaction that will refer to them ends.
CREATE FUNCTION artifact_put(wanted TEXT, content BYTEA) RETURNS VOID
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    -- One tenant's mistake must not become the bytes of another's plugin.
    IF encode(sha256(content), 'hex') <> wanted THEN
        RAISE EXCEPTION 'these are not the bytes of the artifact %', wanted;
    END IF;
    LOOP
        INSERT INTO artifacts VALUES (wanted, content) ON CONFLICT (digest) DO NOTHING;
        PERFORM 1 FROM artifacts WHERE digest = wanted FOR KEY SHARE;
        EXIT WHEN FOUND; -- Otherwise somebody dropped them in between.
    END LOOP;
END $$;

-- Drops those of these artifacts that no generation of any tenant refers to. What somebody is about to refer to is held,
-- and left alone.
CREATE FUNCTION artifacts_drop(released TEXT[]) RETURNS VOID
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    held TEXT[];
BEGIN
    held := ARRAY(
        SELECT digest FROM artifacts WHERE digest = ANY (released) ORDER BY digest FOR UPDATE SKIP LOCKED
    );
    -- A statement of its own sees what was committed before the locks were taken.
    DELETE FROM artifacts AS a
    WHERE a.digest = ANY (held) AND NOT EXISTS (SELECT FROM plugin_generations AS g WHERE g.digest = a.digest);
END $$;

DO $$
BEGIN
    EXECUTE format('GRANT SELECT ON artifacts TO %I', (SELECT role FROM store));
    REVOKE ALL ON FUNCTION artifact_put, artifacts_drop FROM PUBLIC;
    EXECUTE format('GRANT EXECUTE ON FUNCTION artifact_put, artifacts_drop TO %I', (SELECT role FROM store));
END $$;

-- The last failed load of each source. A fault belongs to a source and not to a plugin: what does not load may not even
-- say which plugin it is.
CREATE TABLE plugin_faults (
    tenant TEXT COLLATE "C" NOT NULL REFERENCES tenants,
    source TEXT COLLATE "C" NOT NULL,
    name   TEXT COLLATE "C",
    error  TEXT             NOT NULL,
    at_ms  BIGINT           NOT NULL,
    -- Which of two of the same millisecond is newer.
    number BIGINT           GENERATED ALWAYS AS IDENTITY
);
-- A source may be longer than an index holds.
CREATE UNIQUE INDEX plugin_faults_by_source ON plugin_faults (tenant, md5(source));
SELECT protect('plugin_faults', 'SELECT, INSERT, UPDATE, DELETE');

-- Only of generations that have failed; the others have no row here.
CREATE TABLE plugin_health (
    tenant     TEXT COLLATE "C" NOT NULL,
    name       TEXT COLLATE "C" NOT NULL,
    generation BIGINT           NOT NULL,
    -- In a row, up to now.
    failures   BIGINT           NOT NULL CHECK (failures >= 0),
    -- Whether it was taken out of service because of them.
    retired    BOOLEAN          NOT NULL DEFAULT false,
    PRIMARY KEY (tenant, name, generation),
    FOREIGN KEY (tenant, name, generation) REFERENCES plugin_generations ON DELETE CASCADE
);
SELECT protect('plugin_health', 'SELECT, INSERT, UPDATE, DELETE');
