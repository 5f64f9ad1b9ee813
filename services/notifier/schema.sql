-- The schema as it is: the sum of the migrations, kept readable. A test compares the two.

CREATE TABLE recipient (
    tenant_id uuid PRIMARY KEY,
    version integer NOT NULL,
    name text NOT NULL,
    timezone text NOT NULL,
    active boolean NOT NULL,
    owner_name text NOT NULL,
    owner_email text NOT NULL,
    pulse_at text NOT NULL,
    known_since timestamptz NOT NULL DEFAULT now()
);
SELECT protect('recipient');
-- The schedule walks over all tenants.
SELECT open_to_system('recipient', 'SELECT');

CREATE TABLE red_rule (
    tenant_id uuid NOT NULL,
    local_day date NOT NULL,
    rule text NOT NULL,
    title text NOT NULL,
    learning text NOT NULL,
    severity text NOT NULL,
    evidence_summary text NOT NULL,
    evidence_total integer NOT NULL,
    as_of timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    traceparent text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, local_day, rule)
);
SELECT protect('red_rule');

-- One row per message to one recipient. Its unique key is the cause: whoever finds it due, it exists once.
CREATE TABLE send (
    tenant_id uuid NOT NULL,
    send_id uuid NOT NULL,
    kind text NOT NULL,
    local_day date NOT NULL,
    channel text NOT NULL,
    recipient text NOT NULL,
    subject_line text NOT NULL,
    text_body text NOT NULL,
    html_body text NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'sending', 'sent', 'failed', 'unknown', 'suppressed')),
    version integer NOT NULL DEFAULT 1,
    reason text,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    lease uuid,
    leased_until timestamptz,
    data_started_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    settled_at timestamptz,
    traceparent text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, send_id),
    UNIQUE (tenant_id, kind, local_day, channel)
);
CREATE INDEX send_open ON send (next_attempt_at) WHERE state IN ('pending', 'sending');
SELECT protect('send');
-- The dispatcher looks for what is due, an operator for a send whose tenant is not at hand.
SELECT open_to_system('send', 'SELECT');

CREATE TABLE send_attempt (
    tenant_id uuid NOT NULL,
    send_id uuid NOT NULL,
    attempt integer NOT NULL,
    lease uuid NOT NULL,
    began_at timestamptz NOT NULL DEFAULT now(),
    data_started_at timestamptz,
    ended_at timestamptz,
    outcome text,
    code integer,
    detail text,
    PRIMARY KEY (tenant_id, send_id, attempt),
    FOREIGN KEY (tenant_id, send_id) REFERENCES send (tenant_id, send_id)
);
SELECT protect('send_attempt', 'SELECT, INSERT, UPDATE');

-- What an operator decided about a send whose outcome nobody knew. Written once, never changed.
CREATE TABLE send_resolution (
    tenant_id uuid NOT NULL,
    resolution_id uuid NOT NULL,
    send_id uuid NOT NULL,
    from_state text NOT NULL,
    to_state text NOT NULL,
    reason text NOT NULL,
    resolved_by text NOT NULL,
    resolved_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, resolution_id),
    FOREIGN KEY (tenant_id, send_id) REFERENCES send (tenant_id, send_id)
);
SELECT protect('send_resolution', 'SELECT, INSERT');

-- Forgetting a person: why an operator decided about a send may name somebody. The decision stays on record and cannot be
-- changed; its words can be marked, whole, and nothing else can be made of them.
CREATE FUNCTION erase_reasons(resolutions uuid[]) RETURNS void LANGUAGE sql SECURITY DEFINER AS $$
    UPDATE send_resolution SET reason = '[erased]' WHERE resolution_id = ANY (resolutions)
$$;

DO $$
DECLARE
    service text := current_schema();
BEGIN
    EXECUTE format('CREATE POLICY eraser ON send_resolution TO %I USING (tenant_id = current_setting(''app.tenant'')::uuid)',
        service || '_owner');
    EXECUTE format('ALTER FUNCTION erase_reasons SET search_path = %I, pg_temp', service);
    EXECUTE 'REVOKE EXECUTE ON FUNCTION erase_reasons FROM PUBLIC';
    EXECUTE format('GRANT EXECUTE ON FUNCTION erase_reasons TO %I', service || '_app');
END
$$;
