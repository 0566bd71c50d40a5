-- The store of several hosts, Postgres dialect. Times are milliseconds since the epoch; columns of structured data hold
-- JSON as text, so that what was hashed stays byte for byte. Texts have their zero bytes escaped (host/store/src/postgres/
-- text.rs), and keys sort by their bytes (COLLATE "C"), whatever the database's collation.
--
-- Two walls between tenants. The tenant is the first column of every key and of every reference, and every statement names
-- it. Should one forget, row-level security shows the rows of `animus.tenant`, which each transaction sets for itself, and
-- none when it is not set. Superusers and owners would walk around that, so hosts work as a role that is neither.

CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE store (
    one  BOOLEAN NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
    -- What hosts work as. Roles belong to the whole server: this one is named after the role that owns the store, so that
    -- two owners never share one, and may exist already.
    role NAME    NOT NULL
);

DO $$
DECLARE
    own NAME := 'animus_tenant_' || left(md5(current_user), 12);
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = own) THEN
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', own);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- Another database's store was faster.
        END;
    END IF;
    IF (SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolcanlogin FROM pg_roles WHERE rolname = own) THEN
        RAISE EXCEPTION 'the role % must be without any attribute', own;
    END IF;
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT %I TO CURRENT_USER', own);
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), own);
    INSERT INTO store (role) VALUES (own);
END $$;

-- Puts both walls around a table with a column `tenant`, and gives hosts these rights on it and no others.
CREATE FUNCTION protect(what REGCLASS, rights TEXT) RETURNS VOID LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', what);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', what);
    EXECUTE format(
        'CREATE POLICY own_tenant ON %s USING (tenant = (SELECT current_setting(''animus.tenant'', true)))', what
    );
    EXECUTE format('GRANT %s ON %s TO %I', rights, what, (SELECT role FROM store));
END $$;
REVOKE ALL ON FUNCTION protect FROM PUBLIC;

-- Refuses to change what is written once: a wall against our own mistakes. Against others there is the hash chain.
CREATE FUNCTION refuse() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END $$;

CREATE TABLE tenants (
    tenant           TEXT COLLATE "C" NOT NULL PRIMARY KEY CHECK (tenant <> ''),
    plugins_revision BIGINT           NOT NULL DEFAULT 0,
    created_ms       BIGINT           NOT NULL
);
SELECT protect('tenants', 'SELECT, UPDATE');
-- The host itself lists and makes tenants.
CREATE POLICY host ON tenants TO CURRENT_USER USING (true);

CREATE TABLE secrets (
    tenant TEXT COLLATE "C" NOT NULL REFERENCES tenants,
    handle TEXT COLLATE "C" NOT NULL,
    -- Nonce and XChaCha20-Poly1305 ciphertext, bound to tenant and handle.
    sealed BYTEA            NOT NULL,
    set_ms BIGINT           NOT NULL,
    PRIMARY KEY (tenant, handle)
);
SELECT protect('secrets', 'SELECT, INSERT, UPDATE, DELETE');

CREATE TABLE audit (
    tenant  TEXT COLLATE "C" NOT NULL REFERENCES tenants,
    seq     BIGINT           NOT NULL CHECK (seq > 0),
    at_ms   BIGINT           NOT NULL,
    actor   TEXT             NOT NULL,
    action  TEXT             NOT NULL,
    subject TEXT             NOT NULL,
    detail  TEXT             NOT NULL,
    hash    TEXT             NOT NULL,
    PRIMARY KEY (tenant, seq)
);
SELECT protect('audit', 'SELECT, INSERT');
CREATE TRIGGER audit_is_kept BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION refuse();
