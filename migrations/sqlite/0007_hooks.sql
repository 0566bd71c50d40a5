-- Hooks: which generations export the interface, and which hooks the operator switched by hand.

-- Generations from before the interface existed export no such thing.
ALTER TABLE plugin_generations ADD COLUMN is_hook INTEGER NOT NULL DEFAULT 0 CHECK (is_hook IN (0, 1));

-- No reference to plugins: the operator's own command hooks are here too, and a plugin that is installed again stays
-- switched as it was.
CREATE TABLE hook_states (
    tenant  TEXT    NOT NULL REFERENCES tenants,
    name    TEXT    NOT NULL,
    enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    PRIMARY KEY (tenant, name)
) STRICT;
