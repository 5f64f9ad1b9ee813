-- name: add_account
-- Register a vendor account.
INSERT INTO account (tenant_id, id, vendor, label, secret_sha256, sealed_tokens, allow_sources, options)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: list_accounts
-- A tenant's vendor accounts, oldest first.
SELECT id, vendor, label, cardinality(sealed_tokens) AS tokens, allow_sources, options, created_at, disabled_at
FROM account ORDER BY created_at, id

-- name: all_accounts
-- Every living account, for the table of secrets in memory.
SELECT tenant_id, id, vendor, label, secret_sha256, sealed_tokens, allow_sources, options FROM account
WHERE disabled_at IS NULL

-- name: find_account
-- The account behind a path's secret.
SELECT tenant_id, id, vendor, label, secret_sha256, sealed_tokens, allow_sources, options
FROM account WHERE secret_sha256 = $1 AND disabled_at IS NULL

-- name: take_in
-- Store webhooks, one row each; a repetition changes nothing and gets the first one's answer back.
-- The answer of a new row is not sent back: whoever stored it knows it.
INSERT INTO intake (tenant_id, identity, kind, account_id, call_id, received_at, signal, answer, body, traceparent)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::uuid[], $6::timestamptz[], $7::text[],
                     $8::text[], $9::bytea[], $10::text[])
ON CONFLICT (tenant_id, identity) DO UPDATE SET repeats = intake.repeats + 1
RETURNING tenant_id, identity, CASE WHEN repeats > 0 THEN answer END AS answer, repeats

-- name: server_process
-- Postgres' process behind this connection, and the port from which it sees its client; none by a socket.
SELECT pg_backend_pid() AS process, inet_client_port() AS port

-- name: waiting_intake
-- What has not been processed yet, oldest first.
-- A call that we placed may be told of under the vendor's own id: it is the same call. Looked up for those that are taken,
-- and not for all that wait.
SELECT i.seq, i.tenant_id, coalesce((SELECT o.id FROM outbound_call o
    WHERE (o.tenant_id, o.alias) = (i.tenant_id, i.call_id) LIMIT 1), i.call_id) AS call_id
FROM (SELECT seq, tenant_id, call_id FROM intake WHERE processed_at IS NULL AND parked IS NULL
    ORDER BY seq LIMIT $1) AS i ORDER BY i.seq

-- name: intake_backlog
-- By vendor: how many webhooks wait and since when, and how many are parked.
SELECT coalesce(account.vendor, 'unknown') AS vendor, count(*) FILTER (WHERE parked IS NULL) AS waiting,
       min(received_at) FILTER (WHERE parked IS NULL) AS oldest, count(*) FILTER (WHERE parked IS NOT NULL) AS parked
FROM intake LEFT JOIN account ON (account.tenant_id, account.id) = (intake.tenant_id, intake.account_id)
WHERE processed_at IS NULL GROUP BY 1

-- name: claim_intake
-- The rows that are still to be processed, now that their calls are held, as they came. Each one's order and call are
-- looked up by themselves: row-level security lets a join with them read all that the tenant has.
SELECT i.seq, i.identity, i.kind, i.account_id, call.id AS call_id, i.received_at, i.signal, i.answer, i.traceparent,
       call.id <> i.call_id AS ordered, (SELECT true FROM call c WHERE c.id = call.id) IS NOT NULL AS known
FROM intake i CROSS JOIN LATERAL (
    SELECT coalesce((SELECT o.id FROM outbound_call o WHERE o.alias = i.call_id LIMIT 1), i.call_id) AS id OFFSET 0) AS call
WHERE i.seq = ANY($1::bigint[]) AND i.processed_at IS NULL AND i.parked IS NULL ORDER BY i.received_at, i.seq

-- name: mark_processed
-- These rows have had their effect; what the rings among them were answered with is kept. Only what waits has an index by
-- its number.
WITH done AS (
    UPDATE intake SET processed_at = now() WHERE seq = ANY($1::bigint[]) AND processed_at IS NULL AND parked IS NULL
    RETURNING tenant_id, seq, received_at, answer::jsonb AS told)
INSERT INTO routing_decision (tenant_id, call_id, decided_at, answer_ms, rule, rung, decision, inputs)
SELECT done.tenant_id, ring.call_id, done.received_at, (told ->> 'answer_ms')::real, told -> 'decision' ->> 'rule',
       told -> 'decision' ->> 'rung', told -> 'decision', told -> 'inputs'
FROM unnest($2::bigint[], $3::uuid[]) AS ring (seq, call_id) JOIN done USING (seq)
ON CONFLICT DO NOTHING

-- name: park_intake
-- This row cannot have an effect, and why. Says whose webhook it is. Only what waits has an index by its number.
UPDATE intake SET parked = $2 WHERE seq = $1 AND processed_at IS NULL AND parked IS NULL
RETURNING (SELECT vendor FROM account WHERE (account.tenant_id, account.id) = (intake.tenant_id, intake.account_id))

-- name: parked_intake
-- What is parked, oldest first.
SELECT seq, intake.tenant_id, coalesce(account.vendor, 'unknown') AS vendor, kind, call_id, received_at, parked
FROM intake LEFT JOIN account ON (account.tenant_id, account.id) = (intake.tenant_id, intake.account_id)
WHERE processed_at IS NULL AND parked IS NOT NULL ORDER BY seq LIMIT $1

-- name: unpark_intake
-- Parked rows are to be processed once more; all of them when none is named.
UPDATE intake SET parked = NULL
WHERE processed_at IS NULL AND parked IS NOT NULL AND (seq = ANY($1::bigint[]) OR $1::bigint[] = '{}') RETURNING seq

-- name: drop_parked_intake
-- Parked rows need nobody any more: they are kept for as long as processed ones, with their reason.
UPDATE intake SET processed_at = now()
WHERE processed_at IS NULL AND parked IS NOT NULL AND (seq = ANY($1::bigint[]) OR $1::bigint[] = '{}') RETURNING seq

-- name: prune_intake
-- Forget processed webhooks that no sender repeats any more.
DELETE FROM intake WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM intake WHERE processed_at IS NOT NULL AND received_at < now() - make_interval(days => $1)
    LIMIT 5000))

-- name: find_calls
-- Calls by id.
SELECT * FROM call WHERE id = ANY($1::uuid[])

-- name: put_calls
-- Create or replace calls as a whole; their keys are held by the transaction.
INSERT INTO call (tenant_id, id, vendor, account_id, vendor_call_id, direction, caller, caller_kind, caller_raw, did,
                  did_raw, asked_at, quarantined, state, facts, staff_id, agent_number, started_at, answered_at,
                  ended_at, duration_seconds, cause, version, confirmed, parent_call_id, digits, transferred_to)
SELECT $1::uuid, c.* FROM unnest($2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::text[], $11::text[], $12::timestamptz[], $13::boolean[], $14::text[], $15::jsonb[], $16::text[],
    $17::text[], $18::timestamptz[], $19::timestamptz[], $20::timestamptz[], $21::integer[], $22::text[],
    $23::integer[], $24::boolean[], $25::text[], $26::text[], $27::text[]) AS c
ON CONFLICT (tenant_id, id) DO UPDATE SET
    direction = excluded.direction, caller = excluded.caller, caller_kind = excluded.caller_kind,
    caller_raw = excluded.caller_raw, did = excluded.did, did_raw = excluded.did_raw, asked_at = excluded.asked_at,
    quarantined = excluded.quarantined, state = excluded.state, facts = excluded.facts, staff_id = excluded.staff_id,
    agent_number = excluded.agent_number, started_at = excluded.started_at, answered_at = excluded.answered_at,
    ended_at = excluded.ended_at, duration_seconds = excluded.duration_seconds, cause = excluded.cause,
    version = excluded.version, confirmed = excluded.confirmed, parent_call_id = excluded.parent_call_id,
    digits = excluded.digits, transferred_to = excluded.transferred_to, updated_at = now()

-- name: add_statuses
-- Statuses that were not known yet; gives back which.
INSERT INTO call_status (tenant_id, call_id, identity, leg, status, status_raw, sequence, attempt, agent_raw, at,
                         received_at, confirmed)
SELECT $1::uuid, s.* FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::boolean[],
    $9::text[], $10::timestamptz[], $11::timestamptz[], $12::boolean[]) AS s
ON CONFLICT DO NOTHING RETURNING call_id, identity

-- name: put_recordings
-- Where calls' recordings are. A report replaces one of an earlier state, then an unconfirmed one, then an older one.
-- Gives back which are news.
INSERT INTO recording (tenant_id, call_id, recording_key, account_id, vendor, leg, state, url, duration_seconds, channels,
                       available_by, confirmed, received_at)
SELECT $1::uuid, r.* FROM unnest($2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::integer[], $10::integer[], $11::timestamptz[], $12::boolean[], $13::timestamptz[]) AS r
ON CONFLICT (tenant_id, call_id, recording_key) DO UPDATE SET
    leg = excluded.leg, state = excluded.state, url = excluded.url, duration_seconds = excluded.duration_seconds,
    channels = excluded.channels, available_by = excluded.available_by, confirmed = excluded.confirmed,
    received_at = excluded.received_at
WHERE (array_position(ARRAY['pending', 'failed', 'absent', 'available'], excluded.state),
       excluded.confirmed, excluded.received_at)
    > (array_position(ARRAY['pending', 'failed', 'absent', 'available'], recording.state),
       recording.confirmed, recording.received_at)
RETURNING call_id, recording_key

-- name: call_recordings
-- A call's recordings, the earliest first.
SELECT recording_key, vendor, leg, state, url, duration_seconds, channels, available_by, confirmed, received_at
FROM recording WHERE call_id = $1 ORDER BY received_at, recording_key

-- name: find_call
-- One call.
SELECT * FROM call WHERE id = $1

-- name: find_decision
-- What one call was answered with.
SELECT decided_at, answer_ms, rule, rung, decision, inputs FROM routing_decision WHERE call_id = $1

-- name: call_timeline
-- A call's statuses in the order in which they happened.
SELECT leg, status, status_raw, sequence, attempt, agent_raw, at, received_at, confirmed
FROM call_status WHERE call_id = $1 ORDER BY coalesce(at, received_at), received_at

-- name: note_missed_due
-- Calls whose end may concern a missed call, to be looked at when they have committed.
INSERT INTO missed_due (tenant_id, call_id) SELECT $1::uuid, d.* FROM unnest($2::uuid[]) AS d

-- name: waiting_missed_due
-- What is due, the oldest first. As the system role.
SELECT tenant_id, seq, call_id FROM missed_due WHERE put_aside IS NULL ORDER BY seq LIMIT $1

-- name: still_missed_due
-- Of what was due, what nobody else has seen to meanwhile.
SELECT seq, call_id FROM missed_due WHERE seq = ANY($1::bigint[]) ORDER BY seq

-- name: done_missed_due
-- These have been seen to.
DELETE FROM missed_due WHERE seq = ANY($1::bigint[])

-- name: refused_orders
-- Of calls that we were to place to call somebody back, those that were not made.
SELECT id, code, missed_id, missed_since FROM outbound_call
WHERE id = ANY($1::uuid[]) AND state = 'refused' AND missed_id IS NOT NULL

-- name: put_missed_aside
-- This cannot be seen to, and why.
UPDATE missed_due SET put_aside = $2 WHERE seq = $1

-- name: missed_of_call
-- The item that a missed call belongs to.
SELECT missed_id FROM missed_call WHERE call_id = $1

-- name: find_missed
-- One item.
SELECT id, caller, did, calls, first_at, last_at, opened_at, state, since, user_id, user_name, until, outcome, note,
    clock_timestamp() AS now
FROM missed WHERE id = $1

-- name: unresolved_missed
-- What is not resolved of these callers, the oldest first.
SELECT id, caller, did, calls, first_at, last_at, opened_at, state, since, user_id, user_name, until, outcome, note,
    clock_timestamp() AS now
FROM missed WHERE caller = ANY($1::text[]) AND state <> 'resolved' ORDER BY opened_at, id

-- name: page_missed
-- Items, the oldest first, after a place.
SELECT id, caller, did, calls, first_at, last_at, opened_at, state, since, user_id, user_name, until, outcome, note,
    clock_timestamp() AS now
FROM missed WHERE ($1::text IS NULL OR state = $1) AND ($2::timestamptz IS NULL OR (opened_at, id) > ($2, $3::uuid))
ORDER BY opened_at, id LIMIT $4

-- name: missed_history
-- All that was done about an item.
SELECT at, change, calls, user_id, user_name, until, outcome, note, reason FROM missed_change WHERE missed_id = $1
ORDER BY seq

-- name: open_missed
-- A call was missed.
INSERT INTO missed (tenant_id, id, caller, did, first_at, last_at) VALUES ($1, $2, $3, $4, $5, $5)
ON CONFLICT DO NOTHING
RETURNING id, caller, did, calls, first_at, last_at, opened_at, state, since, user_id, user_name, until, outcome, note,
    clock_timestamp() AS now

-- name: missed_again
-- One more call of the same caller.
UPDATE missed SET calls = calls + 1, first_at = least(first_at, $2), last_at = greatest(last_at, $2)
WHERE id = $1 AND state <> 'resolved'
RETURNING id, caller, did, calls, first_at, last_at, opened_at, state, since, user_id, user_name, until, outcome, note,
    clock_timestamp() AS now

-- name: count_missed_call
-- Each call counts once.
INSERT INTO missed_call (tenant_id, call_id, missed_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING true

-- name: claim_missed
-- Only what nobody has, or what somebody has had for too long.
UPDATE missed SET state = 'claimed', since = clock_timestamp(), user_id = $2, user_name = $3,
    until = clock_timestamp() + $4::interval
WHERE id = $1 AND (state = 'open' OR (state = 'claimed' AND until <= clock_timestamp()))
RETURNING id, caller, did, calls, first_at, last_at, opened_at, state, since, user_id, user_name, until, outcome, note,
    clock_timestamp() AS now

-- name: renew_missed
-- Its holder needs longer.
UPDATE missed SET until = clock_timestamp() + $3::interval WHERE id = $1 AND state = 'claimed' AND user_id = $2
RETURNING id, caller, did, calls, first_at, last_at, opened_at, state, since, user_id, user_name, until, outcome, note,
    clock_timestamp() AS now

-- name: release_missed
-- Its holder lets go; without a user, whoever has it.
UPDATE missed SET state = 'open', since = clock_timestamp(), user_id = NULL, user_name = '', until = NULL
WHERE id = $1 AND state = 'claimed' AND ($2::text IS NULL OR user_id = $2)
RETURNING id, caller, did, calls, first_at, last_at, opened_at, state, since, user_id, user_name, until, outcome, note,
    clock_timestamp() AS now

-- name: release_lapsed
-- Its time is over. A claim that another router just sees to is left to that one.
UPDATE missed SET state = 'open', since = clock_timestamp(), user_id = NULL, user_name = '', until = NULL
WHERE (tenant_id, id) IN (
    SELECT tenant_id, id FROM missed WHERE id = $1 AND state = 'claimed' AND until <= clock_timestamp()
    FOR UPDATE SKIP LOCKED)
RETURNING id, caller, did, calls, first_at, last_at, opened_at, state, since, user_id, user_name, until, outcome, note,
    clock_timestamp() AS now

-- name: resolve_missed
-- What came of it, said by whoever has it, or by anybody while nobody has.
UPDATE missed SET state = 'resolved', since = clock_timestamp(), user_id = $2, user_name = $3, until = NULL,
    outcome = $4, note = $5
WHERE id = $1 AND (state = 'open' OR (state = 'claimed' AND (user_id = $2 OR until <= clock_timestamp())))
RETURNING id, caller, did, calls, first_at, last_at, opened_at, state, since, user_id, user_name, until, outcome, note,
    clock_timestamp() AS now

-- name: settle_missed
-- What came of it, whoever has it.
UPDATE missed SET state = 'resolved', since = clock_timestamp(), user_id = $2, user_name = $3, until = NULL,
    outcome = $4, note = $5
WHERE id = $1 AND state <> 'resolved'
RETURNING id, caller, did, calls, first_at, last_at, opened_at, state, since, user_id, user_name, until, outcome, note,
    clock_timestamp() AS now

-- name: missed_held_by
-- What one user has claimed.
SELECT id FROM missed WHERE state = 'claimed' AND user_id = $1

-- name: grow_call
-- A call's next version: something changed about it.
UPDATE call SET version = version + 1, updated_at = now() WHERE id = $1 RETURNING *

-- name: add_missed_change
-- One line of an item's history.
INSERT INTO missed_change (tenant_id, missed_id, change, calls, user_id, user_name, until, outcome, note, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)

-- name: talked_since
-- Whether somebody talked with a number after a moment.
SELECT EXISTS (SELECT FROM call WHERE caller = $1 AND answered_at > $2 AND NOT quarantined)
    OR EXISTS (SELECT FROM call WHERE did = $1 AND answered_at > $2 AND direction = 'outbound' AND NOT quarantined)

-- name: call_began
-- When we first heard of a call.
SELECT created_at FROM call WHERE id = $1

-- name: staff_name
-- What a person is called.
SELECT name FROM dir_staff WHERE staff_id = $1

-- name: lapsed_missed
-- Claims whose time is over. As the system role.
SELECT tenant_id, id FROM missed WHERE state = 'claimed' AND until <= clock_timestamp() ORDER BY until LIMIT $1

-- name: missed_figures
-- How much waits, of all tenants. As the system role.
SELECT count(*) FILTER (WHERE state = 'open') AS open, count(*) FILTER (WHERE state = 'claimed') AS claimed,
    coalesce(extract(epoch FROM clock_timestamp() - min(opened_at) FILTER (WHERE state = 'open')), 0)::float8 AS oldest,
    (SELECT count(*) FROM missed_due WHERE put_aside IS NOT NULL) AS put_aside
FROM missed WHERE state <> 'resolved'

-- name: staff_by_number
-- Who answers at these numbers.
SELECT DISTINCT ON (n.number) n.number, s.staff_id
FROM dir_staff s CROSS JOIN LATERAL unnest(s.numbers) AS n (number)
WHERE n.number = ANY($1::text[]) ORDER BY n.number, s.active DESC, s.staff_id

-- name: put_last_agents
-- Who talked to a caller last; an older talk never replaces a newer one.
INSERT INTO last_agent (tenant_id, number, staff_id, at)
SELECT $1::uuid, l.* FROM unnest($2::text[], $3::text[], $4::timestamptz[]) AS l
ON CONFLICT (tenant_id, number) DO UPDATE SET staff_id = excluded.staff_id, at = excluded.at
WHERE last_agent.at < excluded.at
RETURNING number

-- name: note_changes
-- Number one change of what a tenant's calls are routed by, and say what it touched. Such changes take turns.
WITH numbered AS (
    INSERT INTO view_version (tenant_id, version) VALUES ($1, nextval('view_change_number'))
    ON CONFLICT (tenant_id) DO UPDATE SET version = nextval('view_change_number')
    RETURNING version)
INSERT INTO view_change (tenant_id, version, kind, key)
SELECT DISTINCT $1::uuid, numbered.version, c.kind, c.key
FROM numbered, unnest($2::text[], $3::text[]) AS c (kind, key)

-- name: view_versions
-- The last change of every tenant.
SELECT tenant_id, version FROM view_version ORDER BY tenant_id

-- name: changes_since
-- What the changes of tenants touched, each after a number of its own.
SELECT DISTINCT c.tenant_id, c.kind, c.key
FROM unnest($1::uuid[], $2::bigint[]) AS s (tenant_id, version)
JOIN view_change c ON c.tenant_id = s.tenant_id AND c.version > s.version

-- name: forget_changes
-- Changes that every router has seen long ago.
DELETE FROM view_change WHERE at < now() - interval '1 day'

-- name: put_tenant
-- A tenant, unless a newer version is known.
INSERT INTO dir_tenant (tenant_id, version, timezone, active) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id) DO UPDATE SET version = excluded.version, timezone = excluded.timezone, active = excluded.active
WHERE dir_tenant.version < excluded.version RETURNING true

-- name: delete_tenant
-- A tenant is gone.
DELETE FROM dir_tenant

-- name: put_staff
-- A person who answers, unless a newer version is known.
INSERT INTO dir_staff (tenant_id, staff_id, version, name, numbers, active, working_hours, leave, skills, capacity,
                       wrap_up_seconds)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (tenant_id, staff_id) DO UPDATE SET version = excluded.version, name = excluded.name,
    numbers = excluded.numbers, active = excluded.active, working_hours = excluded.working_hours,
    leave = excluded.leave, skills = excluded.skills, capacity = excluded.capacity,
    wrap_up_seconds = excluded.wrap_up_seconds
WHERE dir_staff.version < excluded.version RETURNING true

-- name: delete_staff
-- A person is gone.
DELETE FROM dir_staff WHERE staff_id = $1 RETURNING true

-- name: put_customer
-- A customer or lead, unless a newer version is known.
INSERT INTO dir_customer (tenant_id, kind, customer_id, version, name, owner_staff_id, vip, language)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (tenant_id, kind, customer_id) DO UPDATE SET version = excluded.version, name = excluded.name,
    owner_staff_id = excluded.owner_staff_id, vip = excluded.vip, language = excluded.language
WHERE dir_customer.version < excluded.version RETURNING true

-- name: customer_numbers
-- The numbers of a customer or lead.
SELECT number FROM dir_customer_number WHERE kind = $1 AND customer_id = $2

-- name: clear_customer_numbers
-- Forget the numbers of a customer or lead.
DELETE FROM dir_customer_number WHERE kind = $1 AND customer_id = $2

-- name: add_customer_numbers
-- The numbers of a customer or lead.
INSERT INTO dir_customer_number (tenant_id, kind, customer_id, number)
SELECT $1::uuid, $2::text, $3::text, n FROM unnest($4::text[]) AS n ON CONFLICT DO NOTHING

-- name: delete_customer
-- A customer or lead is gone.
DELETE FROM dir_customer WHERE kind = $1 AND customer_id = $2 RETURNING true

-- name: put_did
-- A number that rings here, unless a newer version is known.
INSERT INTO dir_did (tenant_id, did, version, label, default_staff_ids, fallback_number, default_group, calendar,
                     skills, menu)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (tenant_id, did) DO UPDATE SET version = excluded.version, label = excluded.label,
    default_staff_ids = excluded.default_staff_ids, fallback_number = excluded.fallback_number,
    default_group = excluded.default_group, calendar = excluded.calendar, skills = excluded.skills, menu = excluded.menu
WHERE dir_did.version < excluded.version RETURNING true

-- name: claim_did
-- Let a number ring for this tenant, unless it rings for another.
INSERT INTO did_claim (tenant_id, did) VALUES ($1, $2) ON CONFLICT DO NOTHING

-- name: holds_did
-- Whether a number rings for this tenant.
SELECT EXISTS (SELECT FROM did_claim WHERE did = $1)

-- name: delete_did
-- A number is given up.
DELETE FROM dir_did WHERE did = $1 RETURNING true

-- name: unclaimed_dids
-- Numbers that no tenant holds although somebody wants them, the longest wish first.
SELECT d.tenant_id, d.did FROM dir_did d
WHERE NOT EXISTS (SELECT FROM did_claim c WHERE c.did = d.did) ORDER BY d.first_seen, d.tenant_id

-- name: put_routing
-- How a tenant's calls are routed, unless a newer version is known.
INSERT INTO dir_routing (tenant_id, version, last_agent_days, ring_seconds, fallback_number, blocked_numbers, rules)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (tenant_id) DO UPDATE SET version = excluded.version, last_agent_days = excluded.last_agent_days,
    ring_seconds = excluded.ring_seconds, fallback_number = excluded.fallback_number,
    blocked_numbers = excluded.blocked_numbers, rules = excluded.rules
WHERE dir_routing.version < excluded.version RETURNING true

-- name: delete_routing
-- A tenant's routing is back to the defaults.
DELETE FROM dir_routing RETURNING true

-- name: view_tenants
-- All that routing needs of tenants, each with the count of changes it belongs to.
SELECT v.tenant_id, v.version, t.timezone, t.active,
    (SELECT json_agg(json_build_object('staff_id', s.staff_id, 'name', s.name, 'numbers', s.numbers,
        'active', s.active, 'hours', s.working_hours, 'leave', s.leave, 'skills', s.skills, 'capacity', s.capacity,
        'wrap_up_seconds', s.wrap_up_seconds) ORDER BY s.staff_id)
     FROM dir_staff s WHERE s.tenant_id = v.tenant_id) AS agents,
    (SELECT r.rules || jsonb_build_object('version', r.version, 'last_agent_days', r.last_agent_days,
        'ring_seconds', r.ring_seconds, 'fallback_number', r.fallback_number, 'blocked', r.blocked_numbers)
     FROM dir_routing r WHERE r.tenant_id = v.tenant_id) AS routing,
    (SELECT json_agg(json_build_object('did', d.did, 'label', d.label, 'default_staff_ids', d.default_staff_ids,
        'fallback_number', d.fallback_number, 'group', d.default_group, 'calendar', d.calendar, 'skills', d.skills)
        ORDER BY d.did)
     FROM dir_did d JOIN did_claim c USING (tenant_id, did) WHERE d.tenant_id = v.tenant_id) AS lines
FROM view_version v LEFT JOIN dir_tenant t USING (tenant_id)
WHERE $1::uuid[] IS NULL OR v.tenant_id = ANY($1)

-- name: view_dids
-- Numbers that ring for a tenant; with a list, only those.
SELECT d.did, d.tenant_id, v.version, d.label, d.default_staff_ids, d.fallback_number, d.default_group, d.calendar,
       d.skills, d.menu
FROM dir_did d JOIN did_claim c USING (tenant_id, did) JOIN view_version v USING (tenant_id)
WHERE ($1::uuid[] IS NULL OR d.tenant_id = ANY($1)) AND ($2::text[] IS NULL OR d.did = ANY($2))

-- name: caller_numbers
-- Numbers that something is known of, from after one on.
(SELECT number FROM dir_customer_number WHERE tenant_id = $1 AND number > $2 ORDER BY number LIMIT $3)
UNION (SELECT number FROM last_agent WHERE tenant_id = $1 AND number > $2 ORDER BY number LIMIT $3)
UNION (SELECT number FROM caller_score WHERE tenant_id = $1 AND number > $2 ORDER BY number LIMIT $3)
ORDER BY number LIMIT $3

-- name: unknown_keys
-- Keys of the view that nothing stands behind.
SELECT k.name FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[]) AS k (name, kind, tenant_id, key)
WHERE NOT CASE k.kind
    WHEN 'did' THEN EXISTS (SELECT FROM did_claim c WHERE c.did = k.key)
    WHEN 'caller' THEN
        EXISTS (SELECT FROM dir_customer_number n WHERE n.tenant_id = k.tenant_id AND n.number = k.key)
        OR EXISTS (SELECT FROM last_agent l WHERE l.tenant_id = k.tenant_id AND l.number = k.key)
        OR EXISTS (SELECT FROM caller_score s WHERE s.tenant_id = k.tenant_id AND s.number = k.key)
    WHEN 'load' THEN
        EXISTS (SELECT FROM agent_load l WHERE l.tenant_id = k.tenant_id)
        OR EXISTS (SELECT FROM agent_call c WHERE c.tenant_id = k.tenant_id)
    ELSE EXISTS (SELECT FROM view_version v WHERE v.tenant_id = k.tenant_id)
END

-- name: view_callers
-- What is known of numbers that call a tenant; with a list, only those. A customer goes before a lead.
SELECT n.number, v.version, c.customer_id, c.kind, c.name, c.owner_staff_id, c.vip, c.language,
       l.staff_id AS last_agent_id, l.at AS last_agent_at, s.score AS spam_score, s.at AS spam_at
FROM (SELECT number FROM dir_customer_number WHERE tenant_id = $1 AND ($2::text[] IS NULL OR number = ANY($2))
      UNION SELECT number FROM last_agent WHERE tenant_id = $1 AND ($2::text[] IS NULL OR number = ANY($2))
      UNION SELECT number FROM caller_score WHERE tenant_id = $1 AND ($2::text[] IS NULL OR number = ANY($2))) n
JOIN view_version v ON v.tenant_id = $1
LEFT JOIN LATERAL (
    SELECT c.customer_id, c.kind, c.name, c.owner_staff_id, c.vip, c.language
    FROM dir_customer_number m JOIN dir_customer c USING (tenant_id, kind, customer_id)
    WHERE m.tenant_id = $1 AND m.number = n.number
    ORDER BY c.kind, c.owner_staff_id IS NULL, c.customer_id LIMIT 1) c ON true
LEFT JOIN last_agent l ON l.tenant_id = $1 AND l.number = n.number
LEFT JOIN caller_score s ON s.tenant_id = $1 AND s.number = n.number

-- name: view_loads
-- What the agents of tenants have to do with calls, each with the count of changes it belongs to.
SELECT v.tenant_id, v.version,
    (SELECT json_agg(json_build_object('staff_id', l.staff_id, 'idle_since', l.idle_since, 'offered_at', l.offered_at)
        ORDER BY l.staff_id)
     FROM agent_load l WHERE l.tenant_id = v.tenant_id) AS agents,
    (SELECT json_agg(json_build_object('staff_id', c.staff_id, 'call_id', c.call_id, 'since', c.since)
        ORDER BY c.call_id)
     FROM agent_call c WHERE c.tenant_id = v.tenant_id) AS calls
FROM view_version v WHERE $1::uuid[] IS NULL OR v.tenant_id = ANY($1)

-- name: take_agent_calls
-- Calls that somebody is on. Gives back which are news.
INSERT INTO agent_call (tenant_id, call_id, staff_id, since)
SELECT $1::uuid, c.* FROM unnest($2::uuid[], $3::text[], $4::timestamptz[]) AS c
ON CONFLICT (tenant_id, call_id) DO UPDATE SET staff_id = excluded.staff_id, since = excluded.since
WHERE (agent_call.staff_id, agent_call.since) <> (excluded.staff_id, excluded.since) RETURNING call_id

-- name: end_agent_calls
-- Calls that nobody is on any more. Gives back on which somebody was.
DELETE FROM agent_call WHERE call_id = ANY($1::uuid[]) RETURNING call_id

-- name: put_agent_loads
-- When somebody was last free again and last offered a call; never an earlier moment than is known. Gives back who.
INSERT INTO agent_load (tenant_id, staff_id, idle_since, offered_at)
SELECT $1::uuid, l.* FROM unnest($2::text[], $3::timestamptz[], $4::timestamptz[]) AS l
ON CONFLICT (tenant_id, staff_id) DO UPDATE SET
    idle_since = greatest(agent_load.idle_since, excluded.idle_since),
    offered_at = greatest(agent_load.offered_at, excluded.offered_at)
WHERE coalesce(excluded.idle_since > coalesce(agent_load.idle_since, '-infinity'), false)
   OR coalesce(excluded.offered_at > coalesce(agent_load.offered_at, '-infinity'), false)
RETURNING staff_id

-- name: forget_agent_calls
-- Calls whose end was never reported, long after they count any more. Gives back whose they are.
DELETE FROM agent_call WHERE since < now() - interval '1 day' RETURNING tenant_id

-- name: stranger_calls
-- Of numbers that are nobody's: their calls up to a moment, within an hour and a day, that came to nothing (over within
-- five seconds, or given up by the caller), to how many DIDs those went, and how many talks there were.
SELECT n.number, n.at,
       count(*) FILTER (WHERE c.futile AND c.asked_at > n.at - interval '1 hour') AS futile_hour,
       count(*) FILTER (WHERE c.futile) AS futile_day,
       count(DISTINCT c.did) FILTER (WHERE c.futile AND c.asked_at > n.at - interval '1 hour') AS dids_hour,
       count(DISTINCT c.did) FILTER (WHERE c.futile) AS dids_day,
       count(*) FILTER (WHERE NOT c.futile AND c.answered_at IS NOT NULL) AS talks_day
FROM unnest($1::text[], $2::timestamptz[]) AS n (number, at)
JOIN LATERAL (
    SELECT call.did, call.asked_at, call.answered_at,
           call.state = 'cancelled' OR coalesce(call.duration_seconds, extract(epoch FROM call.ended_at
               - coalesce(call.answered_at, call.asked_at))) <= 5 AS futile
    FROM call WHERE call.caller = n.number AND call.direction = 'inbound' AND call.ended_at IS NOT NULL
      AND call.asked_at > n.at - interval '1 day' AND call.asked_at <= n.at) c ON true
WHERE NOT EXISTS (SELECT FROM dir_customer_number d WHERE d.number = n.number)
  AND NOT EXISTS (SELECT FROM dir_staff s WHERE n.number = ANY(s.numbers))
GROUP BY n.number, n.at

-- name: put_scores
-- How much numbers call like machines; an older call's score never replaces a newer one's. Gives back which are news.
INSERT INTO caller_score (tenant_id, number, score, at)
SELECT $1::uuid, s.* FROM unnest($2::text[], $3::integer[], $4::timestamptz[]) AS s (number, score, at)
WHERE s.score > 0 OR EXISTS (SELECT FROM caller_score known WHERE known.number = s.number)
ON CONFLICT (tenant_id, number) DO UPDATE SET score = excluded.score, at = excluded.at
WHERE caller_score.at < excluded.at RETURNING number

-- name: forget_scores
-- Scores that have not held for long. Gives back whose they are.
DELETE FROM caller_score WHERE at < now() - interval '2 days' RETURNING tenant_id, number

-- name: decisions_since
-- What calls were answered with in a span of time and what it was made of, the latest first.
SELECT d.call_id, d.decided_at, d.decision, d.inputs, c.caller, c.caller_kind, c.caller_raw, c.did
FROM routing_decision d JOIN call c ON (c.tenant_id, c.id) = (d.tenant_id, d.call_id)
WHERE d.decided_at >= $1 AND d.decided_at < $2 ORDER BY d.decided_at DESC, d.call_id LIMIT $3

-- name: put_drift
-- Fields that vendors send and we do not know. The first sample stays.
INSERT INTO drift (tenant_id, vendor, field, change, hook, sample, seen, first_seen, last_seen)
SELECT $1::uuid, d.* FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[],
    $8::timestamptz[], $9::timestamptz[]) AS d
ON CONFLICT (tenant_id, vendor, field, change) DO UPDATE SET
    seen = drift.seen + excluded.seen, last_seen = greatest(drift.last_seen, excluded.last_seen)

-- name: list_drift
-- What a tenant's vendors send that we do not know, the latest first.
SELECT vendor, field, change, hook, sample, seen, first_seen, last_seen FROM drift ORDER BY last_seen DESC, vendor, field

-- name: queue_recordings
-- What vendors tell of recordings, for whoever fetches them: of one that is stored nothing new; of one that had ended
-- otherwise, and of one that waits, the vendor's newer word. One without an address waits six hours to be told of.
INSERT INTO recording_fetch AS f (tenant_id, id, call_id, recording_key, account_id, vendor, state, reason, due_since,
                                  next_attempt_at, finished_at)
SELECT r.tenant_id, gen_random_uuid(), r.call_id, r.recording_key, r.account_id, r.vendor, t.state, t.reason, t.due, t.due,
       CASE WHEN t.state <> 'pending' THEN now() END
FROM recording r JOIN unnest($2::uuid[], $3::text[]) AS n (call_id, recording_key) USING (call_id, recording_key)
CROSS JOIN LATERAL (
    SELECT CASE WHEN r.state IN ('absent', 'failed') THEN r.state ELSE 'pending' END AS state,
           CASE WHEN r.state IN ('absent', 'failed') THEN 'told_by_vendor' ELSE '' END AS reason,
           CASE WHEN r.state = 'available' THEN coalesce(r.available_by, r.received_at)
                WHEN r.state = 'pending' AND r.url <> '' THEN coalesce(r.available_by, r.received_at + interval '1 minute')
                WHEN r.state = 'pending' THEN r.received_at + interval '6 hours' END AS due) AS t
WHERE r.tenant_id = $1
ON CONFLICT (tenant_id, call_id, recording_key) DO UPDATE SET
    account_id = excluded.account_id, vendor = excluded.vendor, state = excluded.state, reason = excluded.reason,
    attempts = 0, due_since = excluded.due_since, next_attempt_at = excluded.next_attempt_at,
    finished_at = excluded.finished_at
WHERE f.state IN ('pending', 'absent', 'failed')

-- name: lock_recording_claims
-- Fetchers choose one after the other: each then sees what the others took. Until the end of the transaction.
SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || ' recordings', 0))

-- name: claim_recordings
-- What is due, the longest-waiting of each account first and at most $2 of one account at a time, or what its fetcher
-- let fall. Whoever has the lease has the recording.
WITH waiting AS (
    SELECT tenant_id, account_id, count(*) FILTER (WHERE state = 'fetching' AND leased_until > now()) AS busy
    FROM recording_fetch WHERE state IN ('pending', 'fetching') GROUP BY tenant_id, account_id),
chosen AS (
    SELECT d.tenant_id, d.id FROM waiting w CROSS JOIN LATERAL (
        SELECT f.tenant_id, f.id, f.next_attempt_at FROM recording_fetch f
        WHERE f.tenant_id = w.tenant_id AND f.account_id = w.account_id AND f.state IN ('pending', 'fetching')
          AND f.next_attempt_at <= now() AND (f.state = 'pending' OR f.leased_until <= now())
        ORDER BY f.next_attempt_at LIMIT greatest($2::integer - w.busy, 0)
        FOR UPDATE SKIP LOCKED) AS d
    ORDER BY d.next_attempt_at LIMIT $1)
UPDATE recording_fetch f SET state = 'fetching', attempts = attempts + 1, lease = gen_random_uuid(),
    leased_until = now() + make_interval(secs => $3)
FROM chosen WHERE (f.tenant_id, f.id) = (chosen.tenant_id, chosen.id)
RETURNING f.tenant_id, f.id, f.call_id, f.recording_key, f.account_id, f.vendor, f.attempts, f.lease

-- name: renew_recording_leases
-- They are still being fetched; gives back whose leases still hold.
UPDATE recording_fetch SET leased_until = now() + make_interval(secs => $2)
WHERE lease = ANY($1::uuid[]) AND state = 'fetching' RETURNING lease

-- name: recording_counts
-- How many recordings there are in each state, and since when the one that waits longest could have been fetched.
SELECT state, count(*) AS count, min(due_since) FILTER (WHERE state IN ('pending', 'fetching') AND due_since <= now()) AS oldest
FROM recording_fetch GROUP BY state

-- name: find_fetch
-- All that is needed to fetch one recording, as its lease allows.
SELECT r.url, r.state AS told, r.confirmed, coalesce(c.direction, 'inbound') AS direction, a.sealed_tokens,
       coalesce(x.hosts, '{}') AS hosts, x.sealed_credential, x.agent_channel
FROM recording_fetch f
JOIN recording r USING (tenant_id, call_id, recording_key)
LEFT JOIN call c ON (c.tenant_id, c.id) = (f.tenant_id, f.call_id)
LEFT JOIN account a ON (a.tenant_id, a.id) = (f.tenant_id, f.account_id)
LEFT JOIN recording_access x ON (x.tenant_id, x.account_id) = (f.tenant_id, f.account_id)
WHERE f.id = $1 AND f.lease = $2 AND f.state = 'fetching'
    -- Told late of an erased call, it is about to go.
    AND NOT EXISTS (SELECT FROM erased_lately e WHERE (e.tenant_id, e.value) = (f.tenant_id, 'call:' || f.call_id))

-- name: end_fetch
-- What became of an attempt, unless its lease is another's by now.
UPDATE recording_fetch SET state = $3, reason = $4, lease = NULL, leased_until = NULL,
    next_attempt_at = CASE WHEN $3 = 'pending' THEN now() + make_interval(secs => $5) END,
    attempts = attempts - $6::integer, finished_at = CASE WHEN $3 <> 'pending' THEN now() END
WHERE id = $1 AND lease = $2 AND state = 'fetching' RETURNING true

-- name: add_recording_file
-- What was stored.
INSERT INTO recording_file (tenant_id, recording_id, call_id, sha256, size_bytes, content_type, channels, duration_ms,
                            speakers, voices, agent_sha256, agent_bytes, customer_sha256, customer_bytes, stored_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)

-- name: recordings_of_call
-- A call's recordings with what became of them, the earliest first.
SELECT f.id, f.state, f.reason, f.attempts, f.next_attempt_at, f.vendor, l.content_type, l.size_bytes, l.channels,
       l.duration_ms, l.speakers, l.voices, l.sha256, l.agent_sha256, l.customer_sha256, l.stored_at
FROM recording_fetch f LEFT JOIN recording_file l ON (l.tenant_id, l.recording_id) = (f.tenant_id, f.id)
WHERE f.call_id = $1 ORDER BY f.created_at, f.id

-- name: find_recording_file
-- One stored recording of a call.
SELECT sha256, content_type, agent_sha256, customer_sha256 FROM recording_file WHERE call_id = $1 AND recording_id = $2

-- name: find_expired_recording
-- When a recording of a call was let go.
SELECT finished_at FROM recording_fetch WHERE call_id = $1 AND id = $2 AND state = 'expired'

-- name: recordings_older_than
-- Stored longer ago than this, the oldest first. As the system role.
SELECT tenant_id, recording_id FROM recording_file WHERE stored_at < now() - $1::interval ORDER BY stored_at LIMIT $2

-- name: blobs_of_recording
-- The hashes of what is stored of a recording.
SELECT DISTINCT b FROM recording_file, unnest(ARRAY[sha256, agent_sha256, customer_sha256]) AS b
WHERE recording_id = $1 AND b IS NOT NULL ORDER BY b

-- name: hold_blobs
-- Whoever stores or forgets the same bytes waits. Until the end of the transaction, in one order for everybody.
SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || ' blob ' || $1 || b, 0))
FROM unnest($2::text[]) AS b

-- name: expire_recording
-- A stored recording is let go.
WITH gone AS (DELETE FROM recording_file WHERE recording_id = $1 RETURNING recording_id)
UPDATE recording_fetch f SET state = 'expired', finished_at = now() FROM gone WHERE f.id = gone.recording_id
RETURNING f.call_id

-- name: unnamed_blobs
-- Those of the hashes that no recording names.
SELECT b FROM unnest($1::text[]) AS b
WHERE NOT EXISTS (SELECT FROM recording_file l WHERE b IN (l.sha256, l.agent_sha256, l.customer_sha256))

-- name: list_recordings
-- A tenant's recordings, those that wait longest first; with a state, only those.
SELECT id, call_id, vendor, state, reason, attempts, due_since, next_attempt_at, finished_at FROM recording_fetch
WHERE $1::text IS NULL OR state = $1 ORDER BY due_since NULLS LAST, created_at, id LIMIT $2

-- name: show_recording
-- One recording: what the vendor told, what became of it, what is stored.
SELECT f.id, f.call_id, f.vendor, f.account_id, f.state, f.reason, f.attempts, f.due_since, f.next_attempt_at,
       f.leased_until, f.created_at, f.finished_at, r.url, r.state AS told, r.confirmed, r.available_by, l.sha256,
       l.size_bytes, l.content_type, l.channels, l.duration_ms, l.speakers, l.voices, l.agent_sha256,
       l.customer_sha256, l.stored_at
FROM recording_fetch f
LEFT JOIN recording r USING (tenant_id, call_id, recording_key)
LEFT JOIN recording_file l ON (l.tenant_id, l.recording_id) = (f.tenant_id, f.id)
WHERE f.id = $1

-- name: retry_recordings
-- Recordings that came to nothing are fetched anew, those that wait at once; all that failed when none is named.
UPDATE recording_fetch SET state = 'pending', reason = '', attempts = 0, due_since = now(), next_attempt_at = now(),
    finished_at = NULL
WHERE (id = ANY($1::uuid[]) AND state IN ('pending', 'failed', 'absent')) OR ($1::uuid[] = '{}' AND state = 'failed')
RETURNING id, call_id

-- name: put_recording_access
-- From where an account's recordings come, and with what; what is null stays as it was.
INSERT INTO recording_access AS x (tenant_id, account_id, hosts, sealed_credential, agent_channel)
SELECT $1::uuid, id, coalesce($3::text[], '{}'), $4::bytea, $5::integer FROM account WHERE id = $2
ON CONFLICT (tenant_id, account_id) DO UPDATE SET
    hosts = coalesce($3::text[], x.hosts), sealed_credential = coalesce($4::bytea, x.sealed_credential),
    agent_channel = coalesce($5::integer, x.agent_channel), updated_at = now()
RETURNING hosts, sealed_credential IS NOT NULL AS has_credential, agent_channel

-- name: audit_recording
-- Who did what with a recording.
INSERT INTO recording_audit (tenant_id, id, operator, action, call_id, recording_id, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7)
