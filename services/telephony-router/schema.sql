-- The router's own tables as all migrations leave them; a test compares this page with a migrated database.

-- Vendor accounts. The path's secret is kept as a hash only; auth tokens are sealed (AES-GCM).
CREATE TABLE account (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    vendor text NOT NULL,
    label text NOT NULL DEFAULT '',
    secret_sha256 bytea NOT NULL UNIQUE,
    sealed_tokens bytea[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    disabled_at timestamptz,
    allow_sources text[] NOT NULL DEFAULT '{}',
    options jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (tenant_id, id)
);
SELECT protect('account');
SELECT open_to_system('account', 'SELECT');

-- Webhooks as they were taken in, each with its answer, before anything is made of them.
CREATE TABLE intake (
    tenant_id uuid NOT NULL,
    identity text NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    kind text NOT NULL,
    account_id uuid NOT NULL,
    call_id uuid NOT NULL,
    received_at timestamptz NOT NULL,
    signal text NOT NULL,
    answer text,
    body bytea NOT NULL,
    repeats integer NOT NULL DEFAULT 0,
    processed_at timestamptz,
    parked text,
    traceparent text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, identity)
);
CREATE INDEX intake_waiting ON intake (seq) WHERE processed_at IS NULL AND parked IS NULL;
CREATE INDEX intake_received_at ON intake USING brin (received_at);
SELECT protect('intake', 'SELECT, UPDATE');
SELECT open_to_system('intake');

CREATE TABLE call (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    vendor text NOT NULL,
    account_id uuid NOT NULL,
    vendor_call_id text NOT NULL,
    direction text NOT NULL DEFAULT 'inbound',
    caller text,
    caller_kind text NOT NULL DEFAULT 'invalid',
    caller_raw text NOT NULL DEFAULT '',
    did text,
    did_raw text NOT NULL DEFAULT '',
    asked_at timestamptz,
    quarantined boolean NOT NULL DEFAULT false,
    state text NOT NULL,
    facts jsonb NOT NULL,
    staff_id text,
    agent_number text,
    started_at timestamptz,
    answered_at timestamptz,
    ended_at timestamptz,
    duration_seconds integer,
    cause text NOT NULL DEFAULT '',
    version integer NOT NULL DEFAULT 0,
    confirmed boolean NOT NULL DEFAULT true,
    parent_call_id text NOT NULL DEFAULT '',
    digits text NOT NULL DEFAULT '',
    transferred_to text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX call_by_vendor_id ON call (tenant_id, vendor_call_id);
CREATE INDEX call_by_caller ON call (tenant_id, caller, asked_at);
SELECT protect('call');

-- Every status of a call, once: the timeline, and what makes a repetition harmless.
CREATE TABLE call_status (
    tenant_id uuid NOT NULL,
    call_id uuid NOT NULL,
    identity text NOT NULL,
    leg text NOT NULL,
    status text NOT NULL,
    status_raw text NOT NULL,
    sequence text NOT NULL,
    attempt boolean NOT NULL,
    agent_raw text NOT NULL,
    at timestamptz,
    received_at timestamptz NOT NULL,
    confirmed boolean NOT NULL DEFAULT true,
    PRIMARY KEY (tenant_id, call_id, identity)
);
SELECT protect('call_status');

-- Where calls' recordings are, as vendors told it. The address is the sender's word: whoever fetches it must check
-- that it is the vendor's.
CREATE TABLE recording (
    tenant_id uuid NOT NULL,
    call_id uuid NOT NULL,
    recording_key text NOT NULL,
    account_id uuid NOT NULL,
    vendor text NOT NULL,
    leg text NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'failed', 'absent', 'available')),
    url text NOT NULL,
    duration_seconds integer,
    channels integer,
    available_by timestamptz,
    confirmed boolean NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, call_id, recording_key)
);
SELECT protect('recording');

-- What calls were answered with, and the inputs that are not the directory: the caller as known then, digits, hops, loads,
-- versions.
CREATE TABLE routing_decision (
    tenant_id uuid NOT NULL,
    call_id uuid NOT NULL,
    decided_at timestamptz NOT NULL,
    answer_ms real,
    rule text NOT NULL,
    rung text NOT NULL,
    decision jsonb NOT NULL,
    inputs jsonb,
    PRIMARY KEY (tenant_id, call_id)
);
CREATE INDEX routing_decision_decided_at ON routing_decision (tenant_id, decided_at);
SELECT protect('routing_decision');

CREATE TABLE last_agent (
    tenant_id uuid NOT NULL,
    number text NOT NULL,
    staff_id text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, number)
);
SELECT protect('last_agent');
SELECT open_to_system('last_agent', 'SELECT');

-- The calls that somebody took and that are not over.
CREATE TABLE agent_call (
    tenant_id uuid NOT NULL,
    call_id uuid NOT NULL,
    staff_id text NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, call_id)
);
SELECT protect('agent_call');
SELECT open_to_system('agent_call', 'SELECT, DELETE');

-- When somebody's last call was over, and when they were last offered one before anybody else.
CREATE TABLE agent_load (
    tenant_id uuid NOT NULL,
    staff_id text NOT NULL,
    idle_since timestamptz,
    offered_at timestamptz,
    PRIMARY KEY (tenant_id, staff_id)
);
SELECT protect('agent_load');
SELECT open_to_system('agent_load', 'SELECT');

-- How much a number that is nobody's calls like a machine, 1 to 100, and the call that it was told by.
CREATE TABLE caller_score (
    tenant_id uuid NOT NULL,
    number text NOT NULL,
    score integer NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, number)
);
SELECT protect('caller_score');
SELECT open_to_system('caller_score', 'SELECT, DELETE');

-- The directory as events told it. Rows are only replaced by newer versions.
CREATE TABLE dir_tenant (
    tenant_id uuid PRIMARY KEY,
    version bigint NOT NULL,
    timezone text NOT NULL,
    active boolean NOT NULL
);
SELECT protect('dir_tenant');
SELECT open_to_system('dir_tenant', 'SELECT');

CREATE TABLE dir_staff (
    tenant_id uuid NOT NULL,
    staff_id text NOT NULL,
    version bigint NOT NULL,
    name text NOT NULL,
    numbers text[] NOT NULL,
    active boolean NOT NULL,
    working_hours jsonb NOT NULL,
    leave jsonb NOT NULL,
    skills text[] NOT NULL DEFAULT '{}',
    capacity integer NOT NULL DEFAULT 1,
    wrap_up_seconds integer,
    PRIMARY KEY (tenant_id, staff_id)
);
SELECT protect('dir_staff');
SELECT open_to_system('dir_staff', 'SELECT');

-- Customers and leads: whoever may call and has an owner.
CREATE TABLE dir_customer (
    tenant_id uuid NOT NULL,
    kind text NOT NULL,
    customer_id text NOT NULL,
    version bigint NOT NULL,
    name text NOT NULL,
    owner_staff_id text,
    vip boolean NOT NULL DEFAULT false,
    language text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, kind, customer_id)
);
SELECT protect('dir_customer');
SELECT open_to_system('dir_customer', 'SELECT');

CREATE TABLE dir_customer_number (
    tenant_id uuid NOT NULL,
    number text NOT NULL,
    kind text NOT NULL,
    customer_id text NOT NULL,
    PRIMARY KEY (tenant_id, number, kind, customer_id),
    FOREIGN KEY (tenant_id, kind, customer_id) REFERENCES dir_customer ON DELETE CASCADE
);
CREATE INDEX dir_customer_number_owner ON dir_customer_number (tenant_id, kind, customer_id);
SELECT protect('dir_customer_number');
SELECT open_to_system('dir_customer_number', 'SELECT');

CREATE TABLE dir_did (
    tenant_id uuid NOT NULL,
    did text NOT NULL,
    version bigint NOT NULL,
    label text NOT NULL,
    default_staff_ids text[] NOT NULL,
    fallback_number text,
    first_seen timestamptz NOT NULL DEFAULT clock_timestamp(),
    default_group text,
    calendar text,
    skills text[] NOT NULL DEFAULT '{}',
    menu jsonb NOT NULL DEFAULT '[]',
    PRIMARY KEY (tenant_id, did)
);
SELECT protect('dir_did');
SELECT open_to_system('dir_did', 'SELECT');

-- Which tenant a DID rings for: the first to claim it, until that one gives it up.
CREATE TABLE did_claim (
    tenant_id uuid NOT NULL,
    did text NOT NULL UNIQUE,
    PRIMARY KEY (tenant_id, did),
    FOREIGN KEY (tenant_id, did) REFERENCES dir_did ON DELETE CASCADE
);
SELECT protect('did_claim');
SELECT open_to_system('did_claim', 'SELECT, INSERT');

-- ``rules`` are groups, calendars, diversions and the rest, as the event has them.
CREATE TABLE dir_routing (
    tenant_id uuid PRIMARY KEY,
    version bigint NOT NULL,
    last_agent_days integer NOT NULL,
    ring_seconds integer NOT NULL,
    fallback_number text,
    blocked_numbers text[] NOT NULL,
    rules jsonb NOT NULL DEFAULT '{}'
);
SELECT protect('dir_routing');
SELECT open_to_system('dir_routing', 'SELECT');

-- The number of the last change of what a tenant's calls are routed by, and what each change touched. An entry of
-- the Redis view carries the number it was made at and never replaces one made at a later number. One sequence for
-- all tenants, taken under the tenant's row lock: also a DID that moves between tenants only moves forward.
CREATE SEQUENCE view_change_number;
CREATE TABLE view_version (
    tenant_id uuid PRIMARY KEY,
    version bigint NOT NULL
);
SELECT protect('view_version');
SELECT open_to_system('view_version', 'SELECT, INSERT, UPDATE');

CREATE TABLE view_change (
    tenant_id uuid NOT NULL,
    version bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('tenant', 'did', 'caller', 'load')),
    key text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, version, kind, key)
);
SELECT protect('view_change', 'SELECT, INSERT');
SELECT open_to_system('view_change', 'SELECT, INSERT, DELETE');

-- Fields that vendors send and we do not know, or with another kind of value than we know: how often, since when, and the
-- shape of the first one.
CREATE TABLE drift (
    tenant_id uuid NOT NULL,
    vendor text NOT NULL,
    field text NOT NULL,
    change text NOT NULL CHECK (change IN ('unknown', 'type')),
    hook text NOT NULL,
    sample text NOT NULL,
    seen bigint NOT NULL,
    first_seen timestamptz NOT NULL,
    last_seen timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, vendor, field, change)
);
SELECT protect('drift', 'SELECT, INSERT, UPDATE');

-- What is to be fetched, one row for each recording that a vendor tells of, and who is at it. Plumbing: it holds no
-- address and nobody's number, so the fetchers may look at all tenants' rows.
CREATE TABLE recording_fetch (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    call_id uuid NOT NULL,
    recording_key text NOT NULL,
    account_id uuid NOT NULL,
    vendor text NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'fetching', 'stored', 'absent', 'failed', 'expired')),
    reason text NOT NULL DEFAULT '',
    attempts integer NOT NULL DEFAULT 0,
    due_since timestamptz,
    next_attempt_at timestamptz,
    lease uuid,
    leased_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, call_id, recording_key)
);
CREATE INDEX recording_fetch_waiting ON recording_fetch (tenant_id, account_id, next_attempt_at)
    WHERE state IN ('pending', 'fetching');
CREATE INDEX recording_fetch_state ON recording_fetch (state);
SELECT protect('recording_fetch');
SELECT open_to_system('recording_fetch', 'SELECT, UPDATE');

-- What is in the store.
CREATE TABLE recording_file (
    tenant_id uuid NOT NULL,
    recording_id uuid NOT NULL,
    call_id uuid NOT NULL,
    sha256 text NOT NULL,
    size_bytes bigint NOT NULL,
    content_type text NOT NULL,
    channels integer NOT NULL,
    duration_ms bigint NOT NULL,
    speakers text NOT NULL CHECK (speakers IN ('by_channel', 'mixed')),
    voices text NOT NULL,
    agent_sha256 text,
    agent_bytes bigint,
    customer_sha256 text,
    customer_bytes bigint,
    stored_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, recording_id),
    FOREIGN KEY (tenant_id, recording_id) REFERENCES recording_fetch ON DELETE CASCADE
);
CREATE INDEX recording_file_call ON recording_file (tenant_id, call_id);
CREATE INDEX recording_file_age ON recording_file (stored_at);
SELECT protect('recording_file', 'SELECT, INSERT, DELETE');
SELECT open_to_system('recording_file', 'SELECT');

-- From where an account's recordings may come, and with what. Credentials are sealed as auth tokens are.
CREATE TABLE recording_access (
    tenant_id uuid NOT NULL,
    account_id uuid NOT NULL,
    hosts text[] NOT NULL DEFAULT '{}',
    sealed_credential bytea,
    agent_channel integer CHECK (agent_channel IN (1, 2)),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, account_id)
);
SELECT protect('recording_access');

-- Who listened to what, and who changed what becomes of it. Nobody's to change.
CREATE TABLE recording_audit (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    operator text NOT NULL,
    action text NOT NULL,
    call_id uuid,
    recording_id uuid,
    detail text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX recording_audit_call ON recording_audit (tenant_id, call_id);
SELECT protect('recording_audit', 'SELECT, INSERT');

-- How an account's calls are placed: the vendor's API, with its secrets sealed (AES-GCM).
CREATE TABLE dialling (
    tenant_id uuid NOT NULL,
    account_id uuid NOT NULL,
    sealed bytea NOT NULL,
    options jsonb NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, account_id),
    FOREIGN KEY (tenant_id, account_id) REFERENCES account
);
SELECT protect('dialling', 'SELECT, INSERT, UPDATE');
SELECT open_to_system('dialling', 'SELECT');

-- Calls that somebody asked us to place. A row is here before the vendor hears of it, and its id is the call's.
-- What was once submitting is never asked for again: nobody can tell whether it rang.
CREATE TABLE outbound_call (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    account_id uuid NOT NULL,
    vendor text NOT NULL,
    ref text NOT NULL,
    staff_id text,
    from_number text NOT NULL,
    to_number text NOT NULL,
    did text,
    reference text NOT NULL DEFAULT '',
    state text NOT NULL CHECK (state IN ('requested', 'submitting', 'submitted', 'refused', 'submission_unknown')),
    code text NOT NULL DEFAULT '',
    retryable boolean NOT NULL DEFAULT false,
    vendor_call_id text NOT NULL DEFAULT '',
    alias uuid,
    requested_at timestamptz NOT NULL DEFAULT now(),
    submitting_at timestamptz,
    settled_at timestamptz,
    missed_id uuid,
    missed_since timestamptz CONSTRAINT outbound_call_missed CHECK ((missed_id IS NULL) = (missed_since IS NULL)),
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, account_id) REFERENCES account
);
CREATE INDEX outbound_call_open ON outbound_call (requested_at) WHERE state IN ('requested', 'submitting');
CREATE INDEX outbound_call_unknown ON outbound_call (requested_at) WHERE state = 'submission_unknown';
CREATE INDEX outbound_call_recent ON outbound_call (tenant_id, requested_at);
CREATE INDEX outbound_call_alias ON outbound_call (tenant_id, alias) WHERE alias IS NOT NULL;
SELECT protect('outbound_call', 'SELECT, INSERT, UPDATE');
SELECT open_to_system('outbound_call', 'SELECT, UPDATE');

-- What a key was first answered with, and the hash of what was asked.
CREATE TABLE idempotency_key (
    tenant_id uuid NOT NULL,
    key text NOT NULL,
    body_sha256 bytea NOT NULL,
    answer text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_key_at ON idempotency_key (at);
SELECT protect('idempotency_key', 'SELECT, INSERT');
SELECT open_to_system('idempotency_key', 'SELECT, DELETE');

-- Whether an account's vendor is asked at all; shared by all routers.
CREATE TABLE vendor_breaker (
    tenant_id uuid NOT NULL,
    account_id uuid NOT NULL,
    vendor text NOT NULL,
    state text NOT NULL CHECK (state IN ('closed', 'open', 'half_open')),
    window_at timestamptz,
    good integer NOT NULL,
    bad integer NOT NULL,
    trips integer NOT NULL,
    until timestamptz,
    PRIMARY KEY (tenant_id, account_id),
    FOREIGN KEY (tenant_id, account_id) REFERENCES account
);
SELECT protect('vendor_breaker', 'SELECT');
SELECT open_to_system('vendor_breaker');

-- What operators did to breakers and to calls of unknown outcome, and why.
CREATE TABLE outbound_audit (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action text NOT NULL,
    subject uuid NOT NULL,
    reason text NOT NULL CHECK (reason <> ''),
    PRIMARY KEY (tenant_id, id)
);
SELECT protect('outbound_audit', 'SELECT, INSERT');
SELECT open_to_system('outbound_audit', 'SELECT, INSERT');

-- Calls without an end that vendors were asked about, and what came of it.
CREATE TABLE reconciliation (
    tenant_id uuid NOT NULL,
    call_id uuid NOT NULL,
    vendor text NOT NULL,
    asked_at timestamptz NOT NULL,
    times integer NOT NULL,
    outcome text NOT NULL DEFAULT 'asked' CHECK (outcome IN ('asked', 'told', 'live', 'unknown', 'failed')),
    PRIMARY KEY (tenant_id, call_id)
);
SELECT protect('reconciliation');
CREATE INDEX call_open ON call (tenant_id, updated_at) WHERE state IN ('initiated', 'ringing', 'answered');

-- Missed calls and who sees to them. A claim is an intent and lapses; a resolution is an outcome and stays.

-- One item: the missed calls of one caller within a while. It has the id of the call that opened it.
CREATE TABLE missed (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    caller text,
    did text,
    calls integer NOT NULL DEFAULT 1,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'claimed', 'resolved')),
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    user_id text,
    user_name text NOT NULL DEFAULT '',
    until timestamptz,
    outcome text CHECK (outcome IN ('called_back', 'no_answer', 'not_needed', 'spam', 'other')),
    note text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, id) REFERENCES call
);
ALTER TABLE missed ADD CONSTRAINT missed_state_is_whole CHECK (
    (state = 'claimed') = (until IS NOT NULL) AND (state = 'resolved') = (outcome IS NOT NULL)
    AND (user_id IS NULL OR state <> 'open') AND (user_id IS NOT NULL OR state <> 'claimed'));
CREATE INDEX missed_of_caller ON missed (tenant_id, caller) WHERE state <> 'resolved';
CREATE INDEX missed_by_age ON missed (tenant_id, opened_at, id);
CREATE INDEX missed_lapsing ON missed (until) WHERE state = 'claimed';
SELECT protect('missed', 'SELECT, INSERT, UPDATE');
SELECT open_to_system('missed', 'SELECT');

-- Which item a missed call belongs to: each call counts once.
CREATE TABLE missed_call (
    tenant_id uuid NOT NULL,
    call_id uuid NOT NULL,
    missed_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, call_id),
    FOREIGN KEY (tenant_id, missed_id) REFERENCES missed
);
SELECT protect('missed_call', 'SELECT, INSERT');

-- Everything that was ever done about an item. Nobody may change or remove a line.
CREATE TABLE missed_change (
    tenant_id uuid NOT NULL,
    missed_id uuid NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    change text NOT NULL CHECK (change IN ('opened', 'missed_again', 'claimed', 'renewed', 'released', 'resolved')),
    calls integer NOT NULL,
    user_id text,
    user_name text NOT NULL,
    until timestamptz,
    outcome text,
    note text NOT NULL,
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, missed_id, seq),
    FOREIGN KEY (tenant_id, missed_id) REFERENCES missed
);
SELECT protect('missed_change', 'SELECT, INSERT');

-- Calls whose end may open, resolve or release an item: noted with the call, worked off a moment later.
CREATE TABLE missed_due (
    tenant_id uuid NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    call_id uuid NOT NULL,
    put_aside text,
    PRIMARY KEY (tenant_id, seq)
);
CREATE INDEX missed_due_order ON missed_due (seq) WHERE put_aside IS NULL;
SELECT protect('missed_due');
SELECT open_to_system('missed_due', 'SELECT, INSERT');

-- Who has been talked to since.
CREATE INDEX call_answered ON call (tenant_id, caller, answered_at) WHERE answered_at IS NOT NULL;
CREATE INDEX call_answered_did ON call (tenant_id, did, answered_at)
    WHERE answered_at IS NOT NULL AND direction = 'outbound';

-- Forgetting a person: their calls and all that hangs on them go by one function of the owner, which needs the numbers
-- and a time; what the service may only add to or change stays so for everything else.

-- Bytes of recordings that nothing names any more, until they are out of the store.
CREATE TABLE erased_blob (
    tenant_id uuid NOT NULL,
    sha256 text NOT NULL,
    PRIMARY KEY (tenant_id, sha256)
);
-- A fetcher whose recording was erased meanwhile says what it had stored by then.
SELECT protect('erased_blob', 'SELECT, INSERT, DELETE');
SELECT open_to_system('erased_blob', 'SELECT');

-- What is told late of an erased call without naming anybody is known by the call; what never became a call is found by
-- the number in it.
CREATE INDEX outbound_call_to ON outbound_call (tenant_id, to_number);
CREATE INDEX intake_call ON intake (tenant_id, call_id);
CREATE INDEX intake_parked ON intake (tenant_id) WHERE parked IS NOT NULL;
CREATE INDEX missed_by_caller ON missed (tenant_id, caller);
CREATE INDEX missed_call_item ON missed_call (tenant_id, missed_id);
CREATE INDEX call_outbound_did ON call (tenant_id, did) WHERE direction = 'outbound';

DO $$
DECLARE
    target text;
BEGIN
    FOREACH target IN ARRAY ARRAY['erased_blob', 'intake', 'call', 'call_status', 'recording', 'recording_fetch',
        'recording_file', 'recording_audit', 'routing_decision', 'agent_call', 'outbound_call', 'idempotency_key', 'missed',
        'missed_call', 'missed_change', 'missed_due', 'reconciliation', 'erased_lately', 'last_agent', 'outbound_audit'] LOOP
        EXECUTE format('CREATE POLICY eraser ON %I TO %I USING (tenant_id = current_setting(''app.tenant'')::uuid)',
            target, current_schema() || '_owner');
    END LOOP;
END
$$;

-- Erase the calls from and to some numbers that began by a time; how many rows of what. Who listened to a recording stays,
-- without what it was called. Which calls they were is noted: a recording may be told late by its call's id alone.
CREATE FUNCTION erase_calls(numbers text[], up_to timestamptz) RETURNS TABLE (store text, rows bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = telephony_router, pg_temp AS $$
DECLARE
    tenant CONSTANT uuid := current_setting('app.tenant')::uuid;
    ids uuid[];
    orders uuid[];
    items uuid[];
    target text;
    parked bigint;
BEGIN
    SELECT array_agg(o.id) INTO orders FROM outbound_call o
        WHERE o.tenant_id = tenant AND o.to_number = ANY (numbers) AND o.requested_at <= up_to;
    SELECT array_agg(c.id) INTO ids FROM (
            SELECT k.id FROM call k WHERE k.tenant_id = tenant AND k.caller = ANY (numbers)
            UNION
            SELECT k.id FROM call k WHERE k.tenant_id = tenant AND k.direction = 'outbound' AND k.did = ANY (numbers)
            UNION
            SELECT unnest(orders)
            UNION
            SELECT o.alias FROM outbound_call o WHERE o.tenant_id = tenant AND o.id = ANY (orders)) named
        JOIN call c ON c.tenant_id = tenant AND c.id = named.id
        -- Told late, a call is as old as the oldest that is said of it.
        WHERE least(c.asked_at, c.started_at, c.answered_at, c.ended_at, c.created_at,
                (SELECT min(coalesce(s.at, s.received_at)) FROM call_status s
                    WHERE s.tenant_id = tenant AND s.call_id = c.id)) <= up_to;
    SELECT array_agg(m.id) INTO items FROM missed m WHERE m.tenant_id = tenant AND (m.id = ANY (ids)
        OR (m.caller = ANY (numbers) AND m.first_at <= up_to));
    -- An item has the id of a call, and cannot stay without it.
    SELECT array_agg(DISTINCT i) INTO ids FROM unnest(ids || items || orders || ARRAY(
        SELECT e.id FROM (SELECT substr(value, 6)::uuid AS id FROM erased_lately
                WHERE tenant_id = tenant AND value LIKE 'call:%') e
        WHERE EXISTS (SELECT FROM intake i WHERE i.tenant_id = tenant AND i.call_id = e.id)
            OR EXISTS (SELECT FROM recording r WHERE r.tenant_id = tenant AND r.call_id = e.id)
            OR EXISTS (SELECT FROM call c WHERE c.tenant_id = tenant AND c.id = e.id))) i;
    -- What could not be processed may have no call.
    DELETE FROM intake i WHERE i.tenant_id = tenant AND i.parked IS NOT NULL AND i.received_at <= up_to
        AND EXISTS (SELECT FROM unnest(numbers) n WHERE position(CASE WHEN n ~ '^[+]91[0-9]{10}$' THEN right(n, 10)
            ELSE substr(n, 2) END IN regexp_replace(i.signal || ' ' || encode(i.body, 'escape'), '[ ()-]', '', 'g')) > 0);
    GET DIAGNOSTICS parked = ROW_COUNT;
    IF ids IS NULL THEN
        store := 'intake'; rows := parked; RETURN NEXT;
        RETURN;
    END IF;
    INSERT INTO erased_lately (tenant_id, value, effective_at, forget_at)
        SELECT tenant, 'call:' || i, up_to, now() + interval '32 days' FROM unnest(ids) i ON CONFLICT DO NOTHING;
    INSERT INTO erased_blob SELECT DISTINCT tenant, b FROM recording_file f,
        unnest(ARRAY[f.sha256, f.agent_sha256, f.customer_sha256]) b
        WHERE f.tenant_id = tenant AND f.call_id = ANY (ids) AND b IS NOT NULL ON CONFLICT DO NOTHING;
    UPDATE outbound_audit SET reason = '(erased)' WHERE tenant_id = tenant AND subject = ANY (orders);
    UPDATE recording_audit SET detail = '' WHERE tenant_id = tenant AND call_id = ANY (ids) AND detail <> '';
    -- Told late without a time, they would have talked just now.
    DELETE FROM last_agent l WHERE l.tenant_id = tenant AND l.number = ANY (numbers)
        AND EXISTS (SELECT FROM call c WHERE c.tenant_id = tenant AND c.caller = l.number AND c.id = ANY (ids))
        AND NOT EXISTS (SELECT FROM call c WHERE c.tenant_id = tenant AND c.caller = l.number
            AND c.answered_at IS NOT NULL AND c.id <> ALL (ids));
    GET DIAGNOSTICS rows = ROW_COUNT; store := 'last_agent'; RETURN NEXT;
    DELETE FROM missed_change WHERE tenant_id = tenant AND missed_id = ANY (items);
    GET DIAGNOSTICS rows = ROW_COUNT; store := 'missed_change'; RETURN NEXT;
    DELETE FROM missed_call WHERE tenant_id = tenant AND (missed_id = ANY (items) OR call_id = ANY (ids));
    GET DIAGNOSTICS rows = ROW_COUNT; store := 'missed_call'; RETURN NEXT;
    DELETE FROM missed WHERE tenant_id = tenant AND id = ANY (items);
    GET DIAGNOSTICS rows = ROW_COUNT; store := 'missed'; RETURN NEXT;
    DELETE FROM idempotency_key k WHERE k.tenant_id = tenant
        AND EXISTS (SELECT FROM unnest(orders) o WHERE position(o::text IN k.answer) > 0);
    GET DIAGNOSTICS rows = ROW_COUNT; store := 'idempotency_key'; RETURN NEXT;
    DELETE FROM outbound_call WHERE tenant_id = tenant AND id = ANY (orders);
    GET DIAGNOSTICS rows = ROW_COUNT; store := 'outbound_call'; RETURN NEXT;
    FOREACH target IN ARRAY ARRAY['missed_due', 'reconciliation', 'agent_call', 'recording_file', 'recording_fetch', 'recording',
        'routing_decision', 'call_status', 'intake', 'call'] LOOP
        EXECUTE format('DELETE FROM %I WHERE tenant_id = $1 AND %I = ANY ($2)', target,
            CASE target WHEN 'call' THEN 'id' ELSE 'call_id' END) USING tenant, ids;
        GET DIAGNOSTICS rows = ROW_COUNT; store := target;
        rows := rows + CASE target WHEN 'intake' THEN parked ELSE 0 END;
        RETURN NEXT;
    END LOOP;
END
$$;

DO $$
BEGIN
    EXECUTE 'REVOKE ALL ON FUNCTION erase_calls FROM PUBLIC';
    EXECUTE format('GRANT EXECUTE ON FUNCTION erase_calls TO %I', current_schema() || '_app');
END
$$;
