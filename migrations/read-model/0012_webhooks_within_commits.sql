-- Up to which event of a commit an endpoint was told: commits have up to a thousand, and their cursor stands before them.
ALTER TABLE webhooks ADD COLUMN IF NOT EXISTS last_event text;
