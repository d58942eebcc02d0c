-- Checksums. Every table is made anew, so that the tables of all files are the same to the letter and can be compared
-- with what they should be; `schema.sql` runs between the two parts of this file. `row_sum` is `sum_of` in
-- store/sums.rs.
DROP INDEX interactions_by_time;
DROP INDEX members_by_period;
DROP INDEX answers_by_user;
ALTER TABLE settings RENAME TO old_settings;
ALTER TABLE users RENAME TO old_users;
ALTER TABLE leases RENAME TO old_leases;
ALTER TABLE interactions RENAME TO old_interactions;
ALTER TABLE periods RENAME TO old_periods;
ALTER TABLE members RENAME TO old_members;
ALTER TABLE generations RENAME TO old_generations;
ALTER TABLE memories RENAME TO old_memories;
ALTER TABLE answers RENAME TO old_answers;
ALTER TABLE embeddings RENAME TO old_embeddings;
ALTER TABLE graphs RENAME TO old_graphs;
-- schema.sql
-- The old tables leave free pages behind: `scrub` has the file rewritten without them.
INSERT INTO settings (one, model, fingerprint, config, scrub, removals, sum)
SELECT one, model, fingerprint, config, 1, removals, row_sum('settings', model, fingerprint, config, removals)
FROM old_settings;
INSERT INTO users (key, name, next_seq, generation, pending, removals, sum)
SELECT key, name, next_seq, generation, pending, removals,
    row_sum('users', key, name, next_seq, generation, pending, removals)
FROM old_users;
INSERT INTO leases (user, token, holder, place, process, started, expires, sum)
SELECT user, token, holder, place, process, started, expires,
    row_sum('leases', user, token, holder, place, process, started, expires)
FROM old_leases;
INSERT INTO interactions
    (user, seq, id, seconds, nanoseconds, base, meta, prompt, response, sum, base_sum)
SELECT user, seq, id, seconds, nanoseconds, base, meta, prompt, response,
    row_sum('interactions', user, seq, id, seconds, nanoseconds, meta, prompt, response),
    CASE WHEN base IS NOT NULL THEN row_sum('bases', user, seq, base) END
FROM old_interactions;
INSERT INTO periods (user, number) SELECT user, number FROM old_periods;
INSERT INTO members (user, seq, period, held_out, sum)
SELECT user, seq, period, held_out, row_sum('members', user, seq, period, held_out)
FROM old_members;
INSERT INTO generations (user, number, parent, period, record, sum, record_sum)
SELECT user, number, parent, period, record, row_sum('generations', user, number, parent, period),
    row_sum('records', user, number, record)
FROM old_generations;
INSERT INTO memories (user, generation, buffered, buffer, calibration, adapter, sum)
SELECT user, generation, buffered, buffer, calibration, adapter,
    row_sum('memories', user, generation, buffered, buffer, calibration, adapter)
FROM old_memories;
INSERT INTO answers (key, user, record, sum)
SELECT key, user, record, row_sum('answers', user, record)
FROM old_answers;
INSERT INTO embeddings (user, seq, base, vector, sum)
SELECT user, seq, base, vector, row_sum('embeddings', user, seq, base, vector)
FROM old_embeddings;
INSERT INTO graphs (user, stamp, sum)
SELECT user, stamp, row_sum('graphs', user, stamp)
FROM old_graphs;
-- What hangs on others goes first.
DROP TABLE old_graphs;
DROP TABLE old_embeddings;
DROP TABLE old_answers;
DROP TABLE old_memories;
DROP TABLE old_generations;
DROP TABLE old_members;
DROP TABLE old_periods;
DROP TABLE old_interactions;
DROP TABLE old_leases;
DROP TABLE old_users;
DROP TABLE old_settings;
