-- What an import remembers of its backup, so that the next one of the account need not read what is the same.
CREATE TABLE import_memory (
    tenant_id uuid NOT NULL,
    import_id uuid NOT NULL,
    account_id uuid NOT NULL,
    salt bytea NOT NULL CHECK (length(salt) = 32),
    -- Of each part of the store its number, 8 bytes, and its digest under the salt, 16 bytes.
    digests bytea NOT NULL,
    -- The parts that this import did not read: an interrupted one goes on without them.
    left_out bytea NOT NULL,
    PRIMARY KEY (tenant_id, import_id)
);
SELECT protect('import_memory', 'SELECT, INSERT, DELETE');
