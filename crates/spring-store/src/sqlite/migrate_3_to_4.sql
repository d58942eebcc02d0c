-- What tells whether a text was removed while something was computed from it.
ALTER TABLE settings ADD COLUMN removals INTEGER NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN removals INTEGER NOT NULL DEFAULT 0;
