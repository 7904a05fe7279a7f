-- What every projection has in common. The tables of a projection are named `<name>_v<version>_…`; a rebuild
-- fills `<name>_v<version>_next_…` beside them.

-- A row a projection whose tables were ever exchanged: generation 0 is the one the migration made. It changes in
-- the transaction that exchanges the tables, so that a batch folded on the old ones never lands in the new.
CREATE TABLE IF NOT EXISTS projections (
  prefix     text COLLATE "C" NOT NULL PRIMARY KEY,
  generation int8 NOT NULL,
  swapped_at timestamptz NOT NULL
);

-- A row a rebuild under way. `scanned` once the whole log was read from its beginning and only tails are left.
CREATE TABLE IF NOT EXISTS projection_rebuilds (
  prefix     text COLLATE "C" NOT NULL PRIMARY KEY,
  started_at timestamptz NOT NULL,
  scanned    bool NOT NULL,
  after_account text COLLATE "C" NOT NULL,
  after_version int8 NOT NULL,
  events     int8 NOT NULL
);

-- Events that a person told the projection to leave out, for ever: the account's rows are not its fold any more.
CREATE TABLE IF NOT EXISTS books_v1_skipped (
  account text COLLATE "C" NOT NULL,
  version int8 NOT NULL,
  reason  text NOT NULL,
  at      timestamptz NOT NULL,
  PRIMARY KEY (account, version)
);

-- Lines recorded since an instant, for the books as of that instant: next to no cost at the write.
CREATE INDEX IF NOT EXISTS books_v1_statement_lines_recorded
  ON books_v1_statement_lines USING brin (recorded_at) WITH (pages_per_range = 16);

-- The few lines that count for another instant than the one they were recorded at.
CREATE INDEX IF NOT EXISTS books_v1_statement_lines_backdated
  ON books_v1_statement_lines (account, version) WHERE effective_at <> recorded_at;
