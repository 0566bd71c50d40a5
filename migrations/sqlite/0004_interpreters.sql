-- Whether a generation exports the interpreter interface. Generations from before it existed export no such thing.
ALTER TABLE plugin_generations ADD COLUMN is_interpreter INTEGER NOT NULL DEFAULT 0 CHECK (is_interpreter IN (0, 1));
