-- The console's read model: what the other services' events say, one row per thing that is shown.
--
-- ``changed`` is the id of the transaction that last wrote the row. A reader that remembers the oldest transaction
-- still running (pg_snapshot_xmin) when it read finds everything newer by ``changed >= remembered``: at least once,
-- and nothing is missed that commits out of order.

CREATE FUNCTION this_change() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT pg_current_xact_id()::text::bigint
$$;

CREATE TABLE board_call (
    tenant_id uuid NOT NULL,
    call_id text NOT NULL,
    at timestamptz NOT NULL,
    changed bigint NOT NULL DEFAULT this_change(),
    vendor text NOT NULL,
    direction text NOT NULL DEFAULT 'inbound',
    caller text,
    caller_kind text,
    caller_raw text NOT NULL DEFAULT '',
    did text,
    customer_id text,
    asked_at timestamptz,
    destinations jsonb NOT NULL DEFAULT '[]',
    excluded jsonb NOT NULL DEFAULT '[]',
    rule text,
    rung text,
    view_age_ms integer,
    answer_ms double precision,
    rule_version text,
    state text NOT NULL DEFAULT 'ringing',
    state_version integer NOT NULL DEFAULT 0,
    staff_id text,
    agent_number text,
    answered_at timestamptz,
    ended_at timestamptz,
    duration_seconds integer,
    cause text,
    PRIMARY KEY (tenant_id, call_id)
);
CREATE INDEX board_call_at ON board_call (tenant_id, at DESC, call_id DESC);
CREATE INDEX board_call_changed ON board_call (tenant_id, changed);
SELECT protect('board_call');
SELECT open_to_system('board_call', 'SELECT, DELETE');

CREATE TABLE board_fact (
    tenant_id uuid NOT NULL,
    fact_id text NOT NULL,
    at timestamptz NOT NULL,
    changed bigint NOT NULL DEFAULT this_change(),
    version integer NOT NULL,
    subject text NOT NULL,
    key text NOT NULL,
    raw_value text NOT NULL,
    value text NOT NULL,
    value_type text NOT NULL,
    unit text,
    state text NOT NULL,
    confidence double precision NOT NULL,
    extractor text NOT NULL,
    source_type text NOT NULL,
    source_id text NOT NULL,
    span_start integer NOT NULL,
    span_end integer NOT NULL,
    quote text NOT NULL,
    PRIMARY KEY (tenant_id, fact_id)
);
CREATE INDEX board_fact_at ON board_fact (tenant_id, at DESC, fact_id DESC);
CREATE INDEX board_fact_changed ON board_fact (tenant_id, changed);
SELECT protect('board_fact');

CREATE TABLE board_anomaly (
    tenant_id uuid NOT NULL,
    anomaly_id text NOT NULL,
    at timestamptz NOT NULL,
    changed bigint NOT NULL DEFAULT this_change(),
    rule text NOT NULL,
    rule_version text NOT NULL,
    title text NOT NULL,
    description text NOT NULL,
    learning text NOT NULL,
    severity text NOT NULL,
    local_day text NOT NULL,
    evidence json NOT NULL,
    evidence_total integer NOT NULL,
    PRIMARY KEY (tenant_id, anomaly_id)
);
CREATE INDEX board_anomaly_at ON board_anomaly (tenant_id, at DESC, anomaly_id DESC);
CREATE INDEX board_anomaly_changed ON board_anomaly (tenant_id, changed);
SELECT protect('board_anomaly');
SELECT open_to_system('board_anomaly', 'SELECT, DELETE');

CREATE TABLE board_mail (
    tenant_id uuid NOT NULL,
    notification_id text NOT NULL,
    at timestamptz NOT NULL,
    changed bigint NOT NULL DEFAULT this_change(),
    version integer NOT NULL,
    kind text NOT NULL,
    channel text NOT NULL,
    recipient text NOT NULL,
    state text NOT NULL,
    reason text,
    subject_line text NOT NULL,
    local_day text,
    PRIMARY KEY (tenant_id, notification_id)
);
CREATE INDEX board_mail_at ON board_mail (tenant_id, at DESC, notification_id DESC);
CREATE INDEX board_mail_changed ON board_mail (tenant_id, changed);
SELECT protect('board_mail');
SELECT open_to_system('board_mail', 'SELECT, DELETE');

CREATE TABLE board_import (
    tenant_id uuid NOT NULL,
    import_id text NOT NULL,
    at timestamptz NOT NULL,
    changed bigint NOT NULL DEFAULT this_change(),
    account_id text NOT NULL,
    account_name text NOT NULL,
    state text NOT NULL,
    file_sha256 text NOT NULL,
    started_at timestamptz,
    messages_new integer NOT NULL,
    messages_changed integer NOT NULL,
    messages_seen integer NOT NULL,
    contacts_seen integer NOT NULL,
    chats_seen integer NOT NULL,
    newest_message_at timestamptz,
    error text,
    PRIMARY KEY (tenant_id, import_id)
);
CREATE INDEX board_import_at ON board_import (tenant_id, at DESC, import_id DESC);
CREATE INDEX board_import_changed ON board_import (tenant_id, changed);
SELECT protect('board_import');
SELECT open_to_system('board_import', 'SELECT, DELETE');

-- Which messages have been counted, so that one that is told again is not counted again.
CREATE TABLE board_message (
    tenant_id uuid NOT NULL,
    message_id text NOT NULL,
    revision integer NOT NULL,
    PRIMARY KEY (tenant_id, message_id)
);
SELECT protect('board_message');

CREATE TABLE board_chat (
    tenant_id uuid NOT NULL,
    chat_id text NOT NULL,
    at timestamptz NOT NULL,
    changed bigint NOT NULL DEFAULT this_change(),
    account_id text NOT NULL,
    chat_kind text NOT NULL,
    chat_name text NOT NULL,
    peer_number text,
    messages bigint NOT NULL,
    last_message_id text NOT NULL,
    last_direction text NOT NULL,
    last_sender text NOT NULL,
    last_text text NOT NULL,
    PRIMARY KEY (tenant_id, chat_id)
);
CREATE INDEX board_chat_at ON board_chat (tenant_id, at DESC, chat_id DESC);
CREATE INDEX board_chat_changed ON board_chat (tenant_id, changed);
SELECT protect('board_chat');

-- One row per card of the console, names included, so that a page is one query. ``facet`` is what a page filters by.
CREATE VIEW call_card WITH (security_invoker = true) AS
SELECT b.call_id AS id, b.at, b.changed, b.state AS facet, b.vendor, b.direction, b.caller, b.caller_kind, b.caller_raw,
       b.did, b.asked_at, b.destinations, b.excluded, b.rule, b.rung, b.view_age_ms, b.answer_ms, b.rule_version,
       b.state, b.agent_number, b.answered_at, b.ended_at, b.duration_seconds, b.cause,
       c.name AS customer_name, s.name AS staff_name, d.label AS did_label
FROM board_call b
LEFT JOIN customer c ON c.tenant_id = b.tenant_id AND c.customer_id = b.customer_id
LEFT JOIN staff s ON s.tenant_id = b.tenant_id AND s.staff_id = b.staff_id
LEFT JOIN did d ON d.tenant_id = b.tenant_id AND d.did = b.did;

CREATE VIEW fact_card WITH (security_invoker = true) AS
SELECT b.fact_id AS id, b.at, b.changed, b.state AS facet, b.version, b.subject, b.key, b.raw_value, b.value,
       b.value_type, b.unit, b.state, b.confidence, b.extractor, b.source_type, b.source_id, b.span_start, b.span_end,
       b.quote, c.name AS customer_name
FROM board_fact b
LEFT JOIN customer c ON c.tenant_id = b.tenant_id
    AND c.customer_id = CASE WHEN b.subject LIKE 'customer:%' THEN substr(b.subject, 10) END;

CREATE VIEW anomaly_card WITH (security_invoker = true) AS
SELECT anomaly_id AS id, at, changed, severity AS facet, rule, rule_version, title, description, learning, severity,
       local_day, evidence, evidence_total
FROM board_anomaly;

CREATE VIEW mail_card WITH (security_invoker = true) AS
SELECT notification_id AS id, at, changed, state AS facet, kind, channel, recipient, state, reason, subject_line,
       local_day
FROM board_mail;

CREATE VIEW import_card WITH (security_invoker = true) AS
SELECT import_id AS id, at, changed, state AS facet, account_id, account_name, state, file_sha256, started_at,
       messages_new, messages_changed, messages_seen, contacts_seen, chats_seen, newest_message_at, error
FROM board_import;

CREATE VIEW chat_card WITH (security_invoker = true) AS
SELECT chat_id AS id, at, changed, chat_kind AS facet, chat_kind, chat_name, peer_number, messages, last_direction,
       last_sender, last_text
FROM board_chat;

GRANT SELECT ON call_card, fact_card, anomaly_card, mail_card, import_card, chat_card TO front_desk_app, front_desk_ro;
