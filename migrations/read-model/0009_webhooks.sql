-- The endpoints that are told of events (docs/webhooks.md), each with how far it was told: no event of the log brings these rows back.
CREATE TABLE IF NOT EXISTS webhooks (
  id              text COLLATE "C" NOT NULL PRIMARY KEY,
  url             text NOT NULL,
  prefix          text COLLATE "C" NOT NULL,
  types           text NOT NULL,
  description     text NOT NULL,
  created_at      timestamptz NOT NULL,
  secret          text NOT NULL,
  former_secret   text,
  former_until    timestamptz,
  state           text NOT NULL,
  reason          text,
  revision        int8 NOT NULL,
  log_cursor      text NOT NULL,
  delivered       int8 NOT NULL,
  delivered_at    timestamptz,
  attempts        int8 NOT NULL,
  next_attempt_at timestamptz,
  waiting_since   timestamptz,
  failures        text NOT NULL
) WITH (fillfactor = 50);

-- One row: all attempts ever made, those at endpoints that are deleted included.
CREATE TABLE IF NOT EXISTS webhook_totals (
  only_row  int4 NOT NULL PRIMARY KEY CHECK (only_row = 1),
  delivered int8 NOT NULL,
  failed    int8 NOT NULL
) WITH (fillfactor = 50);

INSERT INTO webhook_totals (only_row, delivered, failed) VALUES (1, 0, 0) ON CONFLICT DO NOTHING;
