-- Whether nobody has judged what was learned: a column of its own, so that those few are found without reading records.
ALTER TABLE generations ADD COLUMN unjudged boolean NOT NULL
    GENERATED ALWAYS AS (strpos(record, '"unjudged":true') > 0) STORED;
CREATE INDEX generations_unjudged ON generations (user_key) WHERE unjudged;
-- Until the server next looks by itself, it would take half of the rows for unjudged and pass the index by.
ANALYZE generations;
-- Servers that answer for the state, each with when it last said so, by this server's clock. Under no checksum: a row
-- counts for seconds. Rows change every second: room beside them spares the index.
CREATE TABLE replicas (
    url text COLLATE "C" PRIMARY KEY,
    load double precision NOT NULL, -- of what it can do at once
    seen timestamptz NOT NULL
) WITH (fillfactor = 50);
