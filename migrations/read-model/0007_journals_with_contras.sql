-- Legs of journals on contra accounts: what they add, as JSON, on the line of the journal's first leg. Null on all other
-- lines, which costs a line nothing.
ALTER TABLE books_v1_statement_lines ADD COLUMN IF NOT EXISTS contras text;
ALTER TABLE IF EXISTS books_v1_next_statement_lines ADD COLUMN IF NOT EXISTS contras text;
