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
SELECT open_to_system('missed_due', 'SELECT');

-- Who has been talked to since.
CREATE INDEX call_answered ON call (tenant_id, caller, answered_at) WHERE answered_at IS NOT NULL;
CREATE INDEX call_answered_did ON call (tenant_id, did, answered_at)
    WHERE answered_at IS NOT NULL AND direction = 'outbound';
