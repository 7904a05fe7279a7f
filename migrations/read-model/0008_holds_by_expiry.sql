-- One row a hold, until it is captured or released to its end, or the notice of its expiry is written: so a hold that has
-- expired stays until it was told, though nothing is kept back by it any more.
CREATE TABLE IF NOT EXISTS books_v1_holds (
  account    text COLLATE "C" NOT NULL,
  hold       text COLLATE "C" NOT NULL,
  asset      text NOT NULL,
  amount     numeric(38, 0) NOT NULL,
  captured   numeric(38, 0) NOT NULL,
  remaining  numeric(38, 0) NOT NULL,
  captures   int8 NOT NULL,
  expires_at timestamptz,
  to_account text,
  PRIMARY KEY (account, hold)
) WITH (fillfactor = 80);

CREATE INDEX IF NOT EXISTS books_v1_holds_expiry
  ON books_v1_holds (expires_at, account, hold) WHERE expires_at IS NOT NULL;

-- An unfinished rebuild goes on with all tables of its projection.
DO $$
BEGIN
  IF to_regclass('books_v1_next_balances') IS NOT NULL THEN
    CREATE TABLE IF NOT EXISTS books_v1_next_holds (LIKE books_v1_holds INCLUDING ALL);
    ALTER TABLE books_v1_next_holds SET (fillfactor = 80);
  END IF;
END $$;

-- The holds that the heads of the accounts list. One that had expired before the last event of its account is in none of
-- them: where there were such, `chronicle verify` says so, and a rebuild of the books brings them.
DO $$
DECLARE books text;
BEGIN
  FOREACH books IN ARRAY ARRAY['books_v1', 'books_v1_next'] LOOP
    CONTINUE WHEN to_regclass(books || '_balances') IS NULL;
    EXECUTE format('
      INSERT INTO %1$s_holds (account, hold, asset, amount, captured, remaining, captures, expires_at, to_account)
      SELECT b.account, h.id, b.asset, h.amount, h.captured, h.remaining, h.captures,
        timestamptz ''epoch'' + h."expiresAt" * interval ''1 millisecond'', h."to"
      FROM %1$s_balances b, jsonb_to_recordset(b.holds::jsonb) AS h(
        id text, amount numeric, captured numeric, remaining numeric, captures int8, "expiresAt" int8, "to" text
      )
      WHERE b.holds <> ''[]''
      ON CONFLICT DO NOTHING', books);
  END LOOP;
END $$;
