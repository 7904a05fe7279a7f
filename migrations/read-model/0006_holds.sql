-- The open holds of an account, as JSON: part of the state that its next event is folded on. No account had any before.

-- The heads of every projection, those of the host and of an unfinished rebuild too.
DO $$
DECLARE heads text;
BEGIN
  FOR heads IN
    SELECT table_name FROM information_schema.columns
    WHERE table_schema = current_schema() AND column_name = 'overdraft_limit'
    ORDER BY table_name
  LOOP
    EXECUTE format('ALTER TABLE %I ADD COLUMN IF NOT EXISTS holds text NOT NULL DEFAULT %L', heads, '[]');
  END LOOP;
END $$;
