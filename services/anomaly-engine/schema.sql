-- The schema as it is: the sum of the migrations, kept readable. A test compares the two.

CREATE TABLE tenant (
    tenant_id uuid PRIMARY KEY,
    version integer NOT NULL,
    name text NOT NULL,
    timezone text NOT NULL,
    active boolean NOT NULL
);
SELECT protect('tenant');
-- The schedule walks over all tenants.
SELECT open_to_system('tenant', 'SELECT');

-- Version 0 is a call of which only the mid-ring question is known; no status has come yet.
CREATE TABLE call (
    tenant_id uuid NOT NULL,
    call_id text NOT NULL,
    version integer NOT NULL DEFAULT 0,
    state text NOT NULL DEFAULT 'initiated',
    state_at timestamptz NOT NULL,
    began_at timestamptz NOT NULL,
    ended_at timestamptz,
    direction text NOT NULL DEFAULT 'inbound',
    vendor text NOT NULL DEFAULT '',
    did text,
    staff_id text,
    cause text,
    duration_seconds integer,
    chosen_by text,
    traceparent text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, call_id)
);
CREATE INDEX call_open ON call (tenant_id, began_at) WHERE state IN ('initiated', 'ringing');
SELECT protect('call');

CREATE TABLE fact (
    tenant_id uuid NOT NULL,
    fact_id text NOT NULL,
    version integer NOT NULL DEFAULT 1,
    subject text NOT NULL,
    key text NOT NULL,
    value text NOT NULL,
    state text NOT NULL,
    seen_at timestamptz NOT NULL,
    confidence double precision NOT NULL DEFAULT 1,
    source_id text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, fact_id)
);
CREATE INDEX fact_source ON fact (tenant_id, source_id);
CREATE INDEX fact_capsule ON fact (tenant_id, subject, key) WHERE state IN ('asserted', 'conflicting');
SELECT protect('fact');

CREATE TABLE archive (
    tenant_id uuid NOT NULL,
    account_id text NOT NULL,
    account_name text NOT NULL DEFAULT '',
    first_seen_at timestamptz NOT NULL,
    last_state text NOT NULL,
    last_at timestamptz NOT NULL,
    archived_at timestamptz,
    newest_message_at timestamptz,
    PRIMARY KEY (tenant_id, account_id)
);
SELECT protect('archive');

-- What each rule says now. A query that fails is an error, which is neither green nor red.
CREATE TABLE rule_state (
    tenant_id uuid NOT NULL,
    rule text NOT NULL,
    rule_version text NOT NULL,
    state text NOT NULL CHECK (state IN ('ok', 'firing', 'error')),
    since timestamptz NOT NULL,
    checked_at timestamptz NOT NULL,
    failures integer NOT NULL DEFAULT 0,
    error text,
    PRIMARY KEY (tenant_id, rule)
);
SELECT protect('rule_state');

CREATE TABLE rule_run (
    tenant_id uuid NOT NULL,
    run_id uuid NOT NULL,
    rule text NOT NULL,
    rule_version text NOT NULL,
    as_of timestamptz NOT NULL,
    local_day date NOT NULL,
    state text NOT NULL,
    evidence jsonb NOT NULL,
    evidence_total integer NOT NULL,
    row_hash text NOT NULL,
    duration_ms double precision NOT NULL,
    error text,
    ran_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, run_id)
);
CREATE INDEX rule_run_of_rule ON rule_run (tenant_id, rule, ran_at);
CREATE INDEX rule_run_ran_at ON rule_run USING brin (ran_at);
SELECT protect('rule_run', 'SELECT, INSERT, UPDATE (evidence)');
SELECT open_to_system('rule_run', 'SELECT, DELETE');

-- The unique key is what makes a rule fire once per tenant and day, whoever evaluates it how often.
CREATE TABLE anomaly (
    tenant_id uuid NOT NULL,
    anomaly_id uuid NOT NULL,
    rule text NOT NULL,
    local_day date NOT NULL,
    rule_version text NOT NULL,
    title text NOT NULL,
    description text NOT NULL,
    learning text NOT NULL,
    severity text NOT NULL,
    as_of timestamptz NOT NULL,
    fingerprint text NOT NULL,
    evidence jsonb NOT NULL,
    evidence_total integer NOT NULL,
    run_id uuid NOT NULL,
    fired_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, anomaly_id),
    UNIQUE (tenant_id, rule, local_day)
);
SELECT protect('anomaly', 'SELECT, INSERT, UPDATE (evidence)');
