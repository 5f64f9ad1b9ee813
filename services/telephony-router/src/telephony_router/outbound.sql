-- name: put_dialling
-- How an account's calls are placed; what was known before is replaced.
INSERT INTO dialling (tenant_id, account_id, sealed, options) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id, account_id) DO UPDATE SET sealed = excluded.sealed, options = excluded.options, updated_at = now()

-- name: find_dialling
-- How calls of these accounts are placed, as far as they are live.
SELECT d.tenant_id, d.account_id, a.vendor, d.sealed, d.options, a.secret_sha256
FROM dialling d JOIN account a ON (a.tenant_id, a.id) = (d.tenant_id, d.account_id)
WHERE d.account_id = $1 AND a.disabled_at IS NULL

-- name: find_account_of
-- The vendor of an account, the hash of its webhook's secret, and whether it can dial.
SELECT a.vendor, a.secret_sha256, EXISTS (SELECT FROM dialling d WHERE d.account_id = a.id) AS dials
FROM account a WHERE a.id = $1 AND a.disabled_at IS NULL

-- name: account_to_dial
-- An account that can dial; the one that a call came over before any other.
SELECT a.id FROM dialling d JOIN account a ON a.id = d.account_id
WHERE a.disabled_at IS NULL
ORDER BY a.id = (SELECT c.account_id FROM call c WHERE c.id = $1) DESC NULLS LAST, a.created_at, a.id LIMIT 1

-- name: people_with_telephones
-- Who can be rung.
SELECT staff_id, name FROM dir_staff WHERE active AND numbers <> '{}' ORDER BY name, staff_id

-- name: dialling_accounts
-- Every account that can be asked, of every tenant.
SELECT d.tenant_id, d.account_id, a.vendor
FROM dialling d JOIN account a ON (a.tenant_id, a.id) = (d.tenant_id, d.account_id)
WHERE a.disabled_at IS NULL ORDER BY 1, 2

-- name: tenants_of_accounts
-- Every tenant that has an account.
SELECT DISTINCT tenant_id FROM account ORDER BY 1

-- name: staff_number
-- The first telephone of somebody who works here.
SELECT numbers[1] FROM dir_staff WHERE staff_id = $1 AND active

-- name: hold_idempotency_key
-- Take a key for this transaction, unless another one has it.
SELECT pg_try_advisory_xact_lock(hashtextextended($1 || chr(31) || $2, 8))

-- name: find_idempotency_key
-- What a key was answered with, and for which body.
SELECT body_sha256, answer FROM idempotency_key WHERE key = $1

-- name: put_idempotency_key
-- Remember the answer to a key.
INSERT INTO idempotency_key (tenant_id, key, body_sha256, answer) VALUES ($1, $2, $3, $4)

-- name: prune_idempotency_keys
-- Forget keys that nobody repeats any more.
DELETE FROM idempotency_key WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM idempotency_key WHERE at < now() - interval '8 days' LIMIT 5000))

-- name: add_outbound_call
-- A call to place.
INSERT INTO outbound_call (tenant_id, id, account_id, vendor, ref, staff_id, from_number, to_number, did, reference, state,
    missed_id, missed_since)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'requested', $11, $12)

-- name: find_outbound_calls
-- Calls that we were asked to place, by id.
SELECT id, account_id, vendor, ref, staff_id, from_number, to_number, did, reference, state, code, retryable,
       vendor_call_id, requested_at, submitting_at, settled_at
FROM outbound_call WHERE id = ANY($1::uuid[])

-- name: claim_outbound_calls
-- Take calls to place, the oldest first. Whoever has taken one is the only one ever to ask the vendor for it.
UPDATE outbound_call SET state = 'submitting', submitting_at = now()
WHERE (tenant_id, id) IN (
    SELECT tenant_id, id FROM outbound_call WHERE state = 'requested' AND requested_at > now() - $2::interval
    ORDER BY requested_at LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING tenant_id, id, account_id, vendor, ref, from_number, to_number, did, reference

-- name: settle_outbound_call
-- What the vendor made of a call, unless its webhooks have told already.
UPDATE outbound_call SET state = $3, code = $4, retryable = $5, settled_at = now(),
    vendor_call_id = CASE WHEN vendor_call_id = '' THEN $6 ELSE vendor_call_id END, alias = coalesce(alias, $7)
WHERE (tenant_id, id) = ($1, $2) AND (state = 'submitting' OR (state = 'submission_unknown' AND $3 = 'submitted'))
RETURNING true

-- name: note_refused_order
-- A call that will not be made: a missed call may have been claimed to make it.
INSERT INTO missed_due (tenant_id, call_id) VALUES ($1, $2)

-- name: name_outbound_call
-- The vendor's id of a call whose webhooks were here before the API's answer was.
UPDATE outbound_call SET vendor_call_id = $3, alias = $4 WHERE (tenant_id, id) = ($1, $2) AND vendor_call_id = ''

-- name: bind_outbound_calls
-- The vendor tells of these calls, so it has them, whatever its API said or did not say.
UPDATE outbound_call o SET state = 'submitted', code = '', retryable = false, settled_at = coalesce(o.settled_at, now()),
    vendor_call_id = CASE WHEN o.vendor_call_id = '' THEN b.vendor_call_id ELSE o.vendor_call_id END,
    alias = coalesce(o.alias, b.alias)
FROM unnest($1::uuid[], $2::text[], $3::uuid[]) AS b (id, vendor_call_id, alias)
WHERE o.id = b.id AND (o.state <> 'submitted' OR o.vendor_call_id = '')

-- name: expire_requested
-- Nobody asked the vendor in time; a telephone that rings now would surprise whoever wanted it.
WITH late AS (
    UPDATE outbound_call SET state = 'refused', code = 'expired', retryable = true, settled_at = now()
    WHERE state = 'requested' AND requested_at <= now() - $1::interval RETURNING tenant_id, id, vendor),
due AS (INSERT INTO missed_due (tenant_id, call_id) SELECT tenant_id, id FROM late)
SELECT vendor FROM late

-- name: give_up_submitting
-- Whoever asked the vendor is gone: whether it rang, only the vendor knows.
UPDATE outbound_call SET state = 'submission_unknown', code = 'interrupted', settled_at = now()
WHERE state = 'submitting' AND submitting_at <= now() - $1::interval RETURNING vendor

-- name: resolve_outbound_call
-- An operator found out what became of a call.
WITH known AS (
    UPDATE outbound_call SET state = $2, code = 'operator', retryable = false, settled_at = now()
    WHERE id = $1 AND state = 'submission_unknown' RETURNING tenant_id, id),
due AS (INSERT INTO missed_due (tenant_id, call_id) SELECT tenant_id, id FROM known WHERE $2 = 'refused')
SELECT true FROM known

-- name: outbound_backlog
-- By vendor, calls to place and those of which nobody knows whether they rang.
SELECT vendor, count(*) FILTER (WHERE state IN ('requested', 'submitting')) AS waiting,
       count(*) FILTER (WHERE state = 'submission_unknown') AS unknown
FROM outbound_call WHERE state IN ('requested', 'submitting') OR state = 'submission_unknown' GROUP BY 1

-- name: hold_breaker
-- The breaker of an account, for one at a time.
INSERT INTO vendor_breaker (tenant_id, account_id, vendor, state, good, bad, trips) VALUES ($1, $2, $3, 'closed', 0, 0, 0)
ON CONFLICT (tenant_id, account_id) DO UPDATE SET vendor = excluded.vendor
RETURNING state, window_at, good, bad, trips, until

-- name: put_breaker
-- Where the breaker of an account has moved to.
UPDATE vendor_breaker SET state = $3, window_at = $4, good = $5, bad = $6, trips = $7, until = $8
WHERE (tenant_id, account_id) = ($1, $2)

-- name: list_breakers
-- The breakers of all tenants.
SELECT tenant_id, account_id, vendor, state, good, bad, trips, until FROM vendor_breaker ORDER BY vendor, account_id

-- name: reset_breaker
-- An operator closes a breaker.
UPDATE vendor_breaker SET state = 'closed', window_at = NULL, good = 0, bad = 0, trips = 0, until = NULL
WHERE account_id = $1 RETURNING tenant_id

-- name: add_outbound_audit
-- What an operator did, and why.
INSERT INTO outbound_audit (tenant_id, id, actor, action, subject, reason) VALUES ($1, $2, $3, $4, $5, $6)

-- name: stuck_calls
-- Calls without an end whose last news is old, whose vendor was not asked lately, the longest waiting first. Of orders,
-- also those that the vendor never told of.
SELECT s.* FROM (
    SELECT c.id, c.account_id, c.vendor, coalesce(nullif(o.vendor_call_id, ''), c.vendor_call_id) AS vendor_call_id,
           coalesce(o.ref, '') AS ref, c.state, c.direction, c.updated_at AS since
    FROM call c LEFT JOIN outbound_call o ON (o.tenant_id, o.id) = (c.tenant_id, c.id)
    WHERE c.state IN ('initiated', 'ringing', 'answered')
    UNION ALL
    SELECT o.id, o.account_id, o.vendor, o.vendor_call_id, o.ref, o.state, 'outbound', o.requested_at
    FROM outbound_call o
    WHERE (o.state = 'submission_unknown' OR (o.state = 'submitted' AND o.requested_at > now() - interval '7 days'))
      AND o.code <> 'operator'
      AND NOT EXISTS (SELECT FROM call c WHERE (c.tenant_id, c.id) = (o.tenant_id, o.id))) s
LEFT JOIN reconciliation r ON r.call_id = s.id
WHERE s.since < now() - $1::interval AND (r.asked_at IS NULL OR r.asked_at < now() - $1::interval * least(r.times, 12))
ORDER BY r.asked_at NULLS FIRST, s.since LIMIT $2

-- name: list_stuck
-- Calls without an end whose last news is old, with what the vendor said when it was asked.
SELECT s.*, r.outcome, r.asked_at, coalesce(r.times, 0) AS times FROM (
    SELECT c.id, c.account_id, c.vendor, c.state, c.direction, c.updated_at AS since
    FROM call c WHERE c.state IN ('initiated', 'ringing', 'answered')
    UNION ALL
    SELECT o.id, o.account_id, o.vendor, o.state, 'outbound', o.requested_at FROM outbound_call o
    WHERE (o.state = 'submission_unknown' OR (o.state = 'submitted' AND o.requested_at > now() - interval '7 days'))
      AND o.code <> 'operator'
      AND NOT EXISTS (SELECT FROM call c WHERE (c.tenant_id, c.id) = (o.tenant_id, o.id))) s
LEFT JOIN reconciliation r ON r.call_id = s.id
WHERE s.since < now() - $1::interval ORDER BY s.since LIMIT $2

-- name: count_stuck
-- How many calls have no end although their last news is old, by vendor.
SELECT vendor, count(*) AS calls FROM (
    SELECT c.vendor FROM call c
    WHERE c.state IN ('initiated', 'ringing', 'answered') AND c.updated_at < now() - $1::interval
    UNION ALL
    SELECT o.vendor FROM outbound_call o
    WHERE (o.state = 'submission_unknown' OR (o.state = 'submitted' AND o.requested_at > now() - interval '7 days'))
      AND o.code <> 'operator' AND o.requested_at < now() - $1::interval
      AND NOT EXISTS (SELECT FROM call c WHERE (c.tenant_id, c.id) = (o.tenant_id, o.id))) s GROUP BY 1

-- name: claim_reconciliation
-- Take one call to ask about, unless another router has it.
INSERT INTO reconciliation (tenant_id, call_id, vendor, asked_at, times) VALUES ($1, $2, $3, now(), 1)
ON CONFLICT (tenant_id, call_id) DO UPDATE SET asked_at = now(), times = reconciliation.times + 1, outcome = 'asked'
WHERE reconciliation.asked_at < now() - $4::interval RETURNING times

-- name: end_reconciliation
-- What came of asking.
UPDATE reconciliation SET outcome = $2 WHERE call_id = $1

-- name: webhooks_of_a_day
-- By account: webhooks of the last 24 hours that were stored, and how often they came again.
SELECT a.id, a.vendor, count(i.seq) AS stored, coalesce(sum(i.repeats), 0)::bigint AS repeats
FROM account a LEFT JOIN intake i ON (i.tenant_id, i.account_id) = (a.tenant_id, a.id)
    AND i.received_at > now() - interval '24 hours'
WHERE a.disabled_at IS NULL GROUP BY 1, 2
