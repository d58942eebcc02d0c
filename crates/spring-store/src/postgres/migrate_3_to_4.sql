-- What a user has said of contributing to the adapters that others start from: no row for nothing said, which is no.
CREATE TABLE contributions (
    user_key bigint PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    may boolean NOT NULL,
    since bigint NOT NULL, -- seconds since 1970 UTC
    sum bigint NOT NULL
);

-- Adapters that were learned from several users, for others to start from. Those that are not in use any more stay
-- as long as something was learned from them. Records name texts: no statistics are kept of them.
CREATE TABLE priors (
    number bigint PRIMARY KEY CHECK (number > 0),
    id text COLLATE "C" NOT NULL UNIQUE, -- the adapter's hash, which records name it by
    in_use boolean NOT NULL,
    sum bigint NOT NULL, -- of these three
    record text NOT NULL, -- JSON: from what and how it was learned
    record_sum bigint NOT NULL,
    adapter bytea NOT NULL,
    adapter_sum bigint NOT NULL
);
ALTER TABLE priors ALTER COLUMN adapter SET STORAGE EXTERNAL;
ALTER TABLE priors ALTER COLUMN record SET STATISTICS 0, ALTER COLUMN adapter SET STATISTICS 0;
