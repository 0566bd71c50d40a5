-- Skills that foci make, each once, and what operators took back from their plugins.

-- Which effect of a focus made which version: repeated, it makes no other one. No reference to the version, so that it is
-- remembered when that is gone.
CREATE TABLE skill_makings (
    tenant  TEXT COLLATE "C" NOT NULL,
    focus   TEXT COLLATE "C" NOT NULL,
    seq     BIGINT           NOT NULL,
    name    TEXT COLLATE "C" NOT NULL,
    version BIGINT           NOT NULL,
    PRIMARY KEY (tenant, focus, seq),
    FOREIGN KEY (tenant, focus) REFERENCES focuses ON DELETE CASCADE
);
SELECT protect('skill_makings', 'SELECT, INSERT');

-- The most that versions get which agents make, JSON: the operator's last word, once they took something back by hand.
-- What was narrowed before this column was is not told from what was never wider.
ALTER TABLE plugins ADD COLUMN at_most TEXT;
