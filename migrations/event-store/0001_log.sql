-- The log and what stands beside it. COLLATE "C" makes PostgreSQL order and compare by bytes, as CockroachDB
-- always does (where the migrator leaves the words out).

-- One row an event; never updated or deleted. The primary key is the optimistic lock of an account.
-- payload and context are text, not jsonb: their exact bytes are hashed.
CREATE TABLE IF NOT EXISTS events (
  account_id     text COLLATE "C" NOT NULL,
  version        int8 NOT NULL,
  type           text NOT NULL,
  schema_version int4 NOT NULL,
  payload        text NOT NULL,
  command_id     text COLLATE "C" NOT NULL,
  ordinal        int4 NOT NULL,
  command_hash   text,
  recorded_at    timestamptz NOT NULL,
  effective_at   timestamptz,
  context        text,
  hash           text NOT NULL,
  PRIMARY KEY (account_id, version)
);

-- A command lands once. All its events are written by one statement, so the one with ordinal 0 stands for all,
-- which halves the price for transfers.
CREATE UNIQUE INDEX IF NOT EXISTS events_command ON events (command_id) WHERE ordinal = 0;

-- Walks over all accounts; costs nothing but at the opening of an account.
CREATE INDEX IF NOT EXISTS events_first ON events (account_id) WHERE version = 1;

-- One row a flush: a writer's rows in order of seq are its gap-free tail. keys is JSON: [[account, first, last], ...].
-- row_count is 0 in the fence row that ends a dead writer's tail.
CREATE TABLE IF NOT EXISTS commits (
  writer_id   text COLLATE "C" NOT NULL,
  seq         int8 NOT NULL,
  recorded_at timestamptz NOT NULL,
  row_count   int4 NOT NULL,
  keys        text NOT NULL,
  PRIMARY KEY (writer_id, seq)
);

CREATE INDEX IF NOT EXISTS commits_recorded ON commits (recorded_at);

-- One row a commit lane of one process life. fenced_at_seq is a note that spares a look at commits, where the
-- fence itself stands.
CREATE TABLE IF NOT EXISTS writers (
  writer_id     text COLLATE "C" NOT NULL PRIMARY KEY,
  node          text NOT NULL,
  started_at    timestamptz NOT NULL,
  heartbeat_at  timestamptz NOT NULL,
  closed_at     timestamptz NOT NULL,
  fenced_at_seq int8
);

-- How far each writer's tail was published.
CREATE TABLE IF NOT EXISTS relay_cursors (
  writer_id text COLLATE "C" NOT NULL PRIMARY KEY,
  seq       int8 NOT NULL
);

-- Folded accounts; may be emptied without harm.
CREATE TABLE IF NOT EXISTS snapshots (
  account_id     text COLLATE "C" NOT NULL,
  schema_version int4 NOT NULL,
  version        int8 NOT NULL,
  recorded_at    timestamptz NOT NULL,
  state          text NOT NULL,
  hash           text NOT NULL,
  PRIMARY KEY (account_id, schema_version, version)
);

-- The last snapshot at or before an instant.
CREATE INDEX IF NOT EXISTS snapshots_recorded ON snapshots (account_id, schema_version, recorded_at, version);
