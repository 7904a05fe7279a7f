-- SHA-256 over the whole row (see SnapshotsSql.ts). Rows of before have none: they are read past, and replaced when their
-- account is folded again.
ALTER TABLE snapshots ADD COLUMN IF NOT EXISTS digest text;
