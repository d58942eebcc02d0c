-- What a user has said of conversations with a server: no row for nothing said, which is no.
CREATE TABLE consents (
    user_key bigint PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    keep boolean NOT NULL,
    since bigint NOT NULL, -- seconds since 1970 UTC
    sum bigint NOT NULL
);

-- Who may ask a server for answers. What opens a key is not here, only its SHA-256.
CREATE TABLE keys (
    id text COLLATE "C" PRIMARY KEY,
    hash bytea NOT NULL UNIQUE,
    user_key bigint REFERENCES users ON DELETE CASCADE, -- NULL for those of gateways and administrators
    record text NOT NULL, -- JSON
    sum bigint NOT NULL
);
CREATE INDEX keys_by_user ON keys (user_key);
ALTER TABLE keys ALTER COLUMN hash SET STATISTICS 0, ALTER COLUMN record SET STATISTICS 0;
