-- What routing goes by beyond people and numbers: skills, groups, calendars, diversions; who is on a call; who calls too
-- often for nothing; and what each decision was made of.
ALTER TABLE dir_staff ADD COLUMN skills text[] NOT NULL DEFAULT '{}';
ALTER TABLE dir_staff ADD COLUMN capacity integer NOT NULL DEFAULT 1;
ALTER TABLE dir_staff ADD COLUMN wrap_up_seconds integer;
ALTER TABLE dir_customer ADD COLUMN vip boolean NOT NULL DEFAULT false;
ALTER TABLE dir_customer ADD COLUMN language text NOT NULL DEFAULT '';
ALTER TABLE dir_did ADD COLUMN default_group text;
ALTER TABLE dir_did ADD COLUMN calendar text;
ALTER TABLE dir_did ADD COLUMN skills text[] NOT NULL DEFAULT '{}';
ALTER TABLE dir_did ADD COLUMN menu jsonb NOT NULL DEFAULT '[]';
-- Groups, calendars, diversions and the rest, as the event has them.
ALTER TABLE dir_routing ADD COLUMN rules jsonb NOT NULL DEFAULT '{}';

-- What the decision was made of that is not the directory: the caller as known then, digits, hops, loads, versions.
ALTER TABLE routing_decision ADD COLUMN inputs jsonb;
CREATE INDEX routing_decision_decided_at ON routing_decision (tenant_id, decided_at);

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
CREATE INDEX call_by_caller ON call (tenant_id, caller, asked_at);

ALTER TABLE view_change DROP CONSTRAINT view_change_kind_check;
ALTER TABLE view_change ADD CONSTRAINT view_change_kind_check CHECK (kind IN ('tenant', 'did', 'caller', 'load'));
