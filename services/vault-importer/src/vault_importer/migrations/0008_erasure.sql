-- Forgetting a person: requests and who approved them, what holds them off, what they reach, what came of them, and the
-- list that keeps the next backup from bringing the person back.
--
-- Nobody but the functions below deletes anything of the archive. They demand a request that two people approved, that
-- nothing holds off, and they only touch what the request reaches.

-- When a tenant erases: at once, or when everything is a year old for which the law wants logs to be kept a year.
CREATE TABLE erasure_policy (
    tenant_id uuid PRIMARY KEY,
    mode text NOT NULL CHECK (mode IN ('at_once', 'after_one_year')),
    set_by text NOT NULL,
    set_at timestamptz NOT NULL DEFAULT now()
);
SELECT protect('erasure_policy', 'SELECT, INSERT, UPDATE');

CREATE TABLE erasure (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    subject_id uuid NOT NULL,
    state text NOT NULL CHECK (
        state IN ('asked', 'approved', 'planned', 'locked', 'erasing', 'told', 'done', 'cancelled')),
    scope text NOT NULL CHECK (scope IN ('person', 'messages')),
    ground text NOT NULL CHECK (ground IN ('request', 'consent_withdrawn', 'purpose_ended', 'court_order')),
    asked_by text NOT NULL,
    asked_at timestamptz NOT NULL,
    why text NOT NULL DEFAULT '',
    -- Who it is. Emptied once everybody has forgotten.
    numbers text[] NOT NULL DEFAULT '{}',
    emails text[] NOT NULL DEFAULT '{}',
    addresses text[] NOT NULL DEFAULT '{}',
    customer_ids text[] NOT NULL DEFAULT '{}',
    lead_ids text[] NOT NULL DEFAULT '{}',
    -- The archive's ids of the person and of the conversations with nobody else: opaque, and nothing without the rows.
    contact_ids uuid[] NOT NULL DEFAULT '{}',
    chat_ids uuid[] NOT NULL DEFAULT '{}',
    plan jsonb,
    plan_hash text NOT NULL DEFAULT '',
    mode text CHECK (mode IN ('at_once', 'after_one_year')),
    due_at timestamptz,
    effective_at timestamptz,
    -- What was erased so far, by table; how many parts the others were told in.
    counts jsonb NOT NULL DEFAULT '{}',
    parts integer NOT NULL DEFAULT 0,
    ended_at timestamptz,
    certificate text,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX erasure_open ON erasure (state) WHERE state IN ('locked', 'erasing', 'told');
SELECT protect('erasure', 'SELECT, INSERT, UPDATE');
-- Which are open and due is looked for over all tenants; who they are about is not seen.
SELECT open_to_system('erasure', 'SELECT (tenant_id, id, state, due_at)');

CREATE TABLE erasure_approval (
    tenant_id uuid NOT NULL,
    erasure_id uuid NOT NULL,
    approver text NOT NULL CHECK (approver <> ''),
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, erasure_id, approver),
    FOREIGN KEY (tenant_id, erasure_id) REFERENCES erasure (tenant_id, id)
);
SELECT protect('erasure_approval', 'SELECT, INSERT');

-- What has to stay for a claim or a court: of one person, of one conversation, or everything.
CREATE TABLE legal_hold (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    number text,
    chat_id uuid,
    reason text NOT NULL CHECK (reason <> ''),
    placed_by text NOT NULL,
    placed_at timestamptz NOT NULL,
    released_by text,
    released_at timestamptz,
    released_why text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, id),
    CHECK (number IS NULL OR chat_id IS NULL)
);
SELECT protect('legal_hold', 'SELECT, INSERT, UPDATE');

-- The messages that an erasure reaches, until they are gone. Hidden ones are shown to nobody.
CREATE TABLE erasure_message (
    tenant_id uuid NOT NULL,
    message_id uuid NOT NULL,
    erasure_id uuid NOT NULL,
    -- conversation: with nobody but the person; author: written in a group; copy: a card or a notice that names them.
    reach text NOT NULL CHECK (reach IN ('conversation', 'author', 'copy')),
    hidden boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant_id, message_id, erasure_id)
);
CREATE INDEX erasure_message_of ON erasure_message (tenant_id, erasure_id);
SELECT protect('erasure_message', 'SELECT');

-- People as they are shown: not those who wait for their day or are just being erased.
CREATE VIEW shown_contact WITH (security_invoker = true) AS
SELECT * FROM contact c WHERE NOT EXISTS (SELECT FROM erasure e
    WHERE e.tenant_id = c.tenant_id AND e.state IN ('locked', 'erasing') AND c.id = ANY (e.contact_ids));
GRANT SELECT ON shown_contact TO vault_importer_app, vault_importer_ro;

-- Words of erased messages, until it is known which of them nobody else has written.
CREATE TABLE erasure_word (
    tenant_id uuid NOT NULL,
    erasure_id uuid NOT NULL,
    word text NOT NULL,
    PRIMARY KEY (tenant_id, erasure_id, word)
);
SELECT protect('erasure_word', 'SELECT');

-- Files of the media store that nobody refers to any more, until they are gone from the disk.
CREATE TABLE erased_media (
    tenant_id uuid NOT NULL,
    sha256 bytea NOT NULL,
    PRIMARY KEY (tenant_id, sha256)
);
SELECT protect('erased_media', 'SELECT, DELETE');

CREATE TABLE erasure_receipt (
    tenant_id uuid NOT NULL,
    erasure_id uuid NOT NULL,
    part integer NOT NULL,
    service text NOT NULL,
    erased jsonb NOT NULL,
    kept jsonb NOT NULL,
    forgotten_at timestamptz NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, erasure_id, part, service),
    FOREIGN KEY (tenant_id, erasure_id) REFERENCES erasure (tenant_id, id)
);
SELECT protect('erasure_receipt', 'SELECT, INSERT');

-- Who must not come back out of a backup: HMAC-SHA256 of an address, under a key that is not in Postgres.
CREATE TABLE suppressed (
    tenant_id uuid NOT NULL,
    tag bytea NOT NULL CHECK (length(tag) = 32),
    erasure_id uuid NOT NULL,
    -- What is older stays out for good. What is newer stays out too, until somebody lifts that.
    until timestamptz NOT NULL,
    lifted_by text,
    lifted_at timestamptz,
    PRIMARY KEY (tenant_id, tag)
);
SELECT protect('suppressed', 'SELECT, INSERT, UPDATE');

-- The owner, in whose name the functions act, reaches rows of the tenant at hand.
DO $$
DECLARE
    target text;
BEGIN
    FOREACH target IN ARRAY ARRAY['erasure', 'erasure_approval', 'legal_hold', 'erasure_message', 'erasure_word',
        'erased_media', 'message', 'message_revision', 'message_alias', 'message_media', 'message_quote',
        'message_mention', 'message_add_on', 'message_reaction', 'message_poll_option', 'message_poll_vote',
        'message_receipt', 'message_detail', 'message_call', 'message_media_file', 'media_file', 'message_search',
        'search_word', 'call_log', 'call_participant', 'chat_member', 'chat_past_member', 'chat_detail',
        'account_detail', 'contact', 'jid_alias', 'chat', 'ledger_batch', 'ledger_opening'] LOOP
        EXECUTE format('CREATE POLICY eraser ON %I TO %I USING (tenant_id = current_setting(''app.tenant'')::uuid)',
            target, current_schema() || '_owner');
    END LOOP;
END
$$;

-- What opens a commitment is destroyed by the function only.
REVOKE UPDATE, DELETE ON ledger_opening FROM vault_importer_app;

-- The request, if it may erase; else the reason why not.
CREATE FUNCTION erasure_at_work(wanted uuid) RETURNS erasure LANGUAGE plpgsql STABLE AS $$
DECLARE
    found erasure;
BEGIN
    SELECT * INTO found FROM erasure WHERE tenant_id = current_setting('app.tenant')::uuid AND id = wanted;
    IF found.state IS DISTINCT FROM 'erasing' THEN
        RAISE EXCEPTION 'no erasure % is at work', wanted USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF (SELECT count(*) FROM erasure_approval a WHERE a.tenant_id = found.tenant_id AND a.erasure_id = wanted) < 2 THEN
        RAISE EXCEPTION 'erasure % has no two approvals', wanted USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF EXISTS (SELECT FROM legal_hold h WHERE h.tenant_id = found.tenant_id AND h.released_at IS NULL AND (
            (h.number IS NULL AND h.chat_id IS NULL) OR h.number = ANY (found.numbers)
            OR h.chat_id = ANY (found.chat_ids) OR EXISTS (
                SELECT FROM erasure_message e JOIN message m ON m.tenant_id = e.tenant_id AND m.id = e.message_id
                WHERE e.tenant_id = found.tenant_id AND e.erasure_id = wanted AND m.chat_id = h.chat_id))) THEN
        RAISE EXCEPTION 'a legal hold is on what erasure % reaches', wanted USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN found;
END
$$;

-- Rows leave through the functions only, which say which erasure it is for.
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = vault_importer, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' AND TG_LEVEL = 'ROW' AND current_user = TG_TABLE_SCHEMA || '_owner'
            AND TG_TABLE_NAME IN ('message', 'message_revision', 'message_reaction', 'message_poll_vote') THEN
        IF EXISTS (SELECT FROM erasure e WHERE e.tenant_id = OLD.tenant_id AND e.state = 'erasing'
                AND e.id::text = current_setting('app.erasing', true)) THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;

-- What a message said stands: another wording is a later revision, and the earlier one has been put aside before.
CREATE FUNCTION refuse_rewording() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a wording is never changed: write the next revision' USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER message_rows BEFORE DELETE ON message FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER message_table BEFORE TRUNCATE ON message FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER message_wording BEFORE UPDATE ON message FOR EACH ROW
    WHEN ((OLD.text, OLD.kind, OLD.raw_kind, OLD.revoked, OLD.sent_at, OLD.chat_id, OLD.from_me, OLD.details)
            IS DISTINCT FROM
        (NEW.text, NEW.kind, NEW.raw_kind, NEW.revoked, NEW.sent_at, NEW.chat_id, NEW.from_me, NEW.details)
        AND NEW.revision <= OLD.revision)
    EXECUTE FUNCTION refuse_rewording();

-- The digits by which texts of the archive name a person, as a pattern for whole numbers; null when there are none.
CREATE FUNCTION naming_pattern(who erasure) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    WITH whole AS (
        SELECT substring(n FROM 2) AS digits FROM unnest(who.numbers) n
        UNION SELECT split_part(a, '@', 1) FROM unnest(who.addresses) a WHERE split_part(a, '@', 1) ~ '^[0-9]+$'
    )
    -- At home nobody writes the country's code.
    SELECT '(^|[^0-9])(' || string_agg(DISTINCT d, '|') || ')([^0-9]|$)' FROM (
        SELECT digits AS d FROM whole UNION SELECT substring(digits FROM 3) FROM whole WHERE digits ~ '^91[0-9]{10}$'
    ) written
$$;

-- Note which messages a request reaches, those too that have come since the last time; how many were new.
CREATE FUNCTION choose_messages(wanted uuid) RETURNS bigint
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
            AND (m.text ~ pattern OR m.details::text ~ pattern)))
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

-- Of a request that was given up: nothing is reached or hidden any more.
CREATE FUNCTION release_messages(wanted uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault_importer, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM erasure WHERE tenant_id = current_setting('app.tenant')::uuid AND id = wanted
            AND state = 'cancelled') THEN
        RAISE EXCEPTION 'erasure % was not cancelled', wanted USING ERRCODE = 'insufficient_privilege';
    END IF;
    DELETE FROM erasure_message WHERE tenant_id = current_setting('app.tenant')::uuid AND erasure_id = wanted;
    DELETE FROM erasure_word WHERE tenant_id = current_setting('app.tenant')::uuid AND erasure_id = wanted;
END
$$;

-- Whether a leaf is about what the request reaches: a message, its file, what the person made of others' messages, or
-- which identities are theirs. A pair of identities has its number where others have an id.
CREATE FUNCTION is_reached(who erasure, kind text, id uuid, revision integer) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN kind IN ('message', 'media', 'reaction', 'vote') AND EXISTS (SELECT FROM erasure_message e
            WHERE e.tenant_id = who.tenant_id AND e.erasure_id = who.id AND e.message_id = is_reached.id) THEN true
        WHEN kind = 'reaction' THEN EXISTS (SELECT FROM message_reaction r WHERE r.tenant_id = who.tenant_id
            AND r.message_id = is_reached.id AND r.number = revision AND r.contact_id = ANY (who.contact_ids))
        WHEN kind = 'vote' THEN EXISTS (SELECT FROM message_poll_vote v WHERE v.tenant_id = who.tenant_id
            AND v.message_id = is_reached.id AND v.number = revision AND v.contact_id = ANY (who.contact_ids))
        WHEN kind = 'identity' THEN EXISTS (SELECT FROM jid_alias a WHERE a.tenant_id = who.tenant_id
            AND a.number = ('x' || right(is_reached.id::text, 8))::bit(32)::integer
            AND (a.jid = ANY (who.addresses) OR a.lid = ANY (who.addresses)))
        ELSE false END
$$;

-- Destroy what opens some leaves: of what the request reaches, and of nothing else.
CREATE FUNCTION destroy_openings(wanted uuid, leaves bigint[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault_importer, pg_temp AS $$
DECLARE
    who erasure := erasure_at_work(wanted);
    pack record;
    leaf bigint;
    packed bytea;
    destroyed bigint := 0;
BEGIN
    FOR pack IN
        SELECT b.first_leaf, b.kind, b.ids, b.revisions, array_agg(l.leaf) AS wanted_leaves FROM unnest(leaves) l (leaf)
        CROSS JOIN LATERAL (SELECT first_leaf FROM ledger_batch WHERE tenant_id = who.tenant_id AND first_leaf <= l.leaf
            ORDER BY first_leaf DESC LIMIT 1) f
        JOIN ledger_batch b ON b.tenant_id = who.tenant_id AND b.first_leaf = f.first_leaf
        GROUP BY b.first_leaf, b.kind, b.ids, b.revisions ORDER BY b.first_leaf
    LOOP
        IF EXISTS (SELECT FROM unnest(pack.wanted_leaves) l (leaf), LATERAL (SELECT (l.leaf - pack.first_leaf)::integer
                ) at (place) WHERE NOT is_reached(who, pack.kind,
                    encode(substring(pack.ids FROM place * 16 + 1 FOR 16), 'hex')::uuid,
                    ('x' || encode(substring(pack.revisions FROM place * 4 + 1 FOR 4), 'hex'))::bit(32)::integer)) THEN
            RAISE EXCEPTION 'erasure % does not reach this leaf', wanted USING ERRCODE = 'insufficient_privilege';
        END IF;
        SELECT openings INTO packed FROM ledger_opening
            WHERE tenant_id = who.tenant_id AND first_leaf = pack.first_leaf FOR UPDATE;
        CONTINUE WHEN packed IS NULL;
        FOREACH leaf IN ARRAY pack.wanted_leaves LOOP
            packed := overlay(packed PLACING decode(repeat('00', 32), 'hex')
                FROM (leaf - pack.first_leaf)::integer * 32 + 1 FOR 32);
        END LOOP;
        UPDATE ledger_opening SET openings = packed WHERE tenant_id = who.tenant_id AND first_leaf = pack.first_leaf;
        destroyed := destroyed + cardinality(pack.wanted_leaves);
    END LOOP;
    RETURN destroyed;
END
$$;

-- Erase some of the messages that a request reaches, with everything that stands beside them; how many rows of what.
CREATE FUNCTION erase_messages(wanted uuid, ids uuid[]) RETURNS TABLE (store text, rows bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault_importer, pg_temp AS $$
DECLARE
    who erasure := erasure_at_work(wanted);
    files bytea[];
    target text;
BEGIN
    IF EXISTS (SELECT FROM unnest(ids) i (id) WHERE NOT EXISTS (SELECT FROM erasure_message e
            WHERE e.tenant_id = who.tenant_id AND e.message_id = i.id AND e.erasure_id = wanted)) THEN
        RAISE EXCEPTION 'erasure % does not reach these messages', wanted USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM set_config('app.erasing', wanted::text, true);
    INSERT INTO erasure_word SELECT DISTINCT who.tenant_id, wanted, w FROM message_search s
        CROSS JOIN unnest(tsvector_to_array(s.words)) w
        WHERE s.tenant_id = who.tenant_id AND s.message_id = ANY (ids) ON CONFLICT DO NOTHING;
    SELECT array_agg(DISTINCT sha256) INTO files FROM message_media_file f
        WHERE f.tenant_id = who.tenant_id AND f.message_id = ANY (ids);
    FOREACH target IN ARRAY ARRAY['message_media_file', 'message_media', 'message_quote', 'message_mention',
        'message_add_on', 'message_reaction', 'message_poll_option', 'message_poll_vote', 'message_receipt',
        'message_detail', 'message_call', 'message_alias', 'message_search', 'message_revision', 'message'] LOOP
        EXECUTE format('DELETE FROM %I WHERE tenant_id = $1 AND %I = ANY ($2)', target,
            CASE target WHEN 'message' THEN 'id' ELSE 'message_id' END) USING who.tenant_id, ids;
        GET DIAGNOSTICS rows = ROW_COUNT;
        store := target;
        RETURN NEXT;
    END LOOP;
    -- What others answered to them quotes them.
    UPDATE message_quote SET text = '', quoted_contact_id = NULL, quoted_key_id = '', quoted_message_id = NULL
        WHERE tenant_id = who.tenant_id AND quoted_message_id = ANY (ids);
    GET DIAGNOSTICS rows = ROW_COUNT;
    store := 'message_quote of others';
    RETURN NEXT;
    WITH gone AS (
        DELETE FROM media_file f WHERE f.tenant_id = who.tenant_id AND f.sha256 = ANY (files)
            AND NOT EXISTS (SELECT FROM message_media_file m WHERE m.tenant_id = f.tenant_id AND m.sha256 = f.sha256)
        RETURNING f.sha256)
    INSERT INTO erased_media SELECT who.tenant_id, sha256 FROM gone ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS rows = ROW_COUNT;
    store := 'media_file';
    RETURN NEXT;
    DELETE FROM erasure_message WHERE tenant_id = who.tenant_id AND erasure_id = wanted AND message_id = ANY (ids);
    PERFORM set_config('app.erasing', '', true);
END
$$;

-- Erase what names the person in one of the tables beside other people's messages; how many rows.
CREATE FUNCTION erase_beside(wanted uuid, target text) RETURNS bigint
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
        DELETE FROM message_detail WHERE tenant_id = who.tenant_id AND columns::text ~ pattern;
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

DO $$
DECLARE
    function text;
BEGIN
    FOREACH function IN ARRAY ARRAY['choose_messages', 'release_messages', 'destroy_openings', 'erase_messages',
        'erase_beside'] LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %I FROM PUBLIC', function);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %I TO %I', function, current_schema() || '_app');
    END LOOP;
END
$$;
