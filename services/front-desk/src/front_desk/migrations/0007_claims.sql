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

CREATE VIEW missed_card WITH (security_invoker = true) AS
SELECT b.missed_id AS id, b.at, b.changed, b.state AS facet, b.version, b.caller, b.did, b.calls, b.first_at, b.state,
       b.since, b.user_id, b.user_name, b.until, b.outcome, b.reason, c.name AS customer_name, d.label AS did_label
FROM board_missed b
LEFT JOIN board_call k ON k.tenant_id = b.tenant_id AND k.call_id = b.missed_id
LEFT JOIN customer c ON c.tenant_id = b.tenant_id AND c.customer_id = k.customer_id
LEFT JOIN did d ON d.tenant_id = b.tenant_id AND d.did = b.did;
GRANT SELECT ON missed_card TO front_desk_app, front_desk_ro;

-- What colleagues see a user called; and whether what somebody who was disabled had claimed has been given back.
ALTER TABLE app_user ADD COLUMN name text NOT NULL DEFAULT '';
ALTER TABLE app_user ADD COLUMN claims_released boolean NOT NULL DEFAULT false;
GRANT UPDATE (claims_released) ON app_user TO front_desk_system;
