-- How much a source of identities is trusted, from 0 to 100: WhatsApp's own list of pairs, what it says of a chat, and
-- what follows from a message. One place for whoever chooses between two, and for whoever shows why.

CREATE FUNCTION identity_confidence(source text) RETURNS smallint IMMUTABLE PARALLEL SAFE LANGUAGE sql AS $$
    SELECT CASE source WHEN 'jid_map' THEN 100 WHEN 'chat' THEN 90 WHEN 'number_change' THEN 80
        WHEN 'receipt' THEN 60 WHEN 'vcard' THEN 40 ELSE 50 END::smallint
$$;

-- Files are also found by the hash that the phone tells.
CREATE INDEX message_media_file_hash ON message_media_file (tenant_id, file_hash) WHERE hash_agrees;
