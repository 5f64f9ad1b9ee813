-- name: find_account
-- An account by its id alone, for the system role.
SELECT tenant_id, id, name, number, sealed_key FROM account WHERE id = $1

-- name: all_accounts
-- Every account of every tenant, for the system role.
SELECT tenant_id, id, name, number, sealed_key FROM account ORDER BY tenant_id, name

-- name: put_account
-- Add an account, or give the one of that name a new number or key. What is not given stays.
INSERT INTO account (tenant_id, id, name, number, sealed_key) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant_id, name) DO UPDATE
SET number = coalesce(excluded.number, account.number), sealed_key = coalesce(excluded.sealed_key, account.sealed_key)
RETURNING id

-- name: account_id_by_name
-- The id of a tenant's account, so that its key can be sealed for it.
SELECT id FROM account WHERE name = $1

-- name: put_tenant_profile
-- Keep the newest version of a tenant.
INSERT INTO tenant_profile (tenant_id, version, name, timezone) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id) DO UPDATE
SET version = excluded.version, name = excluded.name, timezone = excluded.timezone
WHERE tenant_profile.version < excluded.version

-- name: tenant_zone
-- In which zone a tenant lives.
SELECT timezone FROM tenant_profile WHERE tenant_id = $1

-- name: forget_tenant_profile
-- A tenant that left the directory.
DELETE FROM tenant_profile WHERE tenant_id = $1

-- name: last_import_of_file
-- The import of this very file that still stands: completed, or begun and not finished.
SELECT * FROM import_run
WHERE account_id = $1 AND file_sha256 = $2 AND state IN ('completed', 'started')
ORDER BY state, started_at DESC LIMIT 1

-- name: add_import
-- Begin an import, or note that there was nothing to do.
INSERT INTO import_run (tenant_id, id, account_id, file_name, file_sha256, file_bytes, state, started_at, finished_at,
    newest_message_at, format, manifest)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)

-- name: add_lanes
-- The parts in which an import takes the chats.
INSERT INTO import_lane (tenant_id, import_id, lane) SELECT $1, $2, n - 1 FROM generate_series(1, $3::integer) n

-- name: lanes
-- How far each part has come.
SELECT lane, rows_done, messages_seen, messages_new, messages_changed, messages_repeated, skipped, newest_message_at
FROM import_lane WHERE import_id = $1 ORDER BY lane

-- name: advance_lane
-- Note how far a part has come. No row when another process has moved it meanwhile.
UPDATE import_lane
SET rows_done = $4, messages_seen = messages_seen + $5, messages_new = messages_new + $6,
    messages_changed = messages_changed + $7, messages_repeated = messages_repeated + $8, skipped = $9,
    newest_message_at = greatest(newest_message_at, $10)
WHERE import_id = $1 AND lane = $2 AND rows_done = $3
RETURNING lane

-- name: passes
-- How far each table beside the messages has come.
SELECT name, rows_done, rows_new, rows_changed, rows_unchanged, skipped FROM import_pass WHERE import_id = $1

-- name: advance_pass
-- Note how far a table has come. No row when another process has moved it meanwhile.
INSERT INTO import_pass (tenant_id, import_id, name, rows_done, rows_new, rows_changed, rows_unchanged, skipped)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (tenant_id, import_id, name) DO UPDATE
SET rows_done = excluded.rows_done, rows_new = excluded.rows_new, rows_changed = excluded.rows_changed,
    rows_unchanged = excluded.rows_unchanged, skipped = excluded.skipped
WHERE import_pass.rows_done = $9
RETURNING name

-- name: note_step
-- Counts of contacts and chats, and the manifest so far.
UPDATE import_run SET contacts_seen = $2, chats_seen = $3, manifest = $4, format = $5
WHERE id = $1 AND state = 'started'

-- name: finish_import
-- Complete or fail an import; an import is finished once.
UPDATE import_run
SET state = $2, finished_at = $3, error = $4, manifest = $5, messages_seen = $6, messages_new = $7,
    messages_changed = $8, newest_message_at = $9
WHERE id = $1 AND state = 'started'
RETURNING *

-- name: note_newest_message
-- An account's newest message, whichever backup had it.
UPDATE account SET newest_message_at = greatest(newest_message_at, $2) WHERE id = $1 RETURNING newest_message_at

-- name: memory_of
-- What an import that was begun left out.
SELECT left_out FROM import_memory WHERE import_id = $1

-- name: last_memory
-- What the account's last completed import remembers.
SELECT m.salt, m.digests FROM import_memory m JOIN import_run r ON r.id = m.import_id
WHERE m.account_id = $1 AND r.state = 'completed' ORDER BY r.finished_at DESC LIMIT 1

-- name: remember
-- What an import remembers of its backup, and what of it it leaves out.
INSERT INTO import_memory (tenant_id, import_id, account_id, salt, digests, left_out) VALUES ($1, $2, $3, $4, $5, $6)

-- name: forget_earlier
-- Memories of an account's other imports, but of those that may go on.
DELETE FROM import_memory m USING import_run r
WHERE m.account_id = $1 AND m.import_id <> $2 AND r.id = m.import_id AND r.state <> 'started'

-- name: list_imports
-- The newest imports of a tenant.
SELECT * FROM import_run ORDER BY started_at DESC, id DESC LIMIT $1

-- name: known_aliases
-- Which hidden identity is which numbered one: what the most trusted source says, of several the first that was seen.
SELECT DISTINCT ON (lid) lid, jid FROM jid_alias ORDER BY lid, identity_confidence(source) DESC, first_seen_at, jid

-- name: identities
-- Pairs of identities with where each comes from, by the hidden one, the most trusted first.
SELECT lid, jid, source, identity_confidence(source) AS confidence, first_import_id, first_seen_at FROM jid_alias
WHERE ($1::text IS NULL OR lid = $1 OR jid = $1) AND NOT EXISTS (SELECT FROM erasure e
    WHERE e.tenant_id = jid_alias.tenant_id AND e.state IN ('locked', 'erasing') AND ARRAY[lid, jid] && e.addresses)
ORDER BY lid, identity_confidence(source) DESC, first_seen_at, jid LIMIT $2

-- name: add_aliases
-- Keep new pairs of identities with where they come from.
INSERT INTO jid_alias (tenant_id, lid, jid, source, first_import_id, first_seen_at)
SELECT $1, a.lid, a.jid, a.source, $5, $6 FROM unnest($2::text[], $3::text[], $4::text[]) AS a(lid, jid, source)
ORDER BY a.lid, a.jid
ON CONFLICT DO NOTHING
RETURNING number, lid, jid, source, first_import_id, first_seen_at

-- name: rename_contacts
-- A person whose number became known keeps their id and gets the numbered address.
UPDATE contact c SET jid = a.jid, number = a.number
FROM unnest($1::text[], $2::text[], $3::text[]) AS a(lid, jid, number)
WHERE c.jid = a.lid AND NOT EXISTS (SELECT FROM contact other WHERE other.jid = a.jid)

-- name: number_twins
-- Where both are known already, each keeps its id and address, and the hidden one gets the number: they are linked to
-- the same customer.
UPDATE contact c SET number = d.number
FROM (SELECT c.id, a.number FROM unnest($1::text[], $2::text[], $3::text[]) AS a(lid, jid, number)
    JOIN jid_alias i ON i.lid = a.lid AND i.jid = a.jid JOIN contact c ON c.jid = a.lid
    WHERE a.number IS NOT NULL AND c.number IS DISTINCT FROM a.number AND identity_counts(i)
    ORDER BY c.id FOR UPDATE OF c) d
WHERE c.id = d.id

-- name: rename_chats
-- A chat that moved to or from a hidden identity stays one chat.
UPDATE chat c SET jid = a.jid
FROM unnest($2::text[], $3::text[]) AS a(lid, jid)
WHERE c.account_id = $1 AND c.jid = a.lid
    AND NOT EXISTS (SELECT FROM chat other WHERE other.account_id = $1 AND other.jid = a.jid)

-- name: merge_contacts
-- Add people, or take a better or newer name; untouched rows are not written.
INSERT INTO contact (tenant_id, id, jid, number, name, name_rank, first_import_id)
SELECT $1, s.id, s.jid, s.number, s.name, s.name_rank, $7
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::smallint[]) AS s(id, jid, number, name, name_rank)
WHERE NOT EXISTS (
    SELECT FROM contact c WHERE c.tenant_id = $1 AND c.jid = s.jid
        AND (s.name = '' OR s.name_rank < c.name_rank OR (c.name = s.name AND c.name_rank = s.name_rank)))
ORDER BY s.jid
ON CONFLICT (tenant_id, jid) DO UPDATE SET name = excluded.name, name_rank = excluded.name_rank
RETURNING jid, (xmax = 0) AS is_new

-- name: people
-- The people of some addresses.
SELECT jid, id, number, name FROM contact WHERE tenant_id = $1 AND jid = ANY($2::text[])

-- name: twins_of_people
-- People who have both a hidden identity and a numbered one in the vault, each with messages of its own by the time it
-- was known that they are one, or that had another number: by the numbered address, the ids of the others. Of pairs that
-- contradict each other too: a message's own key id tells whether it is the same.
SELECT DISTINCT a.jid, c.id FROM jid_alias a
JOIN jid_alias o ON o.tenant_id = a.tenant_id AND o.lid = a.lid
CROSS JOIN LATERAL (VALUES (o.lid), (o.jid)) v(jid)
JOIN contact c ON c.tenant_id = a.tenant_id AND c.jid = v.jid AND c.jid <> a.jid
WHERE a.tenant_id = $1 AND a.jid = ANY($2::text[]) ORDER BY c.id

-- name: merge_chats
-- Add chats, or take a newer name.
INSERT INTO chat (tenant_id, id, account_id, jid, kind, name, contact_id, first_import_id)
SELECT $1, s.id, $2, s.jid, s.kind, s.name, s.contact_id, $8
FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::uuid[]) AS s(id, jid, kind, name, contact_id)
WHERE NOT EXISTS (
    SELECT FROM chat c WHERE c.tenant_id = $1 AND c.account_id = $2 AND c.jid = s.jid
        AND (s.name = '' OR c.name = s.name) AND c.contact_id IS NOT DISTINCT FROM s.contact_id)
ORDER BY s.jid
ON CONFLICT (tenant_id, account_id, jid) DO UPDATE
SET name = CASE WHEN excluded.name = '' THEN chat.name ELSE excluded.name END, contact_id = excluded.contact_id
RETURNING jid, (xmax = 0) AS is_new

-- name: chats_by_jid
-- The chats of some addresses of an account.
SELECT jid, id, kind, name FROM chat WHERE tenant_id = $1 AND account_id = $2 AND jid = ANY($3::text[])

-- name: twins_of_chats
-- The same of an account's direct chats.
SELECT DISTINCT a.jid, c.id FROM jid_alias a
JOIN jid_alias o ON o.tenant_id = a.tenant_id AND o.lid = a.lid
CROSS JOIN LATERAL (VALUES (o.lid), (o.jid)) v(jid)
JOIN chat c ON c.tenant_id = a.tenant_id AND c.account_id = $2 AND c.jid = v.jid AND c.jid <> a.jid
WHERE a.tenant_id = $1 AND a.jid = ANY($3::text[]) ORDER BY c.id

-- name: prepare_staging
-- The session's own table for COPY: Postgres refuses COPY into tables with row-level security.
CREATE TEMPORARY TABLE IF NOT EXISTS staged_message (
    n integer NOT NULL, id uuid NOT NULL, chat_id uuid NOT NULL, from_me boolean NOT NULL, key_id text NOT NULL,
    sender_id uuid, sent_at timestamptz NOT NULL, kind text NOT NULL, raw_kind integer NOT NULL, text text NOT NULL,
    revoked boolean NOT NULL, edited_at timestamptz, wording_rank bigint NOT NULL, forward_score integer NOT NULL,
    details text
) ON COMMIT DELETE ROWS

-- name: probe_by_index
-- A chunk is small and the archive large: never let the planner read the whole archive for one chunk. Where a table
-- has grown since it was last analysed it also takes all rows of a tenant for a handful, and would hold them and go
-- through them for each row of the chunk.
SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
    set_config('enable_seqscan', 'off', true), set_config('enable_material', 'off', true),
    set_config('enable_bitmapscan', 'off', true), set_config('jit', 'off', true)

-- name: message_aliases
-- All other keys of messages, as far as they are not too many.
SELECT key_hash, message_id FROM message_alias WHERE tenant_id = $1 LIMIT $2

-- name: known_keys
-- Under which id the vault knows messages that have, or may have had, several keys.
SELECT key_hash, message_id FROM message_alias WHERE tenant_id = $1 AND key_hash = ANY($2::uuid[])
UNION ALL
SELECT m.id, m.id FROM unnest($3::uuid[]) AS k(id)
-- One by one: as a condition on many, it is applied to every message of the tenant that an index gives.
CROSS JOIN LATERAL (SELECT id FROM message WHERE tenant_id = $1 AND id = k.id LIMIT 1) m

-- name: add_message_aliases
-- Other keys of messages.
INSERT INTO message_alias (tenant_id, key_hash, message_id)
SELECT $1, k.key_hash, k.message_id FROM unnest($2::uuid[], $3::uuid[]) AS k(key_hash, message_id)
ORDER BY k.key_hash
ON CONFLICT DO NOTHING

-- name: add_messages
-- Staged messages that the vault has never seen.
INSERT INTO message (tenant_id, id, chat_id, from_me, key_id, sender_id, sent_at, kind, raw_kind, text, revoked,
    edited_at, wording_rank, forward_score, details, import_id)
SELECT $1, s.id, s.chat_id, s.from_me, s.key_id, s.sender_id, s.sent_at, s.kind, s.raw_kind, s.text, s.revoked,
    s.edited_at, s.wording_rank, s.forward_score, s.details::jsonb, $2
FROM staged_message s
WHERE NOT EXISTS (SELECT FROM message m WHERE m.tenant_id = $1 AND m.id = s.id)
RETURNING id

-- name: change_messages
-- Staged messages that say something else than the vault has, unless the vault's wording is later. The earlier
-- wording is kept.
WITH changed AS (
    SELECT s.*, m.revision AS old_revision, m.key_id AS old_key_id, m.kind AS old_kind, m.raw_kind AS old_raw_kind,
        m.text AS old_text, m.revoked AS old_revoked, m.edited_at AS old_edited_at, m.details AS old_details,
        m.import_id AS old_import_id
    FROM staged_message s JOIN message m ON m.tenant_id = $1 AND m.id = s.id
    WHERE s.wording_rank >= m.wording_rank
        AND (m.text, m.raw_kind, m.revoked) IS DISTINCT FROM (s.text, s.raw_kind, s.revoked)
), kept AS (
    INSERT INTO message_revision (tenant_id, message_id, revision, key_id, kind, raw_kind, text, revoked, edited_at,
        details, import_id, replaced_by_import_id, replaced_at)
    SELECT $1, id, old_revision, old_key_id, old_kind, old_raw_kind, old_text, old_revoked, old_edited_at,
        old_details, old_import_id, $2, $3
    FROM changed
)
UPDATE message m
SET key_id = c.key_id, kind = c.kind, raw_kind = c.raw_kind, text = c.text, revoked = c.revoked,
    edited_at = c.edited_at, wording_rank = c.wording_rank, forward_score = c.forward_score,
    details = c.details::jsonb, revision = m.revision + 1, import_id = $2
FROM changed c
WHERE m.tenant_id = $1 AND m.id = c.id
RETURNING m.id, m.revision

-- name: count_media
-- An account's media, and how many have their file; without what is being erased.
SELECT count(*) AS seen, count(f.message_id) AS linked
FROM chat h JOIN message m ON m.tenant_id = h.tenant_id AND m.chat_id = h.id
JOIN message_media a ON a.tenant_id = m.tenant_id AND a.message_id = m.id
LEFT JOIN message_media_file f ON f.tenant_id = a.tenant_id AND f.message_id = a.message_id
WHERE h.tenant_id = $1 AND h.account_id = $2 AND NOT EXISTS (SELECT FROM erasure_message e
    WHERE e.tenant_id = a.tenant_id AND e.message_id = a.message_id AND e.hidden)

-- name: media_without_file
-- A page of an account's media that the phone had a file of and the vault has none of; nothing that is being erased.
SELECT a.message_id, a.file_hash, a.file_path
FROM message_media a JOIN message m ON m.tenant_id = a.tenant_id AND m.id = a.message_id
JOIN chat h ON h.tenant_id = m.tenant_id AND h.id = m.chat_id
WHERE a.tenant_id = $1 AND h.account_id = $2 AND a.message_id > $3 AND a.file_path <> ''
    AND NOT EXISTS (SELECT FROM message_media_file f WHERE f.tenant_id = $1 AND f.message_id = a.message_id)
    AND NOT EXISTS (SELECT FROM erasure_message e
        WHERE e.tenant_id = a.tenant_id AND e.message_id = a.message_id AND e.hidden)
ORDER BY a.message_id LIMIT $4

-- name: media_kept_elsewhere
-- A page of an account's media that the vault has no file of, though one of the same hash; nothing that is being erased.
SELECT a.message_id, a.file_hash, coalesce(a.file_path, '') AS file_path, k.sha256, k.bytes
FROM message_media a JOIN message m ON m.tenant_id = a.tenant_id AND m.id = a.message_id
JOIN chat h ON h.tenant_id = m.tenant_id AND h.id = m.chat_id
CROSS JOIN LATERAL (SELECT f.sha256, d.bytes
    FROM message_media_file f JOIN media_file d ON d.tenant_id = f.tenant_id AND d.sha256 = f.sha256
    WHERE f.tenant_id = $1 AND f.file_hash = a.file_hash AND f.hash_agrees LIMIT 1) k
WHERE a.tenant_id = $1 AND h.account_id = $2 AND a.message_id > $3 AND a.file_hash <> ''
    AND NOT EXISTS (SELECT FROM message_media_file f WHERE f.tenant_id = $1 AND f.message_id = a.message_id)
    AND NOT EXISTS (SELECT FROM erasure_message e
        WHERE e.tenant_id = a.tenant_id AND e.message_id = a.message_id AND e.hidden)
ORDER BY a.message_id LIMIT $4

-- name: messages_that_stay
-- Of some messages, those that are there and are not being erased.
SELECT id FROM message m WHERE m.tenant_id = $1 AND m.id = ANY ($2::uuid[]) AND NOT EXISTS (SELECT FROM erasure_message e
    WHERE e.tenant_id = m.tenant_id AND e.message_id = m.id AND e.hidden)

-- name: add_media_files
-- Files that are in the store now, and the messages they belong to.
WITH given AS (
    SELECT *
    FROM unnest($2::uuid[], $3::bytea[], $4::bigint[], $5::boolean[], $7::text[])
        AS g(message_id, sha256, size, agrees, file_hash)
), added AS (
    INSERT INTO media_file (tenant_id, sha256, bytes, first_import_id)
    SELECT DISTINCT ON (sha256) $1::uuid, sha256, size, $6::uuid FROM given ORDER BY sha256
    ON CONFLICT DO NOTHING
)
INSERT INTO message_media_file (tenant_id, message_id, sha256, hash_agrees, import_id, file_hash)
SELECT $1, message_id, sha256, agrees, $6, file_hash FROM given ORDER BY message_id
ON CONFLICT DO NOTHING
RETURNING message_id

-- name: lock_audit_log
-- One writer of a tenant's chain at a time, until the end of the transaction.
SELECT pg_advisory_xact_lock(hashtextextended('vault_importer audit ' || $1::text, 0))

-- name: newest_audit_record
-- The end of a tenant's chain.
SELECT sequence, hash FROM audit_log ORDER BY sequence DESC LIMIT 1

-- name: add_audit_record
-- The next link.
INSERT INTO audit_log (tenant_id, sequence, at, action, account_id, import_id, file_sha256, details, previous_hash,
    hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)

-- name: audit_records
-- The chain from a place on.
SELECT tenant_id, sequence, at, action, account_id, import_id, file_sha256, details, previous_hash, hash
FROM audit_log WHERE sequence > $1 ORDER BY sequence LIMIT $2

-- name: list_chats
-- Chats of a tenant.
SELECT id, account_id, kind, name FROM chat h WHERE NOT EXISTS (SELECT FROM erasure e
    WHERE e.tenant_id = h.tenant_id AND e.state IN ('locked', 'erasing') AND h.id = ANY (e.chat_ids))
ORDER BY name, id LIMIT $1

-- name: page_of_messages
-- A page of one chat, the newest first, older than a given message.
SELECT m.id, m.from_me, m.sent_at, m.kind, m.raw_kind, m.text, m.revision, m.revoked, m.edited_at, c.name AS sender_name,
    c.number AS sender_number
FROM message m LEFT JOIN shown_contact c ON c.tenant_id = m.tenant_id AND c.id = m.sender_id
WHERE m.tenant_id = $1 AND m.chat_id = $2 AND (m.sent_at, m.id) < ($3, $4)
    AND NOT EXISTS (SELECT FROM erasure_message e
    WHERE e.tenant_id = m.tenant_id AND e.message_id = m.id AND e.hidden)
ORDER BY m.sent_at DESC, m.id DESC LIMIT $5

-- name: messages_of_period
-- A page of the messages sent in a period, the oldest first, as their event tells them.
SELECT m.id::text AS message_id, h.account_id::text AS account_id, m.chat_id::text AS chat_id, h.kind AS chat_kind,
    coalesce(nullif(h.name, ''), p.name, '') AS chat_name, CASE WHEN m.from_me THEN 'out' ELSE 'in' END AS direction,
    CASE WHEN m.from_me THEN NULL ELSE s.id::text END AS sender_id,
    CASE WHEN m.from_me THEN NULL ELSE s.number END AS sender_number,
    CASE WHEN m.from_me THEN '' ELSE coalesce(s.name, '') END AS sender_name,
    p.number AS peer_number, m.sent_at, m.kind, m.raw_kind, m.text, m.revision, m.revoked
FROM message m
JOIN chat h ON h.tenant_id = m.tenant_id AND h.id = m.chat_id
LEFT JOIN shown_contact s ON s.tenant_id = m.tenant_id AND s.id = m.sender_id
LEFT JOIN shown_contact p ON p.tenant_id = h.tenant_id AND p.id = h.contact_id AND h.kind = 'direct'
WHERE m.tenant_id = $1 AND m.sent_at >= $2 AND (m.sent_at, m.id) > ($2, $3) AND m.sent_at < $4
    AND NOT EXISTS (SELECT FROM erasure_message e
        WHERE e.tenant_id = m.tenant_id AND e.message_id = m.id AND e.hidden)
ORDER BY m.sent_at, m.id LIMIT $5

-- name: try_to_be_alone
-- Held by a session, so that it ends with its process: an import takes many transactions.
SELECT pg_try_advisory_lock(hashtextextended('vault_importer account ' || $1::text, 0))
