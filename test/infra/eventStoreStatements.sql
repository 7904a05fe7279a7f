-- commit
WITH flush AS ( INSERT INTO commits (writer_id, seq, recorded_at, row_count, keys) VALUES ($1, $2, $3, $4, $5) RETURNING seq ) INSERT INTO events (account_id, version, type, schema_version, payload, command_id, ordinal, command_hash, recorded_at, effective_at, context, hash) SELECT * FROM unnest($6::text[], $7::int8[], $8::text[], $9::int4[], $10::text[], $11::text[], $12::int4[], $13::text[], $14::timestamptz[], $15::timestamptz[], $16::text[], $17::text[])
  $1 25 "n.1"
  $2 20 "3n"
  $3 1184 1767225600000
  $4 23 2
  $5 25 "[[\"a\",1,1],[\"b\",7,7]]"
  $6 1009 ["a","b"]
  $7 1016 ["1n","7n"]
  $8 1009 ["Deposited","Deposited"]
  $9 1007 [1,1]
  $10 1009 ["{\"amount\":\"1\",\"contra\":\"external:bank\"}","{\"amount\":\"7\",\"contra\":\"external:bank\"}"]
  $11 1009 ["c-1","c-1"]
  $12 1007 [0,1]
  $13 1009 ["BUcbzZ5rLwaXDf7EZpC-8VJ3M2jXw5cD2uwS1LhZ8mA",null]
  $14 1185 [1767225600000,1767225600000]
  $15 1185 [1767225599995,null]
  $16 1009 [null,"{}"]
  $17 1009 ["xVvXnLglK2qVekr1FxLl5tf9NQ3cLfaBLidlvMJjpbc","NyQvVreEcYA_9qd6teFoAKNMkUl4xuGnRCOsTt87ZUI"]

-- commit behind another
BEGIN
WITH flush AS ( INSERT INTO commits (writer_id, seq, recorded_at, row_count, keys) VALUES ($1, $2, $3, $4, $5) RETURNING seq ) INSERT INTO events (account_id, version, type, schema_version, payload, command_id, ordinal, command_hash, recorded_at, effective_at, context, hash) SELECT * FROM unnest($6::text[], $7::int8[], $8::text[], $9::int4[], $10::text[], $11::text[], $12::int4[], $13::text[], $14::timestamptz[], $15::timestamptz[], $16::text[], $17::text[])
  $1 25 "n.1"
  $2 20 "3n"
  $3 1184 1767225600000
  $4 23 2
  $5 25 "[[\"a\",1,1],[\"b\",7,7]]"
  $6 1009 ["a","b"]
  $7 1016 ["1n","7n"]
  $8 1009 ["Deposited","Deposited"]
  $9 1007 [1,1]
  $10 1009 ["{\"amount\":\"1\",\"contra\":\"external:bank\"}","{\"amount\":\"7\",\"contra\":\"external:bank\"}"]
  $11 1009 ["c-1","c-1"]
  $12 1007 [0,1]
  $13 1009 ["BUcbzZ5rLwaXDf7EZpC-8VJ3M2jXw5cD2uwS1LhZ8mA",null]
  $14 1185 [1767225600000,1767225600000]
  $15 1185 [1767225599995,null]
  $16 1009 [null,"{}"]
  $17 1009 ["xVvXnLglK2qVekr1FxLl5tf9NQ3cLfaBLidlvMJjpbc","NyQvVreEcYA_9qd6teFoAKNMkUl4xuGnRCOsTt87ZUI"]
COMMIT

-- commit that its predecessor held back
BEGIN
WITH flush AS ( INSERT INTO commits (writer_id, seq, recorded_at, row_count, keys) VALUES ($1, $2, $3, $4, $5) RETURNING seq ) INSERT INTO events (account_id, version, type, schema_version, payload, command_id, ordinal, command_hash, recorded_at, effective_at, context, hash) SELECT * FROM unnest($6::text[], $7::int8[], $8::text[], $9::int4[], $10::text[], $11::text[], $12::int4[], $13::text[], $14::timestamptz[], $15::timestamptz[], $16::text[], $17::text[])
  $1 25 "n.1"
  $2 20 "3n"
  $3 1184 1767225600000
  $4 23 2
  $5 25 "[[\"a\",1,1],[\"b\",7,7]]"
  $6 1009 ["a","b"]
  $7 1016 ["1n","7n"]
  $8 1009 ["Deposited","Deposited"]
  $9 1007 [1,1]
  $10 1009 ["{\"amount\":\"1\",\"contra\":\"external:bank\"}","{\"amount\":\"7\",\"contra\":\"external:bank\"}"]
  $11 1009 ["c-1","c-1"]
  $12 1007 [0,1]
  $13 1009 ["BUcbzZ5rLwaXDf7EZpC-8VJ3M2jXw5cD2uwS1LhZ8mA",null]
  $14 1185 [1767225600000,1767225600000]
  $15 1185 [1767225599995,null]
  $16 1009 [null,"{}"]
  $17 1009 ["xVvXnLglK2qVekr1FxLl5tf9NQ3cLfaBLidlvMJjpbc","NyQvVreEcYA_9qd6teFoAKNMkUl4xuGnRCOsTt87ZUI"]
ROLLBACK

-- commit that had landed
WITH flush AS ( INSERT INTO commits (writer_id, seq, recorded_at, row_count, keys) VALUES ($1, $2, $3, $4, $5) RETURNING seq ) INSERT INTO events (account_id, version, type, schema_version, payload, command_id, ordinal, command_hash, recorded_at, effective_at, context, hash) SELECT * FROM unnest($6::text[], $7::int8[], $8::text[], $9::int4[], $10::text[], $11::text[], $12::int4[], $13::text[], $14::timestamptz[], $15::timestamptz[], $16::text[], $17::text[])
  $1 25 "n.1"
  $2 20 "3n"
  $3 1184 1767225600000
  $4 23 2
  $5 25 "[[\"a\",1,1],[\"b\",7,7]]"
  $6 1009 ["a","b"]
  $7 1016 ["1n","7n"]
  $8 1009 ["Deposited","Deposited"]
  $9 1007 [1,1]
  $10 1009 ["{\"amount\":\"1\",\"contra\":\"external:bank\"}","{\"amount\":\"7\",\"contra\":\"external:bank\"}"]
  $11 1009 ["c-1","c-1"]
  $12 1007 [0,1]
  $13 1009 ["BUcbzZ5rLwaXDf7EZpC-8VJ3M2jXw5cD2uwS1LhZ8mA",null]
  $14 1185 [1767225600000,1767225600000]
  $15 1185 [1767225599995,null]
  $16 1009 [null,"{}"]
  $17 1009 ["xVvXnLglK2qVekr1FxLl5tf9NQ3cLfaBLidlvMJjpbc","NyQvVreEcYA_9qd6teFoAKNMkUl4xuGnRCOsTt87ZUI"]
SELECT row_count, keys FROM commits WHERE writer_id = $1 AND seq = $2
  $1 25 "n.1"
  $2 20 "3n"
SELECT coalesce(current_setting('synchronous_standby_names', true), '')
SELECT count(*) FROM unnest($1::text[], $2::int8[], $3::text[]) AS mine(account_id, version, hash) CROSS JOIN LATERAL ( SELECT e.hash FROM events e WHERE e.account_id = mine.account_id AND e.version = mine.version LIMIT 1 ) AS found WHERE found.hash = mine.hash
  $1 1009 ["a","b"]
  $2 1016 ["1n","7n"]
  $3 1009 ["xVvXnLglK2qVekr1FxLl5tf9NQ3cLfaBLidlvMJjpbc","NyQvVreEcYA_9qd6teFoAKNMkUl4xuGnRCOsTt87ZUI"]

-- commit in the way of others
WITH flush AS ( INSERT INTO commits (writer_id, seq, recorded_at, row_count, keys) VALUES ($1, $2, $3, $4, $5) RETURNING seq ) INSERT INTO events (account_id, version, type, schema_version, payload, command_id, ordinal, command_hash, recorded_at, effective_at, context, hash) SELECT * FROM unnest($6::text[], $7::int8[], $8::text[], $9::int4[], $10::text[], $11::text[], $12::int4[], $13::text[], $14::timestamptz[], $15::timestamptz[], $16::text[], $17::text[])
  $1 25 "n.1"
  $2 20 "3n"
  $3 1184 1767225600000
  $4 23 2
  $5 25 "[[\"a\",1,1],[\"b\",7,7]]"
  $6 1009 ["a","b"]
  $7 1016 ["1n","7n"]
  $8 1009 ["Deposited","Deposited"]
  $9 1007 [1,1]
  $10 1009 ["{\"amount\":\"1\",\"contra\":\"external:bank\"}","{\"amount\":\"7\",\"contra\":\"external:bank\"}"]
  $11 1009 ["c-1","c-1"]
  $12 1007 [0,1]
  $13 1009 ["BUcbzZ5rLwaXDf7EZpC-8VJ3M2jXw5cD2uwS1LhZ8mA",null]
  $14 1185 [1767225600000,1767225600000]
  $15 1185 [1767225599995,null]
  $16 1009 [null,"{}"]
  $17 1009 ["xVvXnLglK2qVekr1FxLl5tf9NQ3cLfaBLidlvMJjpbc","NyQvVreEcYA_9qd6teFoAKNMkUl4xuGnRCOsTt87ZUI"]
SELECT row_count, keys FROM commits WHERE writer_id = $1 AND seq = $2
  $1 25 "n.1"
  $2 20 "3n"
SELECT coalesce(current_setting('synchronous_standby_names', true), '')
SELECT found.account_id, found.version FROM unnest($1::text[], $2::int8[]) AS mine(account_id, version) CROSS JOIN LATERAL ( SELECT e.account_id, e.version FROM events e WHERE e.account_id = mine.account_id AND e.version = mine.version LIMIT 1 ) AS found
  $1 1009 ["a","b"]
  $2 1016 ["1n","7n"]
SELECT command_id FROM events WHERE command_id = ANY($1::text[]) AND ordinal = 0
  $1 1009 ["c-1"]

-- product
SELECT version()

-- readStream
SELECT account_id, version, type, schema_version, payload, command_id, ordinal, command_hash, recorded_at, effective_at, context, hash FROM events WHERE account_id = $1 AND version > $2 AND version <= $3 ORDER BY version LIMIT $4
  $1 25 "a"
  $2 20 "2n"
  $3 20 "9n"
  $4 20 "5n"
SELECT coalesce(current_setting('synchronous_standby_names', true), '')

-- readStreams of two accounts
SELECT * FROM (( SELECT account_id, version, type, schema_version, payload, command_id, ordinal, command_hash, recorded_at, effective_at, context, hash FROM events WHERE account_id = $2 AND version > $3 ORDER BY version LIMIT $1) UNION ALL ( SELECT account_id, version, type, schema_version, payload, command_id, ordinal, command_hash, recorded_at, effective_at, context, hash FROM events WHERE account_id = $4 AND version > $5 ORDER BY version LIMIT $1)) AS found ORDER BY account_id, version LIMIT $1
  $1 20 "50n"
  $2 25 "a"
  $3 20 "2n"
  $4 25 "b"
  $5 20 "0n"
SELECT coalesce(current_setting('synchronous_standby_names', true), '')

-- readEvents
SELECT found.account_id, found.version, found.type, found.schema_version, found.payload, found.command_id, found.ordinal, found.command_hash, found.recorded_at, found.effective_at, found.context, found.hash FROM unnest($1::text[], $2::int8[]) AS wanted(account_id, version) CROSS JOIN LATERAL ( SELECT account_id, version, type, schema_version, payload, command_id, ordinal, command_hash, recorded_at, effective_at, context, hash FROM events e WHERE e.account_id = wanted.account_id AND e.version = wanted.version LIMIT 1 ) AS found ORDER BY found.account_id, found.version
  $1 1009 ["a","b"]
  $2 1016 ["1n","7n"]
SELECT coalesce(current_setting('synchronous_standby_names', true), '')

-- readHold
SELECT account_id, version, type, schema_version, payload, command_id, ordinal, command_hash, recorded_at, effective_at, context, hash FROM events WHERE account_id = $1 AND version > $2 AND version <= $3 AND type LIKE 'Hold%' AND strpos(payload, $4) > 0 ORDER BY version
  $1 25 "a"
  $2 20 "2n"
  $3 20 "1002n"
  $4 25 "\"hold\":\"h-1\""
SELECT coalesce(current_setting('synchronous_standby_names', true), '')

-- findCommands
SELECT account_id, version, type, schema_version, payload, command_id, ordinal, command_hash, recorded_at, effective_at, context, hash FROM events WHERE command_id = ANY($1::text[]) AND ordinal = 0 ORDER BY command_id
  $1 1009 ["c-1","c-2"]
SELECT coalesce(current_setting('synchronous_standby_names', true), '')

-- scan
SELECT account_id, version, type, schema_version, payload, command_id, ordinal, command_hash, recorded_at, effective_at, context, hash FROM events WHERE (account_id, version) > ($1, $2) ORDER BY account_id, version LIMIT $3
  $1 25 "a"
  $2 20 "3n"
  $3 20 "10n"
SELECT coalesce(current_setting('synchronous_standby_names', true), '')

-- readTail
SELECT writer_id, seq, recorded_at, row_count, keys FROM commits WHERE writer_id = $1 AND seq > $2 ORDER BY seq LIMIT $3
  $1 25 "n.1"
  $2 20 "2n"
  $3 20 "10n"
SELECT coalesce(current_setting('synchronous_standby_names', true), '')

-- registerWriter
INSERT INTO writers (writer_id, node, started_at, heartbeat_at, closed_at) VALUES ($1, $2, clock_timestamp(), clock_timestamp(), $3) ON CONFLICT (writer_id) DO NOTHING
  $1 25 "n.1"
  $2 25 "n"
  $3 1184 1767225600000
SELECT coalesce(current_setting('synchronous_standby_names', true), '')

-- heartbeat
WITH beaten AS ( UPDATE writers SET heartbeat_at = clock_timestamp(), closed_at = greatest(writers.closed_at, beats.closed_at) FROM unnest($1::text[], $2::timestamptz[]) AS beats(writer_id, closed_at) WHERE writers.writer_id = beats.writer_id RETURNING 1 ) SELECT clock_timestamp()
  $1 1009 ["n.1","n.2"]
  $2 1185 [1767225600000,1767225599999]

-- listWriters
SELECT w.writer_id, w.node, w.fenced_at_seq, w.closed_at, w.heartbeat_at, tail_end.writer_id, tail_end.seq, tail_end.row_count, tail_end.recorded_at FROM writers w LEFT JOIN (( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $1 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $2 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $3 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $4 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $5 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $6 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $7 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $8 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $9 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $10 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $11 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $12 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $13 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $14 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $15 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $16 ORDER BY seq DESC LIMIT 1)) AS tail_end ON tail_end.writer_id = w.writer_id WHERE w.finished IS NULL ORDER BY w.writer_id
  $1 25 ""
  $2 25 ""
  $3 25 ""
  $4 25 ""
  $5 25 ""
  $6 25 ""
  $7 25 ""
  $8 25 ""
  $9 25 ""
  $10 25 ""
  $11 25 ""
  $12 25 ""
  $13 25 ""
  $14 25 ""
  $15 25 ""
  $16 25 ""
SELECT coalesce(current_setting('synchronous_standby_names', true), '')
SELECT pg_logical_emit_message(true, 'chronicle', '')::text
SELECT w.writer_id, w.node, w.fenced_at_seq, w.closed_at, w.heartbeat_at, tail_end.writer_id, tail_end.seq, tail_end.row_count, tail_end.recorded_at FROM writers w LEFT JOIN (( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $1 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $2 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $3 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $4 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $5 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $6 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $7 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $8 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $9 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $10 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $11 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $12 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $13 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $14 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $15 ORDER BY seq DESC LIMIT 1) UNION ALL ( SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $16 ORDER BY seq DESC LIMIT 1)) AS tail_end ON tail_end.writer_id = w.writer_id WHERE w.finished IS NULL ORDER BY w.writer_id
  $1 25 "n.1"
  $2 25 ""
  $3 25 ""
  $4 25 ""
  $5 25 ""
  $6 25 ""
  $7 25 ""
  $8 25 ""
  $9 25 ""
  $10 25 ""
  $11 25 ""
  $12 25 ""
  $13 25 ""
  $14 25 ""
  $15 25 ""
  $16 25 ""
SELECT pg_logical_emit_message(true, 'chronicle', '')::text

-- fenceWriter
SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $1 ORDER BY seq DESC LIMIT 1
  $1 25 "n.1"
INSERT INTO commits (writer_id, seq, recorded_at, row_count, keys) VALUES ($1, $2, $3, 0, '[]') ON CONFLICT (writer_id, seq) DO NOTHING RETURNING seq
  $1 25 "n.1"
  $2 20 "4n"
  $3 1184 1767225600000
UPDATE writers SET fenced_at_seq = $2 WHERE writer_id = $1
  $1 25 "n.1"
  $2 20 "4n"
SELECT coalesce(current_setting('synchronous_standby_names', true), '')
SELECT pg_logical_emit_message(true, 'chronicle', '')::text

-- relayCursors
SELECT writer_id, seq FROM relay_cursors

-- moveRelayCursors
INSERT INTO relay_cursors (writer_id, seq) SELECT * FROM unnest($1::text[], $2::int8[]) ON CONFLICT (writer_id) DO UPDATE SET seq = excluded.seq WHERE relay_cursors.seq < excluded.seq
  $1 1009 ["n.1","n.2"]
  $2 1016 ["3n","4n"]

-- snapshots.latest
SELECT * FROM (( SELECT account_id, schema_version, version, recorded_at, state, hash, digest FROM snapshots WHERE account_id = $2 AND schema_version = $1 ORDER BY version DESC LIMIT 1) UNION ALL ( SELECT account_id, schema_version, version, recorded_at, state, hash, digest FROM snapshots WHERE account_id = $3 AND schema_version = $1 ORDER BY version DESC LIMIT 1)) AS found
  $1 23 2
  $2 25 "a"
  $3 25 "b"

-- snapshots.before a version
SELECT account_id, schema_version, version, recorded_at, state, hash, digest FROM snapshots WHERE account_id = $1 AND schema_version = $2 AND version <= $3 ORDER BY version DESC LIMIT 1
  $1 25 "a"
  $2 23 2
  $3 20 "9n"

-- snapshots.before an instant
SELECT account_id, schema_version, version, recorded_at, state, hash, digest FROM snapshots WHERE account_id = $1 AND schema_version = $2 AND version <= $3 AND recorded_at <= $4 ORDER BY recorded_at DESC, version DESC LIMIT 1
  $1 25 "a"
  $2 23 2
  $3 20 "9007199254740991n"
  $4 1184 1767225600000

-- snapshots.list
SELECT account_id, schema_version, version, recorded_at, state, hash, digest FROM snapshots WHERE schema_version = $1 AND (account_id, version) > ($2, $3) ORDER BY account_id, version LIMIT $4
  $1 23 2
  $2 25 "a"
  $3 20 "2n"
  $4 20 "10n"

-- snapshots.save
INSERT INTO snapshots (account_id, schema_version, version, recorded_at, state, hash, digest) SELECT * FROM unnest($1::text[], $2::int4[], $3::int8[], $4::timestamptz[], $5::text[], $6::text[], $7::text[]) ON CONFLICT (account_id, schema_version, version) DO UPDATE SET recorded_at = excluded.recorded_at, state = excluded.state, hash = excluded.hash, digest = excluded.digest
  $1 1009 ["a"]
  $2 1007 [2]
  $3 1016 ["0n"]
  $4 1185 [0]
  $5 1009 ["{\"_tag\":\"Absent\",\"id\":\"a\",\"version\":0}"]
  $6 1009 [""]
  $7 1009 ["dkhz3ExQzYqkV2b11sdY1NxxwlYtMy90N_4Sa9V8Aw8"]
