-- name: find_entities
-- Entities of one kind by reference, deleted ones included.
SELECT ref, id, version, deleted_at, body FROM entity WHERE kind = $1 AND ref = ANY($2::text[])

-- name: page_entities
-- Living entities of one kind after a reference, in order of reference.
SELECT ref, id, version, deleted_at, body FROM entity
WHERE kind = $1 AND ref > $2 AND deleted_at IS NULL ORDER BY ref LIMIT $3

-- name: page_for_republishing
-- Entities of one kind after a reference, deleted ones included.
SELECT ref, id, version, deleted_at, body FROM entity WHERE kind = $1 AND ref > $2 ORDER BY ref LIMIT $3

-- name: keep_tenant
-- Create or replace tenants; answers those that changed.
INSERT INTO tenant AS t (tenant_id, slug, name, timezone, active, owner_name, owner_email, pulse_at)
SELECT $1, r.slug, r.name, r.timezone, r.active, r.owner_name, r.owner_email, r.pulse_at
FROM jsonb_to_recordset($2::jsonb) AS r
    (slug text, name text, timezone text, active boolean, owner_name text, owner_email text, pulse_at text)
ON CONFLICT (tenant_id) DO UPDATE SET
    name = excluded.name, timezone = excluded.timezone, active = excluded.active, owner_name = excluded.owner_name,
    owner_email = excluded.owner_email, pulse_at = excluded.pulse_at, version = t.version + 1, changed_at = now()
WHERE (t.name, t.timezone, t.active, t.owner_name, t.owner_email, t.pulse_at) IS DISTINCT FROM
    (excluded.name, excluded.timezone, excluded.active, excluded.owner_name, excluded.owner_email, excluded.pulse_at)
RETURNING tenant_id::text AS ref

-- name: keep_staff
-- Create or replace staff; answers those that changed.
INSERT INTO staff AS s (tenant_id, external_ref, staff_id, name, numbers, active, working_hours, skills, capacity,
    wrap_up_seconds)
SELECT $1, r.ref, r.id, r.name, r.numbers, r.active, r.working_hours, r.skills, r.capacity, r.wrap_up_seconds
FROM jsonb_to_recordset($2::jsonb) AS r
    (ref text, id text, name text, numbers text[], active boolean, working_hours jsonb, skills text[],
     capacity integer, wrap_up_seconds integer)
ORDER BY r.ref
ON CONFLICT (tenant_id, external_ref) DO UPDATE SET
    name = excluded.name, numbers = excluded.numbers, active = excluded.active,
    working_hours = excluded.working_hours, skills = excluded.skills, capacity = excluded.capacity,
    wrap_up_seconds = excluded.wrap_up_seconds, version = s.version + 1, changed_at = now(), deleted_at = NULL
WHERE s.deleted_at IS NOT NULL
    OR (s.name, s.numbers, s.active, s.working_hours, s.skills, s.capacity, s.wrap_up_seconds) IS DISTINCT FROM
    (excluded.name, excluded.numbers, excluded.active, excluded.working_hours, excluded.skills, excluded.capacity,
     excluded.wrap_up_seconds)
RETURNING external_ref AS ref

-- name: keep_customer
-- Create or replace customers; answers those that changed.
INSERT INTO customer AS c (tenant_id, external_ref, customer_id, name, numbers, emails, gstin, owner_staff_id, vip,
    language)
SELECT $1, r.ref, r.id, r.name, r.numbers, r.emails, r.gstin, r.owner_staff_id, r.vip, r.language
FROM jsonb_to_recordset($2::jsonb) AS r
    (ref text, id text, name text, numbers text[], emails text[], gstin text, owner_staff_id text, vip boolean,
     language text)
ORDER BY r.ref
ON CONFLICT (tenant_id, external_ref) DO UPDATE SET
    name = excluded.name, numbers = excluded.numbers, emails = excluded.emails, gstin = excluded.gstin,
    owner_staff_id = excluded.owner_staff_id, vip = excluded.vip, language = excluded.language,
    version = c.version + 1, changed_at = now(), deleted_at = NULL
WHERE c.deleted_at IS NOT NULL
    OR (c.name, c.numbers, c.emails, c.gstin, c.owner_staff_id, c.vip, c.language) IS DISTINCT FROM
    (excluded.name, excluded.numbers, excluded.emails, excluded.gstin, excluded.owner_staff_id, excluded.vip,
     excluded.language)
RETURNING external_ref AS ref

-- name: keep_lead
-- Create or replace leads; answers those that changed.
INSERT INTO lead AS l (tenant_id, external_ref, lead_id, name, numbers, emails, owner_staff_id)
SELECT $1, r.ref, r.id, r.name, r.numbers, r.emails, r.owner_staff_id
FROM jsonb_to_recordset($2::jsonb) AS r
    (ref text, id text, name text, numbers text[], emails text[], owner_staff_id text)
ORDER BY r.ref
ON CONFLICT (tenant_id, external_ref) DO UPDATE SET
    name = excluded.name, numbers = excluded.numbers, emails = excluded.emails,
    owner_staff_id = excluded.owner_staff_id, version = l.version + 1, changed_at = now(), deleted_at = NULL
WHERE l.deleted_at IS NOT NULL OR (l.name, l.numbers, l.emails, l.owner_staff_id) IS DISTINCT FROM
    (excluded.name, excluded.numbers, excluded.emails, excluded.owner_staff_id)
RETURNING external_ref AS ref

-- name: claim_dids
-- Claim numbers for this tenant; one that somebody else holds is left as it is.
INSERT INTO did_claim (tenant_id, did) SELECT $1, d FROM unnest($2::text[]) AS d ORDER BY d ON CONFLICT DO NOTHING

-- name: held_dids
-- Which of these numbers this tenant holds.
SELECT did FROM did_claim WHERE did = ANY($1::text[])

-- name: release_did
-- Let a number go; another tenant may claim it then.
DELETE FROM did_claim WHERE did = $1

-- name: keep_did
-- Create or replace DIDs that this tenant has claimed; answers those that changed.
INSERT INTO did AS d (tenant_id, did, label, default_staff_ids, fallback_number, default_group, calendar, skills, menu)
SELECT $1, r.ref, r.label, r.default_staff_ids, r.fallback_number, r.default_group, r.calendar, r.skills, r.menu
FROM jsonb_to_recordset($2::jsonb) AS r (ref text, label text, default_staff_ids text[], fallback_number text,
    default_group text, calendar text, skills text[], menu jsonb)
ORDER BY r.ref
ON CONFLICT (tenant_id, did) DO UPDATE SET
    label = excluded.label, default_staff_ids = excluded.default_staff_ids,
    fallback_number = excluded.fallback_number, default_group = excluded.default_group,
    calendar = excluded.calendar, skills = excluded.skills, menu = excluded.menu,
    version = d.version + 1, changed_at = now(), deleted_at = NULL
WHERE d.deleted_at IS NOT NULL
    OR (d.label, d.default_staff_ids, d.fallback_number, d.default_group, d.calendar, d.skills, d.menu)
    IS DISTINCT FROM (excluded.label, excluded.default_staff_ids, excluded.fallback_number, excluded.default_group,
        excluded.calendar, excluded.skills, excluded.menu)
RETURNING did AS ref

-- name: keep_routing
-- Create or replace the tenant's routing; answers it when it changed.
INSERT INTO routing AS o (tenant_id, last_agent_days, ring_seconds, fallback_number, blocked_numbers, groups,
    calendars, default_calendar, after_hours, overflow, vip, vip_numbers, vip_any_hour, spam_limit, spam,
    emergency, claim_agents, wrap_up_seconds, max_hops)
SELECT $1, r.last_agent_days, r.ring_seconds, r.fallback_number, r.blocked_numbers, r.groups, r.calendars,
    r.default_calendar, r.after_hours, r.overflow, r.vip, r.vip_numbers, r.vip_any_hour, r.spam_limit, r.spam,
    r.emergency, r.claim_agents, r.wrap_up_seconds, r.max_hops
FROM jsonb_to_recordset($2::jsonb) AS r
    (last_agent_days integer, ring_seconds integer, fallback_number text, blocked_numbers text[], groups jsonb,
     calendars jsonb, default_calendar text, after_hours jsonb, overflow jsonb, vip jsonb, vip_numbers text[],
     vip_any_hour boolean, spam_limit integer, spam jsonb, emergency jsonb, claim_agents boolean,
     wrap_up_seconds integer, max_hops integer)
ON CONFLICT (tenant_id) DO UPDATE SET
    last_agent_days = excluded.last_agent_days, ring_seconds = excluded.ring_seconds,
    fallback_number = excluded.fallback_number, blocked_numbers = excluded.blocked_numbers,
    groups = excluded.groups, calendars = excluded.calendars, default_calendar = excluded.default_calendar,
    after_hours = excluded.after_hours, overflow = excluded.overflow, vip = excluded.vip,
    vip_numbers = excluded.vip_numbers, vip_any_hour = excluded.vip_any_hour, spam_limit = excluded.spam_limit,
    spam = excluded.spam, emergency = excluded.emergency, claim_agents = excluded.claim_agents,
    wrap_up_seconds = excluded.wrap_up_seconds, max_hops = excluded.max_hops,
    version = o.version + 1, changed_at = now()
WHERE (o.last_agent_days, o.ring_seconds, o.fallback_number, o.blocked_numbers, o.groups, o.calendars,
    o.default_calendar, o.after_hours, o.overflow, o.vip, o.vip_numbers, o.vip_any_hour, o.spam_limit, o.spam,
    o.emergency, o.claim_agents, o.wrap_up_seconds, o.max_hops)
    IS DISTINCT FROM
    (excluded.last_agent_days, excluded.ring_seconds, excluded.fallback_number, excluded.blocked_numbers,
     excluded.groups, excluded.calendars, excluded.default_calendar, excluded.after_hours, excluded.overflow,
     excluded.vip, excluded.vip_numbers, excluded.vip_any_hour, excluded.spam_limit, excluded.spam,
     excluded.emergency, excluded.claim_agents, excluded.wrap_up_seconds, excluded.max_hops)
RETURNING 'default' AS ref

-- name: remove_staff
-- Delete a person's content and keep the version.
UPDATE staff SET name = '', numbers = '{}', active = false, working_hours = '[]', skills = '{}', capacity = 1,
    wrap_up_seconds = NULL, version = version + 1, changed_at = now(), deleted_at = now()
WHERE external_ref = $1 AND deleted_at IS NULL RETURNING staff_id AS id

-- name: remove_customer
-- Delete a customer's content and keep the version.
UPDATE customer SET name = '', numbers = '{}', emails = '{}', gstin = NULL, owner_staff_id = NULL, vip = false,
    language = '', version = version + 1, changed_at = now(), deleted_at = now()
WHERE external_ref = $1 AND deleted_at IS NULL RETURNING customer_id AS id

-- name: remove_lead
-- Delete a lead's content and keep the version.
UPDATE lead SET name = '', numbers = '{}', emails = '{}', owner_staff_id = NULL,
    version = version + 1, changed_at = now(), deleted_at = now()
WHERE external_ref = $1 AND deleted_at IS NULL RETURNING lead_id AS id

-- name: remove_did
-- Delete a DID's content and keep the version.
UPDATE did SET label = '', default_staff_ids = '{}', fallback_number = NULL, default_group = NULL, calendar = NULL,
    skills = '{}', menu = '[]', version = version + 1, changed_at = now(), deleted_at = now()
WHERE did = $1 AND deleted_at IS NULL RETURNING did AS id

-- name: staff_named_by
-- How many living entities still name this person, and which groups.
SELECT (SELECT count(*) FROM customer WHERE owner_staff_id = $1 AND deleted_at IS NULL) AS customers,
       (SELECT count(*) FROM lead WHERE owner_staff_id = $1 AND deleted_at IS NULL) AS leads,
       (SELECT count(*) FROM did WHERE $1 = ANY(default_staff_ids) AND deleted_at IS NULL) AS dids,
       (SELECT coalesce(array_agg(g.body ->> 'name' ORDER BY g.place), '{}')
        FROM routing o, jsonb_array_elements(o.groups) WITH ORDINALITY AS g (body, place)
        WHERE jsonb_exists(g.body -> 'staff_ids', $1)) AS groups

-- name: living_dids
-- What the tenant's DIDs name of the routing, and where their calls go when nobody takes them.
SELECT did, label, fallback_number, default_group, calendar,
       ARRAY(SELECT c ->> 'group' FROM jsonb_array_elements(menu) AS c) AS menu_groups
FROM did WHERE deleted_at IS NULL ORDER BY did

-- name: keep_routing_version
-- Write down the routing as it is now: who made it so, and why.
INSERT INTO routing_version (tenant_id, version, changed_by, why, body)
SELECT tenant_id, version, $1, $2, body FROM entity WHERE kind = 'routing'

-- name: routing_versions
-- The routing's versions below one, newest first, without their bodies.
SELECT version, changed_at, changed_by, why FROM routing_version WHERE version < $1 ORDER BY version DESC LIMIT $2

-- name: routing_version
-- One version, whole.
SELECT version, changed_at, changed_by, why, body FROM routing_version WHERE version = $1

-- name: standing_emergency
-- The emergency that holds now.
SELECT emergency FROM routing
WHERE emergency IS NOT NULL AND coalesce((emergency ->> 'until')::timestamptz > now(), true)

-- name: staff_ids
-- Ids of living staff by reference; locked, so that nobody is deleted while being named.
SELECT external_ref, staff_id FROM staff
WHERE external_ref = ANY($1::text[]) AND deleted_at IS NULL ORDER BY external_ref FOR SHARE

-- name: lock_staff
-- The id of one living person; locked against being named meanwhile.
SELECT staff_id FROM staff WHERE external_ref = $1 AND deleted_at IS NULL FOR UPDATE

-- name: add_leave
-- Add a leave, or change the one that starts at the same time; answers it when it changed.
INSERT INTO staff_leave AS l (tenant_id, staff_id, start_at, until_at, reason) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant_id, staff_id, start_at) DO UPDATE SET until_at = excluded.until_at, reason = excluded.reason
WHERE (l.until_at, l.reason) IS DISTINCT FROM (excluded.until_at, excluded.reason)
RETURNING start_at

-- name: end_leave
-- Leave that is going on ends now.
UPDATE staff_leave SET until_at = $2
WHERE staff_id = $1 AND start_at < $2 AND (until_at IS NULL OR until_at > $2) RETURNING start_at

-- name: cancel_leave
-- Leave that has not begun is forgotten.
DELETE FROM staff_leave WHERE staff_id = $1 AND start_at >= $2 RETURNING start_at

-- name: forget_leave
-- All leave of a person who is deleted.
DELETE FROM staff_leave WHERE staff_id = $1

-- name: touch_staff
-- A person's leave changed: the next version.
UPDATE staff SET version = version + 1, changed_at = now() WHERE staff_id = $1

-- name: tenant_by_slug
-- A tenant's id by its slug or its id. As the system role.
SELECT tenant_id FROM tenant WHERE slug = $1 OR tenant_id::text = $1

-- name: list_tenants
-- All tenants. As the system role.
SELECT tenant_id, slug, name, timezone, active, owner_name, owner_email, pulse_at, version FROM tenant
WHERE slug > $1 ORDER BY slug LIMIT $2

-- name: add_api_key
-- Store a key's hash.
INSERT INTO api_key (tenant_id, key_id, label, secret_sha256) VALUES ($1, $2, $3, $4)

-- name: list_api_keys
-- A tenant's keys, without their secrets.
SELECT key_id, label, created_at, last_used_at, revoked_at FROM api_key ORDER BY created_at, key_id

-- name: revoke_api_key
-- A key that is used no more.
UPDATE api_key SET revoked_at = now() WHERE key_id = $1 AND revoked_at IS NULL RETURNING key_id

-- name: find_api_key
-- A key and its tenant by public id. As the system role.
SELECT k.tenant_id, k.label, k.secret_sha256, k.revoked_at IS NULL AND t.active AS valid,
       k.last_used_at IS NULL OR k.last_used_at < now() - interval '5 minutes' AS stale
FROM api_key k JOIN tenant t USING (tenant_id) WHERE k.key_id = $1

-- name: touch_api_key
-- When a key was last used, to five minutes. As the system role.
UPDATE api_key SET last_used_at = now() WHERE key_id = $1

-- name: add_user
-- Create a user; answers nothing when the address is taken.
INSERT INTO app_user (tenant_id, user_id, email, password_hash, role, name) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING RETURNING user_id

-- name: update_user
-- Replace password and role of a user of this tenant, and the name when one is given.
UPDATE app_user SET password_hash = $2, role = $3, disabled_at = NULL, claims_released = false,
    name = CASE WHEN $4 = '' THEN name ELSE $4 END
WHERE email = $1 RETURNING user_id

-- name: disable_user
-- A user of this tenant who may not sign in any more.
UPDATE app_user SET disabled_at = now() WHERE email = $1 AND disabled_at IS NULL RETURNING user_id

-- name: users_with_claims
-- Users who are disabled and may still have claimed something. As the system role.
SELECT tenant_id, user_id FROM app_user WHERE disabled_at IS NOT NULL AND NOT claims_released
ORDER BY disabled_at LIMIT 100

-- name: claims_released
-- What a disabled user had claimed is everybody's again. As the system role.
UPDATE app_user SET claims_released = true WHERE tenant_id = $1 AND user_id = $2 AND disabled_at IS NOT NULL

-- name: find_tenant_user
-- A user of this tenant by address.
SELECT user_id, password_hash, role FROM app_user WHERE email = $1 AND disabled_at IS NULL

-- name: end_sessions
-- Sign a user out everywhere.
DELETE FROM console_session WHERE user_id = $1

-- name: find_user
-- A user who may sign in, by address. As the system role.
SELECT u.tenant_id, u.user_id, u.password_hash, u.role FROM app_user u JOIN tenant t USING (tenant_id)
WHERE u.email = $1 AND u.disabled_at IS NULL AND t.active

-- name: rehash_user
-- A password hashed with today's parameters.
UPDATE app_user SET password_hash = $2 WHERE user_id = $1

-- name: add_session
-- A signed-in browser.
INSERT INTO console_session (tenant_id, token_sha256, user_id, csrf, expires_at) VALUES ($1, $2, $3, $4, $5)

-- name: find_session
-- Who a session belongs to. As the system role.
SELECT s.tenant_id, s.user_id, s.csrf, s.expires_at, s.unlocked_until, u.email, u.role, u.name AS user_name, t.name AS tenant_name,
       t.timezone
FROM console_session s JOIN app_user u USING (tenant_id, user_id) JOIN tenant t USING (tenant_id)
WHERE s.token_sha256 = $1 AND s.expires_at > $2 AND u.disabled_at IS NULL AND t.active

-- name: unlock_session
-- Let one browser change things until a time, or no longer. As the system role.
UPDATE console_session SET unlocked_until = $2 WHERE token_sha256 = $1

-- name: end_session
-- Sign one browser out. As the system role.
DELETE FROM console_session WHERE token_sha256 = $1

-- name: sweep_sessions
-- Forget sessions that are over. As the system role.
DELETE FROM console_session WHERE expires_at < $1

-- name: sweep_failures
-- Forget failures whose window is over. As the system role.
DELETE FROM sign_in_failure WHERE window_ends_at < $1

-- name: failures_of
-- Failures in the running window of each subject. As the system role.
SELECT subject_sha256, failures FROM sign_in_failure WHERE subject_sha256 = ANY($1::bytea[]) AND window_ends_at > $2

-- name: count_failure
-- One more failure of each subject. As the system role.
INSERT INTO sign_in_failure AS f (subject_sha256, failures, window_ends_at)
SELECT s, 1, $3 FROM unnest($1::bytea[]) AS s ORDER BY s
ON CONFLICT (tenant_id, subject_sha256) DO UPDATE SET
    failures = CASE WHEN f.window_ends_at <= $2 THEN 1 ELSE f.failures + 1 END,
    window_ends_at = CASE WHEN f.window_ends_at <= $2 THEN excluded.window_ends_at ELSE f.window_ends_at END

-- name: forget_failures
-- A subject that signed in after all. As the system role.
DELETE FROM sign_in_failure WHERE subject_sha256 = ANY($1::bytea[])

-- name: board_inbound
-- A ringing call and its answer, also when its states came first.
INSERT INTO board_call AS b (tenant_id, call_id, at, vendor, caller, caller_kind, caller_raw, did, customer_id, asked_at,
    destinations, excluded, rule, rung, view_age_ms, answer_ms, rule_version)
SELECT $1, r.call_id, r.asked_at, r.vendor, r.caller, r.caller_kind, r.caller_raw, r.did, r.customer_id, r.asked_at,
    r.destinations, r.excluded, r.rule, r.rung, r.view_age_ms, r.answer_ms, r.rule_version
FROM (SELECT DISTINCT ON (call_id) * FROM jsonb_to_recordset($2::jsonb) AS r (call_id text, vendor text, caller text,
    caller_kind text, caller_raw text, did text, customer_id text, asked_at timestamptz, destinations jsonb,
    excluded jsonb, rule text, rung text, view_age_ms integer, answer_ms double precision, rule_version text)
    ORDER BY call_id) AS r
ON CONFLICT (tenant_id, call_id) DO UPDATE SET
    at = excluded.at, changed = this_change(), vendor = excluded.vendor, caller = excluded.caller,
    caller_kind = excluded.caller_kind, caller_raw = excluded.caller_raw, did = excluded.did,
    customer_id = excluded.customer_id, asked_at = excluded.asked_at, destinations = excluded.destinations,
    excluded = excluded.excluded, rule = excluded.rule, rung = excluded.rung, view_age_ms = excluded.view_age_ms,
    answer_ms = excluded.answer_ms, rule_version = excluded.rule_version
WHERE b.asked_at IS NULL

-- name: board_call_state
-- Newest state of each call, also when the call itself is not known yet.
INSERT INTO board_call AS b (tenant_id, call_id, at, vendor, direction, caller, did, state, state_version, staff_id,
    agent_number, answered_at, ended_at, duration_seconds, cause)
SELECT $1, r.call_id, coalesce(r.started_at, r.at), r.vendor, r.direction, r.caller, r.did, r.state, r.version,
    r.staff_id, r.agent_number, r.answered_at, r.ended_at, r.duration_seconds, r.cause
FROM (SELECT DISTINCT ON (call_id) * FROM jsonb_to_recordset($2::jsonb) AS r (call_id text, vendor text,
    direction text, caller text, did text, state text, version integer, staff_id text, agent_number text,
    at timestamptz, started_at timestamptz, answered_at timestamptz, ended_at timestamptz, duration_seconds integer,
    cause text) ORDER BY call_id, version DESC) AS r
ON CONFLICT (tenant_id, call_id) DO UPDATE SET
    changed = this_change(), direction = excluded.direction, state = excluded.state,
    state_version = excluded.state_version, staff_id = coalesce(excluded.staff_id, b.staff_id),
    agent_number = coalesce(excluded.agent_number, b.agent_number),
    caller = coalesce(b.caller, excluded.caller), did = coalesce(b.did, excluded.did),
    answered_at = coalesce(excluded.answered_at, b.answered_at), ended_at = coalesce(excluded.ended_at, b.ended_at),
    duration_seconds = coalesce(excluded.duration_seconds, b.duration_seconds),
    cause = coalesce(excluded.cause, b.cause)
WHERE b.state_version < excluded.state_version

-- name: board_recordings
-- Recordings that are there, also of calls that are not known yet: what was recorded did take place.
INSERT INTO board_call AS b (tenant_id, call_id, at, vendor, state, recordings)
SELECT $1, r.call_id, min(r.stored_at), min(r.vendor), 'completed',
       jsonb_object_agg(r.recording_id, jsonb_build_object('duration_ms', r.duration_ms, 'speakers', r.speakers))
FROM jsonb_to_recordset($2::jsonb) AS r (call_id text, recording_id text, vendor text, duration_ms bigint, speakers text,
    stored_at timestamptz)
GROUP BY r.call_id
ON CONFLICT (tenant_id, call_id) DO UPDATE SET changed = this_change(), recordings = b.recordings || excluded.recordings

-- name: board_missed
-- Newest state of each missed call.
INSERT INTO board_missed AS b (tenant_id, missed_id, at, version, caller, did, calls, first_at, state, since, user_id,
    user_name, until, outcome, reason)
SELECT $1, r.call_id, coalesce(r.last_missed_at, r.at), r.version, r.caller, r.did, r.calls,
    coalesce(r.first_missed_at, r.at), r.status, coalesce(r.since, r.at), r.user_id, r.user_name, r.until, r.outcome,
    r.reason
FROM (SELECT DISTINCT ON (call_id) * FROM jsonb_to_recordset($2::jsonb) AS r (call_id text, at timestamptz,
    version integer, caller text, did text, calls integer, first_missed_at timestamptz, last_missed_at timestamptz,
    status text, since timestamptz, user_id text, user_name text, until timestamptz, outcome text, reason text)
    ORDER BY call_id, version DESC) AS r
ON CONFLICT (tenant_id, missed_id) DO UPDATE SET
    changed = this_change(), at = excluded.at, version = excluded.version, calls = excluded.calls,
    first_at = excluded.first_at, state = excluded.state, since = excluded.since, user_id = excluded.user_id,
    user_name = excluded.user_name, until = excluded.until, outcome = excluded.outcome, reason = excluded.reason
WHERE b.version < excluded.version

-- name: board_facts
-- Newest version of each fact.
INSERT INTO board_fact AS b (tenant_id, fact_id, at, version, subject, key, raw_value, value, value_type, unit, state,
    confidence, extractor, source_type, source_id, span_start, span_end, quote)
SELECT $1, r.fact_id, r.at, r.version, r.subject, r.key, r.raw_value, r.value, r.value_type, r.unit, r.state,
    r.confidence, r.extractor, r.source_type, r.source_id, r.span_start, r.span_end, r.quote
FROM (SELECT DISTINCT ON (fact_id) * FROM jsonb_to_recordset($2::jsonb) AS r (fact_id text, at timestamptz,
    version integer, subject text, key text, raw_value text, value text, value_type text, unit text, state text,
    confidence double precision, extractor text, source_type text, source_id text, span_start integer,
    span_end integer, quote text) ORDER BY fact_id, version DESC) AS r
ON CONFLICT (tenant_id, fact_id) DO UPDATE SET
    changed = this_change(), at = excluded.at, version = excluded.version, subject = excluded.subject,
    key = excluded.key, raw_value = excluded.raw_value, value = excluded.value, value_type = excluded.value_type,
    unit = excluded.unit, state = excluded.state, confidence = excluded.confidence, extractor = excluded.extractor,
    source_type = excluded.source_type, source_id = excluded.source_id, span_start = excluded.span_start,
    span_end = excluded.span_end, quote = excluded.quote
WHERE b.version < excluded.version

-- name: board_anomaly
-- A red rule, once.
INSERT INTO board_anomaly (tenant_id, anomaly_id, at, rule, rule_version, title, description, learning, severity,
    local_day, evidence, evidence_total)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::json, $12)
ON CONFLICT DO NOTHING

-- name: board_mail
-- Newest state of a notification.
INSERT INTO board_mail AS b (tenant_id, notification_id, at, version, kind, channel, recipient, state, reason,
    subject_line, local_day)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (tenant_id, notification_id) DO UPDATE SET
    changed = this_change(), at = excluded.at, version = excluded.version, state = excluded.state,
    reason = excluded.reason, recipient = excluded.recipient,
    subject_line = CASE WHEN excluded.subject_line = '' THEN b.subject_line ELSE excluded.subject_line END,
    local_day = coalesce(excluded.local_day, b.local_day)
WHERE b.version < excluded.version

-- name: board_import
-- Newest state of an import; one that ended does not start again.
INSERT INTO board_import AS b (tenant_id, import_id, at, account_id, account_name, state, file_sha256, started_at,
    messages_new, messages_changed, messages_seen, contacts_seen, chats_seen, newest_message_at, error)
VALUES ($1, $2, $3, $4, $5, $6, $7, CASE WHEN $6 = 'started' THEN $3::timestamptz END, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT (tenant_id, import_id) DO UPDATE SET
    changed = this_change(), at = excluded.at, state = excluded.state, account_name = excluded.account_name,
    started_at = coalesce(b.started_at, excluded.started_at), messages_new = excluded.messages_new,
    messages_changed = excluded.messages_changed, messages_seen = excluded.messages_seen,
    contacts_seen = excluded.contacts_seen, chats_seen = excluded.chats_seen,
    newest_message_at = excluded.newest_message_at, error = excluded.error
WHERE b.state = 'started' AND excluded.state <> 'started'

-- name: board_messages
-- Count messages that are new, per chat, and keep each chat's latest.
WITH given AS (
    SELECT DISTINCT ON (message_id) * FROM unnest($2::text[], $3::integer[], $4::text[], $5::text[], $6::text[],
        $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::timestamptz[])
        AS r (message_id, revision, chat_id, account_id, chat_kind, chat_name, peer_number, direction, sender,
              text, sent_at)
    ORDER BY message_id, revision DESC
), counted AS (
    INSERT INTO board_message AS m (tenant_id, message_id, revision)
    SELECT $1, message_id, revision FROM given ORDER BY message_id
    ON CONFLICT (tenant_id, message_id) DO UPDATE SET revision = excluded.revision
    WHERE m.revision < excluded.revision
    RETURNING message_id, xmax = 0 AS is_new
), latest AS (
    SELECT DISTINCT ON (g.chat_id) g.*, count(*) FILTER (WHERE c.is_new) OVER (PARTITION BY g.chat_id) AS fresh
    FROM given g JOIN counted c USING (message_id)
    ORDER BY g.chat_id, g.sent_at DESC, g.message_id DESC
)
INSERT INTO board_chat AS b (tenant_id, chat_id, at, account_id, chat_kind, chat_name, peer_number, messages,
    last_message_id, last_direction, last_sender, last_text)
SELECT $1, chat_id, sent_at, account_id, chat_kind, chat_name, peer_number, fresh, message_id, direction, sender, text
FROM latest ORDER BY chat_id
ON CONFLICT (tenant_id, chat_id) DO UPDATE SET
    changed = this_change(), messages = b.messages + excluded.messages,
    chat_name = CASE WHEN excluded.chat_name = '' THEN b.chat_name ELSE excluded.chat_name END,
    peer_number = coalesce(excluded.peer_number, b.peer_number),
    at = greatest(b.at, excluded.at),
    last_message_id = CASE WHEN excluded.at >= b.at THEN excluded.last_message_id ELSE b.last_message_id END,
    last_direction = CASE WHEN excluded.at >= b.at THEN excluded.last_direction ELSE b.last_direction END,
    last_sender = CASE WHEN excluded.at >= b.at THEN excluded.last_sender ELSE b.last_sender END,
    last_text = CASE WHEN excluded.at >= b.at THEN excluded.last_text ELSE b.last_text END

-- name: ring_board
-- Tell the processes that show this tenant's board, when this transaction commits.
SELECT pg_notify('front_desk_board', $1::uuid::text)

-- name: cursor
-- Everything that commits from now on has written rows at or above this.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint

-- name: recent_calls
-- Calls, newest first.
SELECT c.*, (SELECT recordings FROM board_call b WHERE b.call_id = c.id) AS recordings FROM call_card c
WHERE ($1::text IS NULL OR facet = $1) AND ($2::timestamptz IS NULL OR (at, id) < ($2, $3))
ORDER BY at DESC, id DESC LIMIT $4

-- name: changed_calls
-- Calls written since a cursor.
SELECT c.*, (SELECT recordings FROM board_call b WHERE b.call_id = c.id) AS recordings FROM call_card c
WHERE changed >= $1 ORDER BY at DESC, id DESC LIMIT $2

-- name: board_moment
-- Where everything that commits from now on has been written, and what time it is here.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS cursor, clock_timestamp() AS now

-- name: recent_missed
-- Missed calls, newest first.
SELECT * FROM missed_card WHERE ($1::text IS NULL OR facet = $1) AND ($2::timestamptz IS NULL OR (at, id) < ($2, $3))
ORDER BY at DESC, id DESC LIMIT $4

-- name: changed_missed
-- Missed calls written since a cursor.
SELECT * FROM missed_card WHERE changed >= $1 ORDER BY at DESC, id DESC LIMIT $2

-- name: recent_facts
-- Facts, newest first.
SELECT * FROM fact_card WHERE ($1::text IS NULL OR facet = $1) AND ($2::timestamptz IS NULL OR (at, id) < ($2, $3))
ORDER BY at DESC, id DESC LIMIT $4

-- name: changed_facts
-- Facts written since a cursor.
SELECT * FROM fact_card WHERE changed >= $1 ORDER BY at DESC, id DESC LIMIT $2

-- name: recent_anomalies
-- Anomalies, newest first.
SELECT * FROM anomaly_card WHERE ($1::text IS NULL OR facet = $1) AND ($2::timestamptz IS NULL OR (at, id) < ($2, $3))
ORDER BY at DESC, id DESC LIMIT $4

-- name: changed_anomalies
-- Anomalies written since a cursor.
SELECT * FROM anomaly_card WHERE changed >= $1 ORDER BY at DESC, id DESC LIMIT $2

-- name: recent_mails
-- Mails, newest first.
SELECT * FROM mail_card WHERE ($1::text IS NULL OR facet = $1) AND ($2::timestamptz IS NULL OR (at, id) < ($2, $3))
ORDER BY at DESC, id DESC LIMIT $4

-- name: changed_mails
-- Mails written since a cursor.
SELECT * FROM mail_card WHERE changed >= $1 ORDER BY at DESC, id DESC LIMIT $2

-- name: recent_imports
-- Imports, newest first.
SELECT * FROM import_card WHERE ($1::text IS NULL OR facet = $1) AND ($2::timestamptz IS NULL OR (at, id) < ($2, $3))
ORDER BY at DESC, id DESC LIMIT $4

-- name: changed_imports
-- Imports written since a cursor.
SELECT * FROM import_card WHERE changed >= $1 ORDER BY at DESC, id DESC LIMIT $2

-- name: recent_chats
-- Chats, the one written to last first.
SELECT * FROM chat_card WHERE ($1::text IS NULL OR facet = $1) AND ($2::timestamptz IS NULL OR (at, id) < ($2, $3))
ORDER BY at DESC, id DESC LIMIT $4

-- name: changed_chats
-- Chats written since a cursor.
SELECT * FROM chat_card WHERE changed >= $1 ORDER BY at DESC, id DESC LIMIT $2

-- name: board_counts
-- The overview's figures: of the day that began at $1, and of all time where a day says little.
SELECT (SELECT count(*) FROM board_call WHERE at >= $1) AS calls,
       (SELECT count(*) FROM board_call WHERE at >= $1 AND answered_at IS NOT NULL) AS answered,
       (SELECT count(*) FROM board_call WHERE at >= $1 AND state = 'missed') AS missed,
       (SELECT count(*) FROM board_missed WHERE state <> 'resolved') AS to_call_back,
       (SELECT count(*) FROM board_fact WHERE state IN ('asserted', 'conflicting')) AS facts,
       (SELECT count(*) FROM board_fact WHERE state = 'conflicting') AS conflicts,
       (SELECT count(*) FROM board_anomaly WHERE at >= $1) AS anomalies,
       (SELECT count(*) FROM board_mail WHERE at >= $1) AS mails,
       (SELECT coalesce(sum(messages), 0)::bigint FROM board_chat) AS messages,
       (SELECT count(*) FROM board_chat) AS chats

-- name: sweep_calls
-- Forget calls older than the console shows. As the system role.
DELETE FROM board_call WHERE ctid = ANY(ARRAY(SELECT ctid FROM board_call WHERE at < $1 LIMIT 5000))

-- name: sweep_missed
-- Forget missed calls older than the console shows. As the system role.
DELETE FROM board_missed WHERE ctid = ANY(ARRAY(SELECT ctid FROM board_missed WHERE at < $1 LIMIT 5000))

-- name: sweep_anomalies
-- Forget anomalies older than the console shows. As the system role.
DELETE FROM board_anomaly WHERE ctid = ANY(ARRAY(SELECT ctid FROM board_anomaly WHERE at < $1 LIMIT 5000))

-- name: sweep_mails
-- Forget mails older than the console shows. As the system role.
DELETE FROM board_mail WHERE ctid = ANY(ARRAY(SELECT ctid FROM board_mail WHERE at < $1 LIMIT 5000))

-- name: sweep_imports
-- Forget imports older than the console shows. As the system role.
DELETE FROM board_import WHERE ctid = ANY(ARRAY(SELECT ctid FROM board_import WHERE at < $1 LIMIT 5000))

-- name: find_customer
-- A customer as the console shows one.
SELECT customer_id, name, numbers, emails, gstin, vip FROM customer WHERE customer_id = $1 AND deleted_at IS NULL

-- name: customers_with_number
-- Who has a number.
SELECT customer_id, name FROM customer WHERE $1 = ANY(numbers) AND deleted_at IS NULL ORDER BY name, customer_id LIMIT 5
