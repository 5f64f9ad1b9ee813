-- name: lock_ledger
-- One writer of a tenant's tree at a time, until the end of the transaction: leaves have no gaps.
SELECT pg_advisory_xact_lock(hashtextextended('vault_importer ledger ' || $1::text, 0))

-- name: ledger_head
-- The newest leaves, with the tree after them.
SELECT first_leaf + leaves AS size, peaks FROM ledger_batch WHERE tenant_id = $1 ORDER BY first_leaf DESC LIMIT 1

-- name: add_ledger_batch
-- The next leaves, with what opens them.
WITH batch AS (
    INSERT INTO ledger_batch (tenant_id, first_leaf, leaves, first_node, kind, import_id, ids, revisions, commitments,
        nodes, peaks, at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
)
INSERT INTO ledger_opening (tenant_id, first_leaf, openings) VALUES ($1, $2, $13)

-- name: current_wordings
-- What messages say now.
SELECT id AS message_id, revision, chat_id, from_me, key_id, sender_id, sent_at, kind, raw_kind, text, revoked,
    edited_at, details::text AS details
FROM message WHERE tenant_id = $1 AND id = ANY($2::uuid[])

-- name: all_wordings
-- What messages say and said.
SELECT id AS message_id, revision, chat_id, from_me, key_id, sender_id, sent_at, kind, raw_kind, text, revoked,
    edited_at, details::text AS details
FROM message WHERE tenant_id = $1 AND id = ANY($2::uuid[])
UNION ALL
SELECT r.message_id, r.revision, m.chat_id, m.from_me, r.key_id, m.sender_id, m.sent_at, r.kind, r.raw_kind, r.text,
    r.revoked, r.edited_at, r.details::text
FROM message_revision r JOIN message m ON m.tenant_id = r.tenant_id AND m.id = r.message_id
WHERE r.tenant_id = $1 AND r.message_id = ANY($2::uuid[])

-- name: ledger_nodes
-- Nodes by the last leaf under them and their place in the log of nodes.
SELECT n.place, substring(b.nodes FROM ((n.place - b.first_node) * 32 + 1)::integer FOR 32) AS hash
FROM unnest($2::bigint[], $3::bigint[]) AS n(leaf, place)
CROSS JOIN LATERAL (
    SELECT first_node, nodes FROM ledger_batch WHERE tenant_id = $1 AND first_leaf <= n.leaf
    ORDER BY first_leaf DESC LIMIT 1
) b

-- name: newest_checkpoint
-- The last statement about the tree.
SELECT sequence, size, at, note, proof FROM ledger_checkpoint WHERE tenant_id = $1 ORDER BY sequence DESC LIMIT 1

-- name: add_checkpoint
-- The next statement about the tree.
INSERT INTO ledger_checkpoint (tenant_id, sequence, size, at, note, proof) VALUES ($1, $2, $3, $4, $5, $6)

-- name: checkpoints
-- Statements about the tree from a place on.
SELECT sequence, size, at, note, proof FROM ledger_checkpoint WHERE tenant_id = $1 AND sequence > $2
ORDER BY sequence LIMIT $3

-- name: handovers
-- Statements by which the log went over to another key, up to one.
SELECT sequence, size, at, note, proof FROM ledger_checkpoint
WHERE tenant_id = $1 AND ($2::bigint IS NULL OR sequence <= $2) AND strpos(note, E'\nhand-over ') > 0 ORDER BY sequence

-- name: add_cosignature
-- What a witness signed; one that signed it before says nothing new.
INSERT INTO ledger_cosignature (tenant_id, sequence, witness, line) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING

-- name: cosignatures
-- What witnesses signed under a checkpoint.
SELECT witness, line FROM ledger_cosignature WHERE tenant_id = $1 AND sequence = $2 ORDER BY witness

-- name: add_timestamp
-- What an authority said of a checkpoint.
INSERT INTO ledger_timestamp (tenant_id, sequence, authority, token) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING

-- name: timestamps
-- What authorities said of a checkpoint.
SELECT authority, token FROM ledger_timestamp WHERE tenant_id = $1 AND sequence = $2 ORDER BY authority

-- name: ledger_page
-- Leaves from a place on, with what opens them.
SELECT b.first_leaf, b.first_node, b.kind, b.import_id, b.ids, b.revisions, b.commitments, b.nodes, b.peaks,
    coalesce(o.openings, ''::bytea) AS openings
FROM ledger_batch b LEFT JOIN ledger_opening o ON o.tenant_id = b.tenant_id AND o.first_leaf = b.first_leaf
WHERE b.tenant_id = $1 AND b.first_leaf >= $2 ORDER BY b.first_leaf LIMIT $3

-- name: archive_counts
-- How much is in the archive that leaves should speak of.
SELECT (SELECT count(*) FROM message WHERE tenant_id = $1)
        + (SELECT count(*) FROM message_revision WHERE tenant_id = $1) AS wordings,
    (SELECT count(*) FROM import_run WHERE tenant_id = $1 AND state <> 'started') AS imports,
    (SELECT count(*) FROM audit_log WHERE tenant_id = $1) AS audit

-- name: openings_told
-- How many openings erasures destroyed of which the audit log tells: in the end, or so far where one is at work.
SELECT coalesce(sum(CASE WHEN e.state = 'erasing' THEN (e.counts->>'ledger_opening')::bigint ELSE (
    SELECT max((a.details->>'ledger_opening')::bigint) FROM audit_log a
    WHERE a.tenant_id = e.tenant_id AND a.action = 'erasure.told' AND a.details->>'erasure' = e.id::text) END), 0)::bigint
FROM erasure e WHERE e.tenant_id = $1 AND e.state IN ('erasing', 'told', 'done') AND erasure_on_record(e)

-- name: ledger_keys
-- Of what there are leaves, of one kind.
SELECT first_leaf, ids, revisions FROM ledger_batch
WHERE tenant_id = $1 AND first_leaf >= $2 AND kind = $3 ORDER BY first_leaf LIMIT $4

-- name: read_only
-- One picture for a whole transaction, before its first query.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY

-- name: page_of_wording_keys
-- Every wording's id and revision, in the order of ids.
SELECT message_id, revision FROM (
    SELECT id AS message_id, revision FROM message WHERE tenant_id = $1
    UNION ALL SELECT message_id, revision FROM message_revision WHERE tenant_id = $1
) w WHERE (message_id, revision) > ($2, $3) ORDER BY message_id, revision LIMIT $4

-- name: ledger_imports
-- Imports that have ended, by their ids.
SELECT * FROM import_run WHERE tenant_id = $1 AND id = ANY($2::uuid[]) AND state <> 'started'

-- name: ledger_audit_hashes
-- Hashes of audit records by their sequence.
SELECT sequence, hash FROM audit_log WHERE tenant_id = $1 AND sequence = ANY($2::bigint[])

-- name: wording_imports
-- Which import brought which wording of some messages.
SELECT id AS message_id, revision, import_id FROM message WHERE tenant_id = $1 AND id = ANY($2::uuid[])
UNION ALL
SELECT message_id, revision, import_id FROM message_revision WHERE tenant_id = $1 AND message_id = ANY($2::uuid[])

-- name: packs_of_kind
-- What leaves of a kind some imports brought.
SELECT first_leaf, ids, revisions FROM ledger_batch
WHERE tenant_id = $1 AND import_id = ANY($2::uuid[]) AND kind = $3 ORDER BY first_leaf

-- name: records_of_leaves
-- What the commitments of some leaves are and what opens them.
SELECT n.leaf, substring(b.commitments FROM ((n.leaf - b.first_leaf) * 32 + 1)::integer FOR 32) AS commitment,
    coalesce(substring(o.openings FROM ((n.leaf - b.first_leaf) * 32 + 1)::integer FOR 32), ''::bytea) AS opening,
    b.import_id
FROM unnest($2::bigint[]) AS n(leaf)
CROSS JOIN LATERAL (
    SELECT first_leaf, commitments, import_id FROM ledger_batch WHERE tenant_id = $1 AND first_leaf <= n.leaf
    ORDER BY first_leaf DESC LIMIT 1
) b
LEFT JOIN ledger_opening o ON o.tenant_id = $1 AND o.first_leaf = b.first_leaf

-- name: packs_of_imports
-- Where the manifests of imports are.
SELECT first_leaf, ids FROM ledger_batch WHERE tenant_id = $1 AND kind = 'import' AND ids = ANY($2::bytea[])

-- name: keys_beside_messages
-- What beside some messages has leaves of its own.
SELECT 'media' AS kind, message_id, 0 AS number, import_id FROM message_media_file
WHERE tenant_id = $1 AND message_id = ANY($2::uuid[])
UNION ALL
SELECT 'reaction', message_id, number, import_id FROM message_reaction
WHERE tenant_id = $1 AND message_id = ANY($2::uuid[])
UNION ALL
SELECT 'vote', message_id, number, import_id FROM message_poll_vote
WHERE tenant_id = $1 AND message_id = ANY($2::uuid[])

-- name: messages_in_scope
-- Messages of a chat, of a person by number or id, or some by their ids.
SELECT m.id FROM message m
WHERE m.tenant_id = $1 AND (
    m.chat_id = $2
    OR m.id = ANY($4::uuid[])
    OR ($3::text IS NOT NULL AND (
        m.sender_id IN (SELECT id FROM contact WHERE tenant_id = $1 AND (number = $3 OR id::text = $3))
        OR m.chat_id IN (
            SELECT h.id FROM chat h JOIN contact c ON c.tenant_id = h.tenant_id AND c.id = h.contact_id
            WHERE h.tenant_id = $1 AND (c.number = $3 OR c.id::text = $3)))))
ORDER BY m.sent_at, m.id

-- name: people_by_id
-- Who people are, as the address books said.
SELECT id::text, jid, number, name FROM contact WHERE tenant_id = $1 AND id = ANY($2::uuid[]) ORDER BY id

-- name: chats_by_id
-- What chats are called.
SELECT id::text, account_id::text, jid, kind, name, contact_id::text FROM chat
WHERE tenant_id = $1 AND id = ANY($2::uuid[]) ORDER BY id

-- name: imports_beside
-- Imports that have ended and have no leaf.
SELECT * FROM import_run r
WHERE r.tenant_id = $1 AND r.state <> 'started' AND NOT EXISTS (
    SELECT FROM ledger_batch b WHERE b.tenant_id = $1 AND b.kind = 'import' AND b.ids = uuid_send(r.id))
ORDER BY r.started_at

-- name: audit_beside
-- Audit records that have no leaf.
SELECT a.sequence, a.hash FROM audit_log a
WHERE a.tenant_id = $1 AND NOT EXISTS (
    SELECT FROM ledger_batch b
    WHERE b.tenant_id = $1 AND b.kind = 'audit' AND b.ids = decode(lpad(to_hex(a.sequence), 32, '0'), 'hex'))
ORDER BY a.sequence
