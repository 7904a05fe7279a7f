-- Amounts up to 10^36-1 and balances up to 10^38-1 minor units, so that assets of 18 decimals fit: int8 ends at 9.2 of
-- their whole units. Each statement may run twice.

-- The heads of every projection, those of the host and of an unfinished rebuild too.
DO $$
DECLARE heads text;
BEGIN
  FOR heads IN
    SELECT table_name FROM information_schema.columns
    WHERE table_schema = current_schema() AND column_name = 'overdraft_limit' AND data_type = 'bigint'
    ORDER BY table_name
  LOOP
    EXECUTE format('ALTER TABLE %I ALTER COLUMN overdraft_limit TYPE numeric(38, 0),
      ALTER COLUMN balance TYPE numeric(38, 0)', heads);
  END LOOP;
END $$;

ALTER TABLE books_v1_statement_lines
  ALTER COLUMN amount TYPE numeric(38, 0), ALTER COLUMN balance TYPE numeric(38, 0);
ALTER TABLE IF EXISTS books_v1_next_statement_lines
  ALTER COLUMN amount TYPE numeric(38, 0), ALTER COLUMN balance TYPE numeric(38, 0);

ALTER TABLE books_v1_transfers ALTER COLUMN amount TYPE numeric(38, 0);
ALTER TABLE IF EXISTS books_v1_next_transfers ALTER COLUMN amount TYPE numeric(38, 0);

-- A contra faces any number of accounts: its balance has no bound but their number.
ALTER TABLE books_v1_contra ALTER COLUMN balance TYPE numeric;
ALTER TABLE IF EXISTS books_v1_next_contra ALTER COLUMN balance TYPE numeric;
