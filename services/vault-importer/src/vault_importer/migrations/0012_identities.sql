-- How much a source of identities is trusted, from 0 to 100: WhatsApp's own list of pairs, what it says of a chat, and
-- what follows from a message. One place for whoever chooses between two, and for whoever shows why.

CREATE FUNCTION identity_confidence(source text) RETURNS smallint IMMUTABLE PARALLEL SAFE LANGUAGE sql AS $$
    SELECT CASE source WHEN 'jid_map' THEN 100 WHEN 'chat' THEN 90 WHEN 'history_sync' THEN 85
        WHEN 'number_change' THEN 80
        WHEN 'receipt' THEN 60 WHEN 'vcard' THEN 40 ELSE 50 END::smallint
$$;

-- A pair is kept once for each source that says so: a better one that confirms it later counts.
ALTER TABLE jid_alias DROP CONSTRAINT jid_alias_pkey, ADD PRIMARY KEY (tenant_id, lid, jid, source);
CREATE INDEX jid_alias_jid ON jid_alias (tenant_id, jid);

-- Whether a pair is the one that counts, of all that are told of a hidden identity.
CREATE FUNCTION identity_counts(pair jid_alias) RETURNS boolean STABLE PARALLEL SAFE LANGUAGE sql AS $$
    SELECT pair.jid = (SELECT b.jid FROM jid_alias b WHERE b.tenant_id = pair.tenant_id AND b.lid = pair.lid
        ORDER BY identity_confidence(b.source) DESC, b.first_seen_at, b.jid LIMIT 1)
$$;

-- A direct chat, and the other one that is with the same person under the other identity: each has messages of its own
-- from before that was known, and they are read as one. Nothing of what is being erased.
CREATE FUNCTION same_chats(tenant uuid, chat uuid) RETURNS SETOF uuid STABLE PARALLEL SAFE ROWS 1 LANGUAGE sql AS $$
    SELECT h.id FROM chat h WHERE h.tenant_id = tenant AND h.id = chat
    UNION
    SELECT o.id FROM chat h
    JOIN jid_alias a ON a.tenant_id = tenant AND (a.jid = h.jid OR a.lid = h.jid)
    JOIN chat o ON o.tenant_id = tenant AND o.account_id = h.account_id AND o.jid IN (a.jid, a.lid)
    WHERE h.tenant_id = tenant AND h.id = chat AND h.kind = 'direct' AND identity_counts(a) AND NOT EXISTS (SELECT FROM erasure e
        WHERE e.tenant_id = tenant AND e.state IN ('locked', 'erasing') AND o.id = ANY (e.chat_ids))
$$;

-- Files are also found by the hash that the phone tells.
CREATE INDEX message_media_file_hash ON message_media_file (tenant_id, file_hash) WHERE hash_agrees;
