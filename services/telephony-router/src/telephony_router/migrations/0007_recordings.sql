-- What is to be fetched, one row for each recording that a vendor tells of, and who is at it. Plumbing: it holds no
-- address and nobody's number, so the fetchers may look at all tenants' rows.
CREATE TABLE recording_fetch (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    call_id uuid NOT NULL,
    recording_key text NOT NULL,
    account_id uuid NOT NULL,
    vendor text NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'fetching', 'stored', 'absent', 'failed')),
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
SELECT protect('recording_file', 'SELECT, INSERT');

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

-- What vendors told of before there was anybody to fetch it. The owner is under its own tables' fence otherwise.
ALTER TABLE recording NO FORCE ROW LEVEL SECURITY;
ALTER TABLE recording_fetch NO FORCE ROW LEVEL SECURITY;
INSERT INTO recording_fetch (tenant_id, id, call_id, recording_key, account_id, vendor, state, reason, due_since,
                             next_attempt_at, finished_at)
SELECT tenant_id, gen_random_uuid(), call_id, recording_key, account_id, vendor,
       CASE WHEN state IN ('absent', 'failed') THEN state ELSE 'pending' END,
       CASE WHEN state IN ('absent', 'failed') THEN 'told_by_vendor' ELSE '' END,
       now(), now(), CASE WHEN state IN ('absent', 'failed') THEN now() END
FROM recording;
ALTER TABLE recording FORCE ROW LEVEL SECURITY;
ALTER TABLE recording_fetch FORCE ROW LEVEL SECURITY;
