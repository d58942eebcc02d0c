-- The state of all users of one installation. Every user's rows hang on `users`: deleting that row deletes them all.
-- A `sum` is the checksum of its row, with the user's key; what is in it is said in store/sums.rs.

-- What the state was made with: one row.
CREATE TABLE settings (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    model TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    config TEXT NOT NULL, -- JSON
    -- 1 from a removal until the file was rewritten without what was removed.
    scrub INTEGER NOT NULL DEFAULT 0,
    -- Removals of users and of single texts, counted.
    removals INTEGER NOT NULL DEFAULT 0,
    sum INTEGER NOT NULL -- of all but `scrub`
) STRICT;

CREATE TABLE users (
    key INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    -- The sequence number of the next interaction. Numbers count per user, so that nothing about a user depends on
    -- the others, and none is given twice, so that records of a deleted interaction never point to another.
    next_seq INTEGER NOT NULL DEFAULT 1,
    -- The generation in use; 0 for none.
    generation INTEGER NOT NULL DEFAULT 0,
    -- Interactions in no period.
    pending INTEGER NOT NULL DEFAULT 0,
    -- The state's count of removals when the user was added or last lost a text: what was computed from the user's
    -- texts while it was another number is not kept.
    removals INTEGER NOT NULL DEFAULT 0,
    sum INTEGER NOT NULL
) STRICT;

-- Who trains a user, so that nobody else does. The row stays when a lease has ended, with `expires` 0,
-- so that the next one's token is larger.
CREATE TABLE leases (
    user INTEGER PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    token INTEGER NOT NULL,
    holder TEXT NOT NULL, -- for people
    -- By which a process on the same machine can tell whether the holder still runs.
    place TEXT NOT NULL,
    process INTEGER NOT NULL,
    started INTEGER NOT NULL,
    expires INTEGER NOT NULL, -- seconds since 1970 UTC
    sum INTEGER NOT NULL
) STRICT;

CREATE TABLE interactions (
    user INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    -- Since 1970 UTC, both rounded towards zero, so both negative before: they sort together.
    seconds INTEGER NOT NULL,
    nanoseconds INTEGER NOT NULL,
    base REAL, -- nats per token, once computed
    meta TEXT, -- JSON
    prompt TEXT NOT NULL,
    response TEXT NOT NULL,
    sum INTEGER NOT NULL, -- of all but `base`
    base_sum INTEGER, -- of `base`
    PRIMARY KEY (user, seq),
    UNIQUE (user, id)
) STRICT;
CREATE INDEX interactions_by_time ON interactions (user, seconds, nanoseconds, seq);

CREATE TABLE periods (
    user INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    number INTEGER NOT NULL CHECK (number > 0),
    PRIMARY KEY (user, number)
) STRICT, WITHOUT ROWID;

-- The key lets an interaction be in one period only, and both in the same user's hands.
CREATE TABLE members (
    user INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    period INTEGER NOT NULL,
    held_out INTEGER NOT NULL CHECK (held_out IN (0, 1)),
    sum INTEGER NOT NULL,
    PRIMARY KEY (user, seq),
    FOREIGN KEY (user, seq) REFERENCES interactions ON DELETE CASCADE,
    FOREIGN KEY (user, period) REFERENCES periods ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX members_by_period ON members (user, period);

-- What was learned from what: kept when the memories are not, and changed only when a text is forgotten.
CREATE TABLE generations (
    user INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    number INTEGER NOT NULL,
    parent INTEGER NOT NULL CHECK (parent >= 0 AND parent < number), -- 0 for none
    period INTEGER NOT NULL,
    record TEXT NOT NULL, -- JSON
    sum INTEGER NOT NULL, -- of number, parent and period
    record_sum INTEGER NOT NULL,
    PRIMARY KEY (user, number),
    FOREIGN KEY (user, period) REFERENCES periods ON DELETE CASCADE
) STRICT;

-- What a generation generates with.
CREATE TABLE memories (
    user INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    buffered INTEGER NOT NULL, -- items in the buffer
    buffer TEXT NOT NULL, -- JSON, best first
    calibration TEXT NOT NULL, -- JSON
    adapter BLOB NOT NULL,
    sum INTEGER NOT NULL,
    PRIMARY KEY (user, generation),
    FOREIGN KEY (user, generation) REFERENCES generations ON DELETE CASCADE
) STRICT;

-- Records of generated texts; a larger key is a later one.
CREATE TABLE answers (
    key INTEGER PRIMARY KEY,
    user INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    record TEXT NOT NULL, -- JSON
    sum INTEGER NOT NULL
) STRICT;
CREATE INDEX answers_by_user ON answers (user, key);

-- What dense search compares, each computed once: can be computed again, so it is in no export.
CREATE TABLE embeddings (
    user INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    base TEXT NOT NULL, -- fingerprint of the model that made it
    vector BLOB NOT NULL, -- float32, little endian
    sum INTEGER NOT NULL,
    PRIMARY KEY (user, seq, base),
    FOREIGN KEY (user, seq) REFERENCES interactions ON DELETE CASCADE
) STRICT;

-- What the dump of the graph over a user's embeddings, a file beside this one, must be to be read.
CREATE TABLE graphs (
    user INTEGER PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    stamp TEXT NOT NULL, -- JSON
    sum INTEGER NOT NULL
) STRICT;

-- since version 6
-- What a user has said of conversations with a server: no row for nothing said, which is no.
CREATE TABLE consents (
    user INTEGER PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    keep INTEGER NOT NULL CHECK (keep IN (0, 1)),
    since INTEGER NOT NULL, -- seconds since 1970 UTC
    sum INTEGER NOT NULL
) STRICT;

-- Who may ask a server for answers. What opens a key is not here, only its SHA-256.
CREATE TABLE keys (
    id TEXT NOT NULL PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    user INTEGER REFERENCES users ON DELETE CASCADE, -- NULL for those of gateways and administrators
    record TEXT NOT NULL, -- JSON
    sum INTEGER NOT NULL
) STRICT;
CREATE INDEX keys_by_user ON keys (user);

-- since version 7
-- Of whom nobody has judged what was learned: few, and found without reading the records.
CREATE INDEX generations_unjudged ON generations (user, number) WHERE instr(record, '"unjudged":true') > 0;
-- Servers that answer for the state, each with when it last said so. Under no checksum: a row counts for seconds.
CREATE TABLE replicas (
    url TEXT NOT NULL PRIMARY KEY,
    load REAL NOT NULL, -- of what it can do at once
    seen REAL NOT NULL -- seconds since 1970 UTC
) STRICT;

-- since version 8
-- What a user has said of contributing to the adapters that others start from: no row for nothing said, which is no.
CREATE TABLE contributions (
    user INTEGER PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    may INTEGER NOT NULL CHECK (may IN (0, 1)),
    since INTEGER NOT NULL, -- seconds since 1970 UTC
    sum INTEGER NOT NULL
) STRICT;

-- Adapters that were learned from several users, for others to start from. Those that are not in use any more stay
-- as long as something was learned from them.
CREATE TABLE priors (
    number INTEGER NOT NULL PRIMARY KEY CHECK (number > 0),
    id TEXT NOT NULL UNIQUE, -- the adapter's hash, which records name it by
    in_use INTEGER NOT NULL CHECK (in_use IN (0, 1)),
    sum INTEGER NOT NULL, -- of these three
    record TEXT NOT NULL, -- JSON: from what and how it was learned
    record_sum INTEGER NOT NULL,
    adapter BLOB NOT NULL,
    adapter_sum INTEGER NOT NULL
) STRICT;
