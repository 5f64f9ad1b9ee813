-- Since when an erasure waits for the others' receipts; operators are told when one does not come.
ALTER TABLE erasure ADD COLUMN told_at timestamptz;
-- Over all tenants the service looks for the oldest that waits. One told before this was known is as old as its erasure.
GRANT SELECT (told_at, effective_at) ON erasure TO vault_importer_system;
