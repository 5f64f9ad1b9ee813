-- What a store holds beside the words of its messages: media, quotes, reactions, receipts, polls, calls, members, and
-- whatever else names a message or a chat. Like `message`, without foreign keys: the same import writes the message
-- before.
--
-- `as_of` is the newest message of the backup that a row comes from: an older backup that is imported late does not
-- bring back what a later one has changed. A `contact_id` of zeros is the account itself.

-- How far an import has come in each table that is not messages.
CREATE TABLE import_pass (
    tenant_id uuid NOT NULL,
    import_id uuid NOT NULL,
    name text NOT NULL,
    rows_done bigint NOT NULL,
    rows_new bigint NOT NULL,
    rows_changed bigint NOT NULL,
    rows_unchanged bigint NOT NULL,
    skipped jsonb NOT NULL,
    PRIMARY KEY (tenant_id, import_id, name),
    FOREIGN KEY (tenant_id, import_id) REFERENCES import_run (tenant_id, id)
);
SELECT protect('import_pass', 'SELECT, INSERT, UPDATE');

CREATE TABLE message_media (
    tenant_id uuid NOT NULL,
    message_id uuid NOT NULL,
    mime_type text NOT NULL,
    bytes bigint,
    duration_seconds bigint,
    width bigint,
    height bigint,
    pages bigint,
    name text NOT NULL,
    caption text NOT NULL,
    -- SHA-256 in base64, as the phone computed it: of the file, and of what was sent before it was re-encoded.
    file_hash text NOT NULL,
    original_file_hash text NOT NULL,
    file_path text NOT NULL,
    as_of timestamptz NOT NULL,
    import_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, message_id)
);
CREATE INDEX message_media_hash ON message_media (tenant_id, file_hash) WHERE file_hash <> '';
SELECT protect('message_media', 'SELECT, INSERT, UPDATE');

CREATE TABLE message_quote (
    tenant_id uuid NOT NULL,
    message_id uuid NOT NULL,
    -- Null while the vault does not have what is quoted.
    quoted_message_id uuid,
    quoted_chat_id uuid,
    quoted_contact_id uuid,
    quoted_key_id text NOT NULL,
    quoted_from_me boolean NOT NULL,
    quoted_at timestamptz,
    quoted_raw_kind bigint,
    of_status boolean NOT NULL,
    text text NOT NULL,
    as_of timestamptz NOT NULL,
    import_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, message_id)
);
CREATE INDEX message_quote_quoted ON message_quote (tenant_id, quoted_message_id);
SELECT protect('message_quote', 'SELECT, INSERT, UPDATE');

CREATE TABLE message_mention (
    tenant_id uuid NOT NULL,
    message_id uuid NOT NULL,
    item text NOT NULL,
    -- Null when a group is mentioned.
    mentioned_contact_id uuid,
    address text NOT NULL,
    name text NOT NULL,
    raw_kind bigint,
    as_of timestamptz NOT NULL,
    import_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, message_id, item)
);
SELECT protect('message_mention', 'SELECT, INSERT, UPDATE');

-- What somebody did to a message, by WhatsApp's own code: reactions, votes, pins, keeps, answers to invitations.
CREATE TABLE message_add_on (
    tenant_id uuid NOT NULL,
    message_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    key_id text NOT NULL,
    raw_kind bigint,
    at timestamptz,
    as_of timestamptz NOT NULL,
    import_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, message_id, contact_id, key_id)
);
SELECT protect('message_add_on', 'SELECT, INSERT, UPDATE');

-- Every reaction ever seen; the newest of a person is the one that stands, and an empty one takes it back.
CREATE TABLE message_reaction (
    tenant_id uuid NOT NULL,
    message_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    reacted_at timestamptz NOT NULL,
    reaction text NOT NULL,
    import_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, message_id, contact_id, reacted_at, reaction)
);
SELECT protect('message_reaction', 'SELECT, INSERT');

CREATE TABLE message_poll_option (
    tenant_id uuid NOT NULL,
    message_id uuid NOT NULL,
    item text NOT NULL,
    name text NOT NULL,
    votes bigint,
    as_of timestamptz NOT NULL,
    import_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, message_id, item)
);
SELECT protect('message_poll_option', 'SELECT, INSERT, UPDATE');

-- Every vote ever seen; all options that a person chose at one time are one vote, and the newest one stands.
CREATE TABLE message_poll_vote (
    tenant_id uuid NOT NULL,
    message_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    voted_at timestamptz NOT NULL,
    item text NOT NULL,
    import_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, message_id, contact_id, voted_at, item)
);
SELECT protect('message_poll_vote', 'SELECT, INSERT');

CREATE TABLE message_receipt (
    tenant_id uuid NOT NULL,
    message_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    delivered_at timestamptz,
    read_at timestamptz,
    played_at timestamptz,
    as_of timestamptz NOT NULL,
    import_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, message_id, contact_id)
);
SELECT protect('message_receipt', 'SELECT, INSERT, UPDATE');

-- Every other row that names a message, by the table it comes from, with the columns it has there.
CREATE TABLE message_detail (
    tenant_id uuid NOT NULL,
    message_id uuid NOT NULL,
    source text NOT NULL,
    item text NOT NULL,
    columns jsonb NOT NULL,
    as_of timestamptz NOT NULL,
    import_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, message_id, source, item)
);
SELECT protect('message_detail', 'SELECT, INSERT, UPDATE');

CREATE TRIGGER message_reaction_rows BEFORE UPDATE OR DELETE ON message_reaction
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER message_reaction_table BEFORE TRUNCATE ON message_reaction
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER message_poll_vote_rows BEFORE UPDATE OR DELETE ON message_poll_vote
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER message_poll_vote_table BEFORE TRUNCATE ON message_poll_vote
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
