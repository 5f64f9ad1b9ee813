-- name: progress_of_search
-- How far the ledger is indexed, and how long it is.
SELECT coalesce((SELECT next_leaf FROM search_progress WHERE tenant_id = $1), 0) AS next_leaf,
    coalesce((SELECT first_leaf + leaves FROM ledger_batch WHERE tenant_id = $1 ORDER BY first_leaf DESC LIMIT 1), 0)
        AS size

-- name: leaves_to_index
-- The next leaves that are wordings of messages, and how many leaves that is from the place on.
SELECT first_leaf, leaves, kind, CASE kind WHEN 'message' THEN ids ELSE ''::bytea END AS ids FROM ledger_batch
WHERE tenant_id = $1 AND first_leaf >= coalesce(
    (SELECT max(first_leaf) FROM ledger_batch WHERE tenant_id = $1 AND first_leaf <= $2), 0)
ORDER BY first_leaf LIMIT $3

-- name: texts_to_index
-- Messages in all their wordings, the newest first.
SELECT m.id, m.chat_id, h.account_id, CASE WHEN h.kind = 'direct' THEN coalesce(h.contact_id, m.sender_id)
    ELSE m.sender_id END AS contact_id, m.from_me, m.sent_at, m.kind, m.text,
    CASE WHEN m.revision > 1 THEN (SELECT array_agg(r.text ORDER BY r.revision DESC) FROM message_revision r
        WHERE r.tenant_id = m.tenant_id AND r.message_id = m.id) END AS earlier
FROM message m JOIN chat h ON h.tenant_id = m.tenant_id AND h.id = m.chat_id
WHERE m.tenant_id = $1 AND m.id = ANY($2::uuid[]) AND NOT EXISTS (
    SELECT FROM erasure_message e WHERE e.tenant_id = m.tenant_id AND e.message_id = m.id AND e.hidden)

-- name: count_shown
-- How many of some messages are there and shown.
SELECT count(*) FROM message m WHERE m.tenant_id = $1 AND m.id = ANY($2::uuid[]) AND NOT EXISTS (
    SELECT FROM erasure_message e WHERE e.tenant_id = m.tenant_id AND e.message_id = m.id AND e.hidden)

-- name: advance_search
-- Move on from a place; nothing when another process has.
INSERT INTO search_progress AS p (tenant_id, next_leaf) SELECT $1, $3
ON CONFLICT (tenant_id) DO UPDATE SET next_leaf = excluded.next_leaf WHERE p.next_leaf = $2
RETURNING next_leaf

-- name: put_searchable
-- Add messages or bring them up to date.
INSERT INTO message_search (tenant_id, message_id, sent_at, account_id, chat_id, contact_id, from_me, kind, words)
SELECT $1, s.message_id, s.sent_at, s.account_id, s.chat_id, s.contact_id, s.from_me, s.kind, s.words::tsvector
FROM unnest($2::uuid[], $3::timestamptz[], $4::uuid[], $5::uuid[], $6::uuid[], $7::boolean[], $8::text[], $9::text[])
    AS s(message_id, sent_at, account_id, chat_id, contact_id, from_me, kind, words)
ON CONFLICT (tenant_id, message_id) DO UPDATE SET contact_id = excluded.contact_id, kind = excluded.kind,
    words = excluded.words

-- name: put_words
-- Words that were not there.
INSERT INTO search_word (tenant_id, word, sound) SELECT $1, w.word, w.sound
FROM unnest($2::text[], $3::text[]) AS w(word, sound)
WHERE NOT EXISTS (SELECT FROM search_word k WHERE k.tenant_id = $1 AND k.word = w.word)
ORDER BY w.word
ON CONFLICT DO NOTHING

-- name: bound_search
-- A search ends by itself.
SELECT set_config('statement_timeout', $1::text, true), set_config('jit', 'off', true)

-- name: parts
-- Words with something inside them.
SELECT word FROM search_parts($1, $2)

-- name: alike
-- Words that sound like something.
SELECT word FROM search_alike($1, $2, $3)

-- name: find
-- A page of messages by their words.
SELECT message_id, sent_at, rank FROM search_messages($1::text::tsquery, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,
    $13)

-- name: found_messages
-- What is shown of messages that were found.
SELECT m.id, m.chat_id, h.account_id, h.kind AS chat_kind, coalesce(nullif(h.name, ''), nullif(p.name, ''), p.number, '') AS
    chat_name, m.from_me, m.sent_at, m.kind, m.text, m.revision, m.revoked, m.edited_at,
    CASE WHEN m.from_me THEN NULL ELSE s.id END AS sender_id,
    CASE WHEN m.from_me THEN '' ELSE coalesce(nullif(s.name, ''), s.number, '') END AS sender_name,
    CASE WHEN m.revision > 1 THEN (SELECT array_agg(r.text ORDER BY r.revision DESC) FROM message_revision r
        WHERE r.tenant_id = m.tenant_id AND r.message_id = m.id) END AS earlier
FROM message m JOIN chat h ON h.tenant_id = m.tenant_id AND h.id = m.chat_id
LEFT JOIN shown_contact s ON s.tenant_id = m.tenant_id AND s.id = m.sender_id
LEFT JOIN shown_contact p ON p.tenant_id = h.tenant_id AND p.id = h.contact_id
WHERE m.tenant_id = $1 AND m.id = ANY($2::uuid[])
