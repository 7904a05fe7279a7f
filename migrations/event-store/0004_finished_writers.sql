-- A writer whose tail is fenced and published is finished: it is numbered 1, 2, 3 … and left out of every listing of
-- writers. The numbers are dense and become visible in order, because each is taken as the highest plus one under a
-- unique index; so "everything up to number n" is a place that a reader of the log can keep.
ALTER TABLE writers ADD COLUMN IF NOT EXISTS finished int8;

CREATE UNIQUE INDEX IF NOT EXISTS writers_finished ON writers (finished);
