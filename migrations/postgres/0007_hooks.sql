-- Hooks: which generations export the interface, and which hooks the operator switched by hand.

-- Generations from before the interface existed export no such thing.
ALTER TABLE plugin_generations ADD COLUMN is_hook BOOLEAN NOT NULL DEFAULT false;

-- No reference to plugins: the operator's own command hooks are here too, and a plugin that is installed again stays
-- switched as it was.
CREATE TABLE hook_states (
    tenant  TEXT COLLATE "C" NOT NULL REFERENCES tenants,
    name    TEXT COLLATE "C" NOT NULL,
    enabled BOOLEAN          NOT NULL,
    PRIMARY KEY (tenant, name)
);
SELECT protect('hook_states', 'SELECT, INSERT, UPDATE');
