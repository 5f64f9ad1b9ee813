-- The schema of front-desk as it is now: its own tables and views, as the migrations leave them.

-- Who works here, who calls, which numbers ring. Each row is an entity with its version; a deleted entity keeps
-- its row and its version, without its content, so that one that is made again continues the count.

CREATE TABLE tenant (
    tenant_id uuid PRIMARY KEY,
    slug text NOT NULL UNIQUE,
    version integer NOT NULL DEFAULT 1,
    name text NOT NULL,
    timezone text NOT NULL,
    active boolean NOT NULL DEFAULT true,
    owner_name text NOT NULL DEFAULT '',
    owner_email text NOT NULL DEFAULT '',
    pulse_at text NOT NULL DEFAULT '09:00',
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now()
);
SELECT protect('tenant', 'SELECT, INSERT, UPDATE');
SELECT open_to_system('tenant', 'SELECT');

CREATE TABLE staff (
    tenant_id uuid NOT NULL REFERENCES tenant,
    staff_id text NOT NULL,
    external_ref text NOT NULL,
    version integer NOT NULL DEFAULT 1,
    name text NOT NULL,
    numbers text[] NOT NULL DEFAULT '{}',
    active boolean NOT NULL DEFAULT true,
    working_hours jsonb NOT NULL DEFAULT '[]',
    skills text[] NOT NULL DEFAULT '{}',
    capacity integer NOT NULL DEFAULT 1,
    wrap_up_seconds integer,
    changed_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    PRIMARY KEY (tenant_id, staff_id),
    UNIQUE (tenant_id, external_ref)
);
SELECT protect('staff', 'SELECT, INSERT, UPDATE');

CREATE TABLE staff_leave (
    tenant_id uuid NOT NULL,
    staff_id text NOT NULL,
    start_at timestamptz NOT NULL,
    until_at timestamptz CHECK (until_at > start_at),
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, staff_id, start_at),
    FOREIGN KEY (tenant_id, staff_id) REFERENCES staff
);
SELECT protect('staff_leave');

CREATE TABLE customer (
    tenant_id uuid NOT NULL REFERENCES tenant,
    customer_id text NOT NULL,
    external_ref text NOT NULL,
    version integer NOT NULL DEFAULT 1,
    name text NOT NULL,
    numbers text[] NOT NULL DEFAULT '{}',
    emails text[] NOT NULL DEFAULT '{}',
    gstin text,
    owner_staff_id text,
    vip boolean NOT NULL DEFAULT false,
    language text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    PRIMARY KEY (tenant_id, customer_id),
    UNIQUE (tenant_id, external_ref),
    FOREIGN KEY (tenant_id, owner_staff_id) REFERENCES staff
);
CREATE INDEX customer_owner ON customer (tenant_id, owner_staff_id) WHERE owner_staff_id IS NOT NULL;
SELECT protect('customer', 'SELECT, INSERT, UPDATE');

CREATE TABLE lead (
    tenant_id uuid NOT NULL REFERENCES tenant,
    lead_id text NOT NULL,
    external_ref text NOT NULL,
    version integer NOT NULL DEFAULT 1,
    name text NOT NULL,
    numbers text[] NOT NULL DEFAULT '{}',
    emails text[] NOT NULL DEFAULT '{}',
    owner_staff_id text,
    changed_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    PRIMARY KEY (tenant_id, lead_id),
    UNIQUE (tenant_id, external_ref),
    FOREIGN KEY (tenant_id, owner_staff_id) REFERENCES staff
);
CREATE INDEX lead_owner ON lead (tenant_id, owner_staff_id) WHERE owner_staff_id IS NOT NULL;
SELECT protect('lead', 'SELECT, INSERT, UPDATE');

-- Whose number it is. Unique over all tenants: uniqueness is enforced below row-level security, so a tenant that
-- claims a taken number learns that it is taken and nothing else.
CREATE TABLE did_claim (
    tenant_id uuid NOT NULL REFERENCES tenant,
    did text NOT NULL,
    PRIMARY KEY (tenant_id, did),
    CONSTRAINT did_has_one_tenant UNIQUE (did)
);
SELECT protect('did_claim', 'SELECT, INSERT, DELETE');

-- Groups and calendars are the routing's, named. Whoever writes a DID or the routing holds the routing's key, so
-- that neither loses what the other names meanwhile.
CREATE TABLE did (
    tenant_id uuid NOT NULL REFERENCES tenant,
    did text NOT NULL,
    version integer NOT NULL DEFAULT 1,
    label text NOT NULL DEFAULT '',
    default_staff_ids text[] NOT NULL DEFAULT '{}',
    fallback_number text,
    default_group text,
    calendar text,
    skills text[] NOT NULL DEFAULT '{}',
    menu jsonb NOT NULL DEFAULT '[]',
    changed_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    PRIMARY KEY (tenant_id, did)
);
SELECT protect('did', 'SELECT, INSERT, UPDATE');

CREATE TABLE routing (
    tenant_id uuid PRIMARY KEY REFERENCES tenant,
    version integer NOT NULL DEFAULT 1,
    last_agent_days integer NOT NULL,
    ring_seconds integer NOT NULL,
    fallback_number text,
    blocked_numbers text[] NOT NULL DEFAULT '{}',
    groups jsonb NOT NULL DEFAULT '[]',
    calendars jsonb NOT NULL DEFAULT '[]',
    default_calendar text,
    after_hours jsonb,
    overflow jsonb,
    vip jsonb,
    vip_numbers text[] NOT NULL DEFAULT '{}',
    vip_any_hour boolean NOT NULL DEFAULT true,
    spam_limit integer,
    spam jsonb,
    emergency jsonb,
    claim_agents boolean NOT NULL DEFAULT false,
    wrap_up_seconds integer NOT NULL DEFAULT 0,
    max_hops integer NOT NULL DEFAULT 5,
    changed_at timestamptz NOT NULL DEFAULT now()
);
SELECT protect('routing', 'SELECT, INSERT, UPDATE');

-- What the routing was, whole, as the REST interface shows it. The service can add to it and read it, nothing else.
CREATE TABLE routing_version (
    tenant_id uuid NOT NULL REFERENCES tenant,
    version integer NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    changed_by text NOT NULL,
    why text NOT NULL DEFAULT '',
    body jsonb NOT NULL,
    PRIMARY KEY (tenant_id, version)
);
SELECT protect('routing_version', 'SELECT, INSERT');

-- Every entity as the REST interface shows it and as its event carries it. Leave that is over is history, not state.
CREATE VIEW entity WITH (security_invoker = true) AS
SELECT tenant_id, 'tenant' AS kind, tenant_id::text AS ref, tenant_id::text AS id, version,
       NULL::timestamptz AS deleted_at,
       jsonb_build_object('slug', slug, 'name', name, 'timezone', timezone, 'active', active,
           'owner_name', owner_name, 'owner_email', owner_email, 'pulse_at', pulse_at) AS body
FROM tenant
UNION ALL
SELECT s.tenant_id, 'staff', s.external_ref, s.staff_id, s.version, s.deleted_at,
       jsonb_build_object('name', s.name, 'numbers', s.numbers, 'active', s.active, 'skills', s.skills,
           'capacity', s.capacity, 'wrap_up_seconds', s.wrap_up_seconds,
           'working_hours', s.working_hours, 'leave', coalesce((
               SELECT jsonb_agg(jsonb_build_object('start', l.start_at, 'until', l.until_at, 'reason', l.reason)
                   ORDER BY l.start_at)
               FROM staff_leave l
               WHERE l.tenant_id = s.tenant_id AND l.staff_id = s.staff_id
                   AND (l.until_at IS NULL OR l.until_at > now())), '[]'))
FROM staff s
UNION ALL
SELECT c.tenant_id, 'customer', c.external_ref, c.customer_id, c.version, c.deleted_at,
       jsonb_build_object('name', c.name, 'numbers', c.numbers, 'emails', c.emails, 'gstin', c.gstin,
           'vip', c.vip, 'language', c.language, 'owner_staff_id', c.owner_staff_id, 'owner', s.external_ref)
FROM customer c LEFT JOIN staff s ON s.tenant_id = c.tenant_id AND s.staff_id = c.owner_staff_id
UNION ALL
SELECT l.tenant_id, 'lead', l.external_ref, l.lead_id, l.version, l.deleted_at,
       jsonb_build_object('name', l.name, 'numbers', l.numbers, 'emails', l.emails,
           'owner_staff_id', l.owner_staff_id, 'owner', s.external_ref)
FROM lead l LEFT JOIN staff s ON s.tenant_id = l.tenant_id AND s.staff_id = l.owner_staff_id
UNION ALL
SELECT d.tenant_id, 'did', d.did, d.did, d.version, d.deleted_at,
       jsonb_build_object('label', d.label, 'default_staff_ids', d.default_staff_ids,
           'fallback_number', d.fallback_number, 'default_group', d.default_group, 'calendar', d.calendar,
           'skills', d.skills, 'menu', d.menu, 'default_staff', coalesce((
               SELECT jsonb_agg(s.external_ref ORDER BY n.place)
               FROM unnest(d.default_staff_ids) WITH ORDINALITY AS n (staff_id, place)
               JOIN staff s ON s.tenant_id = d.tenant_id AND s.staff_id = n.staff_id), '[]'))
FROM did d
UNION ALL
SELECT o.tenant_id, 'routing', 'default', 'default', o.version, NULL,
       jsonb_build_object('last_agent_days', o.last_agent_days, 'ring_seconds', o.ring_seconds,
           'fallback_number', o.fallback_number, 'blocked_numbers', o.blocked_numbers, 'calendars', o.calendars,
           'default_calendar', o.default_calendar, 'after_hours', o.after_hours, 'overflow', o.overflow,
           'vip', o.vip, 'vip_numbers', o.vip_numbers, 'vip_any_hour', o.vip_any_hour, 'spam_limit', o.spam_limit,
           'spam', o.spam, 'emergency', o.emergency, 'claim_agents', o.claim_agents,
           'wrap_up_seconds', o.wrap_up_seconds, 'max_hops', o.max_hops, 'groups', coalesce((
               SELECT jsonb_agg(g.body || jsonb_build_object('staff', coalesce((
                       SELECT jsonb_agg(s.external_ref ORDER BY n.place)
                       FROM jsonb_array_elements_text(g.body -> 'staff_ids') WITH ORDINALITY AS n (staff_id, place)
                       JOIN staff s ON s.tenant_id = o.tenant_id AND s.staff_id = n.staff_id), '[]'))
                   ORDER BY g.place)
               FROM jsonb_array_elements(o.groups) WITH ORDINALITY AS g (body, place)), '[]'))
FROM routing o;
GRANT SELECT ON entity TO front_desk_app, front_desk_ro;

-- Who may come in: keys of programs, users of the console, their sessions, and who keeps guessing.

-- Only a hash of the secret is kept. It is a plain SHA-256: the secret has 256 random bits, so there is nothing to
-- guess, and a slow hash would only make every request slow.
CREATE TABLE api_key (
    tenant_id uuid NOT NULL REFERENCES tenant,
    key_id text NOT NULL UNIQUE,
    label text NOT NULL,
    secret_sha256 bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    revoked_at timestamptz,
    PRIMARY KEY (tenant_id, key_id)
);
SELECT protect('api_key', 'SELECT, INSERT, UPDATE');
SELECT open_to_system('api_key', 'SELECT, UPDATE (last_used_at)');

CREATE TABLE app_user (
    tenant_id uuid NOT NULL REFERENCES tenant,
    user_id uuid NOT NULL,
    email text NOT NULL UNIQUE,
    password_hash text NOT NULL,
    role text NOT NULL CHECK (role IN ('owner', 'desk', 'ops', 'admin')),
    created_at timestamptz NOT NULL DEFAULT now(),
    disabled_at timestamptz,
    -- What colleagues see them called.
    name text NOT NULL DEFAULT '',
    -- Whether what somebody who was disabled had claimed has been given back.
    claims_released boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant_id, user_id)
);
SELECT protect('app_user', 'SELECT, INSERT, UPDATE');
SELECT open_to_system('app_user', 'SELECT, UPDATE (claims_released)');

CREATE TABLE console_session (
    tenant_id uuid NOT NULL,
    token_sha256 bytea NOT NULL UNIQUE,
    user_id uuid NOT NULL,
    csrf text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    -- Until when it may change dead letters: its user has given the password once more.
    unlocked_until timestamptz,
    PRIMARY KEY (tenant_id, token_sha256),
    FOREIGN KEY (tenant_id, user_id) REFERENCES app_user ON DELETE CASCADE
);
CREATE INDEX console_session_user ON console_session (tenant_id, user_id);
CREATE INDEX console_session_expiry ON console_session (expires_at);
SELECT protect('console_session', 'SELECT, INSERT, DELETE');
SELECT open_to_system('console_session', 'SELECT, UPDATE (unlocked_until), DELETE');

-- Failed sign-ins by a hash of who tried. Nobody is signed in yet, so the rows belong to the nil tenant.
CREATE TABLE sign_in_failure (
    tenant_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    subject_sha256 bytea NOT NULL,
    failures integer NOT NULL,
    window_ends_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, subject_sha256)
);
SELECT protect('sign_in_failure', 'SELECT');
SELECT open_to_system('sign_in_failure');

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
    recordings jsonb NOT NULL DEFAULT '{}',
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

-- Missed calls as the router tells them, one row per item; an item has the id of the call that opened it.
CREATE TABLE board_missed (
    tenant_id uuid NOT NULL,
    missed_id text NOT NULL,
    at timestamptz NOT NULL,
    changed bigint NOT NULL DEFAULT this_change(),
    version integer NOT NULL,
    caller text,
    did text,
    calls integer NOT NULL,
    first_at timestamptz NOT NULL,
    state text NOT NULL,
    since timestamptz NOT NULL,
    user_id text,
    user_name text NOT NULL,
    until timestamptz,
    outcome text,
    reason text NOT NULL,
    PRIMARY KEY (tenant_id, missed_id)
);
CREATE INDEX board_missed_at ON board_missed (tenant_id, at DESC, missed_id DESC);
CREATE INDEX board_missed_changed ON board_missed (tenant_id, changed);
SELECT protect('board_missed');
SELECT open_to_system('board_missed', 'SELECT, DELETE');

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

CREATE VIEW missed_card WITH (security_invoker = true) AS
SELECT b.missed_id AS id, b.at, b.changed, b.state AS facet, b.version, b.caller, b.did, b.calls, b.first_at, b.state,
       b.since, b.user_id, b.user_name, b.until, b.outcome, b.reason, c.name AS customer_name, d.label AS did_label
FROM board_missed b
LEFT JOIN board_call k ON k.tenant_id = b.tenant_id AND k.call_id = b.missed_id
LEFT JOIN customer c ON c.tenant_id = b.tenant_id AND c.customer_id = k.customer_id
LEFT JOIN did d ON d.tenant_id = b.tenant_id AND d.did = b.did;

GRANT SELECT ON call_card, fact_card, anomaly_card, mail_card, import_card, chat_card, missed_card TO front_desk_app, front_desk_ro;

-- Earlier versions of the routing are nobody's to change; a person who is erased leaves the list of those who go first
-- in them too, by this function alone.
DO $$
BEGIN
    EXECUTE format('CREATE POLICY eraser ON routing_version TO %I USING (tenant_id = current_setting(''app.tenant'')::uuid)',
        current_schema() || '_owner');
END
$$;

CREATE FUNCTION erase_vip_numbers(numbers text[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = front_desk, pg_temp AS $$
DECLARE
    changed bigint;
BEGIN
    UPDATE routing_version SET body = jsonb_set(body, '{vip_numbers}', (
        SELECT coalesce(jsonb_agg(n ORDER BY at), '[]') FROM jsonb_array_elements(body -> 'vip_numbers')
            WITH ORDINALITY AS u (n, at) WHERE n #>> '{}' <> ALL (numbers)))
    WHERE tenant_id = current_setting('app.tenant')::uuid AND body -> 'vip_numbers' ?| numbers;
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END
$$;

DO $$
BEGIN
    EXECUTE 'REVOKE ALL ON FUNCTION erase_vip_numbers FROM PUBLIC';
    EXECUTE format('GRANT EXECUTE ON FUNCTION erase_vip_numbers TO %I', current_schema() || '_app');
END
$$;
