-- The state of all users, in a schema of its own. Every user's rows hang on `users`: deleting that row deletes them
-- all. A `sum` is the checksum of its row, with the user's key; what is in it is said in store/sums.rs. What people
-- wrote is `bytea`, as PostgreSQL's texts take no zero bytes; `convert_from(prompt, 'UTF8')` shows it.

-- Which version of these tables it is: one row.
CREATE TABLE format (
    one integer PRIMARY KEY CHECK (one = 1),
    version bigint NOT NULL
);

-- What the state was made with: one row.
CREATE TABLE settings (
    one integer PRIMARY KEY CHECK (one = 1),
    model text NOT NULL,
    fingerprint text NOT NULL,
    config text NOT NULL, -- JSON
    -- Removals of users and of single texts, counted.
    removals bigint NOT NULL DEFAULT 0,
    sum bigint NOT NULL
);

CREATE TABLE users (
    key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    -- The sequence number of the next interaction.
    next_seq bigint NOT NULL DEFAULT 1,
    -- The generation in use; 0 for none.
    generation bigint NOT NULL DEFAULT 0,
    -- Interactions in no period.
    pending bigint NOT NULL DEFAULT 0,
    -- The state's count of removals when the user was added or last lost a text.
    removals bigint NOT NULL DEFAULT 0,
    sum bigint NOT NULL,
    -- Since when there is something to learn, by the server's clock; NULL where there is not. Under no checksum: it
    -- says who is next and nothing else.
    due_since timestamptz
) WITH (fillfactor = 80);
-- Finding who is next takes as long for a million users as for one.
CREATE INDEX users_due ON users (due_since, pending DESC) WHERE due_since IS NOT NULL;

-- Who trains a user, so that nobody else does. The row stays when a lease has ended, with `expires` 0, so that the
-- next one's token is larger.
CREATE TABLE leases (
    user_key bigint PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    token bigint NOT NULL,
    holder text NOT NULL, -- for people
    -- By which a process on the same machine can tell whether the holder still runs.
    place text NOT NULL,
    process bigint NOT NULL,
    started bigint NOT NULL,
    expires bigint NOT NULL, -- seconds since 1970 UTC
    sum bigint NOT NULL
) WITH (fillfactor = 80);

CREATE TABLE interactions (
    user_key bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    seq bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    -- Since 1970 UTC, both rounded towards zero, so both negative before: they sort together.
    seconds bigint NOT NULL,
    nanoseconds integer NOT NULL,
    base double precision, -- nats per token, once computed
    meta text, -- JSON
    prompt bytea NOT NULL,
    response bytea NOT NULL,
    sum bigint NOT NULL, -- of all but `base`
    base_sum bigint, -- of `base`
    PRIMARY KEY (user_key, seq),
    UNIQUE (user_key, id)
);
CREATE INDEX interactions_by_time ON interactions (user_key, seconds, nanoseconds, seq);

CREATE TABLE periods (
    user_key bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    number bigint NOT NULL CHECK (number > 0),
    PRIMARY KEY (user_key, number)
);

-- The key lets an interaction be in one period only, and both in the same user's hands.
CREATE TABLE members (
    user_key bigint NOT NULL,
    seq bigint NOT NULL,
    period bigint NOT NULL,
    held_out boolean NOT NULL,
    sum bigint NOT NULL,
    PRIMARY KEY (user_key, seq),
    FOREIGN KEY (user_key, seq) REFERENCES interactions ON DELETE CASCADE,
    FOREIGN KEY (user_key, period) REFERENCES periods ON DELETE CASCADE
);
CREATE INDEX members_by_period ON members (user_key, period);

-- What was learned from what: kept when the memories are not, and changed only when a text is forgotten.
CREATE TABLE generations (
    user_key bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    number bigint NOT NULL,
    parent bigint NOT NULL CHECK (parent >= 0 AND parent < number), -- 0 for none
    period bigint NOT NULL,
    record text NOT NULL, -- JSON
    sum bigint NOT NULL, -- of number, parent and period
    record_sum bigint NOT NULL,
    PRIMARY KEY (user_key, number),
    FOREIGN KEY (user_key, period) REFERENCES periods ON DELETE CASCADE
);

-- What a generation generates with. Weights do not shrink by compression: they are kept beside the row as they are.
CREATE TABLE memories (
    user_key bigint NOT NULL,
    generation bigint NOT NULL,
    buffered bigint NOT NULL, -- items in the buffer
    buffer text NOT NULL, -- JSON, best first
    calibration text NOT NULL, -- JSON
    adapter bytea NOT NULL,
    sum bigint NOT NULL,
    PRIMARY KEY (user_key, generation),
    FOREIGN KEY (user_key, generation) REFERENCES generations ON DELETE CASCADE
);
ALTER TABLE memories ALTER COLUMN adapter SET STORAGE EXTERNAL;

-- Records of generated texts; a larger key of a user is a later one.
CREATE TABLE answers (
    user_key bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    key bigint NOT NULL,
    record text NOT NULL, -- JSON
    sum bigint NOT NULL,
    PRIMARY KEY (user_key, key)
);

-- What dense search compares, each computed once: can be computed again, so it is in no export.
CREATE TABLE embeddings (
    user_key bigint NOT NULL,
    seq bigint NOT NULL,
    base text COLLATE "C" NOT NULL, -- fingerprint of the model that made it
    vector bytea NOT NULL, -- float32, little endian
    sum bigint NOT NULL,
    PRIMARY KEY (user_key, seq, base),
    FOREIGN KEY (user_key, seq) REFERENCES interactions ON DELETE CASCADE
);
ALTER TABLE embeddings ALTER COLUMN vector SET STORAGE EXTERNAL;

-- What the dump of the graph over a user's embeddings must be to be read.
CREATE TABLE graphs (
    user_key bigint PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    stamp text NOT NULL, -- JSON
    sum bigint NOT NULL
);

-- The server's statistics hold samples of what is in a column, until it next looks: none of what people wrote, nor of
-- what was made of it.
ALTER TABLE interactions ALTER COLUMN id SET STATISTICS 0, ALTER COLUMN meta SET STATISTICS 0,
    ALTER COLUMN prompt SET STATISTICS 0, ALTER COLUMN response SET STATISTICS 0;
ALTER TABLE generations ALTER COLUMN record SET STATISTICS 0;
ALTER TABLE memories ALTER COLUMN buffer SET STATISTICS 0, ALTER COLUMN calibration SET STATISTICS 0,
    ALTER COLUMN adapter SET STATISTICS 0;
ALTER TABLE answers ALTER COLUMN record SET STATISTICS 0;
ALTER TABLE embeddings ALTER COLUMN vector SET STATISTICS 0;
