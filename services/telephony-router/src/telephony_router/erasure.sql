-- name: erase_calls
-- Erase the calls from and to some numbers that began by a time; rows by table.
SELECT store, rows FROM erase_calls($1::text[], $2) WHERE rows > 0

-- name: erase_last_agents
-- Who spoke to a person last.
DELETE FROM last_agent WHERE tenant_id = $1 AND number = ANY ($2::text[]) AND at <= $3

-- name: erase_scores
-- How much a person calls like a machine.
DELETE FROM caller_score WHERE tenant_id = $1 AND number = ANY ($2::text[]) AND at <= $3

-- name: listened
-- Who listened to whose recordings stays for as long as logs have to.
SELECT count(*) FROM recording_audit a WHERE a.tenant_id = $1 AND a.call_id IS NOT NULL
    AND EXISTS (SELECT FROM call c WHERE c.tenant_id = a.tenant_id AND c.id = a.call_id AND c.caller = ANY ($2::text[]))

-- name: erased_people
-- Numbers of people who were erased lately, and since when, over all tenants.
SELECT tenant_id, effective_at, array_agg(value) AS numbers FROM erased_lately
WHERE value LIKE '+%' GROUP BY tenant_id, effective_at

-- name: tenants_with_erased_blobs
-- Whose store has bytes that are to go.
SELECT tenant_id, sha256 FROM erased_blob ORDER BY tenant_id, sha256 LIMIT $1

-- name: blob_gone
-- It is out of the store.
DELETE FROM erased_blob WHERE tenant_id = $1 AND sha256 = $2

-- name: let_go
-- Bytes that may have nobody any more are to leave the store, unless somebody names them.
INSERT INTO erased_blob (tenant_id, sha256) SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING
