-- Memories and their full-text index.

-- Forms of an English word are one word; nothing is too common to be found.
CREATE TEXT SEARCH DICTIONARY animus_stem (TEMPLATE = snowball, LANGUAGE = english);
CREATE TEXT SEARCH CONFIGURATION animus_words (PARSER = default);
ALTER TEXT SEARCH CONFIGURATION animus_words
    ADD MAPPING FOR asciiword, word, numword, int, uint, float, sfloat, version WITH animus_stem;

-- The words of a text, without accents. The text is made of words and spaces only (host/store/src/postgres/memories.rs).
CREATE FUNCTION words(content TEXT) RETURNS TSVECTOR
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path FROM CURRENT AS $$
    SELECT to_tsvector('animus_words', regexp_replace(normalize(content, NFD), '[\u0300-\u036F]', '', 'g'))
$$;

CREATE TABLE memories (
    tenant     TEXT COLLATE "C" NOT NULL REFERENCES tenants,
    id         TEXT COLLATE "C" NOT NULL,
    content    TEXT             NOT NULL,
    kind       TEXT COLLATE "C" NOT NULL,
    tags       TEXT[]           NOT NULL,
    source     TEXT             NOT NULL,
    created_ms BIGINT           NOT NULL,
    words      TSVECTOR         NOT NULL,
    PRIMARY KEY (tenant, id)
);
SELECT protect('memories', 'SELECT, INSERT, UPDATE, DELETE');
