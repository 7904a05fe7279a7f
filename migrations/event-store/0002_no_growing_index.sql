-- Instants only rise, so every commit of every node wrote at the end of this index: on CockroachDB one range, which no
-- split relieves. It served one question, the latest recorded instant, asked at the start of a node; that starts above the
-- store's clock now.
DROP INDEX IF EXISTS commits_recorded;

-- Served a list of all accounts that nothing asks for any more: walks go along the primary key of events.
DROP INDEX IF EXISTS events_first;
