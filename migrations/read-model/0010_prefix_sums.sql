-- What all accounts of a declared prefix have together. A row a partition of their accounts, as with contras: no row is hot
-- across them. What was there when a prefix was declared stands under partition -1.
CREATE TABLE IF NOT EXISTS books_v1_prefix_sums (
  prefix       text COLLATE "C" NOT NULL,
  asset        text NOT NULL,
  partition_id int4 NOT NULL,
  balance      numeric NOT NULL,
  accounts     int8 NOT NULL,
  PRIMARY KEY (prefix, asset, partition_id)
) WITH (fillfactor = 50);

-- The prefixes that are declared. The sum of one that is not filled yet has only what was projected since.
CREATE TABLE IF NOT EXISTS books_v1_sum_prefixes (
  prefix text COLLATE "C" NOT NULL PRIMARY KEY,
  filled bool NOT NULL
);

-- An unfinished rebuild goes on with all tables of its projection. It was begun without sums: none is declared in it.
DO $$
BEGIN
  IF to_regclass('books_v1_next_balances') IS NOT NULL THEN
    CREATE TABLE IF NOT EXISTS books_v1_next_prefix_sums (LIKE books_v1_prefix_sums INCLUDING ALL);
    ALTER TABLE books_v1_next_prefix_sums SET (fillfactor = 50);
    CREATE TABLE IF NOT EXISTS books_v1_next_sum_prefixes (LIKE books_v1_sum_prefixes INCLUDING ALL);
  END IF;
END $$;
