-- A row for each thing that one node of a cluster does for all: a partition of a projection, a sweep, the look for
-- tails of dead nodes. Its owner renews it; it tells who has what, and decides nothing.
CREATE TABLE IF NOT EXISTS duties (
  duty    text COLLATE "C" NOT NULL PRIMARY KEY,
  node    text NOT NULL,
  since   timestamptz NOT NULL,
  seen_at timestamptz NOT NULL,
  found   text
) WITH (fillfactor = 50);
