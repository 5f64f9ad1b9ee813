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
