-- The projection "books", version 1. Another version stands beside it under its own names while it is built.
-- Ids compare by bytes, so that pages go on where they ended whatever the locale of the database.

-- One row an account: the head of its stream as far as it was projected. No second index, so that updates stay
-- within the page.
CREATE TABLE IF NOT EXISTS books_v1_balances (
  account         text COLLATE "C" NOT NULL PRIMARY KEY,
  version         int8 NOT NULL,
  status          text NOT NULL,
  asset           text NOT NULL,
  owner           text NOT NULL,
  overdraft_limit int8 NOT NULL,
  balance         int8 NOT NULL,
  metadata        text NOT NULL,
  recorded_at     timestamptz NOT NULL,
  hash            text NOT NULL
) WITH (fillfactor = 80);

-- One row an event, amounts in minor units: amount is signed, balance is the account's after the line.
CREATE TABLE IF NOT EXISTS books_v1_statement_lines (
  account      text COLLATE "C" NOT NULL,
  version      int8 NOT NULL,
  type         text NOT NULL,
  amount       int8 NOT NULL,
  balance      int8 NOT NULL,
  asset        text NOT NULL,
  counterparty text,
  description  text,
  command_id   text NOT NULL,
  recorded_at  timestamptz NOT NULL,
  effective_at timestamptz NOT NULL,
  PRIMARY KEY (account, version)
);

-- One row a transfer, written with the sender's leg.
CREATE TABLE IF NOT EXISTS books_v1_transfers (
  id           text COLLATE "C" NOT NULL PRIMARY KEY,
  from_account text COLLATE "C" NOT NULL,
  from_version int8 NOT NULL,
  to_account   text COLLATE "C" NOT NULL,
  to_version   int8 NOT NULL,
  asset        text NOT NULL,
  amount       int8 NOT NULL,
  description  text,
  recorded_at  timestamptz NOT NULL,
  effective_at timestamptz NOT NULL
);

-- A contra's balance is the sum over the partitions of the accounts that dealt with it: no row is hot across them.
CREATE TABLE IF NOT EXISTS books_v1_contra (
  contra       text COLLATE "C" NOT NULL,
  asset        text NOT NULL,
  partition_id int4 NOT NULL,
  balance      numeric(38, 0) NOT NULL,
  PRIMARY KEY (contra, asset, partition_id)
) WITH (fillfactor = 50);

-- How far the bus was read, a row a partition. For people and for noticing a stream that was replaced; what was
-- projected is known by the accounts' versions alone.
CREATE TABLE IF NOT EXISTS books_v1_checkpoints (
  partition_id int4 NOT NULL PRIMARY KEY,
  position     int8 NOT NULL,
  recorded_at  timestamptz NOT NULL,
  updated_at   timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Up to where each writer's tail was found to be in the balances. It lives here, so that it is lost with them.
CREATE TABLE IF NOT EXISTS books_v1_swept (
  writer_id text COLLATE "C" NOT NULL PRIMARY KEY,
  seq       int8 NOT NULL
);

-- Accounts whose event `version` could not be projected; they stay at the version before until it is retried.
CREATE TABLE IF NOT EXISTS books_v1_parked_accounts (
  account text COLLATE "C" NOT NULL PRIMARY KEY,
  version int8 NOT NULL,
  reason  text NOT NULL,
  since   timestamptz NOT NULL
);
