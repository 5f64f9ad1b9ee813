-- The ledger: one tree of leaves per tenant, one leaf for each wording of a message, each import and each audit record.
-- Leaves that enter together stand in one row, packed: a chunk of messages costs one insert.
CREATE TABLE ledger_batch (
    tenant_id uuid NOT NULL,
    first_leaf bigint NOT NULL,
    leaves integer NOT NULL CHECK (leaves > 0),
    -- Where these nodes stand in the log of nodes.
    first_node bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('message', 'import', 'audit')),
    -- Which import brought these messages.
    import_id uuid,
    -- 16, 4 and 32 bytes for each leaf.
    ids bytea NOT NULL,
    revisions bytea NOT NULL,
    commitments bytea NOT NULL,
    -- 32 bytes for each leaf and each perfect subtree that these leaves complete, and for each of the tree after them.
    nodes bytea NOT NULL,
    peaks bytea NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, first_leaf),
    CHECK (length(ids) = 16 * leaves AND length(revisions) = 4 * leaves AND length(commitments) = 32 * leaves)
);
CREATE INDEX ledger_batch_import ON ledger_batch (tenant_id, import_id, first_leaf) WHERE import_id IS NOT NULL;
-- Random bytes do not compress, and a part of them is read without the rest.
ALTER TABLE ledger_batch ALTER COLUMN ids SET STORAGE EXTERNAL, ALTER COLUMN revisions SET STORAGE EXTERNAL,
    ALTER COLUMN commitments SET STORAGE EXTERNAL, ALTER COLUMN nodes SET STORAGE EXTERNAL;
SELECT protect('ledger_batch', 'SELECT, INSERT');

-- What opens the commitments of a batch, 32 bytes for each leaf; zeros once it was destroyed.
CREATE TABLE ledger_opening (
    tenant_id uuid NOT NULL,
    first_leaf bigint NOT NULL,
    openings bytea NOT NULL,
    PRIMARY KEY (tenant_id, first_leaf)
);
ALTER TABLE ledger_opening ALTER COLUMN openings SET STORAGE EXTERNAL;
SELECT protect('ledger_opening', 'SELECT, INSERT, UPDATE, DELETE');

-- Signed statements of how large the tree is and what its root is, each with the proof that it continues the one before.
CREATE TABLE ledger_checkpoint (
    tenant_id uuid NOT NULL,
    sequence bigint NOT NULL,
    size bigint NOT NULL,
    at timestamptz NOT NULL,
    note text NOT NULL,
    proof bytea NOT NULL,
    PRIMARY KEY (tenant_id, sequence)
);
SELECT protect('ledger_checkpoint', 'SELECT, INSERT');

-- What witnesses elsewhere signed under a checkpoint, and what time-stamping authorities said of it.
CREATE TABLE ledger_cosignature (
    tenant_id uuid NOT NULL,
    sequence bigint NOT NULL,
    witness text NOT NULL,
    line text NOT NULL,
    PRIMARY KEY (tenant_id, sequence, witness),
    FOREIGN KEY (tenant_id, sequence) REFERENCES ledger_checkpoint (tenant_id, sequence)
);
SELECT protect('ledger_cosignature', 'SELECT, INSERT');

CREATE TABLE ledger_timestamp (
    tenant_id uuid NOT NULL,
    sequence bigint NOT NULL,
    authority text NOT NULL,
    token bytea NOT NULL,
    PRIMARY KEY (tenant_id, sequence, authority),
    FOREIGN KEY (tenant_id, sequence) REFERENCES ledger_checkpoint (tenant_id, sequence)
);
SELECT protect('ledger_timestamp', 'SELECT, INSERT');

CREATE TRIGGER ledger_batch_rows BEFORE UPDATE OR DELETE ON ledger_batch
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_batch_table BEFORE TRUNCATE ON ledger_batch
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_checkpoint_rows BEFORE UPDATE OR DELETE ON ledger_checkpoint
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_checkpoint_table BEFORE TRUNCATE ON ledger_checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_cosignature_rows BEFORE UPDATE OR DELETE ON ledger_cosignature
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_cosignature_table BEFORE TRUNCATE ON ledger_cosignature
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_timestamp_rows BEFORE UPDATE OR DELETE ON ledger_timestamp
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_timestamp_table BEFORE TRUNCATE ON ledger_timestamp
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
