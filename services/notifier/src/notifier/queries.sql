-- name: put_recipient
-- Keep the newest version of a tenant.
INSERT INTO recipient (tenant_id, version, name, timezone, active, owner_name, owner_email, pulse_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (tenant_id) DO UPDATE
SET version = excluded.version, name = excluded.name, timezone = excluded.timezone, active = excluded.active,
    owner_name = excluded.owner_name, owner_email = excluded.owner_email, pulse_at = excluded.pulse_at
WHERE recipient.version < excluded.version

-- name: delete_recipient
-- A deleted tenant is told nothing any more.
DELETE FROM recipient WHERE tenant_id = $1

-- name: find_recipient
-- Whom a tenant's pulse goes to.
SELECT tenant_id, name, timezone, active, owner_name, owner_email, pulse_at, known_since
FROM recipient WHERE tenant_id = $1

-- name: active_recipients
-- Everyone who gets a pulse.
SELECT tenant_id, name, timezone, active, owner_name, owner_email, pulse_at, known_since
FROM recipient WHERE active AND owner_email <> '' ORDER BY tenant_id

-- name: put_red_rules
-- Keep what is red, by day and rule; the newest telling counts.
INSERT INTO red_rule (tenant_id, local_day, rule, title, learning, severity, evidence_summary, evidence_total, as_of,
                      traceparent)
SELECT $1, e.local_day, e.rule, e.title, e.learning, e.severity, e.evidence_summary, e.evidence_total, e.as_of,
       e.traceparent
FROM jsonb_to_recordset($2::jsonb) AS e (
    local_day date, rule text, title text, learning text, severity text, evidence_summary text, evidence_total integer,
    as_of timestamptz, traceparent text)
ON CONFLICT (tenant_id, local_day, rule) DO UPDATE
SET title = excluded.title, learning = excluded.learning, severity = excluded.severity,
    evidence_summary = excluded.evidence_summary, evidence_total = excluded.evidence_total, as_of = excluded.as_of,
    traceparent = excluded.traceparent
WHERE red_rule.as_of < excluded.as_of

-- name: red_rules
-- What is red on a day, and what has become red since the last pulse without being red again.
SELECT DISTINCT ON (rule) local_day, rule, title, learning, severity, evidence_summary, evidence_total,
       traceparent
FROM red_rule
WHERE local_day = $1
    OR (local_day < $1 AND local_day >= $1 - 7 AND received_at > (
        SELECT max(created_at) FROM send WHERE kind = $2 AND local_day < $1))
ORDER BY rule, local_day DESC

-- name: add_send
-- Enter a message, unless its cause has one.
INSERT INTO send (tenant_id, send_id, kind, local_day, channel, recipient, subject_line, text_body, html_body, state,
                  reason, traceparent, settled_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, CASE WHEN $10 = 'pending' THEN NULL ELSE now() END)
ON CONFLICT DO NOTHING
RETURNING *

-- name: find_send
-- One message with what became of it.
SELECT * FROM send WHERE send_id = $1

-- name: has_send
-- Whether a cause has its message.
SELECT true FROM send WHERE send_id = $1

-- name: tenant_of_send
-- Whose message it is; as the system role.
SELECT tenant_id FROM send WHERE send_id = $1

-- name: sends
-- The newest messages of a tenant.
SELECT send_id, kind, local_day, channel, recipient, subject_line, state, version, reason, attempts, next_attempt_at,
       created_at, settled_at
FROM send ORDER BY created_at DESC, send_id LIMIT $1

-- name: sends_of_all
-- The newest messages of every tenant; as the system role.
SELECT tenant_id, send_id, kind, local_day, channel, state, reason, attempts, created_at, settled_at
FROM send ORDER BY created_at DESC, send_id LIMIT $1

-- name: due_sends
-- What is to be tried now, the longest waiting first; as the system role.
SELECT tenant_id, send_id FROM send WHERE state = 'pending' AND next_attempt_at <= now()
ORDER BY next_attempt_at LIMIT $1

-- name: expired_leases
-- Messages whose sender has not said what became of them; as the system role.
SELECT tenant_id, send_id FROM send WHERE state = 'sending' AND leased_until < now() LIMIT $1

-- name: lease_send
-- Take a message for one attempt. Of two that try, the second finds it taken.
UPDATE send
SET state = 'sending', lease = $2, leased_until = now() + make_interval(secs => $3), attempts = attempts + 1,
    data_started_at = NULL, reason = NULL
WHERE send_id = $1 AND state = 'pending' AND (next_attempt_at <= now() OR $4)
RETURNING *

-- name: begin_attempt
-- The attempt that a lease is for.
INSERT INTO send_attempt (tenant_id, send_id, attempt, lease) VALUES ($1, $2, $3, $4)

-- name: enter_data
-- From here on the message may be out; committed before the first byte of it leaves. Nothing if the lease is lost.
WITH entered AS (
    UPDATE send SET data_started_at = now() WHERE send_id = $1 AND lease = $2 AND state = 'sending' RETURNING send_id
)
UPDATE send_attempt SET data_started_at = now()
WHERE send_id = $1 AND lease = $2 AND EXISTS (SELECT FROM entered)
RETURNING true

-- name: settle_send
-- What became of an attempt. A late certainty may replace "unknown", and nothing else may.
UPDATE send
SET state = $3, reason = $4, version = version + $5, leased_until = NULL,
    next_attempt_at = now() + make_interval(secs => $6),
    settled_at = CASE WHEN $3 = 'pending' THEN NULL ELSE now() END
WHERE send_id = $1 AND lease = $2 AND (state = 'sending' OR (state = 'unknown' AND $3 <> 'unknown' AND $3 <> 'pending'))
RETURNING *

-- name: end_attempt
-- The outcome of an attempt in detail.
UPDATE send_attempt SET ended_at = now(), outcome = $3, code = $4, detail = $5 WHERE send_id = $1 AND lease = $2

-- name: recover_send
-- A lease that ran out: nothing had left, so try again; or something may have, so nobody knows.
UPDATE send
SET state = CASE WHEN data_started_at IS NULL THEN 'pending' ELSE 'unknown' END,
    version = version + CASE WHEN data_started_at IS NULL THEN 0 ELSE 1 END,
    reason = CASE WHEN data_started_at IS NULL THEN NULL ELSE $2 END,
    settled_at = CASE WHEN data_started_at IS NULL THEN NULL ELSE now() END,
    leased_until = NULL, next_attempt_at = now()
WHERE send_id = $1 AND state = 'sending' AND leased_until < now()
RETURNING *

-- name: resolve_send
-- An operator's decision.
UPDATE send
SET state = $2, reason = $3, version = version + 1, lease = NULL, leased_until = NULL, data_started_at = NULL,
    next_attempt_at = now(), settled_at = CASE WHEN $2 = 'pending' THEN NULL ELSE now() END
WHERE send_id = $1
RETURNING *

-- name: lock_send
-- One message, nobody else changes it until the end of the transaction.
SELECT * FROM send WHERE send_id = $1 FOR UPDATE

-- name: add_resolution
-- Who decided what about a message, and why.
INSERT INTO send_resolution (tenant_id, resolution_id, send_id, from_state, to_state, reason, resolved_by)
VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: attempts
-- Every attempt at one message.
SELECT attempt, began_at, data_started_at, ended_at, outcome, code, detail FROM send_attempt
WHERE send_id = $1 ORDER BY attempt

-- name: texts_with
-- Rows of which one of the texts has one of these in it; {table}, {key} and {columns} are ours.
SELECT {key} AS key, {columns} FROM {table}
WHERE EXISTS (SELECT FROM unnest($1::text[]) AS part WHERE position(part IN lower(concat_ws(' ', {columns}))) > 0)

-- name: put_texts
-- The texts of one row without what was erased.
UPDATE {table} SET {changes} WHERE {where}

-- name: erase_reasons
-- Mark the words of decisions.
SELECT erase_reasons($1::uuid[])
