-- name: named_entities
-- Which customers and leads are a person, by id or reference, or carry a number or an address of theirs.
SELECT 'customer' AS kind, external_ref AS ref, customer_id AS id,
    customer_id = ANY ($2::text[]) OR external_ref = ANY ($2::text[]) AS is_them
FROM customer WHERE tenant_id = $1 AND deleted_at IS NULL AND (customer_id = ANY ($2::text[])
    OR external_ref = ANY ($2::text[]) OR numbers && $4::text[] OR lower(emails::text)::text[] && $5::text[])
UNION ALL
SELECT 'lead', external_ref, lead_id, lead_id = ANY ($3::text[]) OR external_ref = ANY ($3::text[])
FROM lead WHERE tenant_id = $1 AND deleted_at IS NULL AND (lead_id = ANY ($3::text[])
    OR external_ref = ANY ($3::text[]) OR numbers && $4::text[] OR lower(emails::text)::text[] && $5::text[])
ORDER BY kind, ref

-- name: take_out_of_customers
-- Take a person's numbers and addresses out of customers that are somebody else; what is left of each.
UPDATE customer SET numbers = ARRAY(SELECT n FROM unnest(numbers) WITH ORDINALITY AS u (n, at)
        WHERE n <> ALL ($3::text[]) ORDER BY at),
    emails = ARRAY(SELECT e FROM unnest(emails) WITH ORDINALITY AS u (e, at)
        WHERE lower(e) <> ALL ($4::text[]) ORDER BY at),
    version = version + 1, changed_at = now()
WHERE tenant_id = $1 AND external_ref = ANY ($2::text[])
RETURNING external_ref AS ref, cardinality(numbers) + cardinality(emails) = 0 AND gstin IS NULL AS nothing_left

-- name: take_out_of_leads
-- The same of leads.
UPDATE lead SET numbers = ARRAY(SELECT n FROM unnest(numbers) WITH ORDINALITY AS u (n, at)
        WHERE n <> ALL ($3::text[]) ORDER BY at),
    emails = ARRAY(SELECT e FROM unnest(emails) WITH ORDINALITY AS u (e, at)
        WHERE lower(e) <> ALL ($4::text[]) ORDER BY at),
    version = version + 1, changed_at = now()
WHERE tenant_id = $1 AND external_ref = ANY ($2::text[])
RETURNING external_ref AS ref, cardinality(numbers) + cardinality(emails) = 0 AS nothing_left

-- name: is_vip
-- Whether the routing names a person among those who go first.
SELECT EXISTS (SELECT FROM routing WHERE tenant_id = $1 AND vip_numbers && $2::text[])

-- name: take_out_of_routing
-- They do not go first any more; in earlier versions neither.
WITH now_out AS (
    UPDATE routing SET vip_numbers = ARRAY(SELECT n FROM unnest(vip_numbers) WITH ORDINALITY AS u (n, at)
        WHERE n <> ALL ($2::text[]) ORDER BY at), version = version + 1, changed_at = now()
    WHERE tenant_id = $1 AND vip_numbers && $2::text[] RETURNING 1
)
SELECT (SELECT count(*) FROM now_out) + erase_vip_numbers($2::text[])

-- name: blocked
-- How many of a person's numbers the business has shut out.
SELECT count(*) FROM routing r, unnest(r.blocked_numbers) n WHERE r.tenant_id = $1 AND n = ANY ($2::text[])

-- name: erase_calls
-- Calls of a person from before.
DELETE FROM board_call WHERE tenant_id = $1 AND at <= $4
    AND (caller = ANY ($2::text[]) OR customer_id = ANY ($3::text[]))

-- name: erase_missed
-- Missed calls of a person from before.
DELETE FROM board_missed WHERE tenant_id = $1 AND caller = ANY ($2::text[]) AND at <= $3

-- name: erase_mails
-- What was sent to a person by then.
DELETE FROM board_mail WHERE tenant_id = $1 AND lower(recipient) = ANY ($2::text[]) AND at <= $3

-- name: anomalies_with
-- What rules found that has one of these texts in it.
SELECT anomaly_id, evidence::text AS evidence, description FROM board_anomaly WHERE tenant_id = $1
    AND EXISTS (SELECT FROM unnest($2::text[]) AS part WHERE position(part IN lower(evidence::text || description)) > 0)

-- name: put_anomaly
-- What a rule found, without what was erased.
UPDATE board_anomaly SET changed = this_change(), evidence = $3::json, description = $4
WHERE tenant_id = $1 AND anomaly_id = $2

-- name: erase_facts
-- Facts that were read in messages which are gone; those of these subjects, or that name a person by these values, from
-- before.
DELETE FROM board_fact WHERE tenant_id = $1 AND (source_type = 'message' AND source_id = ANY ($2::text[])
    OR at <= $5 AND (subject = ANY ($3::text[])
        OR value_type IN ('phone', 'email') AND lower(value) = ANY ($4::text[])
        OR value_type = 'upi' AND split_part(value, '@', 1) = ANY ($6::text[])))
RETURNING value

-- name: said_by_nobody
-- Of what erased facts said, what no fact has that is left: the rest was known of others too. Case makes no difference
-- where findings are searched.
SELECT DISTINCT value FROM unnest($2::text[]) AS value WHERE lower(value) NOT IN (
    SELECT lower(f.value) FROM board_fact f WHERE f.tenant_id = $1)

-- name: erase_messages
-- That messages were counted.
DELETE FROM board_message WHERE tenant_id = $1 AND message_id = ANY ($2::text[])

-- name: erase_chats
-- Conversations with nobody else.
DELETE FROM board_chat WHERE tenant_id = $1 AND (chat_id = ANY ($2::text[]) OR peer_number = ANY ($3::text[]))

-- name: empty_chats
-- Other conversations do not show a message that is gone as their last.
UPDATE board_chat SET last_sender = '', last_text = '', changed = this_change()
WHERE tenant_id = $1 AND last_message_id = ANY ($2::text[]) AND (last_text <> '' OR last_sender <> '')
