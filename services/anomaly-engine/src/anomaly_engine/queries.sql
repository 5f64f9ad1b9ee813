-- name: put_tenants
-- Keep the newest version of each tenant.
INSERT INTO tenant (tenant_id, version, name, timezone, active)
SELECT $1, e.version, e.name, e.timezone, e.active
FROM jsonb_to_recordset($2::jsonb) AS e (version integer, name text, timezone text, active boolean)
ON CONFLICT (tenant_id) DO UPDATE
SET version = excluded.version, name = excluded.name, timezone = excluded.timezone, active = excluded.active
WHERE tenant.version < excluded.version

-- name: delete_tenant
-- A deleted tenant is not watched any more.
DELETE FROM tenant WHERE tenant_id = $1

-- name: put_asked_calls
-- Enter calls that were asked about mid-ring; a call whose states are known keeps them.
INSERT INTO call (tenant_id, call_id, state_at, began_at, vendor, did, chosen_by, traceparent)
SELECT $1, e.call_id, e.asked_at, e.asked_at, e.vendor, e.did, e.chosen_by, e.traceparent
FROM jsonb_to_recordset($2::jsonb) AS e (
    call_id text, asked_at timestamptz, vendor text, did text, chosen_by text, traceparent text)
ON CONFLICT (tenant_id, call_id) DO UPDATE
SET began_at = least(call.began_at, excluded.began_at), chosen_by = excluded.chosen_by,
    did = coalesce(call.did, excluded.did)

-- name: put_calls
-- Keep the newest state of each call; it began when it was first heard of.
INSERT INTO call (tenant_id, call_id, version, state, state_at, began_at, ended_at, direction, vendor, did, staff_id,
                  cause, duration_seconds, traceparent)
SELECT $1, e.call_id, e.version, e.state, e.state_at, e.began_at, e.ended_at, e.direction, e.vendor, e.did, e.staff_id,
       e.cause, e.duration_seconds, e.traceparent
FROM jsonb_to_recordset($2::jsonb) AS e (
    call_id text, version integer, state text, state_at timestamptz, began_at timestamptz, ended_at timestamptz,
    direction text, vendor text, did text, staff_id text, cause text, duration_seconds integer, traceparent text)
ON CONFLICT (tenant_id, call_id) DO UPDATE
SET version = excluded.version, state = excluded.state, state_at = excluded.state_at,
    began_at = least(call.began_at, excluded.began_at), ended_at = excluded.ended_at, direction = excluded.direction,
    vendor = excluded.vendor, did = coalesce(excluded.did, call.did), staff_id = excluded.staff_id,
    cause = excluded.cause, duration_seconds = excluded.duration_seconds, traceparent = excluded.traceparent
WHERE call.version < excluded.version

-- name: put_call_beginnings
-- An older version that comes late brings no state back, but it may know an earlier beginning.
UPDATE call SET began_at = e.began_at
FROM jsonb_to_recordset($2::jsonb) AS e (call_id text, began_at timestamptz)
WHERE call.tenant_id = $1 AND call.call_id = e.call_id AND call.began_at > e.began_at

-- name: traces_of_calls
-- The traces that told of these calls.
SELECT DISTINCT traceparent FROM call WHERE tenant_id = $1 AND call_id = ANY ($2::text[]) AND traceparent <> ''

-- name: put_facts
-- Keep the newest version of each fact.
INSERT INTO fact (tenant_id, fact_id, version, subject, key, value, state, seen_at, confidence, source_id)
SELECT $1, e.fact_id, e.version, e.subject, e.key, e.value, e.state, e.seen_at, e.confidence, e.source_id
FROM jsonb_to_recordset($2::jsonb) AS e (
    fact_id text, version integer, subject text, key text, value text, state text, seen_at timestamptz,
    confidence double precision, source_id text)
ON CONFLICT (tenant_id, fact_id) DO UPDATE
SET version = excluded.version, subject = excluded.subject, key = excluded.key, value = excluded.value,
    state = excluded.state, seen_at = excluded.seen_at, confidence = excluded.confidence, source_id = excluded.source_id
WHERE fact.version < excluded.version

-- name: put_imports
-- Fold states of imports into their accounts. They carry no version: the newest one by its time says how it stands.
INSERT INTO archive AS a (tenant_id, account_id, account_name, first_seen_at, last_state, last_at, archived_at,
                          newest_message_at)
SELECT $1, e.account_id, e.account_name, e.first_at, e.last_state, e.last_at, e.archived_at, e.newest_message_at
FROM jsonb_to_recordset($2::jsonb) AS e (
    account_id text, account_name text, first_at timestamptz, last_state text, last_at timestamptz,
    archived_at timestamptz, newest_message_at timestamptz)
ON CONFLICT (tenant_id, account_id) DO UPDATE
SET first_seen_at = least(a.first_seen_at, excluded.first_seen_at),
    archived_at = greatest(a.archived_at, excluded.archived_at),
    newest_message_at = greatest(a.newest_message_at, excluded.newest_message_at),
    account_name = CASE WHEN excluded.last_at >= a.last_at THEN excluded.account_name ELSE a.account_name END,
    last_state = CASE WHEN excluded.last_at >= a.last_at THEN excluded.last_state ELSE a.last_state END,
    last_at = greatest(a.last_at, excluded.last_at)

-- name: active_tenants
-- Every tenant whose rules are to be evaluated.
SELECT tenant_id, name, timezone FROM tenant WHERE active ORDER BY tenant_id

-- name: find_tenant
-- One tenant.
SELECT tenant_id, name, timezone FROM tenant WHERE tenant_id = $1

-- name: rule_states
-- What each rule says about a tenant.
SELECT rule, rule_version, state, since, checked_at, failures, error FROM rule_state ORDER BY rule

-- name: rule_state
-- What one rule says about a tenant.
SELECT rule, rule_version, state, since, checked_at, failures, error FROM rule_state WHERE rule = $1

-- name: put_rule_state
-- Say what a rule says now.
INSERT INTO rule_state (tenant_id, rule, rule_version, state, since, checked_at, failures, error)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (tenant_id, rule) DO UPDATE
SET rule_version = excluded.rule_version, state = excluded.state, since = excluded.since,
    checked_at = excluded.checked_at, failures = excluded.failures, error = excluded.error
WHERE rule_state.checked_at <= excluded.checked_at

-- name: add_run
-- Keep what one evaluation found.
INSERT INTO rule_run (tenant_id, run_id, rule, rule_version, as_of, local_day, state, evidence, evidence_total,
                      row_hash, duration_ms, error)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9, $10, $11, $12)

-- name: add_anomaly
-- Fire, unless the rule has fired for this tenant on this day.
INSERT INTO anomaly (tenant_id, anomaly_id, rule, local_day, rule_version, title, description, learning, severity,
                     as_of, fingerprint, evidence, evidence_total, run_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::jsonb, $13, $14)
ON CONFLICT DO NOTHING
RETURNING anomaly_id

-- name: anomalies
-- A tenant's anomalies, newest first, of one day or of all.
SELECT anomaly_id, rule, local_day, rule_version, title, description, learning, severity, as_of, fingerprint, evidence,
       evidence_total, run_id, fired_at
FROM anomaly
WHERE $1::date IS NULL OR local_day = $1
ORDER BY fired_at DESC, rule
LIMIT $2

-- name: forget_runs
-- Runs are kept for some days, not for ever.
DELETE FROM rule_run WHERE ran_at < now() - make_interval(days => $1)

-- name: bound_rule
-- The fences that hold for one transaction of a rule: its tenant, its time, and where names are looked up.
SELECT set_config('app.tenant', $1, true), set_config('statement_timeout', $2, true),
       set_config('lock_timeout', '100ms', true), set_config('search_path', $3, true)

-- name: capped_rule
-- A rule's rows, at most so many, each with the count of all; {rule} is a query that the lint has written.
SELECT q.*, count(*) OVER () AS trunkline_total FROM ({rule}) AS q LIMIT {rows}

-- name: add_rows
-- Rows of a case: {table} and {columns} come from the projections and from Postgres' own quoting.
INSERT INTO {table} (tenant_id, {columns}) SELECT $1, {columns} FROM jsonb_populate_record(null::{table}, $2::jsonb)

-- name: quote_names
-- Names as Postgres quotes them.
SELECT string_agg(quote_ident(name), ', ') FROM unnest($1::text[]) AS name

-- name: erase_facts
-- Facts that these messages tell; those of these subjects, or that name a person by these values, from before $5.
DELETE FROM fact WHERE tenant_id = $1 AND (
    source_id = ANY ($2::text[])
    OR seen_at <= $5 AND (subject = ANY ($3::text[]) OR key IN ('phone', 'email') AND value = ANY ($4::text[])
        OR key = 'upi' AND split_part(value, '@', 1) = ANY ($6::text[])))
RETURNING value

-- name: said_by_nobody
-- Of what erased facts said, what no fact has that is left: the rest was known of others too. Case makes no difference
-- where findings are searched.
SELECT DISTINCT value FROM unnest($2::text[]) AS value WHERE lower(value) NOT IN (
    SELECT lower(f.value) FROM fact f WHERE f.tenant_id = $1)

-- name: findings_with
-- Evidence with one of these texts in it, each once, with the findings that have it; {table} and {id} are ours.
SELECT evidence::text AS evidence, array_agg({id}) AS ids FROM {table}
WHERE EXISTS (SELECT FROM unnest($1::text[]) AS part WHERE position(part IN lower(evidence::text)) > 0)
GROUP BY 1

-- name: put_evidence
-- Evidence without what was erased.
UPDATE {table} SET evidence = $2::jsonb WHERE {id} = ANY ($1::uuid[])
