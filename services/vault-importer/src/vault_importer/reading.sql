-- name: accounts
-- A tenant's accounts.
SELECT id, name, number, newest_message_at FROM account WHERE tenant_id = $1 ORDER BY name

-- name: chat_head
-- One chat.
SELECT h.id, h.account_id, a.name AS account_name, h.kind,
    coalesce(nullif(h.name, ''), nullif(p.name, ''), p.number, '') AS name,
    p.number, h.contact_id
FROM chat h JOIN account a ON a.tenant_id = h.tenant_id AND a.id = h.account_id
LEFT JOIN shown_contact p ON p.tenant_id = h.tenant_id AND p.id = h.contact_id
WHERE h.tenant_id = $1 AND h.id = $2 AND NOT EXISTS (SELECT FROM erasure e
    WHERE e.tenant_id = h.tenant_id AND e.state IN ('locked', 'erasing') AND h.id = ANY (e.chat_ids))

-- name: place_of_message
-- Where a message stands in its chat.
SELECT sent_at, id FROM message WHERE tenant_id = $1 AND chat_id IN (SELECT same_chats($1, $2)) AND id = $3

-- name: messages_before
-- The last messages before a place, the newest first.
SELECT m.id, m.from_me, m.sent_at, m.kind, m.raw_kind, m.text, m.revision, m.revoked, m.edited_at, m.forward_score,
    c.id AS sender_id, c.name AS sender_name, c.number AS sender_number
FROM same_chats($1, $2) AS h(id)
CROSS JOIN LATERAL (SELECT * FROM message m
    WHERE m.tenant_id = $1 AND m.chat_id = h.id AND m.sent_at <= $3 AND (m.sent_at, m.id) < ($3, $4)
        AND NOT EXISTS (SELECT FROM erasure_message e
        WHERE e.tenant_id = m.tenant_id AND e.message_id = m.id AND e.hidden)
    ORDER BY m.sent_at DESC, m.id DESC LIMIT $5) m
LEFT JOIN shown_contact c ON c.tenant_id = m.tenant_id AND c.id = m.sender_id
ORDER BY m.sent_at DESC, m.id DESC LIMIT $5

-- name: messages_after
-- The first messages after a place, the oldest first.
SELECT m.id, m.from_me, m.sent_at, m.kind, m.raw_kind, m.text, m.revision, m.revoked, m.edited_at, m.forward_score,
    c.id AS sender_id, c.name AS sender_name, c.number AS sender_number
FROM same_chats($1, $2) AS h(id)
CROSS JOIN LATERAL (SELECT * FROM message m
    WHERE m.tenant_id = $1 AND m.chat_id = h.id AND m.sent_at >= $3 AND (m.sent_at, m.id) > ($3, $4)
        AND NOT EXISTS (SELECT FROM erasure_message e
        WHERE e.tenant_id = m.tenant_id AND e.message_id = m.id AND e.hidden)
    ORDER BY m.sent_at, m.id LIMIT $5) m
LEFT JOIN shown_contact c ON c.tenant_id = m.tenant_id AND c.id = m.sender_id
ORDER BY m.sent_at, m.id LIMIT $5

-- name: media_of
-- Media of some messages; the hash of the file where it is kept, and whether it is the one that was sent.
SELECT a.message_id, a.mime_type, a.bytes, a.duration_seconds, a.width, a.height, a.pages, a.name, a.caption, a.file_hash,
    encode(f.sha256, 'hex') AS sha256, f.hash_agrees, k.bytes AS kept_bytes
FROM message_media a LEFT JOIN message_media_file f ON f.tenant_id = a.tenant_id AND f.message_id = a.message_id
LEFT JOIN media_file k ON k.tenant_id = f.tenant_id AND k.sha256 = f.sha256
WHERE a.tenant_id = $1 AND a.message_id = ANY($2::uuid[])

-- name: quotes_of
-- What some messages answer.
SELECT q.message_id, q.quoted_message_id, q.quoted_chat_id, q.quoted_from_me, q.quoted_at, q.of_status,
    -- Whoever is not shown is not quoted either.
    CASE WHEN e.hidden OR (c.id IS NULL AND q.quoted_contact_id IS NOT NULL) THEN '' ELSE q.text END AS text,
    coalesce(nullif(c.name, ''), c.number, '') AS quoted_name
FROM message_quote q LEFT JOIN shown_contact c ON c.tenant_id = q.tenant_id AND c.id = q.quoted_contact_id
LEFT JOIN LATERAL (SELECT bool_or(hidden) AS hidden FROM erasure_message e
    WHERE e.tenant_id = q.tenant_id AND e.message_id = q.quoted_message_id) e ON true
WHERE q.tenant_id = $1 AND q.message_id = ANY($2::uuid[])

-- name: reactions_of
-- The reactions that stand: the newest of each person, unless it was taken back.
SELECT r.message_id, r.reaction, r.reacted_at, coalesce(nullif(c.name, ''), c.number, '') AS name,
    r.contact_id = '00000000-0000-0000-0000-000000000000' AS from_me
FROM (SELECT DISTINCT ON (message_id, contact_id) message_id, contact_id, reaction, reacted_at FROM message_reaction
    WHERE tenant_id = $1 AND message_id = ANY($2::uuid[])
    ORDER BY message_id, contact_id, reacted_at DESC, reaction DESC) r
LEFT JOIN shown_contact c ON c.tenant_id = $1 AND c.id = r.contact_id
WHERE r.reaction <> '' ORDER BY r.reacted_at

-- name: revisions_of
-- What some messages said before, the oldest first.
SELECT message_id, revision, text, kind, revoked, edited_at, replaced_at
FROM message_revision WHERE tenant_id = $1 AND message_id = ANY($2::uuid[]) ORDER BY message_id, revision

-- name: contacts_of_numbers
-- People by their numbers.
SELECT id, number, name FROM shown_contact WHERE tenant_id = $1 AND number = ANY($2::text[]) ORDER BY name, id

-- name: conversations_of
-- Chats with some people, and groups in which they are or were, the newest activity first.
WITH theirs AS MATERIALIZED (
    SELECT id FROM chat WHERE tenant_id = $1 AND contact_id = ANY($2::uuid[])
    UNION SELECT chat_id FROM chat_member WHERE tenant_id = $1 AND contact_id = ANY($2::uuid[])
    UNION SELECT chat_id FROM chat_past_member WHERE tenant_id = $1 AND contact_id = ANY($2::uuid[])
)
SELECT h.id, h.account_id, a.name AS account_name, h.kind,
    coalesce(nullif(h.name, ''), nullif(p.name, ''), p.number, '') AS name, l.id AS last_message_id, l.sent_at AS last_at,
    l.from_me AS last_from_me, l.kind AS last_kind, l.text AS last_text, l.revoked AS last_revoked
FROM theirs JOIN chat h ON h.tenant_id = $1 AND h.id = theirs.id
JOIN account a ON a.tenant_id = $1 AND a.id = h.account_id
LEFT JOIN shown_contact p ON p.tenant_id = $1 AND p.id = h.contact_id
LEFT JOIN LATERAL (SELECT m.id, m.sent_at, m.from_me, m.kind, m.text, m.revoked
    FROM same_chats($1, h.id) AS s(id) CROSS JOIN LATERAL (SELECT * FROM message m
    WHERE m.tenant_id = $1 AND m.chat_id = s.id AND NOT EXISTS (SELECT FROM erasure_message e WHERE e.tenant_id = m.tenant_id AND e.message_id = m.id AND e.hidden)
    ORDER BY m.sent_at DESC, m.id DESC LIMIT 1) m ORDER BY m.sent_at DESC, m.id DESC LIMIT 1) l ON true
-- One that is part of another of theirs is shown there.
WHERE NOT EXISTS (SELECT FROM jid_alias i JOIN chat o ON o.tenant_id = $1 AND o.account_id = h.account_id AND o.jid = i.jid
        WHERE i.tenant_id = $1 AND i.lid = h.jid AND h.kind = 'direct' AND identity_counts(i)
            AND o.id IN (SELECT id FROM theirs))
    AND (coalesce(l.sent_at, to_timestamp(0)), h.id) < ($3, $4)
ORDER BY coalesce(l.sent_at, to_timestamp(0)) DESC, h.id DESC LIMIT $5

-- name: with_media
-- Those of some messages that have a file, kept here or not.
SELECT message_id FROM message_media WHERE tenant_id = $1 AND message_id = ANY($2::uuid[])

-- name: details_of
-- The places that some messages tell, and the file of which only the name is known.
SELECT id AS message_id, details FROM message WHERE tenant_id = $1 AND id = ANY($2::uuid[]) AND details ?| ARRAY[
    'latitude', 'longitude', 'place_name', 'place_address', 'file_name']

-- name: cards_of
-- The contact cards in some messages, but of those who are not shown: their rows are there until they are erased.
SELECT d.message_id, d.columns ->> 'vcard' AS card FROM message_detail d
WHERE d.tenant_id = $1 AND d.message_id = ANY($2::uuid[]) AND d.source IN ('message_vcard', 'messages_vcards')
    AND jsonb_typeof(d.columns -> 'vcard') = 'string' AND NOT EXISTS (SELECT FROM erasure e
    WHERE e.tenant_id = d.tenant_id AND e.state IN ('locked', 'erasing')
        AND d.columns::text ~ naming_pattern(e))
ORDER BY d.message_id, length(d.item), d.item

-- name: poll_options_of
-- What could be chosen; ``votes`` is the phone's own count.
SELECT message_id, item, name, votes FROM message_poll_option WHERE tenant_id = $1 AND message_id = ANY($2::uuid[])
ORDER BY message_id, length(item), item

-- name: poll_votes_of
-- The votes that stand: all options of the newest time at which a person chose.
SELECT v.message_id, v.item, coalesce(nullif(c.name, ''), c.number, '') AS name,
    v.contact_id = '00000000-0000-0000-0000-000000000000' AS from_me
FROM (SELECT message_id, contact_id, item, voted_at, max(voted_at) OVER (PARTITION BY message_id, contact_id) AS newest
    FROM message_poll_vote WHERE tenant_id = $1 AND message_id = ANY($2::uuid[])) v
LEFT JOIN shown_contact c ON c.tenant_id = $1 AND c.id = v.contact_id
WHERE v.voted_at = v.newest ORDER BY v.message_id, v.voted_at, v.contact_id

-- name: kept_file
-- The file of a message that is shown, and where its content lies.
SELECT a.mime_type, a.name, f.sha256 FROM message m
JOIN message_media_file f ON f.tenant_id = m.tenant_id AND f.message_id = m.id
JOIN message_media a ON a.tenant_id = m.tenant_id AND a.message_id = m.id
WHERE m.tenant_id = $1 AND m.id = $2
    AND NOT EXISTS (SELECT FROM erasure_message e
    WHERE e.tenant_id = m.tenant_id AND e.message_id = m.id AND e.hidden)
    AND NOT EXISTS (SELECT FROM erasure e
    WHERE e.tenant_id = m.tenant_id AND e.state IN ('locked', 'erasing') AND m.chat_id = ANY (e.chat_ids))
