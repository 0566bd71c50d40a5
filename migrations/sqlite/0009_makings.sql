-- Skills that foci make, each once, and what operators took back from their plugins.

-- Which effect of a focus made which version: repeated, it makes no other one. No reference to the version, so that it is
-- remembered when that is gone.
CREATE TABLE skill_makings (
    tenant  TEXT    NOT NULL,
    focus   TEXT    NOT NULL,
    seq     INTEGER NOT NULL,
    name    TEXT    NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (tenant, focus, seq),
    FOREIGN KEY (tenant, focus) REFERENCES focuses ON DELETE CASCADE
) STRICT;

-- The most that versions get which agents make, JSON: the operator's last word, once they took something back by hand.
-- What was narrowed before this column was is not told from what was never wider.
ALTER TABLE plugins ADD COLUMN at_most TEXT;
