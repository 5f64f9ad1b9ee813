-- The vault: accounts, imports, people, chats, messages with their earlier wordings, and the audit log.

-- What the vault needs to know of a tenant, from directory.tenant.
CREATE TABLE tenant_profile (
    tenant_id uuid PRIMARY KEY,
    version integer NOT NULL,
    name text NOT NULL,
    timezone text NOT NULL
);
SELECT protect('tenant_profile');

-- One WhatsApp number whose backups arrive here.
CREATE TABLE account (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    name text NOT NULL,
    number text,
    sealed_key bytea,
    newest_message_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name)
);
SELECT protect('account');
-- An import names its account, not its tenant; the system role finds the tenant.
SELECT open_to_system('account', 'SELECT');
CREATE UNIQUE INDEX account_id ON account (id);

-- One file on its way into the vault, or refused.
CREATE TABLE import_run (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    account_id uuid NOT NULL,
    file_name text NOT NULL,
    file_sha256 text NOT NULL,
    file_bytes bigint NOT NULL,
    format text NOT NULL DEFAULT '',
    state text NOT NULL CHECK (state IN ('started', 'unchanged', 'completed', 'failed')),
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    messages_seen bigint NOT NULL DEFAULT 0,
    messages_new bigint NOT NULL DEFAULT 0,
    messages_changed bigint NOT NULL DEFAULT 0,
    contacts_seen bigint NOT NULL DEFAULT 0,
    chats_seen bigint NOT NULL DEFAULT 0,
    newest_message_at timestamptz,
    -- For each table the rows seen, new, changed, and skipped with the reason.
    manifest jsonb NOT NULL DEFAULT '{}',
    error text,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, account_id) REFERENCES account (tenant_id, id)
);
CREATE INDEX import_run_file ON import_run (tenant_id, account_id, file_sha256, started_at);
SELECT protect('import_run');

-- How far an import has come in each part of the chats: an interrupted one continues behind it.
CREATE TABLE import_lane (
    tenant_id uuid NOT NULL,
    import_id uuid NOT NULL,
    lane integer NOT NULL,
    -- Source rows of messages that are done.
    rows_done bigint NOT NULL DEFAULT 0,
    messages_seen bigint NOT NULL DEFAULT 0,
    messages_new bigint NOT NULL DEFAULT 0,
    messages_changed bigint NOT NULL DEFAULT 0,
    messages_repeated bigint NOT NULL DEFAULT 0,
    skipped jsonb NOT NULL DEFAULT '{}',
    newest_message_at timestamptz,
    PRIMARY KEY (tenant_id, import_id, lane),
    FOREIGN KEY (tenant_id, import_id) REFERENCES import_run (tenant_id, id)
);
SELECT protect('import_lane');

-- A person, under one canonical address.
CREATE TABLE contact (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    jid text NOT NULL,
    number text,
    name text NOT NULL DEFAULT '',
    name_rank smallint NOT NULL DEFAULT 0,
    first_import_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, jid)
);
CREATE INDEX contact_number ON contact (tenant_id, number);
SELECT protect('contact');

-- Two identities of one person, and which table of which import said so.
CREATE TABLE jid_alias (
    tenant_id uuid NOT NULL,
    lid text NOT NULL,
    jid text NOT NULL,
    source text NOT NULL,
    first_import_id uuid NOT NULL,
    first_seen_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, lid, jid)
);
SELECT protect('jid_alias');

CREATE TABLE chat (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    account_id uuid NOT NULL,
    jid text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL DEFAULT '',
    contact_id uuid,
    first_import_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, account_id, jid),
    FOREIGN KEY (tenant_id, account_id) REFERENCES account (tenant_id, id)
);
SELECT protect('chat');

-- A message in its newest wording. Its id is the hash of its four-part key (chat, direction, first key id, sender),
-- so the primary key is also what finds it again. No foreign keys: they would cost more than the insert itself, and
-- chats and contacts are only ever written by the same import, before their messages.
CREATE TABLE message (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    chat_id uuid NOT NULL,
    from_me boolean NOT NULL,
    key_id text NOT NULL,
    sender_id uuid,
    sent_at timestamptz NOT NULL,
    kind text NOT NULL,
    raw_kind integer NOT NULL,
    text text NOT NULL,
    revoked boolean NOT NULL,
    edited_at timestamptz,
    -- Later wordings rank higher: waiting, written, edited by time, revoked.
    wording_rank bigint NOT NULL,
    revision integer NOT NULL DEFAULT 1,
    forward_score integer NOT NULL DEFAULT 0,
    details jsonb,
    import_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX message_by_chat ON message (tenant_id, chat_id, sent_at);
SELECT protect('message', 'SELECT, INSERT, UPDATE');

-- Other keys of a message, from edits and revocations.
CREATE TABLE message_alias (
    tenant_id uuid NOT NULL,
    key_hash uuid NOT NULL,
    message_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, key_hash)
);
SELECT protect('message_alias', 'SELECT, INSERT');

-- Wordings that WhatsApp has forgotten: what a message said before an edit or a revocation.
CREATE TABLE message_revision (
    tenant_id uuid NOT NULL,
    message_id uuid NOT NULL,
    revision integer NOT NULL,
    key_id text NOT NULL,
    kind text NOT NULL,
    raw_kind integer NOT NULL,
    text text NOT NULL,
    revoked boolean NOT NULL,
    edited_at timestamptz,
    details jsonb,
    import_id uuid NOT NULL,
    replaced_by_import_id uuid NOT NULL,
    replaced_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, message_id, revision)
);
SELECT protect('message_revision', 'SELECT, INSERT');

-- What was done to the vault, each record chained to the one before it. Nobody may change it, its owner included.
CREATE TABLE audit_log (
    tenant_id uuid NOT NULL,
    sequence bigint NOT NULL,
    at timestamptz NOT NULL,
    action text NOT NULL,
    account_id uuid,
    import_id uuid,
    file_sha256 text NOT NULL DEFAULT '',
    details jsonb NOT NULL DEFAULT '{}',
    previous_hash bytea NOT NULL CHECK (length(previous_hash) = 32),
    hash bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (tenant_id, sequence)
);
SELECT protect('audit_log', 'SELECT, INSERT');

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_log_rows BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_log_table BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER message_revision_rows BEFORE UPDATE OR DELETE ON message_revision
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER message_revision_table BEFORE TRUNCATE ON message_revision
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
