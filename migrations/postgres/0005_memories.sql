-- Memories: what they say and said, their words, and where they point.

-- Forms of an English word are one word. In a memory nothing is too common to be found; what is asked for is looked up
-- without the most common words, where there are others.
CREATE TEXT SEARCH DICTIONARY animus_stem (TEMPLATE = snowball, LANGUAGE = english);
CREATE TEXT SEARCH CONFIGURATION animus_stored (PARSER = default);
ALTER TEXT SEARCH CONFIGURATION animus_stored
    ADD MAPPING FOR asciiword, word, numword, int, uint, float, sfloat, version WITH animus_stem;
CREATE TEXT SEARCH CONFIGURATION animus_asked (PARSER = default);
ALTER TEXT SEARCH CONFIGURATION animus_asked
    ADD MAPPING FOR asciiword, word, numword, int, uint, float, sfloat, version WITH english_stem;

-- The words of a text of words and spaces, without accents.
CREATE FUNCTION plain_words(config REGCONFIG, content TEXT) RETURNS TSVECTOR LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_tsvector(config, regexp_replace(normalize(content, NFD), '[\u0300-\u036F]', '', 'g'));

-- Words are kept with a mark of their tenant, so that a search walks over no other tenant's, and takes no longer because
-- others have many memories.
CREATE FUNCTION marked(owner TEXT, word TEXT) RETURNS TEXT LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN left(md5(owner), 8) || '/' || word;

CREATE FUNCTION stored_words(owner TEXT, content TEXT) RETURNS TSVECTOR LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path FROM CURRENT AS $$
    SELECT coalesce(
        string_agg(quote_literal(marked(owner, lexeme)) || ':' || array_to_string(positions, ','), ' '), ''
    )::tsvector
    FROM unnest(plain_words('animus_stored', content)) WHERE length(lexeme) < 256
$$;

-- Any of the words.
CREATE FUNCTION asked_words(owner TEXT, content TEXT) RETURNS TSQUERY LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path FROM CURRENT AS $$
    WITH rare AS (SELECT lexeme FROM unnest(plain_words('animus_asked', content))),
    every AS (
        SELECT lexeme FROM rare
        UNION ALL
        SELECT lexeme FROM unnest(plain_words('animus_stored', content)) WHERE NOT EXISTS (SELECT FROM rare)
    )
    SELECT coalesce(string_agg(quote_literal(marked(owner, lexeme)), ' | '), '')::tsquery
    FROM every WHERE length(lexeme) < 256
$$;

CREATE TABLE memories (
    tenant     TEXT COLLATE "C" NOT NULL REFERENCES tenants,
    id         TEXT COLLATE "C" NOT NULL,
    -- In the order of storing.
    doc        BIGINT           NOT NULL GENERATED ALWAYS AS IDENTITY,
    content    TEXT             NOT NULL,
    kind       TEXT COLLATE "C" NOT NULL,
    tags       TEXT[]           NOT NULL,
    source     TEXT             NOT NULL,
    version    BIGINT           NOT NULL DEFAULT 1 CHECK (version > 0),
    created_ms BIGINT           NOT NULL,
    updated_ms BIGINT           NOT NULL,
    words      TSVECTOR         NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, doc)
);
CREATE INDEX memories_by_word ON memories USING gin (words);
SELECT protect('memories', 'SELECT, INSERT, UPDATE, DELETE');

-- What each memory said before.
CREATE TABLE memory_versions (
    tenant   TEXT COLLATE "C" NOT NULL,
    id       TEXT COLLATE "C" NOT NULL,
    version  BIGINT           NOT NULL CHECK (version > 0),
    content  TEXT             NOT NULL,
    since_ms BIGINT           NOT NULL,
    PRIMARY KEY (tenant, id, version),
    FOREIGN KEY (tenant, id) REFERENCES memories ON DELETE CASCADE
);
SELECT protect('memory_versions', 'SELECT, INSERT, DELETE');

-- A model and a number of dimensions: vectors are comparable within one. Its number is one of the whole store.
CREATE TABLE memory_spaces (
    tenant TEXT COLLATE "C" NOT NULL REFERENCES tenants,
    space  BIGINT           NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
    model  TEXT COLLATE "C" NOT NULL,
    dims   BIGINT           NOT NULL CHECK (dims > 0),
    PRIMARY KEY (tenant, model, dims),
    UNIQUE (tenant, space)
);
SELECT protect('memory_spaces', 'SELECT, INSERT');

CREATE TABLE memory_vectors (
    tenant TEXT COLLATE "C" NOT NULL,
    doc    BIGINT           NOT NULL,
    space  BIGINT           NOT NULL,
    exact  VECTOR           NOT NULL,
    PRIMARY KEY (tenant, doc),
    FOREIGN KEY (tenant, doc) REFERENCES memories (tenant, doc) ON DELETE CASCADE,
    FOREIGN KEY (tenant, space) REFERENCES memory_spaces (tenant, space)
);
-- Numbers do not compress.
ALTER TABLE memory_vectors ALTER COLUMN exact SET STORAGE EXTERNAL;
CREATE INDEX memory_vectors_by_space ON memory_vectors (tenant, space, doc);
SELECT protect('memory_vectors', 'SELECT, INSERT, UPDATE, DELETE');

-- That something was forgotten, and nothing of what: so that a store which is repeated after a crash does not bring it
-- back. Rows go after a month.
CREATE TABLE memories_forgotten (
    tenant TEXT COLLATE "C" NOT NULL REFERENCES tenants,
    id     TEXT COLLATE "C" NOT NULL,
    at_ms  BIGINT           NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX memories_forgotten_by_time ON memories_forgotten (tenant, at_ms);
SELECT protect('memories_forgotten', 'SELECT, INSERT, DELETE');

-- Those of the tenant of this transaction that hold words, best first. Row-level security lets no index of words be used:
-- what a tenant may not see must not reach a comparison that could tell of it. This function walks around it, and is the
-- one place that does: it names the tenant itself, and comparing words tells nothing.
CREATE POLICY host ON memories FOR SELECT TO CURRENT_USER USING (true);
CREATE FUNCTION memories_with_words(
    asked TEXT, wanted_kind TEXT, wanted_tags TEXT[], wanted_source TEXT, since_ms BIGINT, until_ms BIGINT, most BIGINT
) RETURNS TABLE (found BIGINT) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    owner TEXT := current_setting('animus.tenant', true);
    wanted TSQUERY := asked_words(owner, asked);
BEGIN
    RETURN QUERY
    SELECT m.doc FROM memories AS m
    WHERE m.tenant = owner AND m.words @@ wanted
    AND (wanted_kind IS NULL OR m.kind = wanted_kind) AND m.tags @> wanted_tags
    AND (wanted_source IS NULL OR m.source = wanted_source)
    AND m.updated_ms >= since_ms AND m.updated_ms < until_ms
    ORDER BY ts_rank(m.words, wanted) DESC, m.doc DESC LIMIT most;
END $$;

-- Makes the index of a space that has become large: one for each, so that no tenant's neighbours stand between another's.
-- A transaction of a tenant may ask for one of its own spaces.
CREATE FUNCTION memory_index(wanted BIGINT) RETURNS VOID
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    width BIGINT;
BEGIN
    SELECT dims INTO width FROM memory_spaces AS s
    WHERE s.space = wanted AND s.tenant = current_setting('animus.tenant', true);
    IF width IS NULL OR width > 4000 THEN
        RETURN; -- More dimensions than an index takes: such a space is searched one by one.
    END IF;
    EXECUTE format(
        'CREATE INDEX IF NOT EXISTS %I ON memory_vectors USING hnsw ((exact::halfvec(%s)) halfvec_cosine_ops)
         WHERE space = %s',
        'memory_vectors_near_' || wanted, width, wanted
    );
END $$;

DO $$
BEGIN
    REVOKE ALL ON FUNCTION memories_with_words, memory_index FROM PUBLIC;
    EXECUTE format(
        'GRANT EXECUTE ON FUNCTION memories_with_words, memory_index TO %I', (SELECT role FROM store)
    );
END $$;
