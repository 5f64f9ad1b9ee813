-- name: put_party
-- Keep the newest version of a customer or a lead; one that was deleted may begin anew.
INSERT INTO party AS p (tenant_id, kind, party_id, version, name, numbers, emails, gstin)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (tenant_id, kind, party_id) DO UPDATE SET version = excluded.version, name = excluded.name,
    numbers = excluded.numbers, emails = excluded.emails, gstin = excluded.gstin, deleted = false, due = true
WHERE p.version < excluded.version OR p.deleted

-- name: delete_party
-- Forget a customer or a lead; its links end a moment later.
UPDATE party SET name = '', numbers = '{}', emails = '{}', gstin = NULL, deleted = true, due = true
WHERE tenant_id = $1 AND kind = $2 AND party_id = $3

-- name: put_staff
-- Keep the newest version of a person who answers.
INSERT INTO staff AS s (tenant_id, staff_id, version, name, numbers) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant_id, staff_id) DO UPDATE SET version = excluded.version, name = excluded.name,
    numbers = excluded.numbers, deleted = false, due = true
WHERE s.version < excluded.version OR s.deleted

-- name: delete_staff
-- Forget a person who answers.
UPDATE staff SET name = '', numbers = '{}', deleted = true, due = true WHERE tenant_id = $1 AND staff_id = $2

-- name: begin_links
-- A tenant's place, from the beginning.
INSERT INTO link_progress (tenant_id, next_leaf, contacts_leaf) VALUES ($1, 0, 0) ON CONFLICT DO NOTHING

-- name: lock_links
-- Where the tenant's links are; whoever else works on them waits.
SELECT p.next_leaf, p.contacts_leaf, p.roles_after,
    coalesce((SELECT first_leaf + leaves FROM ledger_batch WHERE tenant_id = $1 ORDER BY first_leaf DESC LIMIT 1), 0)
        AS size
FROM link_progress p WHERE p.tenant_id = $1 FOR UPDATE OF p

-- name: move_links
-- Note where they are.
UPDATE link_progress SET next_leaf = $2, contacts_leaf = $3, roles_after = $4 WHERE tenant_id = $1

-- name: links_idle
-- Whether a tenant has nothing to be done.
SELECT EXISTS (SELECT FROM link_progress p WHERE p.tenant_id = $1 AND p.roles_after IS NULL
    AND p.next_leaf = p.contacts_leaf AND p.contacts_leaf >= coalesce((SELECT first_leaf + leaves FROM ledger_batch
        WHERE tenant_id = $1 ORDER BY first_leaf DESC LIMIT 1), 0))
    AND NOT EXISTS (SELECT FROM party WHERE tenant_id = $1 AND due)
    AND NOT EXISTS (SELECT FROM staff WHERE tenant_id = $1 AND due)
    AND NOT EXISTS (SELECT FROM link_due WHERE tenant_id = $1)

-- name: due_parties
-- Customers and leads that are not what the links were made of.
SELECT kind, party_id, name, numbers, emails, gstin, deleted FROM party WHERE tenant_id = $1 AND due
ORDER BY kind, party_id LIMIT $2 FOR UPDATE

-- name: contacts_of_parties
-- Contacts that are linked to some of them, could be, or of whom a person said something about them, are due.
INSERT INTO link_due (tenant_id, contact_id)
SELECT $1, who.contact_id FROM (
    SELECT l.contact_id FROM unnest($2::text[], $3::text[]) AS w(kind, party_id)
        JOIN contact_link l ON l.tenant_id = $1 AND l.kind = w.kind AND l.party_id = w.party_id
    UNION SELECT c.contact_id FROM unnest($2::text[], $3::text[]) AS w(kind, party_id)
        JOIN party_identity p ON p.tenant_id = $1 AND p.kind = w.kind AND p.party_id = w.party_id
        JOIN contact_identity c ON c.tenant_id = $1 AND c.value = p.value AND c.identity = p.identity
    UNION SELECT d.contact_id FROM link_decision d WHERE d.tenant_id = $1 AND d.by_person
        AND d.parties && (SELECT array_agg(w.kind || ':' || w.party_id) FROM unnest($2::text[], $3::text[])
            AS w(kind, party_id))) who
ORDER BY who.contact_id ON CONFLICT DO NOTHING

-- name: forget_identities
-- By what some customers and leads were known.
DELETE FROM party_identity p USING unnest($2::text[], $3::text[]) AS w(kind, party_id)
WHERE p.tenant_id = $1 AND p.kind = w.kind AND p.party_id = w.party_id

-- name: put_identities
-- By what customers and leads are known.
INSERT INTO party_identity (tenant_id, kind, party_id, identity, value)
SELECT $1, w.kind, w.party_id, w.identity, w.value
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS w(kind, party_id, identity, value)
ON CONFLICT DO NOTHING

-- name: parties_taken
-- They are what the links are made of now.
UPDATE party p SET due = false FROM unnest($2::text[], $3::text[]) AS w(kind, party_id)
WHERE p.tenant_id = $1 AND p.kind = w.kind AND p.party_id = w.party_id

-- name: sweep_parties
-- Those that were deleted and are linked to nobody any more.
DELETE FROM party WHERE tenant_id = $1 AND deleted AND NOT due

-- name: staff_taken
-- Staff that the roles were not made of.
UPDATE staff SET due = false WHERE tenant_id = $1 AND due RETURNING staff_id

-- name: sweep_staff
-- Those that were deleted.
DELETE FROM staff WHERE tenant_id = $1 AND deleted AND NOT due

-- name: clues_to_read
-- Of some messages those that contacts wrote in their direct chats and that may hold an address or a tax number: five
-- letters and four that are none, in whatever script their digits are.
-- One by one: with = ANY and fresh statistics Postgres reads every message of the tenant for each chunk.
SELECT m.id, h.contact_id, m.text FROM unnest($2::uuid[]) AS w(id)
CROSS JOIN LATERAL (SELECT id, chat_id, sender_id, text FROM message WHERE tenant_id = $1 AND message.id = w.id
    AND NOT from_me AND text ~ '[@＠]|[A-Za-z]{5}[^A-Za-z0-9]?[^A-Za-z]{4}|[Ａ-Ｚａ-ｚ]{5}' OFFSET 0) m
CROSS JOIN LATERAL (SELECT contact_id FROM chat WHERE tenant_id = $1 AND chat.id = m.chat_id AND kind = 'direct'
    AND contact_id IS NOT NULL OFFSET 0) h
WHERE coalesce(m.sender_id, h.contact_id) = h.contact_id AND NOT EXISTS (SELECT FROM erasure_message e
    WHERE e.tenant_id = $1 AND e.message_id = m.id AND e.hidden)

-- name: put_clues
-- What contacts wrote of themselves; those of whom that is new are due.
WITH new AS (
    INSERT INTO contact_identity (tenant_id, contact_id, identity, value, message_id)
    SELECT $1, w.contact_id, w.identity, w.value, w.message_id
    FROM unnest($2::uuid[], $3::text[], $4::text[], $5::uuid[]) AS w(contact_id, identity, value, message_id)
    ON CONFLICT DO NOTHING RETURNING contact_id)
INSERT INTO link_due (tenant_id, contact_id) SELECT DISTINCT $1::uuid, contact_id FROM new ORDER BY contact_id
ON CONFLICT DO NOTHING

-- name: changed_contacts
-- Contacts that are not as they were last looked at.
SELECT c.id, c.number, c.name FROM contact c
LEFT JOIN contact_seen s ON s.tenant_id = c.tenant_id AND s.contact_id = c.id
WHERE c.tenant_id = $1 AND (s.contact_id IS NULL OR s.number IS DISTINCT FROM c.number OR s.name <> c.name)
LIMIT $2

-- name: see_contacts
-- Note how contacts look, and that they are due.
WITH seen AS (
    INSERT INTO contact_seen (tenant_id, contact_id, number, name)
    SELECT $1, w.contact_id, w.number, w.name FROM unnest($2::uuid[], $3::text[], $4::text[]) AS w(contact_id, number, name)
    ON CONFLICT (tenant_id, contact_id) DO UPDATE SET number = excluded.number, name = excluded.name)
INSERT INTO link_due (tenant_id, contact_id) SELECT $1, contact_id FROM unnest($2::uuid[]) AS contact_id
ORDER BY contact_id ON CONFLICT DO NOTHING

-- name: forget_own_identities
-- What contacts were called.
DELETE FROM contact_identity WHERE tenant_id = $1 AND contact_id = ANY($2::uuid[]) AND identity IN ('number', 'name')

-- name: put_own_identities
-- How contacts are called.
INSERT INTO contact_identity (tenant_id, contact_id, identity, value)
SELECT $1, w.contact_id, w.identity, w.value
FROM unnest($2::uuid[], $3::text[], $4::text[]) AS w(contact_id, identity, value) ON CONFLICT DO NOTHING

-- name: orphans_due
-- Contacts that are linked to nobody who exists, or by what is not there any more because it was erased.
INSERT INTO link_due (tenant_id, contact_id) SELECT $1, l.contact_id FROM contact_link l
WHERE l.tenant_id = $1 AND (l.state = 'linked' AND NOT EXISTS (SELECT FROM party p
        WHERE p.tenant_id = $1 AND p.kind = l.kind AND p.party_id = l.party_id AND NOT p.deleted)
    OR EXISTS (SELECT FROM jsonb_path_query(l.evidence, '$[*].messages.*') m WHERE NOT EXISTS (
        SELECT FROM contact_identity i WHERE i.tenant_id = $1 AND i.contact_id = l.contact_id
            AND i.message_id = (m #>> '{}')::uuid)))
ORDER BY l.contact_id ON CONFLICT DO NOTHING

-- name: take_due
-- The next contacts that have to be decided.
DELETE FROM link_due d USING (SELECT contact_id FROM link_due WHERE tenant_id = $1 ORDER BY contact_id LIMIT $2) n
WHERE d.tenant_id = $1 AND d.contact_id = n.contact_id RETURNING d.contact_id

-- name: candidates
-- Who some contacts may be, and by what; of a value that many share the first twenty.
SELECT c.contact_id, p.kind, p.party_id, c.identity, c.value, c.message_id
FROM unnest($2::uuid[]) AS w(contact_id)
CROSS JOIN LATERAL (SELECT contact_id, identity, value, message_id FROM contact_identity i
    WHERE i.tenant_id = $1 AND i.contact_id = w.contact_id OFFSET 0) c
CROSS JOIN LATERAL (SELECT kind, party_id FROM party_identity p
    WHERE p.tenant_id = $1 AND p.value = c.value AND p.identity = c.identity
    ORDER BY kind, party_id LIMIT 20) p

-- name: said_of_contacts
-- What people decided of some contacts, the oldest first.
SELECT contact_id, action, parties FROM link_decision
WHERE tenant_id = $1 AND contact_id = ANY($2::uuid[]) AND by_person ORDER BY number

-- name: existing_parties
-- Which of some customers and leads there are.
SELECT p.kind, p.party_id FROM unnest($2::text[], $3::text[]) AS w(kind, party_id)
JOIN party p ON p.tenant_id = $1 AND p.kind = w.kind AND p.party_id = w.party_id WHERE NOT p.deleted

-- name: links_now
-- How some contacts stand.
SELECT contact_id, state, kind, party_id, by_person, evidence FROM contact_link
WHERE tenant_id = $1 AND contact_id = ANY($2::uuid[])

-- name: put_links
-- How they stand from now on.
INSERT INTO contact_link AS l (tenant_id, contact_id, state, kind, party_id, by_person, confidence, evidence, decided_at)
SELECT $1, w.contact_id, w.state, w.kind, w.party_id, w.by_person, w.confidence, w.evidence::jsonb, $9
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::boolean[], $7::real[], $8::text[])
    AS w(contact_id, state, kind, party_id, by_person, confidence, evidence)
ON CONFLICT (tenant_id, contact_id) DO UPDATE SET state = excluded.state, kind = excluded.kind,
    party_id = excluded.party_id, by_person = excluded.by_person, confidence = excluded.confidence,
    evidence = excluded.evidence, decided_at = excluded.decided_at

-- name: drop_links
-- Contacts of whom there is nothing to say any more.
DELETE FROM contact_link WHERE tenant_id = $1 AND contact_id = ANY($2::uuid[])

-- name: add_decisions
-- Note what was decided; the customers and leads of each in lines.
INSERT INTO link_decision (tenant_id, contact_id, decided_at, by_person, decided_by, action, parties, why)
SELECT $1, w.contact_id, $2, $3, $4, w.action, string_to_array(w.parties, E'\n'), w.why
FROM unnest($5::uuid[], $6::text[], $7::text[], $8::text[]) AS w(contact_id, action, parties, why)

-- name: role_facts
-- The next chats behind one, or some, and what is known of the people in them.
WITH page AS (
    SELECT id, kind, contact_id FROM chat WHERE tenant_id = $1 AND CASE WHEN $4::uuid[] IS NULL THEN id > $2
        ELSE id = ANY($4::uuid[]) END ORDER BY id LIMIT $3),
ours AS MATERIALIZED (
    SELECT unnest(numbers) AS number FROM staff WHERE tenant_id = $1 AND NOT deleted
    UNION SELECT number FROM account WHERE tenant_id = $1 AND number IS NOT NULL),
people AS MATERIALIZED (
    SELECT id AS chat_id, contact_id FROM page WHERE kind = 'direct' AND contact_id IS NOT NULL
    UNION SELECT m.chat_id, m.contact_id FROM page JOIN chat_member m ON m.tenant_id = $1 AND m.chat_id = page.id
    WHERE page.kind = 'group' AND m.contact_id <> '00000000-0000-0000-0000-000000000000')
SELECT page.id, page.kind = 'direct' AS direct, count(c.id) AS people,
    count(c.id) FILTER (WHERE o.number IS NOT NULL) AS ours,
    count(c.id) FILTER (WHERE l.kind = 'customer') AS customers, count(c.id) FILTER (WHERE l.kind = 'lead') AS leads,
    count(c.id) FILTER (WHERE d.vendor) AS vendors,
    count(c.id) FILTER (WHERE d.personal AND o.number IS NULL) AS personal,
    max(said.role) AS said, max(said.decided_by) AS said_by
FROM page LEFT JOIN people p ON p.chat_id = page.id
LEFT JOIN contact c ON c.tenant_id = $1 AND c.id = p.contact_id
LEFT JOIN ours o ON o.number = c.number
LEFT JOIN contact_link l ON l.tenant_id = $1 AND l.contact_id = c.id AND l.state = 'linked'
LEFT JOIN LATERAL (SELECT bool_or(r.role = 'vendor') AS vendor, bool_or(r.role = 'personal') AS personal
    FROM chat h JOIN chat_role r ON r.tenant_id = $1 AND r.chat_id = h.id
    WHERE h.tenant_id = $1 AND h.contact_id = c.id AND h.kind = 'direct' AND r.by_person) d ON page.kind <> 'direct'
LEFT JOIN LATERAL (SELECT role, decided_by FROM role_decision r WHERE r.tenant_id = $1 AND r.chat_id = page.id
    ORDER BY number DESC LIMIT 1) said ON true
GROUP BY page.id, page.kind ORDER BY page.id

-- name: put_roles
-- What part chats play; untouched rows are not written.
INSERT INTO chat_role AS r (tenant_id, chat_id, role, by_person, reason, decided_at)
SELECT $1, w.chat_id, w.role, w.by_person, w.reason, $6
FROM unnest($2::uuid[], $3::text[], $4::boolean[], $5::text[]) AS w(chat_id, role, by_person, reason)
ON CONFLICT (tenant_id, chat_id) DO UPDATE SET role = excluded.role, by_person = excluded.by_person,
    reason = excluded.reason, decided_at = excluded.decided_at
WHERE (r.role, r.by_person, r.reason) IS DISTINCT FROM (excluded.role, excluded.by_person, excluded.reason)

-- name: add_role_decision
-- Note what a person said of a chat.
INSERT INTO role_decision (tenant_id, chat_id, decided_at, decided_by, role, why) VALUES ($1, $2, $3, $4, $5, $6)

-- name: find_contact
-- A contact, if it may be shown.
SELECT id, number, name FROM shown_contact WHERE tenant_id = $1 AND id = $2

-- name: find_chat
-- A chat, if it may be shown.
SELECT h.id FROM chat h WHERE h.tenant_id = $1 AND h.id = $2 AND NOT EXISTS (SELECT FROM erasure e
    WHERE e.tenant_id = h.tenant_id AND e.state IN ('locked', 'erasing') AND h.id = ANY (e.chat_ids))

-- name: list_links
-- A page of contacts that stand in some way.
SELECT l.contact_id, c.number, c.name, l.state, l.kind, l.party_id, l.by_person, l.confidence, l.evidence, l.decided_at
FROM contact_link l JOIN shown_contact c ON c.tenant_id = l.tenant_id AND c.id = l.contact_id
WHERE l.tenant_id = $1 AND l.state = ANY($2::text[]) AND l.contact_id > $3
    AND ($5::uuid IS NULL OR l.contact_id = $5) ORDER BY l.contact_id LIMIT $4

-- name: names_of_parties
-- How customers and leads are called.
SELECT p.kind, p.party_id, p.name, p.numbers FROM unnest($2::text[], $3::text[]) AS w(kind, party_id)
JOIN party p ON p.tenant_id = $1 AND p.kind = w.kind AND p.party_id = w.party_id WHERE NOT p.deleted

-- name: history_of_contact
-- Everything that was decided of a contact, the newest first.
SELECT decided_at, by_person, decided_by, action, parties, why FROM link_decision
WHERE tenant_id = $1 AND contact_id = $2 ORDER BY number DESC LIMIT 100

-- name: contacts_of_customer
-- People who are linked to a customer, and those with its numbers who are linked to nobody and were not refused.
SELECT c.id, c.number, c.name FROM shown_contact c
LEFT JOIN contact_link l ON l.tenant_id = c.tenant_id AND l.contact_id = c.id
WHERE c.tenant_id = $1 AND (c.id IN (SELECT contact_id FROM contact_link
        WHERE tenant_id = $1 AND kind = 'customer' AND party_id = $2)
    OR (c.number = ANY($3::text[]) AND l.party_id IS NULL AND NOT coalesce(l.evidence
        @> jsonb_build_array(jsonb_build_object('kind', 'customer', 'id', $2::text, 'refused', true)), false)))
ORDER BY c.name, c.id

-- name: role_of_chat
-- What part a chat plays, and to whom the person in it is linked.
SELECT coalesce(r.role, 'unknown') AS role, coalesce(r.by_person, false) AS role_by_person,
    coalesce(r.reason, 'not told yet') AS role_reason, l.kind AS linked_kind, l.party_id AS linked_id,
    p.name AS linked_name, l.by_person AS linked_by_person, l.confidence
FROM chat h LEFT JOIN chat_role r ON r.tenant_id = h.tenant_id AND r.chat_id = h.id
LEFT JOIN contact_link l ON l.tenant_id = h.tenant_id AND l.contact_id = h.contact_id AND l.state = 'linked'
LEFT JOIN party p ON p.tenant_id = h.tenant_id AND p.kind = l.kind AND p.party_id = l.party_id
WHERE h.tenant_id = $1 AND h.id = $2
