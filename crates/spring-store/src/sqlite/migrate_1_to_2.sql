-- Leases, the count of pending interactions, and removals that are to be finished.
ALTER TABLE settings ADD COLUMN scrub INTEGER NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN pending INTEGER NOT NULL DEFAULT 0;
UPDATE users SET pending = (
    SELECT count(*) FROM interactions i WHERE i.user = users.key
    AND NOT EXISTS (SELECT 1 FROM members m WHERE m.user = i.user AND m.seq = i.seq)
);
CREATE TABLE leases (
    user INTEGER PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    token INTEGER NOT NULL,
    holder TEXT NOT NULL,
    place TEXT NOT NULL,
    process INTEGER NOT NULL,
    started INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
