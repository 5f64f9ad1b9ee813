-- name: media_of
-- Files of some messages.
SELECT f.message_id, f.import_id, f.sha256, a.bytes, f.file_hash, f.hash_agrees
FROM message_media_file f JOIN media_file a ON a.tenant_id = f.tenant_id AND a.sha256 = f.sha256
WHERE f.tenant_id = $1 AND f.message_id = ANY($2::uuid[]) ORDER BY f.message_id

-- name: page_of_media
-- Files by their messages, from one on.
SELECT f.message_id, f.import_id, f.sha256, a.bytes, f.file_hash, f.hash_agrees
FROM message_media_file f JOIN media_file a ON a.tenant_id = f.tenant_id AND a.sha256 = f.sha256
WHERE f.tenant_id = $1 AND (f.message_id, 0) > ($2, $3::integer) ORDER BY f.message_id LIMIT $4

-- name: reaction_of
-- Reactions to some messages.
SELECT message_id, number, import_id, contact_id, reacted_at, reaction FROM message_reaction
WHERE tenant_id = $1 AND message_id = ANY($2::uuid[]) ORDER BY message_id, number

-- name: reaction_by
-- Reactions of some people.
SELECT message_id, number, import_id, contact_id, reacted_at, reaction FROM message_reaction
WHERE tenant_id = $1 AND contact_id = ANY($2::uuid[]) ORDER BY message_id, number

-- name: page_of_reaction
-- Reactions by their messages, from one on.
SELECT message_id, number, import_id, contact_id, reacted_at, reaction FROM message_reaction
WHERE tenant_id = $1 AND message_id >= $2 AND (message_id, number) > ($2, $3) ORDER BY message_id, number LIMIT $4

-- name: vote_of
-- Votes on some messages.
SELECT message_id, number, import_id, contact_id, voted_at, item FROM message_poll_vote
WHERE tenant_id = $1 AND message_id = ANY($2::uuid[]) ORDER BY message_id, number

-- name: vote_by
-- Votes of some people.
SELECT message_id, number, import_id, contact_id, voted_at, item FROM message_poll_vote
WHERE tenant_id = $1 AND contact_id = ANY($2::uuid[]) ORDER BY message_id, number

-- name: page_of_vote
-- Votes by their messages, from one on.
SELECT message_id, number, import_id, contact_id, voted_at, item FROM message_poll_vote
WHERE tenant_id = $1 AND message_id >= $2 AND (message_id, number) > ($2, $3) ORDER BY message_id, number LIMIT $4

-- name: identity_of
-- Pairs of identities by their numbers, which stand here as ids do.
SELECT number, first_import_id, lid, jid, source, first_seen_at FROM jid_alias
WHERE tenant_id = $1 AND number IN (
    SELECT ('x' || right(id::text, 8))::bit(32)::integer FROM unnest($2::uuid[]) AS given(id))
ORDER BY number

-- name: page_of_identity
-- Pairs of identities by their numbers, from one on.
SELECT number, first_import_id, lid, jid, source, first_seen_at FROM jid_alias
WHERE tenant_id = $1 AND number > ('x' || right($2::uuid::text, 8))::bit(32)::integer AND $3::integer = 0
ORDER BY number LIMIT $4

-- name: identities_of_people
-- Which pairs of identities say who some people are.
SELECT number, first_import_id, lid, jid, source, first_seen_at FROM jid_alias
WHERE tenant_id = $1 AND (jid = ANY($2::text[]) OR lid = ANY($2::text[])) ORDER BY number

-- name: counts_beside
-- How much stands beside messages that leaves should speak of.
SELECT (SELECT count(*) FROM message_media_file WHERE tenant_id = $1) AS media,
    (SELECT count(*) FROM message_reaction WHERE tenant_id = $1) AS reaction,
    (SELECT count(*) FROM message_poll_vote WHERE tenant_id = $1) AS vote,
    (SELECT count(*) FROM jid_alias WHERE tenant_id = $1) AS identity
