-- Whether nobody has judged what was learned: a column of its own, so that those few are found without reading records.
ALTER TABLE generations ADD COLUMN unjudged boolean NOT NULL
    GENERATED ALWAYS AS (strpos(record, '"unjudged":true') > 0) STORED;
CREATE INDEX generations_unjudged ON generations (user_key) WHERE unjudged;
