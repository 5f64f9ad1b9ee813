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
