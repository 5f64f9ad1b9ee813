-- What finds messages by their words: derived from `message` and `message_revision`, rebuilt by forgetting
-- `search_progress`.
--
-- Row-level security is a barrier: a condition that is not leakproof (`@@`, LIKE) must not use an index before the
-- tenant was checked. Indexes are therefore used by functions of the owner, who may read these two tables as a whole
-- and compares the tenant itself, with a condition that no caller can leave out.

-- The words of a message in all its wordings, and what a search can be narrowed by.
CREATE TABLE message_search (
    tenant_id uuid NOT NULL,
    message_id uuid NOT NULL,
    sent_at timestamptz NOT NULL,
    account_id uuid NOT NULL,
    chat_id uuid NOT NULL,
    -- Who wrote it, or to whom in a direct chat.
    contact_id uuid,
    from_me boolean NOT NULL,
    kind text NOT NULL,
    words tsvector NOT NULL,
    PRIMARY KEY (tenant_id, message_id)
);
CREATE INDEX message_search_newest ON message_search (tenant_id, sent_at, message_id);
CREATE INDEX message_search_chat ON message_search (tenant_id, chat_id, sent_at, message_id);
CREATE INDEX message_search_words ON message_search USING gin (tenant_id public.uuid_ops, words)
    WITH (gin_pending_list_limit = 512);
SELECT protect('message_search');

-- Every word that occurs, and how it sounds in Latin letters: what part of a word, or another spelling, stands for.
CREATE TABLE search_word (
    tenant_id uuid NOT NULL,
    word text NOT NULL,
    sound text NOT NULL,
    PRIMARY KEY (tenant_id, word)
);
CREATE INDEX search_word_parts ON search_word
    USING gin (tenant_id public.uuid_ops, word public.gin_trgm_ops, sound public.gin_trgm_ops);
SELECT protect('search_word');

-- How far a tenant's ledger is indexed: everything before this leaf.
CREATE TABLE search_progress (
    tenant_id uuid PRIMARY KEY,
    next_leaf bigint NOT NULL
);
SELECT protect('search_progress');

DO $$
BEGIN
    EXECUTE format('CREATE POLICY finder ON message_search FOR SELECT TO %I USING (true)', current_schema() || '_owner');
    EXECUTE format('CREATE POLICY finder ON search_word FOR SELECT TO %I USING (true)', current_schema() || '_owner');
END
$$;

-- Words with `part` inside them, the shortest first.
CREATE FUNCTION search_parts(part text, wanted integer) RETURNS TABLE (word text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = vault_importer, pg_temp AS $$
    SELECT w.word FROM search_word w
    WHERE w.tenant_id = current_setting('app.tenant')::uuid AND w.word LIKE '%' || part || '%'
    ORDER BY length(w.word), w.word LIMIT wanted
$$;

-- Words that sound like something, the most alike first.
CREATE FUNCTION search_alike(like_sound text, at_least real, wanted integer) RETURNS TABLE (word text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = vault_importer, pg_temp AS $$
    SELECT w.word FROM search_word w
    WHERE w.tenant_id = current_setting('app.tenant')::uuid AND w.sound OPERATOR(public.%) like_sound
        AND public.similarity(w.sound, like_sound) >= at_least
    ORDER BY public.similarity(w.sound, like_sound) DESC, w.word LIMIT wanted
$$;

-- Messages with some words that come after a place in the order of an answer. Newest first it looks at the newest
-- few thousand one by one, where frequent words fill a page, and then by the index, where rare ones do not cost much. By rank it ranks the newest `ranked` that have the words.
CREATE FUNCTION search_messages(
    wanted_words tsquery, of_account uuid, of_chat uuid, of_contact uuid, since timestamptz, until timestamptz,
    of_kinds text[], of_direction boolean, after_rank real, after_at timestamptz, after_id uuid, ranked integer,
    wanted integer
) RETURNS TABLE (message_id uuid, sent_at timestamptz, rank real)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = vault_importer, pg_temp AS $$
DECLARE
    tenant CONSTANT uuid := current_setting('app.tenant')::uuid;
    walked CONSTANT integer := 4000;
    place text := 's.tenant_id = $1 AND (s.sent_at, s.message_id) < ($3, $4)';
    rest text := 's.words @@ $2';
    step text;
    newest_at timestamptz;
    floor_at timestamptz := after_at;
    floor_id uuid := after_id;
    width interval;
    oldest timestamptz;
    found integer := 0;
    more integer;
BEGIN
    place := place || CASE WHEN of_chat IS NULL THEN '' ELSE ' AND s.chat_id = $5' END
        || CASE WHEN until IS NULL THEN '' ELSE ' AND s.sent_at < $6' END;
    rest := rest || CASE WHEN of_account IS NULL THEN '' ELSE ' AND s.account_id = $7' END
        || CASE WHEN of_contact IS NULL THEN '' ELSE ' AND s.contact_id = $8' END
        || CASE WHEN of_kinds IS NULL THEN '' ELSE ' AND s.kind = ANY($9)' END
        || CASE WHEN of_direction IS NULL THEN '' ELSE ' AND s.from_me = $10' END;
    IF ranked > 0 THEN
        RETURN QUERY EXECUTE 'WITH hit AS MATERIALIZED (SELECT s.message_id, s.sent_at, s.words FROM message_search s '
            || 'WHERE s.sent_at >= $11 AND ' || place || ' AND ' || rest || '), newest AS (SELECT * FROM hit '
            || 'ORDER BY sent_at DESC, message_id DESC LIMIT $12), weighed AS (SELECT n.message_id, n.sent_at, '
            || 'ts_rank_cd(n.words, $2, 1) AS rank FROM newest n) SELECT w.message_id, w.sent_at, w.rank FROM weighed w '
            || 'WHERE (w.rank, w.sent_at, w.message_id) < ($13, $14, $15) '
            || 'ORDER BY w.rank DESC, w.sent_at DESC, w.message_id DESC LIMIT $16'
            USING tenant, wanted_words, 'infinity'::timestamptz, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid, of_chat,
                until, of_account, of_contact, of_kinds, of_direction, coalesce(since, '-infinity'), ranked,
                after_rank, after_at, after_id, wanted;
        RETURN;
    END IF;

    step := 'FROM (SELECT * FROM message_search s WHERE s.sent_at >= $11 AND ' || place
        || ' ORDER BY s.sent_at DESC, s.message_id DESC LIMIT ' || walked || ') s';
    RETURN QUERY EXECUTE 'SELECT s.message_id, s.sent_at, 0::real ' || step || ' WHERE ' || rest
        || ' ORDER BY s.sent_at DESC, s.message_id DESC LIMIT $12'
        USING tenant, wanted_words, after_at, after_id, of_chat, until, of_account, of_contact, of_kinds, of_direction,
            coalesce(since, '-infinity'), wanted;
    GET DIAGNOSTICS found = ROW_COUNT;
    IF found >= wanted THEN
        RETURN;
    END IF;
    EXECUTE 'SELECT max(s.sent_at), (array_agg(s.sent_at ORDER BY s.sent_at, s.message_id))[1], '
        || '(array_agg(s.message_id ORDER BY s.sent_at, s.message_id))[1] FROM (SELECT s.sent_at, s.message_id '
        || 'FROM message_search s WHERE s.sent_at >= $6 AND ' || replace(place, '$6', '$2') || ' ORDER BY s.sent_at DESC, '
        || 's.message_id DESC LIMIT ' || walked || ') s'
        INTO newest_at, floor_at, floor_id
        USING tenant, until, after_at, after_id, of_chat, coalesce(since, '-infinity');
    IF floor_at IS NULL THEN
        RETURN;
    END IF;
    -- Where the newest have the words now and then, so will those before them: one span that should be enough. Where
    -- they hardly do, all that have them are few.
    width := greatest(newest_at - floor_at, interval '1 minute') * (2.0 * wanted / greatest(found, 1));
    FOR turn IN CASE WHEN found < 3 THEN 2 ELSE 1 END..2 LOOP
        oldest := CASE turn WHEN 2 THEN '-infinity' ELSE floor_at - width END;
        oldest := greatest(oldest, since);
        RETURN QUERY EXECUTE 'WITH hit AS MATERIALIZED (SELECT s.message_id, s.sent_at FROM message_search s '
            || 'WHERE s.sent_at >= $11 AND ' || place || ' AND ' || rest
            || ') SELECT h.message_id, h.sent_at, 0::real FROM hit h ORDER BY h.sent_at DESC, h.message_id DESC LIMIT $12'
            USING tenant, wanted_words, floor_at, floor_id, of_chat, until, of_account, of_contact, of_kinds,
                of_direction, oldest, wanted - found;
        GET DIAGNOSTICS more = ROW_COUNT;
        found := found + more;
        EXIT WHEN found >= wanted OR oldest IS NOT DISTINCT FROM since OR oldest = '-infinity';
        floor_at := oldest;
        floor_id := '00000000-0000-0000-0000-000000000000';
    END LOOP;
END
$$;

DO $$
DECLARE
    function text;
BEGIN
    FOREACH function IN ARRAY ARRAY['search_parts', 'search_alike', 'search_messages'] LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %I FROM PUBLIC', function);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %I TO %I', function, current_schema() || '_app');
    END LOOP;
END
$$;

-- The groups of a person.
CREATE INDEX chat_member_contact ON chat_member (tenant_id, contact_id);
CREATE INDEX chat_past_member_contact ON chat_past_member (tenant_id, contact_id);
CREATE INDEX chat_contact ON chat (tenant_id, contact_id);
