-- The hand-written peer: balances under row locks taken in order of id, entries, an idempotency key.
CREATE TABLE balances (id int8 PRIMARY KEY, balance numeric(38, 0) NOT NULL CHECK (balance >= 0));
CREATE TABLE transfers (
  key text PRIMARY KEY, from_id int8 NOT NULL, to_id int8 NOT NULL, amount numeric(38, 0) NOT NULL,
  at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE entries (
  id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text NOT NULL, account_id int8 NOT NULL,
  amount numeric(38, 0) NOT NULL, balance numeric(38, 0) NOT NULL, at timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION transfer(k text, f int8, t int8, a numeric) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  from_balance numeric;
  to_balance numeric;
BEGIN
  INSERT INTO transfers (key, from_id, to_id, amount) VALUES (k, f, t, a) ON CONFLICT (key) DO NOTHING;
  IF NOT FOUND THEN RETURN; END IF;
  IF f < t THEN
    PERFORM 1 FROM balances WHERE id = f FOR UPDATE;
    PERFORM 1 FROM balances WHERE id = t FOR UPDATE;
  ELSE
    PERFORM 1 FROM balances WHERE id = t FOR UPDATE;
    PERFORM 1 FROM balances WHERE id = f FOR UPDATE;
  END IF;
  UPDATE balances SET balance = balance - a WHERE id = f RETURNING balance INTO from_balance;
  UPDATE balances SET balance = balance + a WHERE id = t RETURNING balance INTO to_balance;
  INSERT INTO entries (key, account_id, amount, balance) VALUES (k, f, -a, from_balance), (k, t, a, to_balance);
END $$;

-- Batched by the caller: so many transfers a transaction. It draws them itself, which spares it their transport.
-- All locks first and in order, or two batches would deadlock.
CREATE FUNCTION transfer_batch(prefix text, size int, accounts int8, hot boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  froms int8[] := ARRAY(SELECT CASE WHEN hot THEN 0 ELSE floor(random() * accounts)::int8 END FROM generate_series(1, size));
  steps int8[] := ARRAY(SELECT 1 + floor(random() * (accounts - 1))::int8 FROM generate_series(1, size));
BEGIN
  PERFORM 1 FROM balances WHERE id IN (
    SELECT unnest(froms) UNION SELECT (f + s) % accounts FROM unnest(froms, steps) AS u(f, s)
  ) ORDER BY id FOR UPDATE;
  FOR i IN 1..size LOOP
    PERFORM transfer(prefix || ':' || i, froms[i], (froms[i] + steps[i]) % accounts, 1);
  END LOOP;
END $$;
