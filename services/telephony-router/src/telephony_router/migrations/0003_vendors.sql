-- What more vendors bring: chains of calls, digits, transfers, recordings, and senders who prove nothing.
ALTER TABLE call ADD COLUMN confirmed boolean NOT NULL DEFAULT true;
ALTER TABLE call ADD COLUMN parent_call_id text NOT NULL DEFAULT '';
ALTER TABLE call ADD COLUMN digits text NOT NULL DEFAULT '';
ALTER TABLE call ADD COLUMN transferred_to text NOT NULL DEFAULT '';
ALTER TABLE call_status ADD COLUMN confirmed boolean NOT NULL DEFAULT true;

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
