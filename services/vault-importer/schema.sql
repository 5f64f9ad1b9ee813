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
    -- Its leaf names it by this.
    number integer NOT NULL GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (tenant_id, lid, jid, source)
);
CREATE UNIQUE INDEX jid_alias_number ON jid_alias (tenant_id, number);
CREATE INDEX jid_alias_jid ON jid_alias (tenant_id, jid);
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

-- Rows leave through the functions only, which say which erasure it is for.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = vault_importer, pg_temp AS $$
BEGIN
    IF TG_LEVEL = 'ROW' AND current_user = TG_TABLE_SCHEMA || '_owner' AND (
            (TG_OP = 'DELETE' AND TG_TABLE_NAME IN ('message', 'message_revision', 'message_reaction',
                'message_poll_vote', 'message_media_file', 'media_file', 'jid_alias', 'contact', 'chat'))
            OR (TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'ledger_opening')) THEN
        IF EXISTS (SELECT FROM erasure e WHERE e.tenant_id = OLD.tenant_id AND e.state = 'erasing'
                AND e.id::text = current_setting('app.erasing', true)) THEN
            IF TG_OP = 'UPDATE' THEN
                RETURN NEW;
            END IF;
            RETURN OLD;
        END IF;
    END IF;
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
    -- A leaf names a row by it, since nothing that is about a person may stand in the tree.
    number integer NOT NULL GENERATED ALWAYS AS IDENTITY,
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
    number integer NOT NULL GENERATED ALWAYS AS IDENTITY,
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
-- Calls, who belongs to which group, and what a store says about chats and about the account. `as_of` is as in the
-- tables beside messages.

CREATE TABLE call_log (
    tenant_id uuid NOT NULL,
    -- The hash of the four parts by which WhatsApp knows a call: with whom, direction, call id, transaction.
    call_id uuid NOT NULL,
    account_id uuid NOT NULL,
    caller_or_called_id uuid,
    group_chat_id uuid,
    from_me boolean NOT NULL,
    started_at timestamptz,
    duration_seconds bigint,
    video boolean NOT NULL,
    raw_result bigint,
    raw_kind bigint,
    bytes bigint,
    as_of timestamptz NOT NULL,
    import_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, call_id)
);
CREATE INDEX call_log_started ON call_log (tenant_id, started_at);
SELECT protect('call_log', 'SELECT, INSERT, UPDATE');

CREATE TABLE call_participant (
    tenant_id uuid NOT NULL,
    call_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    raw_result bigint,
    as_of timestamptz NOT NULL,
    import_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, call_id, contact_id)
);
SELECT protect('call_participant', 'SELECT, INSERT, UPDATE');

-- Which call a message in a chat tells of.
CREATE TABLE message_call (
    tenant_id uuid NOT NULL,
    message_id uuid NOT NULL,
    call_id uuid NOT NULL,
    import_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, message_id, call_id)
);
SELECT protect('message_call', 'SELECT, INSERT');

-- Everyone who was in a group in any backup; `chat_past_member` says who left.
CREATE TABLE chat_member (
    tenant_id uuid NOT NULL,
    chat_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    -- 1 is an administrator, 2 the one who made the group.
    rank bigint,
    pending boolean NOT NULL,
    added_at timestamptz,
    label text NOT NULL,
    as_of timestamptz NOT NULL,
    import_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, chat_id, contact_id)
);
SELECT protect('chat_member', 'SELECT, INSERT, UPDATE');

CREATE TABLE chat_past_member (
    tenant_id uuid NOT NULL,
    chat_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    left_at timestamptz NOT NULL,
    by_choice boolean NOT NULL,
    as_of timestamptz NOT NULL,
    import_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, chat_id, contact_id, left_at)
);
SELECT protect('chat_past_member', 'SELECT, INSERT, UPDATE');

-- The other columns of a chat, and every other row that names one: communities, channels, labels.
CREATE TABLE chat_detail (
    tenant_id uuid NOT NULL,
    chat_id uuid NOT NULL,
    source text NOT NULL,
    item text NOT NULL,
    columns jsonb NOT NULL,
    as_of timestamptz NOT NULL,
    import_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, chat_id, source, item)
);
SELECT protect('chat_detail', 'SELECT, INSERT, UPDATE');

-- Lists of the account's own: labels, quick replies, away messages. A row is known by what it says.
CREATE TABLE account_detail (
    tenant_id uuid NOT NULL,
    account_id uuid NOT NULL,
    source text NOT NULL,
    item text NOT NULL,
    columns jsonb NOT NULL,
    as_of timestamptz NOT NULL,
    import_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, account_id, source, item)
);
SELECT protect('account_detail', 'SELECT, INSERT, UPDATE');

-- The ledger: one tree of leaves per tenant, one leaf for each wording of a message, each import and each audit record.
-- Leaves that enter together stand in one row, packed: a chunk of messages costs one insert.
CREATE TABLE ledger_batch (
    tenant_id uuid NOT NULL,
    first_leaf bigint NOT NULL,
    leaves integer NOT NULL CHECK (leaves > 0),
    -- Where these nodes stand in the log of nodes.
    first_node bigint NOT NULL,
    kind text NOT NULL CHECK (
        kind IN ('message', 'import', 'audit', 'media', 'reaction', 'vote', 'identity')),
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
-- Files of media, kept in a folder under the hash of what they hold, and which message each belongs to.

CREATE TABLE media_file (
    tenant_id uuid NOT NULL,
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    bytes bigint NOT NULL,
    first_import_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, sha256)
);
SELECT protect('media_file', 'SELECT, INSERT');

CREATE TABLE message_media_file (
    tenant_id uuid NOT NULL,
    message_id uuid NOT NULL,
    sha256 bytea NOT NULL,
    -- Whether the phone's own hash of what was sent or received is that of the file.
    hash_agrees boolean NOT NULL,
    import_id uuid NOT NULL,
    -- The phone's own hash when the file was taken: that of `message_media` follows later backups. Null for older files.
    file_hash text,
    PRIMARY KEY (tenant_id, message_id),
    FOREIGN KEY (tenant_id, sha256) REFERENCES media_file (tenant_id, sha256)
);
CREATE INDEX message_media_file_sha256 ON message_media_file (tenant_id, sha256);
CREATE INDEX message_media_file_hash ON message_media_file (tenant_id, file_hash) WHERE hash_agrees;
SELECT protect('message_media_file', 'SELECT, INSERT');


-- What finds messages by their words: derived from `message` and `message_revision`, rebuilt by forgetting
-- `search_progress`.
--
-- Row-level security is a barrier: a condition that is not leakproof (`@@`, LIKE) must not use an index before the
-- tenant was checked. Indexes are therefore used by functions of the owner, who may read these two tables as a whole
-- and compares the tenant itself, with a condition that no caller can leave out.

-- The words of a message in all its wordings, and what a search can be narrowed by.
CREATE TABLE message_search (
    tenant_id uuid NOT NULL,
    message_id uuid NOT NULL,
    sent_at timestamptz NOT NULL,
    account_id uuid NOT NULL,
    chat_id uuid NOT NULL,
    -- Who wrote it, or to whom in a direct chat.
    contact_id uuid,
    from_me boolean NOT NULL,
    kind text NOT NULL,
    words tsvector NOT NULL,
    PRIMARY KEY (tenant_id, message_id)
);
CREATE INDEX message_search_newest ON message_search (tenant_id, sent_at, message_id);
CREATE INDEX message_search_chat ON message_search (tenant_id, chat_id, sent_at, message_id);
CREATE INDEX message_search_words ON message_search USING gin (tenant_id public.uuid_ops, words)
    WITH (gin_pending_list_limit = 512);
SELECT protect('message_search');

-- Every word that occurs, and how it sounds in Latin letters: what part of a word, or another spelling, stands for.
CREATE TABLE search_word (
    tenant_id uuid NOT NULL,
    word text NOT NULL,
    sound text NOT NULL,
    PRIMARY KEY (tenant_id, word)
);
CREATE INDEX search_word_parts ON search_word
    USING gin (tenant_id public.uuid_ops, word public.gin_trgm_ops, sound public.gin_trgm_ops);
SELECT protect('search_word');

-- How far a tenant's ledger is indexed: everything before this leaf.
CREATE TABLE search_progress (
    tenant_id uuid PRIMARY KEY,
    next_leaf bigint NOT NULL
);
SELECT protect('search_progress');

DO $$
BEGIN
    EXECUTE format('CREATE POLICY finder ON message_search FOR SELECT TO %I USING (true)', current_schema() || '_owner');
    EXECUTE format('CREATE POLICY finder ON search_word FOR SELECT TO %I USING (true)', current_schema() || '_owner');
END
$$;

-- Words with `part` inside them, the shortest first.
CREATE FUNCTION search_parts(part text, wanted integer) RETURNS TABLE (word text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = vault_importer, pg_temp AS $$
    SELECT w.word FROM search_word w
    WHERE w.tenant_id = current_setting('app.tenant')::uuid AND w.word LIKE '%' || part || '%'
    ORDER BY length(w.word), w.word LIMIT wanted
$$;

-- Words that sound like something, the most alike first.
CREATE FUNCTION search_alike(like_sound text, at_least real, wanted integer) RETURNS TABLE (word text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = vault_importer, pg_temp AS $$
    SELECT w.word FROM search_word w
    WHERE w.tenant_id = current_setting('app.tenant')::uuid AND w.sound OPERATOR(public.%) like_sound
        AND public.similarity(w.sound, like_sound) >= at_least
    ORDER BY public.similarity(w.sound, like_sound) DESC, w.word LIMIT wanted
$$;

-- Messages with some words that come after a place in the order of an answer. Newest first it looks at the newest
-- few thousand one by one, where frequent words fill a page, and then by the index, where rare ones do not cost much. By rank it ranks the newest `ranked` that have the words.
CREATE FUNCTION search_messages(
    wanted_words tsquery, of_account uuid, of_chat uuid, of_contact uuid, since timestamptz, until timestamptz,
    of_kinds text[], of_direction boolean, after_rank real, after_at timestamptz, after_id uuid, ranked integer,
    wanted integer
) RETURNS TABLE (message_id uuid, sent_at timestamptz, rank real)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = vault_importer, pg_temp AS $$
DECLARE
    tenant CONSTANT uuid := current_setting('app.tenant')::uuid;
    walked CONSTANT integer := 4000;
    place text := 's.tenant_id = $1 AND (s.sent_at, s.message_id) < ($3, $4)';
    rest text := 's.words @@ $2';
    step text;
    newest_at timestamptz;
    floor_at timestamptz := after_at;
    floor_id uuid := after_id;
    width interval;
    oldest timestamptz;
    found integer := 0;
    more integer;
BEGIN
    place := place || CASE WHEN of_chat IS NULL THEN '' ELSE ' AND s.chat_id = $5' END
        || CASE WHEN until IS NULL THEN '' ELSE ' AND s.sent_at < $6' END;
    rest := rest || CASE WHEN of_account IS NULL THEN '' ELSE ' AND s.account_id = $7' END
        || CASE WHEN of_contact IS NULL THEN '' ELSE ' AND s.contact_id = $8' END
        || CASE WHEN of_kinds IS NULL THEN '' ELSE ' AND s.kind = ANY($9)' END
        || CASE WHEN of_direction IS NULL THEN '' ELSE ' AND s.from_me = $10' END;
    IF ranked > 0 THEN
        RETURN QUERY EXECUTE 'WITH hit AS MATERIALIZED (SELECT s.message_id, s.sent_at, s.words FROM message_search s '
            || 'WHERE s.sent_at >= $11 AND ' || place || ' AND ' || rest || '), newest AS (SELECT * FROM hit '
            || 'ORDER BY sent_at DESC, message_id DESC LIMIT $12), weighed AS (SELECT n.message_id, n.sent_at, '
            || 'ts_rank_cd(n.words, $2, 1) AS rank FROM newest n) SELECT w.message_id, w.sent_at, w.rank FROM weighed w '
            || 'WHERE (w.rank, w.sent_at, w.message_id) < ($13, $14, $15) '
            || 'ORDER BY w.rank DESC, w.sent_at DESC, w.message_id DESC LIMIT $16'
            USING tenant, wanted_words, 'infinity'::timestamptz, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid, of_chat,
                until, of_account, of_contact, of_kinds, of_direction, coalesce(since, '-infinity'), ranked,
                after_rank, after_at, after_id, wanted;
        RETURN;
    END IF;

    step := 'FROM (SELECT * FROM message_search s WHERE s.sent_at >= $11 AND ' || place
        || ' ORDER BY s.sent_at DESC, s.message_id DESC LIMIT ' || walked || ') s';
    RETURN QUERY EXECUTE 'SELECT s.message_id, s.sent_at, 0::real ' || step || ' WHERE ' || rest
        || ' ORDER BY s.sent_at DESC, s.message_id DESC LIMIT $12'
        USING tenant, wanted_words, after_at, after_id, of_chat, until, of_account, of_contact, of_kinds, of_direction,
            coalesce(since, '-infinity'), wanted;
    GET DIAGNOSTICS found = ROW_COUNT;
    IF found >= wanted THEN
        RETURN;
    END IF;
    EXECUTE 'SELECT max(s.sent_at), (array_agg(s.sent_at ORDER BY s.sent_at, s.message_id))[1], '
        || '(array_agg(s.message_id ORDER BY s.sent_at, s.message_id))[1] FROM (SELECT s.sent_at, s.message_id '
        || 'FROM message_search s WHERE s.sent_at >= $6 AND ' || replace(place, '$6', '$2') || ' ORDER BY s.sent_at DESC, '
        || 's.message_id DESC LIMIT ' || walked || ') s'
        INTO newest_at, floor_at, floor_id
        USING tenant, until, after_at, after_id, of_chat, coalesce(since, '-infinity');
    IF floor_at IS NULL THEN
        RETURN;
    END IF;
    -- Where the newest have the words now and then, so will those before them: one span that should be enough. Where
    -- they hardly do, all that have them are few.
    width := greatest(newest_at - floor_at, interval '1 minute') * (2.0 * wanted / greatest(found, 1));
    FOR turn IN CASE WHEN found < 3 THEN 2 ELSE 1 END..2 LOOP
        oldest := CASE turn WHEN 2 THEN '-infinity' ELSE floor_at - width END;
        oldest := greatest(oldest, since);
        RETURN QUERY EXECUTE 'WITH hit AS MATERIALIZED (SELECT s.message_id, s.sent_at FROM message_search s '
            || 'WHERE s.sent_at >= $11 AND ' || place || ' AND ' || rest
            || ') SELECT h.message_id, h.sent_at, 0::real FROM hit h ORDER BY h.sent_at DESC, h.message_id DESC LIMIT $12'
            USING tenant, wanted_words, floor_at, floor_id, of_chat, until, of_account, of_contact, of_kinds,
                of_direction, oldest, wanted - found;
        GET DIAGNOSTICS more = ROW_COUNT;
        found := found + more;
        EXIT WHEN found >= wanted OR oldest IS NOT DISTINCT FROM since OR oldest = '-infinity';
        floor_at := oldest;
        floor_id := '00000000-0000-0000-0000-000000000000';
    END LOOP;
END
$$;

DO $$
DECLARE
    function text;
BEGIN
    FOREACH function IN ARRAY ARRAY['search_parts', 'search_alike', 'search_messages'] LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %I FROM PUBLIC', function);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %I TO %I', function, current_schema() || '_app');
    END LOOP;
END
$$;

-- The groups of a person.
CREATE INDEX chat_member_contact ON chat_member (tenant_id, contact_id);
CREATE INDEX chat_past_member_contact ON chat_past_member (tenant_id, contact_id);
CREATE INDEX chat_contact ON chat (tenant_id, contact_id);

-- Forgetting a person: requests and who approved them, what holds them off, what they reach, what came of them, and the
-- list that keeps the next backup from bringing the person back.
--
-- Nobody but the functions below deletes anything of the archive. They demand a request that two people approved, that
-- nothing holds off, and they only touch what the request reaches.

-- When a tenant erases: at once, or when everything is a year old for which the law wants logs to be kept a year.
CREATE TABLE erasure_policy (
    tenant_id uuid PRIMARY KEY,
    mode text NOT NULL CHECK (mode IN ('at_once', 'after_one_year')),
    set_by text NOT NULL,
    set_at timestamptz NOT NULL DEFAULT now()
);
SELECT protect('erasure_policy', 'SELECT, INSERT, UPDATE');

CREATE TABLE erasure (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    subject_id uuid NOT NULL,
    state text NOT NULL CHECK (
        state IN ('asked', 'approved', 'planned', 'locked', 'erasing', 'told', 'done', 'cancelled')),
    scope text NOT NULL CHECK (scope IN ('person', 'messages')),
    ground text NOT NULL CHECK (ground IN ('request', 'consent_withdrawn', 'purpose_ended', 'court_order')),
    asked_by text NOT NULL,
    asked_at timestamptz NOT NULL,
    why text NOT NULL DEFAULT '',
    -- Who it is. Emptied once everybody has forgotten.
    numbers text[] NOT NULL DEFAULT '{}',
    emails text[] NOT NULL DEFAULT '{}',
    addresses text[] NOT NULL DEFAULT '{}',
    customer_ids text[] NOT NULL DEFAULT '{}',
    lead_ids text[] NOT NULL DEFAULT '{}',
    -- The archive's ids of the person and of the conversations with nobody else: opaque, and nothing without the rows.
    contact_ids uuid[] NOT NULL DEFAULT '{}',
    chat_ids uuid[] NOT NULL DEFAULT '{}',
    plan jsonb,
    plan_hash text NOT NULL DEFAULT '',
    mode text CHECK (mode IN ('at_once', 'after_one_year')),
    due_at timestamptz,
    effective_at timestamptz,
    -- What was erased so far, by table; how many parts the others were told in.
    counts jsonb NOT NULL DEFAULT '{}',
    parts integer NOT NULL DEFAULT 0,
    ended_at timestamptz,
    certificate text,
    -- Since when it waits for the others' receipts.
    told_at timestamptz,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX erasure_open ON erasure (state) WHERE state IN ('locked', 'erasing', 'told');
SELECT protect('erasure', 'SELECT, INSERT, UPDATE');
-- Which are open and due is looked for over all tenants; who they are about is not seen.
SELECT open_to_system('erasure', 'SELECT (tenant_id, id, state, due_at, told_at, effective_at)');

CREATE TABLE erasure_approval (
    tenant_id uuid NOT NULL,
    erasure_id uuid NOT NULL,
    approver text NOT NULL CHECK (approver <> ''),
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, erasure_id, approver),
    FOREIGN KEY (tenant_id, erasure_id) REFERENCES erasure (tenant_id, id)
);
SELECT protect('erasure_approval', 'SELECT, INSERT');

-- What has to stay for a claim or a court: of one person, of one conversation, or everything.
CREATE TABLE legal_hold (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    number text,
    chat_id uuid,
    -- Forgotten with the person, once the hold was released.
    reason text NOT NULL,
    placed_by text NOT NULL,
    placed_at timestamptz NOT NULL,
    released_by text,
    released_at timestamptz,
    released_why text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT legal_hold_reason_check CHECK (reason <> '' OR released_at IS NOT NULL),
    CHECK (number IS NULL OR chat_id IS NULL)
);
SELECT protect('legal_hold', 'SELECT, INSERT, UPDATE');

-- The messages that an erasure reaches, until they are gone. Hidden ones are shown to nobody.
CREATE TABLE erasure_message (
    tenant_id uuid NOT NULL,
    message_id uuid NOT NULL,
    erasure_id uuid NOT NULL,
    -- conversation: with nobody but the person; author: written in a group; copy: a card or a notice that names them.
    reach text NOT NULL CHECK (reach IN ('conversation', 'author', 'copy')),
    hidden boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant_id, message_id, erasure_id)
);
CREATE INDEX erasure_message_of ON erasure_message (tenant_id, erasure_id);
SELECT protect('erasure_message', 'SELECT');

-- People as they are shown: not those who wait for their day or are just being erased.
CREATE VIEW shown_contact WITH (security_invoker = true) AS
SELECT * FROM contact c WHERE NOT EXISTS (SELECT FROM erasure e
    WHERE e.tenant_id = c.tenant_id AND e.state IN ('locked', 'erasing') AND c.id = ANY (e.contact_ids));
GRANT SELECT ON shown_contact TO vault_importer_app, vault_importer_ro;

-- Words of erased messages, until it is known which of them nobody else has written.
CREATE TABLE erasure_word (
    tenant_id uuid NOT NULL,
    erasure_id uuid NOT NULL,
    word text NOT NULL,
    PRIMARY KEY (tenant_id, erasure_id, word)
);
SELECT protect('erasure_word', 'SELECT');

-- Files of the media store that nobody refers to any more, until they are gone from the disk.
CREATE TABLE erased_media (
    tenant_id uuid NOT NULL,
    sha256 bytea NOT NULL,
    PRIMARY KEY (tenant_id, sha256)
);
SELECT protect('erased_media', 'SELECT, DELETE');

CREATE TABLE erasure_receipt (
    tenant_id uuid NOT NULL,
    erasure_id uuid NOT NULL,
    part integer NOT NULL,
    service text NOT NULL,
    erased jsonb NOT NULL,
    kept jsonb NOT NULL,
    forgotten_at timestamptz NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, erasure_id, part, service),
    FOREIGN KEY (tenant_id, erasure_id) REFERENCES erasure (tenant_id, id)
);
SELECT protect('erasure_receipt', 'SELECT, INSERT');

-- Who must not come back out of a backup: HMAC-SHA256 of an address, under a key that is not in Postgres.
CREATE TABLE suppressed (
    tenant_id uuid NOT NULL,
    tag bytea NOT NULL CHECK (length(tag) = 32),
    erasure_id uuid NOT NULL,
    -- What is older stays out for good. What is newer stays out too, until somebody lifts that.
    until timestamptz NOT NULL,
    lifted_by text,
    lifted_at timestamptz,
    PRIMARY KEY (tenant_id, tag)
);
SELECT protect('suppressed', 'SELECT, INSERT, UPDATE');

-- The owner, in whose name the functions act, reaches rows of the tenant at hand.
DO $$
DECLARE
    target text;
BEGIN
    FOREACH target IN ARRAY ARRAY['erasure', 'erasure_approval', 'legal_hold', 'erasure_message', 'erasure_word',
        'erased_media', 'message', 'message_revision', 'message_alias', 'message_media', 'message_quote',
        'message_mention', 'message_add_on', 'message_reaction', 'message_poll_option', 'message_poll_vote',
        'message_receipt', 'message_detail', 'message_call', 'message_media_file', 'media_file', 'message_search',
        'search_word', 'call_log', 'call_participant', 'chat_member', 'chat_past_member', 'chat_detail',
        'account_detail', 'contact', 'jid_alias', 'chat', 'ledger_batch', 'ledger_opening'] LOOP
        EXECUTE format('CREATE POLICY eraser ON %I TO %I USING (tenant_id = current_setting(''app.tenant'')::uuid)',
            target, current_schema() || '_owner');
    END LOOP;
END
$$;

-- What opens a commitment is destroyed by the function only.
REVOKE UPDATE, DELETE ON ledger_opening FROM vault_importer_app;

-- The request, if it may erase; else the reason why not.
CREATE FUNCTION erasure_at_work(wanted uuid) RETURNS erasure LANGUAGE plpgsql STABLE AS $$
DECLARE
    found erasure;
BEGIN
    SELECT * INTO found FROM erasure WHERE tenant_id = current_setting('app.tenant')::uuid AND id = wanted;
    IF found.state IS DISTINCT FROM 'erasing' THEN
        RAISE EXCEPTION 'no erasure % is at work', wanted USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF (SELECT count(*) FROM erasure_approval a WHERE a.tenant_id = found.tenant_id AND a.erasure_id = wanted) < 2 THEN
        RAISE EXCEPTION 'erasure % has no two approvals', wanted USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NOT erasure_on_record(found) THEN
        RAISE EXCEPTION 'the audit log does not tell who asked for erasure %, approved it and began it', wanted
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF EXISTS (SELECT FROM legal_hold h WHERE h.tenant_id = found.tenant_id AND h.released_at IS NULL AND (
            (h.number IS NULL AND h.chat_id IS NULL) OR h.number = ANY (found.numbers)
            OR h.chat_id = ANY (found.chat_ids) OR EXISTS (
                SELECT FROM erasure_message e JOIN message m ON m.tenant_id = e.tenant_id AND m.id = e.message_id
                WHERE e.tenant_id = found.tenant_id AND e.erasure_id = wanted AND m.chat_id = h.chat_id))) THEN
        RAISE EXCEPTION 'a legal hold is on what erasure % reaches', wanted USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN found;
END
$$;

-- What a message said stands: another wording is a later revision, and the earlier one has been put aside before.
CREATE FUNCTION refuse_rewording() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a wording is never changed: write the next revision' USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER message_rows BEFORE DELETE ON message FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER message_table BEFORE TRUNCATE ON message FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- Who wrote a message, when, and where never changes. What it says changes by the next revision only.
CREATE TRIGGER message_wording BEFORE UPDATE ON message FOR EACH ROW
    WHEN ((OLD.tenant_id, OLD.id, OLD.chat_id, OLD.from_me, OLD.sender_id, OLD.sent_at)
            IS DISTINCT FROM (NEW.tenant_id, NEW.id, NEW.chat_id, NEW.from_me, NEW.sender_id, NEW.sent_at)
        OR (OLD.key_id, OLD.kind, OLD.raw_kind, OLD.text, OLD.revoked, OLD.edited_at, OLD.details, OLD.import_id,
                OLD.revision)
            IS DISTINCT FROM (NEW.key_id, NEW.kind, NEW.raw_kind, NEW.text, NEW.revoked, NEW.edited_at, NEW.details,
                NEW.import_id, NEW.revision)
        AND NEW.revision <> OLD.revision + 1)
    EXECUTE FUNCTION refuse_rewording();

-- How much a source of identities is trusted, from 0 to 100: WhatsApp's own list of pairs, what it says of a chat, and
-- what follows from a message. One place for whoever chooses between two, and for whoever shows why.

CREATE FUNCTION identity_confidence(source text) RETURNS smallint IMMUTABLE PARALLEL SAFE LANGUAGE sql AS $$
    SELECT CASE source WHEN 'jid_map' THEN 100 WHEN 'chat' THEN 90 WHEN 'history_sync' THEN 85
        WHEN 'number_change' THEN 80
        WHEN 'receipt' THEN 60 WHEN 'vcard' THEN 40 ELSE 50 END::smallint
$$;

-- Whether a pair is the one that counts, of all that are told of a hidden identity.
CREATE FUNCTION identity_counts(pair jid_alias) RETURNS boolean STABLE PARALLEL SAFE LANGUAGE sql AS $$
    SELECT pair.jid = (SELECT b.jid FROM jid_alias b WHERE b.tenant_id = pair.tenant_id AND b.lid = pair.lid
        ORDER BY identity_confidence(b.source) DESC, b.first_seen_at, b.jid LIMIT 1)
$$;

-- A direct chat, and the other one that is with the same person under the other identity: each has messages of its own
-- from before that was known, and they are read as one. Nothing of what is being erased.
CREATE FUNCTION same_chats(tenant uuid, chat uuid) RETURNS SETOF uuid STABLE PARALLEL SAFE ROWS 1 LANGUAGE sql AS $$
    SELECT h.id FROM chat h WHERE h.tenant_id = tenant AND h.id = chat
    UNION
    SELECT o.id FROM chat h
    JOIN jid_alias a ON a.tenant_id = tenant AND (a.jid = h.jid OR a.lid = h.jid)
    JOIN chat o ON o.tenant_id = tenant AND o.account_id = h.account_id AND o.jid IN (a.jid, a.lid)
    WHERE h.tenant_id = tenant AND h.id = chat AND h.kind = 'direct' AND identity_counts(a) AND NOT EXISTS (SELECT FROM erasure e
        WHERE e.tenant_id = tenant AND e.state IN ('locked', 'erasing') AND o.id = ANY (e.chat_ids))
$$;

-- The digits by which texts of the archive name a person, as a pattern for whole numbers, also where they are written in
-- groups; null when there are none. Between the groups 1 and 3 stands what names them.
CREATE FUNCTION naming_pattern(who erasure) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    WITH whole AS (
        SELECT substring(n FROM 2) AS digits FROM unnest(who.numbers) n
        UNION SELECT split_part(a, '@', 1) FROM unnest(who.addresses) a WHERE split_part(a, '@', 1) ~ '^[0-9]+$'
    )
    -- At home nobody writes the country's code.
    SELECT '(^|[^0-9])(' || string_agg(DISTINCT array_to_string(string_to_array(d, NULL),
        '[ ().\u00A0\u2009\u2011\u202F-]*'), '|') || ')([^0-9]|$)' FROM (
        SELECT digits AS d FROM whole UNION SELECT substring(digits FROM 3) FROM whole WHERE digits ~ '^91[0-9]{10}$'
    ) written
$$;

-- Whether an answer quotes somebody who was erased, whom it does not name any more.
CREATE FUNCTION quotes_nobody(tenant uuid, answer uuid) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM message_quote q WHERE q.tenant_id = tenant AND q.message_id = answer
        AND q.quoted_key_id = '' AND q.text = '' AND q.quoted_contact_id IS NULL)
$$;

-- Note which messages a request reaches, those too that have come since the last time; how many were new.
CREATE FUNCTION choose_messages(wanted uuid) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault_importer, pg_temp AS $$
DECLARE
    who erasure;
    pattern text;
    chosen bigint;
BEGIN
    SELECT * INTO who FROM erasure WHERE tenant_id = current_setting('app.tenant')::uuid AND id = wanted;
    IF who.state IS NULL OR who.state NOT IN ('asked', 'approved', 'planned', 'locked', 'erasing') THEN
        RAISE EXCEPTION 'no erasure % is open', wanted USING ERRCODE = 'insufficient_privilege';
    END IF;
    pattern := naming_pattern(who);
    INSERT INTO erasure_message (tenant_id, message_id, erasure_id, reach, hidden)
    SELECT who.tenant_id, m.id, wanted, CASE WHEN m.chat_id = ANY (who.chat_ids) THEN 'conversation'
        WHEN m.sender_id = ANY (who.contact_ids) THEN 'author' ELSE 'copy' END, who.state IN ('locked', 'erasing')
    FROM message m
    WHERE m.tenant_id = who.tenant_id AND (m.chat_id = ANY (who.chat_ids) OR m.sender_id = ANY (who.contact_ids)
        OR (m.kind IN ('contact', 'contacts', 'system', 'call', 'missed_call')
            AND (m.text ~ pattern OR m.details::text ~ pattern
                OR EXISTS (SELECT FROM message_detail d WHERE d.tenant_id = m.tenant_id AND d.message_id = m.id
                    AND d.columns::text ~ pattern))))
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS chosen = ROW_COUNT;
    IF who.state IN ('locked', 'erasing') THEN
        UPDATE erasure_message SET hidden = true
            WHERE tenant_id = who.tenant_id AND erasure_id = wanted AND NOT hidden;
        -- What is hidden is not found either.
        INSERT INTO erasure_word SELECT DISTINCT who.tenant_id, wanted, w FROM message_search s
            JOIN erasure_message e ON e.tenant_id = s.tenant_id AND e.message_id = s.message_id
            CROSS JOIN unnest(tsvector_to_array(s.words)) w
            WHERE s.tenant_id = who.tenant_id AND e.erasure_id = wanted ON CONFLICT DO NOTHING;
        DELETE FROM message_search s USING erasure_message e
            WHERE s.tenant_id = who.tenant_id AND e.tenant_id = s.tenant_id AND e.message_id = s.message_id
                AND e.erasure_id = wanted;
    END IF;
    RETURN chosen;
END
$$;

-- Of a request that was given up: nothing is reached or hidden any more.
CREATE FUNCTION release_messages(wanted uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault_importer, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM erasure WHERE tenant_id = current_setting('app.tenant')::uuid AND id = wanted
            AND state = 'cancelled') THEN
        RAISE EXCEPTION 'erasure % was not cancelled', wanted USING ERRCODE = 'insufficient_privilege';
    END IF;
    DELETE FROM erasure_message WHERE tenant_id = current_setting('app.tenant')::uuid AND erasure_id = wanted;
    DELETE FROM erasure_word WHERE tenant_id = current_setting('app.tenant')::uuid AND erasure_id = wanted;
END
$$;

-- Whether a leaf is about what the request reaches: a message, its file, what the person made of others' messages, or
-- which identities are theirs. A pair of identities has its number where others have an id.
CREATE FUNCTION is_reached(who erasure, kind text, id uuid, revision integer) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN kind IN ('message', 'media', 'reaction', 'vote') AND EXISTS (SELECT FROM erasure_message e
            WHERE e.tenant_id = who.tenant_id AND e.erasure_id = who.id AND e.message_id = is_reached.id) THEN true
        WHEN kind = 'reaction' THEN EXISTS (SELECT FROM message_reaction r WHERE r.tenant_id = who.tenant_id
            AND r.message_id = is_reached.id AND r.number = revision AND r.contact_id = ANY (who.contact_ids))
        WHEN kind = 'vote' THEN EXISTS (SELECT FROM message_poll_vote v WHERE v.tenant_id = who.tenant_id
            AND v.message_id = is_reached.id AND v.number = revision AND v.contact_id = ANY (who.contact_ids))
        WHEN kind = 'identity' THEN EXISTS (SELECT FROM jid_alias a WHERE a.tenant_id = who.tenant_id
            AND a.number = ('x' || right(is_reached.id::text, 8))::bit(32)::integer
            AND (a.jid = ANY (who.addresses) OR a.lid = ANY (who.addresses)))
        ELSE false END
$$;

-- Destroy what opens some leaves: of what the request reaches, and of nothing else.
CREATE FUNCTION destroy_openings(wanted uuid, leaves bigint[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault_importer, pg_temp AS $$
DECLARE
    who erasure := erasure_at_work(wanted);
    pack record;
    leaf bigint;
    packed bytea;
    destroyed bigint := 0;
BEGIN
    PERFORM set_config('app.erasing', wanted::text, true);
    FOR pack IN
        SELECT b.first_leaf, b.kind, b.ids, b.revisions, array_agg(l.leaf) AS wanted_leaves FROM unnest(leaves) l (leaf)
        CROSS JOIN LATERAL (SELECT first_leaf FROM ledger_batch WHERE tenant_id = who.tenant_id AND first_leaf <= l.leaf
            ORDER BY first_leaf DESC LIMIT 1) f
        JOIN ledger_batch b ON b.tenant_id = who.tenant_id AND b.first_leaf = f.first_leaf
        GROUP BY b.first_leaf, b.kind, b.ids, b.revisions ORDER BY b.first_leaf
    LOOP
        IF EXISTS (SELECT FROM unnest(pack.wanted_leaves) l (leaf), LATERAL (SELECT (l.leaf - pack.first_leaf)::integer
                ) at (place) WHERE NOT is_reached(who, pack.kind,
                    encode(substring(pack.ids FROM place * 16 + 1 FOR 16), 'hex')::uuid,
                    ('x' || encode(substring(pack.revisions FROM place * 4 + 1 FOR 4), 'hex'))::bit(32)::integer)) THEN
            RAISE EXCEPTION 'erasure % does not reach this leaf', wanted USING ERRCODE = 'insufficient_privilege';
        END IF;
        SELECT openings INTO packed FROM ledger_opening
            WHERE tenant_id = who.tenant_id AND first_leaf = pack.first_leaf FOR UPDATE;
        CONTINUE WHEN packed IS NULL;
        FOREACH leaf IN ARRAY pack.wanted_leaves LOOP
            packed := overlay(packed PLACING decode(repeat('00', 32), 'hex')
                FROM (leaf - pack.first_leaf)::integer * 32 + 1 FOR 32);
        END LOOP;
        UPDATE ledger_opening SET openings = packed WHERE tenant_id = who.tenant_id AND first_leaf = pack.first_leaf;
        destroyed := destroyed + cardinality(pack.wanted_leaves);
    END LOOP;
    PERFORM set_config('app.erasing', '', true);
    RETURN destroyed;
END
$$;

-- Erase some of the messages that a request reaches, with everything that stands beside them; how many rows of what.
CREATE FUNCTION erase_messages(wanted uuid, ids uuid[]) RETURNS TABLE (store text, rows bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault_importer, pg_temp AS $$
DECLARE
    who erasure := erasure_at_work(wanted);
    files bytea[];
    target text;
BEGIN
    IF EXISTS (SELECT FROM unnest(ids) i (id) WHERE NOT EXISTS (SELECT FROM erasure_message e
            WHERE e.tenant_id = who.tenant_id AND e.message_id = i.id AND e.erasure_id = wanted)) THEN
        RAISE EXCEPTION 'erasure % does not reach these messages', wanted USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM set_config('app.erasing', wanted::text, true);
    INSERT INTO erasure_word SELECT DISTINCT who.tenant_id, wanted, w FROM message_search s
        CROSS JOIN unnest(tsvector_to_array(s.words)) w
        WHERE s.tenant_id = who.tenant_id AND s.message_id = ANY (ids) ON CONFLICT DO NOTHING;
    SELECT array_agg(DISTINCT sha256) INTO files FROM message_media_file f
        WHERE f.tenant_id = who.tenant_id AND f.message_id = ANY (ids);
    FOREACH target IN ARRAY ARRAY['message_media_file', 'message_media', 'message_quote', 'message_mention',
        'message_add_on', 'message_reaction', 'message_poll_option', 'message_poll_vote', 'message_receipt',
        'message_detail', 'message_call', 'message_alias', 'message_search', 'message_revision', 'message'] LOOP
        EXECUTE format('DELETE FROM %I WHERE tenant_id = $1 AND %I = ANY ($2)', target,
            CASE target WHEN 'message' THEN 'id' ELSE 'message_id' END) USING who.tenant_id, ids;
        GET DIAGNOSTICS rows = ROW_COUNT;
        store := target;
        RETURN NEXT;
    END LOOP;
    -- What others answered to them quotes them.
    UPDATE message_quote SET text = '', quoted_contact_id = NULL, quoted_key_id = '', quoted_message_id = NULL
        WHERE tenant_id = who.tenant_id AND quoted_message_id = ANY (ids);
    GET DIAGNOSTICS rows = ROW_COUNT;
    store := 'message_quote of others';
    RETURN NEXT;
    WITH gone AS (
        DELETE FROM media_file f WHERE f.tenant_id = who.tenant_id AND f.sha256 = ANY (files)
            AND NOT EXISTS (SELECT FROM message_media_file m WHERE m.tenant_id = f.tenant_id AND m.sha256 = f.sha256)
        RETURNING f.sha256)
    INSERT INTO erased_media SELECT who.tenant_id, sha256 FROM gone ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS rows = ROW_COUNT;
    store := 'media_file';
    RETURN NEXT;
    DELETE FROM erasure_message WHERE tenant_id = who.tenant_id AND erasure_id = wanted AND message_id = ANY (ids);
    PERFORM set_config('app.erasing', '', true);
END
$$;

-- Erase what names the person in one of the tables beside other people's messages; how many rows.
CREATE FUNCTION erase_beside(wanted uuid, target text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault_importer, pg_temp AS $$
DECLARE
    who erasure := erasure_at_work(wanted);
    pattern text := naming_pattern(who);
    -- Digits in the place of digits: in JSON they may be a number.
    mark CONSTANT text := '\10\3';
    words text[];
    rows bigint;
BEGIN
    PERFORM set_config('app.erasing', wanted::text, true);
    CASE target
    WHEN 'message_add_on', 'message_reaction', 'message_poll_vote', 'message_receipt', 'call_participant',
            'chat_member', 'chat_past_member' THEN
        EXECUTE format('DELETE FROM %I WHERE tenant_id = $1 AND contact_id = ANY ($2)', target)
            USING who.tenant_id, who.contact_ids;
    WHEN 'message_mention' THEN
        DELETE FROM message_mention WHERE tenant_id = who.tenant_id
            AND (mentioned_contact_id = ANY (who.contact_ids) OR address = ANY (who.addresses));
    WHEN 'message_quote' THEN
        UPDATE message_quote SET text = '', quoted_contact_id = NULL, quoted_key_id = '', quoted_message_id = NULL
            WHERE tenant_id = who.tenant_id
                AND (quoted_contact_id = ANY (who.contact_ids) OR quoted_chat_id = ANY (who.chat_ids));
    WHEN 'call_log' THEN
        DELETE FROM call_participant p USING call_log c WHERE c.tenant_id = who.tenant_id
            AND c.caller_or_called_id = ANY (who.contact_ids) AND p.tenant_id = c.tenant_id AND p.call_id = c.call_id;
        DELETE FROM message_call p USING call_log c WHERE c.tenant_id = who.tenant_id
            AND c.caller_or_called_id = ANY (who.contact_ids) AND p.tenant_id = c.tenant_id AND p.call_id = c.call_id;
        DELETE FROM call_log WHERE tenant_id = who.tenant_id AND caller_or_called_id = ANY (who.contact_ids);
    WHEN 'message_detail' THEN
        DELETE FROM message_detail d WHERE d.tenant_id = who.tenant_id AND (d.columns::text ~ pattern
            OR starts_with(d.source, 'message_quoted') AND quotes_nobody(d.tenant_id, d.message_id));
    WHEN 'chat_detail', 'account_detail' THEN
        -- What a group or the account is like: only the person's digits in it are theirs.
        EXECUTE format('UPDATE %I SET columns = regexp_replace(regexp_replace(columns::text, $2, $3, ''g''), $2, $3,
            ''g'')::jsonb WHERE tenant_id = $1 AND columns::text ~ $2', target) USING who.tenant_id, pattern, mark;
    WHEN 'search_word' THEN
        -- A few hundred at a time: a word that many have written takes a while to be found.
        SELECT array_agg(word) INTO words FROM (SELECT word FROM erasure_word
            WHERE tenant_id = who.tenant_id AND erasure_id = wanted ORDER BY word LIMIT 300) w;
        DELETE FROM erasure_word
            WHERE tenant_id = who.tenant_id AND erasure_id = wanted AND word = ANY (words);
        DELETE FROM search_word w WHERE w.tenant_id = who.tenant_id AND w.word = ANY (words)
            AND NOT EXISTS (SELECT FROM message_search s
                WHERE s.tenant_id = w.tenant_id AND s.words @@ quote_literal(w.word)::tsquery);
    WHEN 'chat' THEN
        DELETE FROM chat_detail WHERE tenant_id = who.tenant_id AND chat_id = ANY (who.chat_ids);
        DELETE FROM chat WHERE tenant_id = who.tenant_id AND id = ANY (who.chat_ids);
    WHEN 'jid_alias' THEN
        DELETE FROM jid_alias WHERE tenant_id = who.tenant_id
            AND (jid = ANY (who.addresses) OR lid = ANY (who.addresses));
    WHEN 'contact' THEN
        DELETE FROM contact WHERE tenant_id = who.tenant_id AND id = ANY (who.contact_ids);
    ELSE
        RAISE EXCEPTION 'nothing is erased in %', target USING ERRCODE = 'insufficient_privilege';
    END CASE;
    GET DIAGNOSTICS rows = ROW_COUNT;
    PERFORM set_config('app.erasing', '', true);
    RETURN rows;
END
$$;

DO $$
DECLARE
    function text;
BEGIN
    FOREACH function IN ARRAY ARRAY['choose_messages', 'release_messages', 'destroy_openings', 'erase_messages',
        'erase_beside'] LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %I FROM PUBLIC', function);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %I TO %I', function, current_schema() || '_app');
    END LOOP;
END
$$;

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
-- Who the archive's people are to the business: customers and leads that contacts are linked to, and what part each
-- conversation plays.
--
-- Customers, leads and staff are what the directory tells of them. `due` marks what the links were not made of yet;
-- a row that is deleted there keeps nothing but its name in the directory until that was done.
CREATE TABLE party (
    tenant_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('customer', 'lead')),
    party_id text NOT NULL,
    version integer NOT NULL,
    name text NOT NULL,
    numbers text[] NOT NULL,
    emails text[] NOT NULL,
    gstin text,
    deleted boolean NOT NULL DEFAULT false,
    due boolean NOT NULL DEFAULT true,
    PRIMARY KEY (tenant_id, kind, party_id)
);
CREATE INDEX party_due ON party (tenant_id) WHERE due;
SELECT protect('party');

CREATE TABLE staff (
    tenant_id uuid NOT NULL,
    staff_id text NOT NULL,
    version integer NOT NULL,
    name text NOT NULL,
    numbers text[] NOT NULL,
    deleted boolean NOT NULL DEFAULT false,
    due boolean NOT NULL DEFAULT true,
    PRIMARY KEY (tenant_id, staff_id)
);
CREATE INDEX staff_due ON staff (tenant_id) WHERE due;
SELECT protect('staff');

-- By what customers and leads can be known: numbers, tax numbers, addresses and folded names.
CREATE TABLE party_identity (
    tenant_id uuid NOT NULL,
    kind text NOT NULL,
    party_id text NOT NULL,
    identity text NOT NULL CHECK (identity IN ('number', 'gstin', 'email', 'name')),
    value text NOT NULL,
    PRIMARY KEY (tenant_id, kind, party_id, identity, value)
);
CREATE INDEX party_identity_value ON party_identity (tenant_id, value, identity);
SELECT protect('party_identity');

-- The same of contacts: their number and name, and what they wrote of themselves in a direct chat, and where.
CREATE TABLE contact_identity (
    tenant_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    identity text NOT NULL CHECK (identity IN ('number', 'gstin', 'email', 'name')),
    value text NOT NULL,
    message_id uuid,
    PRIMARY KEY (tenant_id, contact_id, identity, value),
    FOREIGN KEY (tenant_id, contact_id) REFERENCES contact (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, message_id) REFERENCES message (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX contact_identity_message ON contact_identity (tenant_id, message_id) WHERE message_id IS NOT NULL;
CREATE INDEX contact_identity_value ON contact_identity (tenant_id, value, identity);
SELECT protect('contact_identity');

-- Contacts as they were last looked at, and those that have to be decided again.
CREATE TABLE contact_seen (
    tenant_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    number text,
    name text NOT NULL,
    PRIMARY KEY (tenant_id, contact_id),
    FOREIGN KEY (tenant_id, contact_id) REFERENCES contact (tenant_id, id) ON DELETE CASCADE
);
SELECT protect('contact_seen');
CREATE TABLE link_due (
    tenant_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, contact_id),
    FOREIGN KEY (tenant_id, contact_id) REFERENCES contact (tenant_id, id) ON DELETE CASCADE
);
SELECT protect('link_due');

-- How a contact stands now: linked to one, ambiguous between several, only proposed by a name, or none because a
-- person said so. `evidence` holds every candidate with what speaks for it. A contact without a row has no candidate.
CREATE TABLE contact_link (
    tenant_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    state text NOT NULL CHECK (state IN ('linked', 'ambiguous', 'proposed', 'none')),
    kind text,
    party_id text,
    by_person boolean NOT NULL,
    confidence real NOT NULL,
    evidence jsonb NOT NULL,
    decided_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, contact_id),
    CHECK ((state = 'linked') = (party_id IS NOT NULL)),
    FOREIGN KEY (tenant_id, contact_id) REFERENCES contact (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX contact_link_party ON contact_link (tenant_id, kind, party_id);
CREATE INDEX contact_link_open ON contact_link (tenant_id, state, contact_id) WHERE state IN ('ambiguous', 'proposed');
SELECT protect('contact_link');

-- Everything that was ever decided of a contact, by people and by the machine. What people said is read again whenever
-- the machine decides; nothing of it is changed, and it goes with the person alone.
CREATE TABLE link_decision (
    tenant_id uuid NOT NULL,
    number bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    contact_id uuid NOT NULL,
    decided_at timestamptz NOT NULL,
    by_person boolean NOT NULL,
    decided_by text NOT NULL,
    -- A person's: accept, refuse, again. The machine's: the state that it came to.
    action text NOT NULL,
    -- Of these customers and leads, as kind:id.
    parties text[] NOT NULL,
    why text NOT NULL,
    PRIMARY KEY (tenant_id, number),
    FOREIGN KEY (tenant_id, contact_id) REFERENCES contact (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX link_decision_contact ON link_decision (tenant_id, contact_id, number);
CREATE INDEX link_decision_person ON link_decision (tenant_id) WHERE by_person;
SELECT protect('link_decision', 'SELECT, INSERT');

-- What part a conversation plays, and why; a person's word stands until it is taken back.
CREATE TABLE chat_role (
    tenant_id uuid NOT NULL,
    chat_id uuid NOT NULL,
    role text NOT NULL CHECK (role IN ('client', 'lead', 'vendor', 'internal', 'personal', 'unknown')),
    by_person boolean NOT NULL,
    reason text NOT NULL,
    decided_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, chat_id),
    FOREIGN KEY (tenant_id, chat_id) REFERENCES chat (tenant_id, id) ON DELETE CASCADE
);
SELECT protect('chat_role');
CREATE TABLE role_decision (
    tenant_id uuid NOT NULL,
    number bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    chat_id uuid NOT NULL,
    decided_at timestamptz NOT NULL,
    decided_by text NOT NULL,
    -- Null takes what was said before back.
    role text,
    why text NOT NULL,
    PRIMARY KEY (tenant_id, number),
    FOREIGN KEY (tenant_id, chat_id) REFERENCES chat (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX role_decision_chat ON role_decision (tenant_id, chat_id, number);
SELECT protect('role_decision', 'SELECT, INSERT');

-- How far a tenant's ledger was read for what people wrote of themselves, at which of its lengths contacts were
-- compared, and behind which chat the roles are being told; null when all are told.
CREATE TABLE link_progress (
    tenant_id uuid PRIMARY KEY,
    next_leaf bigint NOT NULL,
    contacts_leaf bigint NOT NULL,
    roles_after uuid
);
SELECT protect('link_progress');
-- Guards that could be passed: another wording goes only with the earlier one beside it, nothing of the archive is deleted
-- but by the functions of an erasure, and they work only for a request that the audit log tells of.

-- Asked at the end of the statement, since the earlier wording is put aside by the same one.
CREATE FUNCTION demand_earlier_wording() RETURNS trigger LANGUAGE plpgsql SET search_path = vault_importer, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM message_revision r
            WHERE r.tenant_id = OLD.tenant_id AND r.message_id = OLD.id AND r.revision = OLD.revision
                AND (r.key_id, r.kind, r.raw_kind, r.text, r.revoked, r.edited_at, r.details, r.import_id)
                    IS NOT DISTINCT FROM (OLD.key_id, OLD.kind, OLD.raw_kind, OLD.text, OLD.revoked, OLD.edited_at,
                        OLD.details, OLD.import_id)) THEN
        RAISE EXCEPTION 'a wording is never changed: put the earlier one aside' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER message_earlier_wording AFTER UPDATE ON message FOR EACH ROW
    WHEN (OLD.revision <> NEW.revision) EXECUTE FUNCTION demand_earlier_wording();

-- The service changes names of people and chats, and imports until they end; it deletes none of them.
REVOKE DELETE ON contact, chat, import_run, import_lane, account FROM vault_importer_app;
REVOKE UPDATE, DELETE ON jid_alias FROM vault_importer_app;

CREATE TRIGGER ledger_opening_rows BEFORE UPDATE OR DELETE ON ledger_opening
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_opening_table BEFORE TRUNCATE ON ledger_opening
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER message_media_file_rows BEFORE UPDATE OR DELETE ON message_media_file
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER message_media_file_table BEFORE TRUNCATE ON message_media_file
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER media_file_rows BEFORE UPDATE OR DELETE ON media_file FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER media_file_table BEFORE TRUNCATE ON media_file FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER jid_alias_rows BEFORE UPDATE OR DELETE ON jid_alias FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER jid_alias_table BEFORE TRUNCATE ON jid_alias FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER contact_rows BEFORE DELETE ON contact FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER contact_table BEFORE TRUNCATE ON contact FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER chat_rows BEFORE DELETE ON chat FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER chat_table BEFORE TRUNCATE ON chat FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER import_run_rows BEFORE DELETE ON import_run FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER import_run_table BEFORE TRUNCATE ON import_run FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- What came of an import stands once it has ended.
CREATE TRIGGER import_run_ended BEFORE UPDATE ON import_run FOR EACH ROW WHEN (OLD.state <> 'started')
    EXECUTE FUNCTION refuse_change();

-- Whom an erasure is about and what was planned stand once it has begun, and it goes forward only.
CREATE FUNCTION refuse_other_erasure() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'an erasure that has begun is of whom it was planned for, and only goes forward'
        USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER erasure_begun BEFORE UPDATE ON erasure FOR EACH ROW
    WHEN (OLD.state IN ('locked', 'erasing', 'told', 'done', 'cancelled') AND (
        (OLD.tenant_id, OLD.id, OLD.subject_id, OLD.scope, OLD.asked_by, OLD.asked_at, OLD.plan_hash, OLD.contact_ids,
                OLD.chat_ids)
            IS DISTINCT FROM (NEW.tenant_id, NEW.id, NEW.subject_id, NEW.scope, NEW.asked_by, NEW.asked_at,
                NEW.plan_hash, NEW.contact_ids, NEW.chat_ids)
        OR (OLD.numbers, OLD.addresses) IS DISTINCT FROM (NEW.numbers, NEW.addresses)
            AND (NEW.numbers, NEW.addresses) IS DISTINCT FROM ('{}'::text[], '{}'::text[])
        OR OLD.state || ' ' || NEW.state NOT IN ('locked locked', 'locked erasing', 'locked cancelled',
            'erasing erasing', 'erasing told', 'told told', 'told done', 'done done', 'cancelled cancelled')))
    EXECUTE FUNCTION refuse_other_erasure();

-- The functions act in the owner's name, who reads of the audit log what is of the tenant at hand.
DO $$
BEGIN
    EXECUTE format('CREATE POLICY eraser ON audit_log FOR SELECT TO %I '
        || 'USING (tenant_id = current_setting(''app.tenant'')::uuid)', current_schema() || '_owner');
END
$$;

-- By what a request's records are found, and their leaves.
CREATE INDEX audit_log_erasure ON audit_log (tenant_id, (details->>'erasure')) WHERE details->>'erasure' IS NOT NULL;
CREATE INDEX ledger_batch_audit ON ledger_batch (tenant_id, ids) WHERE kind = 'audit';

-- Whether records of the audit log, with leaves of their own, tell that a request was asked for, that two approved it,
-- and that its plan was begun: nobody is erased without a trace that the tree holds.
CREATE FUNCTION erasure_on_record(who erasure) RETURNS boolean LANGUAGE sql STABLE AS $$
    WITH told AS (
        SELECT a.action, a.details FROM audit_log a
        WHERE a.tenant_id = who.tenant_id AND a.details->>'erasure' = who.id::text
            AND a.action IN ('erasure.asked', 'erasure.approved', 'erasure.begun')
            AND EXISTS (SELECT FROM ledger_batch b WHERE b.tenant_id = who.tenant_id AND b.kind = 'audit'
                AND b.ids = decode(lpad(to_hex(a.sequence), 32, '0'), 'hex'))
    )
    SELECT EXISTS (SELECT FROM told WHERE action = 'erasure.asked' AND details->>'by' = who.asked_by)
        AND EXISTS (SELECT FROM told WHERE action = 'erasure.begun' AND details->>'plan' = who.plan_hash)
        AND (SELECT count(DISTINCT a.approver) FROM erasure_approval a
            JOIN told t ON t.action = 'erasure.approved' AND t.details->>'by' = a.approver
            WHERE a.tenant_id = who.tenant_id AND a.erasure_id = who.id) >= 2
$$;

-- The next backup brings what was quoted again, in a table of its own: before or after the quote that says whose it was,
-- perhaps at the same time. Where nobody was erased it is taken as it comes.
CREATE FUNCTION keep_quoted_out() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault_importer, pg_temp AS $$
BEGIN
    IF coalesce(current_setting('app.erasing', true), '') <> ''
            OR NOT EXISTS (SELECT FROM suppressed WHERE tenant_id = NEW.tenant_id) THEN
        RETURN NEW;
    END IF;
    -- Whichever comes second sees the other.
    PERFORM pg_advisory_xact_lock(hashtext('quoted'), hashtext(NEW.tenant_id::text));
    IF TG_TABLE_NAME = 'message_detail' THEN
        RETURN CASE WHEN quotes_nobody(NEW.tenant_id, NEW.message_id) THEN NULL ELSE NEW END;
    END IF;
    DELETE FROM message_detail WHERE tenant_id = NEW.tenant_id AND message_id = NEW.message_id
        AND starts_with(source, 'message_quoted');
    RETURN NULL;
END
$$;
CREATE TRIGGER message_detail_quoted BEFORE INSERT ON message_detail FOR EACH ROW
    WHEN (starts_with(NEW.source, 'message_quoted')) EXECUTE FUNCTION keep_quoted_out();
CREATE TRIGGER message_quote_emptied AFTER INSERT OR UPDATE ON message_quote FOR EACH ROW
    WHEN (NEW.quoted_key_id = '' AND NEW.text = '' AND NEW.quoted_contact_id IS NULL)
    EXECUTE FUNCTION keep_quoted_out();
DO $$
BEGIN
    EXECUTE format('CREATE POLICY eraser ON suppressed FOR SELECT TO %I '
        || 'USING (tenant_id = current_setting(''app.tenant'')::uuid)', current_schema() || '_owner');
END
$$;
