-- name: keep_in
-- Until this transaction ends nobody begins to erase; several may hold it.
SELECT pg_advisory_xact_lock_shared(hashtext('erasure'), hashtext($1))

-- name: keep_out
-- Wait until nobody writes to the archive, and let nobody begin before this transaction ends.
SELECT pg_advisory_xact_lock(hashtext('erasure'), hashtext($1))

-- name: try_to_be_alone
-- Held by a session: an erasure takes many transactions, and two of the same would only be in each other's way.
SELECT pg_try_advisory_lock(hashtext('erasing'), hashtext($1))

-- name: suppressed
-- Tags of who must not come back, and what is older than when.
SELECT tag, CASE WHEN lifted_at IS NULL THEN 'infinity'::timestamptz ELSE until END AS until
FROM suppressed WHERE tenant_id = $1

-- name: suppression_version
-- Another one after every change of the list.
SELECT md5(coalesce(string_agg(concat_ws(' ', tag, until, lifted_at), ',' ORDER BY tag), ''))
FROM suppressed WHERE tenant_id = $1

-- name: suppress
-- Keep addresses out; who was erased before is kept out for longer.
INSERT INTO suppressed AS s (tenant_id, tag, erasure_id, until) SELECT $1, t, $3, $4 FROM unnest($2::bytea[]) t
ON CONFLICT (tenant_id, tag) DO UPDATE
SET erasure_id = excluded.erasure_id, until = greatest(s.until, excluded.until), lifted_by = NULL, lifted_at = NULL

-- name: suppress_again
-- What a certificate says was erased and this database has forgotten. Who was let in after that stays in.
INSERT INTO suppressed AS s (tenant_id, tag, erasure_id, until) SELECT $1, t, $3, $4 FROM unnest($2::bytea[]) t
ON CONFLICT (tenant_id, tag) DO UPDATE
SET erasure_id = excluded.erasure_id, until = excluded.until, lifted_by = NULL, lifted_at = NULL
WHERE s.erasure_id <> excluded.erasure_id AND s.until < excluded.until
    AND (s.lifted_at IS NULL OR s.lifted_at < excluded.until)

-- name: lift
-- Let somebody in again, with what is newer than their erasure.
UPDATE suppressed SET lifted_by = $3, lifted_at = now() WHERE tenant_id = $1 AND tag = ANY ($2) AND lifted_at IS NULL

-- name: tags_of
-- The tags of one erasure.
SELECT tag FROM suppressed WHERE tenant_id = $1 AND erasure_id = $2 ORDER BY tag

-- name: unsuppress
-- Of an erasure that was given up before anything was erased.
UPDATE suppressed SET lifted_by = $3, lifted_at = now(), until = 'epoch'
WHERE tenant_id = $1 AND erasure_id = $2

-- name: policy
-- When the tenant erases.
SELECT mode FROM erasure_policy WHERE tenant_id = $1

-- name: set_policy
-- Say when it does.
INSERT INTO erasure_policy (tenant_id, mode, set_by) VALUES ($1, $2, $3)
ON CONFLICT (tenant_id) DO UPDATE SET mode = excluded.mode, set_by = excluded.set_by, set_at = now()

-- name: addresses_of
-- Every address of whoever has one of these numbers or contacts: two steps from identity to identity, by pairs that count.
WITH seed AS (
    SELECT jid FROM contact WHERE tenant_id = $1 AND (number = ANY ($2::text[]) OR id = ANY ($3::uuid[]))
    UNION SELECT substring(n FROM 2) || '@s.whatsapp.net' FROM unnest($2::text[]) n
), near AS (
    SELECT jid FROM seed
    UNION SELECT a.lid FROM jid_alias a JOIN seed s ON a.jid = s.jid WHERE a.tenant_id = $1 AND identity_counts(a)
    UNION SELECT a.jid FROM jid_alias a JOIN seed s ON a.lid = s.jid WHERE a.tenant_id = $1 AND identity_counts(a)
)
SELECT jid FROM near
UNION SELECT a.lid FROM jid_alias a JOIN near s ON a.jid = s.jid WHERE a.tenant_id = $1 AND identity_counts(a)
UNION SELECT a.jid FROM jid_alias a JOIN near s ON a.lid = s.jid WHERE a.tenant_id = $1 AND identity_counts(a)
ORDER BY 1

-- name: known_parties
-- Of some customers or leads those of which the directory has told.
SELECT party_id FROM party WHERE tenant_id = $1 AND kind = $2 AND party_id = ANY ($3::text[])

-- name: numbers_of_parties
-- The numbers of some customers and leads.
SELECT DISTINCT n AS number FROM party p CROSS JOIN unnest(p.numbers) n WHERE p.tenant_id = $1
    AND (p.kind = 'customer' AND p.party_id = ANY ($2::text[]) OR p.kind = 'lead' AND p.party_id = ANY ($3::text[]))

-- name: contacts_of_parties
-- The archive's people who are some customers and leads.
SELECT contact_id FROM contact_link WHERE tenant_id = $1 AND state = 'linked'
    AND (kind = 'customer' AND party_id = ANY ($2::text[]) OR kind = 'lead' AND party_id = ANY ($3::text[]))

-- name: numbers_beside_emails
-- Numbers of whoever the directory has under some addresses, or who wrote that they are theirs.
SELECT n AS number FROM party p CROSS JOIN unnest(p.numbers) n
WHERE p.tenant_id = $1 AND lower(p.emails::text)::text[] && $2::text[]
UNION SELECT c.number FROM contact_identity i JOIN contact c ON c.tenant_id = i.tenant_id AND c.id = i.contact_id
WHERE i.tenant_id = $1 AND i.identity = 'email' AND i.value = ANY ($2::text[]) AND c.number IS NOT NULL

-- name: contacts_at
-- The archive's people at some addresses.
SELECT id, number FROM contact WHERE tenant_id = $1 AND jid = ANY ($2::text[]) ORDER BY id

-- name: chats_with
-- Conversations with nobody but some people.
SELECT id FROM chat
WHERE tenant_id = $1 AND kind = 'direct' AND (contact_id = ANY ($2::uuid[]) OR jid = ANY ($3::text[])) ORDER BY id

-- name: is_account
-- Whether one of the numbers is the business's own.
SELECT EXISTS (SELECT FROM account WHERE tenant_id = $1 AND number = ANY ($2::text[]))

-- name: add_case
-- A request.
INSERT INTO erasure (tenant_id, id, subject_id, state, scope, ground, asked_by, asked_at, why, numbers, emails, addresses,
    customer_ids, lead_ids, contact_ids, chat_ids)
VALUES ($1, $2, $3, 'asked', $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)

-- name: case_of
-- One request.
SELECT * FROM erasure WHERE tenant_id = $1 AND id = $2

-- name: case_for_change
-- One request, which nobody else changes meanwhile.
SELECT * FROM erasure WHERE tenant_id = $1 AND id = $2 FOR UPDATE

-- name: open_case_about
-- The newest request that has not ended, about one of these people.
SELECT * FROM erasure WHERE tenant_id = $1 AND state NOT IN ('done', 'cancelled')
    AND (contact_ids && $2::uuid[] OR numbers && $3::text[]) ORDER BY asked_at DESC, id LIMIT 1

-- name: cases
-- The newest requests.
SELECT * FROM erasure WHERE tenant_id = $1 ORDER BY asked_at DESC, id LIMIT $2

-- name: open_cases
-- What waits for its day, was interrupted, or waits for receipts; over all tenants.
SELECT tenant_id, id, state FROM erasure
WHERE state IN ('erasing', 'told') OR state = 'locked' AND due_at <= $1 ORDER BY id

-- name: approvals
-- Who approved.
SELECT approver, at FROM erasure_approval WHERE tenant_id = $1 AND erasure_id = $2 ORDER BY at

-- name: add_approval
-- One more; nothing when they did already.
INSERT INTO erasure_approval (tenant_id, erasure_id, approver, at) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING RETURNING approver

-- name: set_state
-- How far a request is.
UPDATE erasure SET state = $3 WHERE tenant_id = $1 AND id = $2

-- name: note_told
-- It is gone from here; the others answer next.
UPDATE erasure SET state = 'told', told_at = $3 WHERE tenant_id = $1 AND id = $2

-- name: oldest_unanswered
-- Since when the oldest request waits that not everybody has answered; over all tenants.
SELECT min(coalesce(told_at, effective_at)) FROM erasure WHERE state = 'told'

-- name: set_who
-- By what the person is known by now.
UPDATE erasure SET numbers = $3, addresses = $4, contact_ids = $5, chat_ids = $6 WHERE tenant_id = $1 AND id = $2

-- name: set_plan
-- What it would do.
UPDATE erasure SET state = 'planned', plan = $3::jsonb, plan_hash = $4, mode = $5, due_at = $6
WHERE tenant_id = $1 AND id = $2

-- name: begin_case
-- From here on the person is hidden and kept out; erased once it is due.
UPDATE erasure SET state = $3, effective_at = $4, due_at = coalesce($5, due_at) WHERE tenant_id = $1 AND id = $2

-- name: note_part
-- The others are told of one more part; which one it is.
UPDATE erasure SET parts = parts + 1 WHERE tenant_id = $1 AND id = $2 RETURNING parts

-- name: note_counts
-- What was erased so far.
UPDATE erasure SET counts = $3::jsonb WHERE tenant_id = $1 AND id = $2

-- name: end_case
-- Nobody knows any more who it was about.
UPDATE erasure SET state = 'done', ended_at = $3, certificate = $4, numbers = '{}', emails = '{}', addresses = '{}',
    customer_ids = '{}', lead_ids = '{}', why = ''
WHERE tenant_id = $1 AND id = $2

-- name: cancel_case
-- Given up: nothing was erased.
UPDATE erasure SET state = 'cancelled', ended_at = $3, numbers = '{}', emails = '{}', addresses = '{}',
    customer_ids = '{}', lead_ids = '{}', why = '' WHERE tenant_id = $1 AND id = $2

-- name: take_out_of_others
-- Older requests about a person who is forgotten, which nobody has begun: they are about others only, if about anybody. One
-- for more than was erased stays as it is.
UPDATE erasure SET why = '', state = CASE state WHEN 'planned' THEN 'approved' ELSE state END,
    numbers = ARRAY(SELECT n FROM unnest(numbers) n WHERE n <> ALL ($5::text[])),
    emails = ARRAY(SELECT n FROM unnest(emails) n WHERE n <> ALL ($6::text[])),
    addresses = ARRAY(SELECT n FROM unnest(addresses) n WHERE n <> ALL ($7::text[])),
    customer_ids = ARRAY(SELECT n FROM unnest(customer_ids) n WHERE n <> ALL ($8::text[])),
    lead_ids = ARRAY(SELECT n FROM unnest(lead_ids) n WHERE n <> ALL ($9::text[])),
    contact_ids = ARRAY(SELECT n FROM unnest(contact_ids) n WHERE n <> ALL ($10::uuid[]))
WHERE tenant_id = $1 AND id <> $2 AND state IN ('asked', 'approved', 'planned') AND asked_at <= $4
    AND ($3 = 'person' OR scope = 'messages')
    AND (numbers && $5::text[] OR emails && $6::text[] OR addresses && $7::text[] OR customer_ids && $8::text[]
        OR lead_ids && $9::text[] OR contact_ids && $10::uuid[])

-- name: cancel_emptied
-- Requests that are about nobody any more.
UPDATE erasure SET state = 'cancelled', ended_at = $3
WHERE tenant_id = $1 AND id <> $2 AND state IN ('asked', 'approved', 'planned') AND numbers = '{}' AND emails = '{}'
    AND addresses = '{}' AND customer_ids = '{}' AND lead_ids = '{}' AND contact_ids = '{}'
RETURNING id

-- name: empty_released_holds
-- On whom and what for there were holds: a number that is empty was one.
UPDATE legal_hold SET number = CASE WHEN number IS NOT NULL THEN '' END, reason = '', released_why = ''
WHERE tenant_id = $1 AND released_at IS NOT NULL AND (number = ANY ($2::text[]) OR chat_id = ANY ($3::uuid[]))

-- name: choose_messages
-- Note what it reaches; how much came since the last time.
SELECT choose_messages($1)

-- name: release_messages
-- Forget what it would have reached.
SELECT release_messages($1)

-- name: chosen
-- The messages that it reaches.
SELECT message_id FROM erasure_message WHERE tenant_id = $1 AND erasure_id = $2

-- name: destroy_openings
-- Destroy what opens leaves; how many there were.
SELECT destroy_openings($1, $2::bigint[])

-- name: erase_messages
-- Erase messages with all that stands beside them; rows by table.
SELECT store, rows FROM erase_messages($1, $2::uuid[]) WHERE rows > 0

-- name: erase_beside
-- Erase what names the person in one table beside other people's messages.
SELECT erase_beside($1, $2)

-- name: words_left
-- Whether words are left of which it is not known who else has written them.
SELECT EXISTS (SELECT FROM erasure_word WHERE tenant_id = $1 AND erasure_id = $2)

-- name: erased_media
-- Files that nobody refers to any more.
SELECT sha256 FROM erased_media WHERE tenant_id = $1 LIMIT 1000

-- name: media_referred
-- Of some files, those that a message refers to.
SELECT sha256 FROM media_file WHERE tenant_id = $1 AND sha256 = ANY ($2::bytea[])

-- name: media_gone
-- They are off the disk, or somebody refers to them again.
DELETE FROM erased_media WHERE tenant_id = $1 AND sha256 = ANY ($2::bytea[])

-- name: reach
-- What a request reaches, by why.
SELECT reach, count(*) AS messages, min(m.sent_at) AS first_at, max(m.sent_at) AS last_at, count(DISTINCT m.chat_id) AS chats
FROM erasure_message e JOIN message m ON m.tenant_id = e.tenant_id AND m.id = e.message_id
WHERE e.tenant_id = $1 AND e.erasure_id = $2 GROUP BY reach ORDER BY reach

-- name: cards
-- The cards and notices of others that a request reaches.
SELECT m.key_id, m.sent_at FROM erasure_message e JOIN message m ON m.tenant_id = e.tenant_id AND m.id = e.message_id
WHERE e.tenant_id = $1 AND e.erasure_id = $2 AND e.reach = 'copy'

-- name: reached_chats
-- Where: each conversation with how much of it, and since when.
SELECT h.id, h.kind, h.account_id, count(*) AS messages, min(m.sent_at) AS first_at, max(m.sent_at) AS last_at
FROM erasure_message e JOIN message m ON m.tenant_id = e.tenant_id AND m.id = e.message_id
JOIN chat h ON h.tenant_id = m.tenant_id AND h.id = m.chat_id
WHERE e.tenant_id = $1 AND e.erasure_id = $2 GROUP BY h.id, h.kind, h.account_id ORDER BY count(*) DESC, h.id

-- name: reached_beside
-- What else there is of the person, by table.
SELECT 'message_revision' AS store, count(*) AS rows FROM message_revision r
    JOIN erasure_message e ON e.tenant_id = r.tenant_id AND e.message_id = r.message_id AND e.erasure_id = $2
    WHERE r.tenant_id = $1
UNION ALL SELECT 'message_media', count(*) FROM message_media r
    JOIN erasure_message e ON e.tenant_id = r.tenant_id AND e.message_id = r.message_id AND e.erasure_id = $2
    WHERE r.tenant_id = $1
UNION ALL SELECT 'message_media_file', count(*) FROM message_media_file r
    JOIN erasure_message e ON e.tenant_id = r.tenant_id AND e.message_id = r.message_id AND e.erasure_id = $2
    WHERE r.tenant_id = $1
UNION ALL SELECT 'message_quote of others', count(*) FROM message_quote WHERE tenant_id = $1
    AND (quoted_contact_id = ANY ($3::uuid[]) OR quoted_chat_id = ANY ($4::uuid[])) AND text <> ''
UNION ALL SELECT 'message_mention', count(*) FROM message_mention
    WHERE tenant_id = $1 AND mentioned_contact_id = ANY ($3::uuid[])
UNION ALL SELECT 'message_reaction', count(*) FROM message_reaction
    WHERE tenant_id = $1 AND contact_id = ANY ($3::uuid[])
UNION ALL SELECT 'message_receipt', count(*) FROM message_receipt
    WHERE tenant_id = $1 AND contact_id = ANY ($3::uuid[])
UNION ALL SELECT 'message_poll_vote', count(*) FROM message_poll_vote
    WHERE tenant_id = $1 AND contact_id = ANY ($3::uuid[])
UNION ALL SELECT 'call_log', count(*) FROM call_log WHERE tenant_id = $1 AND caller_or_called_id = ANY ($3::uuid[])
UNION ALL SELECT 'chat_member', count(*) FROM chat_member WHERE tenant_id = $1 AND contact_id = ANY ($3::uuid[])
UNION ALL SELECT 'chat_past_member', count(*) FROM chat_past_member
    WHERE tenant_id = $1 AND contact_id = ANY ($3::uuid[])
UNION ALL SELECT 'contact', count(*) FROM contact WHERE tenant_id = $1 AND id = ANY ($3::uuid[])
UNION ALL SELECT 'jid_alias', count(*) FROM jid_alias
    WHERE tenant_id = $1 AND (jid = ANY ($5::text[]) OR lid = ANY ($5::text[]))

-- name: named_by_others
-- Messages of other people that name the person by number: theirs to keep.
SELECT count(*) FROM message m WHERE m.tenant_id = $1
    AND m.text ~ (SELECT naming_pattern(w) FROM erasure w WHERE w.tenant_id = $1 AND w.id = $2)
    AND NOT EXISTS (SELECT FROM erasure_message e
        WHERE e.tenant_id = m.tenant_id AND e.message_id = m.id AND e.erasure_id = $2)

-- name: newest_processed
-- When the newest of what it reaches was taken in.
SELECT max(r.started_at) FROM import_run r WHERE r.tenant_id = $1 AND r.id IN (
    SELECT DISTINCT m.import_id FROM erasure_message e
    JOIN message m ON m.tenant_id = e.tenant_id AND m.id = e.message_id WHERE e.tenant_id = $1 AND e.erasure_id = $2)

-- name: accounts_of_tenant
-- Whose folders of backups there may be.
SELECT id FROM account WHERE tenant_id = $1 ORDER BY id

-- name: add_hold
-- Something has to stay.
INSERT INTO legal_hold (tenant_id, id, number, chat_id, reason, placed_by, placed_at) VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: holds
-- What has to stay, and what had to.
SELECT id, number, chat_id, reason, placed_by, placed_at, released_by, released_at, released_why FROM legal_hold
WHERE tenant_id = $1 ORDER BY placed_at, id

-- name: release_hold
-- It need not stay any more; nothing when it was released before.
UPDATE legal_hold SET released_by = $3, released_at = $4, released_why = $5
WHERE tenant_id = $1 AND id = $2 AND released_at IS NULL RETURNING id

-- name: add_receipt
-- One service has forgotten one part.
INSERT INTO erasure_receipt (tenant_id, erasure_id, part, service, erased, kept, forgotten_at, at)
SELECT $1, $2, $3, $4, $5::jsonb, $6::jsonb, $7, $8
WHERE EXISTS (SELECT FROM erasure WHERE tenant_id = $1 AND id = $2) ON CONFLICT DO NOTHING

-- name: receipts
-- What the others did.
SELECT part, service, erased, kept, forgotten_at, at FROM erasure_receipt
WHERE tenant_id = $1 AND erasure_id = $2 ORDER BY service, part

-- name: search_again
-- What was hidden is to be found again: the index is made anew, from the beginning.
DELETE FROM search_progress WHERE tenant_id = $1

-- name: chats_reached_by
-- Where a person wrote or was written to: each conversation with how much, and since when.
SELECT h.id, h.kind, h.account_id, count(*) AS messages, min(m.sent_at) AS first_at, max(m.sent_at) AS last_at
FROM message m JOIN chat h ON h.tenant_id = m.tenant_id AND h.id = m.chat_id
WHERE m.tenant_id = $1 AND (m.sender_id = ANY ($2::uuid[]) OR m.chat_id = ANY ($3::uuid[]))
GROUP BY h.id, h.kind, h.account_id ORDER BY count(*) DESC, h.id

-- name: page_of_contacts
-- Everybody's address, a page at a time.
SELECT id, jid FROM contact WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3

-- name: page_of_party_numbers
-- Numbers of customers and leads, a page at a time.
SELECT DISTINCT n AS number FROM party p CROSS JOIN unnest(p.numbers) n
WHERE p.tenant_id = $1 AND NOT p.deleted AND n > $2 ORDER BY n LIMIT $3
