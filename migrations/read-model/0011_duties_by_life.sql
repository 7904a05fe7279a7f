-- Which life of its node reported a duty last: two processes may bear one name, as where one was frozen and wakes beside the next.
-- Empty where a program of before this column reported it.
ALTER TABLE duties ADD COLUMN IF NOT EXISTS life text NOT NULL DEFAULT '';
