-- Copies of an erased person that stayed: what others quoted of them beyond the words, cards that name them in the card
-- itself only, and numbers that are written in groups.

-- The digits by which texts of the archive name a person, as a pattern for whole numbers, also where they are written in
-- groups; null when there are none. Between the groups 1 and 3 stands what names them.
CREATE OR REPLACE FUNCTION naming_pattern(who erasure) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    WITH whole AS (
        SELECT substring(n FROM 2) AS digits FROM unnest(who.numbers) n
        UNION SELECT split_part(a, '@', 1) FROM unnest(who.addresses) a WHERE split_part(a, '@', 1) ~ '^[0-9]+$'
    )
    -- At home nobody writes the country's code.
    SELECT '(^|[^0-9])(' || string_agg(DISTINCT array_to_string(string_to_array(d, NULL),
        '[ ().\u00A0\u2009\u2011\u202F-]*'), '|') || ')([^0-9]|$)' FROM (
        SELECT digits AS d FROM whole UNION SELECT substring(digits FROM 3) FROM whole WHERE digits ~ '^91[0-9]{10}$'
    ) written
$$;

-- Whether an answer quotes somebody who was erased, whom it does not name any more.
CREATE FUNCTION quotes_nobody(tenant uuid, answer uuid) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM message_quote q WHERE q.tenant_id = tenant AND q.message_id = answer
        AND q.quoted_key_id = '' AND q.text = '' AND q.quoted_contact_id IS NULL)
$$;

-- Note which messages a request reaches, those too that have come since the last time; how many were new.
CREATE OR REPLACE FUNCTION choose_messages(wanted uuid) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault_importer, pg_temp AS $$
DECLARE
    who erasure;
    pattern text;
    chosen bigint;
BEGIN
    SELECT * INTO who FROM erasure WHERE tenant_id = current_setting('app.tenant')::uuid AND id = wanted;
    IF who.state IS NULL OR who.state NOT IN ('asked', 'approved', 'planned', 'locked', 'erasing') THEN
        RAISE EXCEPTION 'no erasure % is open', wanted USING ERRCODE = 'insufficient_privilege';
    END IF;
    pattern := naming_pattern(who);
    INSERT INTO erasure_message (tenant_id, message_id, erasure_id, reach, hidden)
    SELECT who.tenant_id, m.id, wanted, CASE WHEN m.chat_id = ANY (who.chat_ids) THEN 'conversation'
        WHEN m.sender_id = ANY (who.contact_ids) THEN 'author' ELSE 'copy' END, who.state IN ('locked', 'erasing')
    FROM message m
    WHERE m.tenant_id = who.tenant_id AND (m.chat_id = ANY (who.chat_ids) OR m.sender_id = ANY (who.contact_ids)
        OR (m.kind IN ('contact', 'contacts', 'system', 'call', 'missed_call')
            AND (m.text ~ pattern OR m.details::text ~ pattern
                OR EXISTS (SELECT FROM message_detail d WHERE d.tenant_id = m.tenant_id AND d.message_id = m.id
                    AND d.columns::text ~ pattern))))
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS chosen = ROW_COUNT;
    IF who.state IN ('locked', 'erasing') THEN
        UPDATE erasure_message SET hidden = true
            WHERE tenant_id = who.tenant_id AND erasure_id = wanted AND NOT hidden;
        -- What is hidden is not found either.
        INSERT INTO erasure_word SELECT DISTINCT who.tenant_id, wanted, w FROM message_search s
            JOIN erasure_message e ON e.tenant_id = s.tenant_id AND e.message_id = s.message_id
            CROSS JOIN unnest(tsvector_to_array(s.words)) w
            WHERE s.tenant_id = who.tenant_id AND e.erasure_id = wanted ON CONFLICT DO NOTHING;
        DELETE FROM message_search s USING erasure_message e
            WHERE s.tenant_id = who.tenant_id AND e.tenant_id = s.tenant_id AND e.message_id = s.message_id
                AND e.erasure_id = wanted;
    END IF;
    RETURN chosen;
END
$$;

-- Erase what names the person in one of the tables beside other people's messages; how many rows.
CREATE OR REPLACE FUNCTION erase_beside(wanted uuid, target text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault_importer, pg_temp AS $$
DECLARE
    who erasure := erasure_at_work(wanted);
    pattern text := naming_pattern(who);
    -- Digits in the place of digits: in JSON they may be a number.
    mark CONSTANT text := '\10\3';
    words text[];
    rows bigint;
BEGIN
    PERFORM set_config('app.erasing', wanted::text, true);
    CASE target
    WHEN 'message_add_on', 'message_reaction', 'message_poll_vote', 'message_receipt', 'call_participant',
            'chat_member', 'chat_past_member' THEN
        EXECUTE format('DELETE FROM %I WHERE tenant_id = $1 AND contact_id = ANY ($2)', target)
            USING who.tenant_id, who.contact_ids;
    WHEN 'message_mention' THEN
        DELETE FROM message_mention WHERE tenant_id = who.tenant_id
            AND (mentioned_contact_id = ANY (who.contact_ids) OR address = ANY (who.addresses));
    WHEN 'message_quote' THEN
        UPDATE message_quote SET text = '', quoted_contact_id = NULL, quoted_key_id = '', quoted_message_id = NULL
            WHERE tenant_id = who.tenant_id
                AND (quoted_contact_id = ANY (who.contact_ids) OR quoted_chat_id = ANY (who.chat_ids));
    WHEN 'call_log' THEN
        DELETE FROM call_participant p USING call_log c WHERE c.tenant_id = who.tenant_id
            AND c.caller_or_called_id = ANY (who.contact_ids) AND p.tenant_id = c.tenant_id AND p.call_id = c.call_id;
        DELETE FROM message_call p USING call_log c WHERE c.tenant_id = who.tenant_id
            AND c.caller_or_called_id = ANY (who.contact_ids) AND p.tenant_id = c.tenant_id AND p.call_id = c.call_id;
        DELETE FROM call_log WHERE tenant_id = who.tenant_id AND caller_or_called_id = ANY (who.contact_ids);
    WHEN 'message_detail' THEN
        DELETE FROM message_detail d WHERE d.tenant_id = who.tenant_id AND (d.columns::text ~ pattern
            OR starts_with(d.source, 'message_quoted') AND quotes_nobody(d.tenant_id, d.message_id));
    WHEN 'chat_detail', 'account_detail' THEN
        -- What a group or the account is like: only the person's digits in it are theirs.
        EXECUTE format('UPDATE %I SET columns = regexp_replace(regexp_replace(columns::text, $2, $3, ''g''), $2, $3,
            ''g'')::jsonb WHERE tenant_id = $1 AND columns::text ~ $2', target) USING who.tenant_id, pattern, mark;
    WHEN 'search_word' THEN
        -- A few hundred at a time: a word that many have written takes a while to be found.
        SELECT array_agg(word) INTO words FROM (SELECT word FROM erasure_word
            WHERE tenant_id = who.tenant_id AND erasure_id = wanted ORDER BY word LIMIT 300) w;
        DELETE FROM erasure_word
            WHERE tenant_id = who.tenant_id AND erasure_id = wanted AND word = ANY (words);
        DELETE FROM search_word w WHERE w.tenant_id = who.tenant_id AND w.word = ANY (words)
            AND NOT EXISTS (SELECT FROM message_search s
                WHERE s.tenant_id = w.tenant_id AND s.words @@ quote_literal(w.word)::tsquery);
    WHEN 'chat' THEN
        DELETE FROM chat_detail WHERE tenant_id = who.tenant_id AND chat_id = ANY (who.chat_ids);
        DELETE FROM chat WHERE tenant_id = who.tenant_id AND id = ANY (who.chat_ids);
    WHEN 'jid_alias' THEN
        DELETE FROM jid_alias WHERE tenant_id = who.tenant_id
            AND (jid = ANY (who.addresses) OR lid = ANY (who.addresses));
    WHEN 'contact' THEN
        DELETE FROM contact WHERE tenant_id = who.tenant_id AND id = ANY (who.contact_ids);
    ELSE
        RAISE EXCEPTION 'nothing is erased in %', target USING ERRCODE = 'insufficient_privilege';
    END CASE;
    GET DIAGNOSTICS rows = ROW_COUNT;
    PERFORM set_config('app.erasing', '', true);
    RETURN rows;
END
$$;

-- The next backup brings what was quoted again, in a table of its own: before or after the quote that says whose it was,
-- perhaps at the same time. Where nobody was erased it is taken as it comes.
CREATE FUNCTION keep_quoted_out() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault_importer, pg_temp AS $$
BEGIN
    IF coalesce(current_setting('app.erasing', true), '') <> ''
            OR NOT EXISTS (SELECT FROM suppressed WHERE tenant_id = NEW.tenant_id) THEN
        RETURN NEW;
    END IF;
    -- Whichever comes second sees the other.
    PERFORM pg_advisory_xact_lock(hashtext('quoted'), hashtext(NEW.tenant_id::text));
    IF TG_TABLE_NAME = 'message_detail' THEN
        RETURN CASE WHEN quotes_nobody(NEW.tenant_id, NEW.message_id) THEN NULL ELSE NEW END;
    END IF;
    DELETE FROM message_detail WHERE tenant_id = NEW.tenant_id AND message_id = NEW.message_id
        AND starts_with(source, 'message_quoted');
    RETURN NULL;
END
$$;
CREATE TRIGGER message_detail_quoted BEFORE INSERT ON message_detail FOR EACH ROW
    WHEN (starts_with(NEW.source, 'message_quoted')) EXECUTE FUNCTION keep_quoted_out();
CREATE TRIGGER message_quote_emptied AFTER INSERT OR UPDATE ON message_quote FOR EACH ROW
    WHEN (NEW.quoted_key_id = '' AND NEW.text = '' AND NEW.quoted_contact_id IS NULL)
    EXECUTE FUNCTION keep_quoted_out();
DO $$
BEGIN
    EXECUTE format('CREATE POLICY eraser ON suppressed FOR SELECT TO %I '
        || 'USING (tenant_id = current_setting(''app.tenant'')::uuid)', current_schema() || '_owner');
END
$$;

-- Whom a hold was on, and what for, is forgotten with the person once it was released.
ALTER TABLE legal_hold DROP CONSTRAINT legal_hold_reason_check;
ALTER TABLE legal_hold ADD CONSTRAINT legal_hold_reason_check CHECK (reason <> '' OR released_at IS NOT NULL);
