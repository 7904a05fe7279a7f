-- The projection "monthly_totals", version 1: what went into and out of an account, month by month.
CREATE TABLE IF NOT EXISTS monthly_totals_v1_totals (
  account text COLLATE "C" NOT NULL,
  month   date NOT NULL,
  asset   text NOT NULL,
  came_in numeric(38, 0) NOT NULL,
  went_out numeric(38, 0) NOT NULL,
  lines   int8 NOT NULL,
  PRIMARY KEY (account, month)
);

-- What every projection has: heads, cursors, parked accounts, events left out.
CREATE TABLE IF NOT EXISTS monthly_totals_v1_balances (LIKE books_v1_balances INCLUDING ALL) WITH (fillfactor = 80);
CREATE TABLE IF NOT EXISTS monthly_totals_v1_checkpoints (LIKE books_v1_checkpoints INCLUDING ALL);
CREATE TABLE IF NOT EXISTS monthly_totals_v1_swept (LIKE books_v1_swept INCLUDING ALL);
CREATE TABLE IF NOT EXISTS monthly_totals_v1_parked_accounts (LIKE books_v1_parked_accounts INCLUDING ALL);
CREATE TABLE IF NOT EXISTS monthly_totals_v1_skipped (LIKE books_v1_skipped INCLUDING ALL);
