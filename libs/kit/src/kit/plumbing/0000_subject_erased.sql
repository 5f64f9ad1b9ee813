-- What forgetting a person needs in every service: letters that name the person are destroyed, and what is still on
-- its way is recognised when it arrives.

-- Numbers, addresses and ids of an erased person, for as long as topics, outboxes or dead letters elsewhere can bring
-- something of them back. An event from before effective_at that is about one of them has no effect.
CREATE TABLE erased_lately (
    tenant_id uuid NOT NULL,
    value text NOT NULL,
    effective_at timestamptz NOT NULL,
    forget_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, value)
);
SELECT protect('erased_lately', 'SELECT, INSERT, UPDATE');
SELECT open_to_system('erased_lately', 'SELECT, DELETE');

ALTER TABLE dead_letter_audit
    DROP CONSTRAINT dead_letter_audit_action_check,
    ADD CONSTRAINT dead_letter_audit_action_check CHECK (
        action IN ('retry', 'retried', 'failed_again', 'edit', 'drop', 'restore', 'reveal', 'erase'));

-- A letter as lower-case text with what is not ASCII escaped: ids, numbers and addresses are found in it as they are.
CREATE FUNCTION letter_text(letter dead_letter) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT lower(concat_ws(' ', encode(letter.key, 'escape'), encode(letter.value, 'escape'),
        encode(letter.edited_value, 'escape'), letter.event_id,
        (SELECT string_agg(encode(h, 'escape'), ' ') FROM unnest(letter.header_values) h)))
$$;

-- Destroy the tenant's letters, and those that are nobody's, that have one of these texts in them, or one of these ids
-- as a word; what lies behind them goes on. `busy` are those that are just being tried: they are left, ask again.
CREATE FUNCTION erase_letters(parts text[], ids text[], who text, why text, OUT erased bigint, OUT busy bigint)
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    tenant CONSTANT uuid := current_setting('app.tenant')::uuid;
    found uuid[];
BEGIN
    SELECT array_agg(d.id) INTO found FROM dead_letter d, LATERAL letter_text(d) t
    WHERE d.tenant_id IN (tenant, '00000000-0000-0000-0000-000000000000') AND (
        EXISTS (SELECT FROM unnest(parts) p WHERE position(lower(p) IN t) > 0)
        OR cardinality(ids) > 0 AND EXISTS (
            SELECT FROM regexp_matches(t, '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}', 'g') m WHERE m[1] = ANY (ids)));
    PERFORM FROM dead_letter d WHERE d.id = ANY (found) ORDER BY d.id FOR UPDATE;
    SELECT count(*) INTO busy FROM dead_letter d WHERE d.id = ANY (found) AND d.trying_since IS NOT NULL;
    INSERT INTO dead_letter_audit (id, tenant_id, consumer, letter_id, event_id, action, who, why)
        SELECT gen_random_uuid(), d.tenant_id, d.consumer, d.id, NULL, 'erase', erase_letters.who, erase_letters.why
        FROM dead_letter d WHERE d.id = ANY (found) AND d.trying_since IS NULL;
    DELETE FROM dead_letter d WHERE d.id = ANY (found) AND d.trying_since IS NULL;
    GET DIAGNOSTICS erased = ROW_COUNT;
END
$$;

-- Throw the copies of a shadow run away, if there are any: they hold everybody as they were. The run says what to do.
CREATE FUNCTION erase_shadow() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    copies text;
BEGIN
    SELECT string_agg(format('%I.%I', schemaname, tablename), ', ') INTO copies FROM pg_tables
        WHERE schemaname = current_schema() || '_shadow';
    IF copies IS NOT NULL THEN
        EXECUTE 'DROP TABLE ' || copies;
    END IF;
    RETURN copies IS NOT NULL;
END
$$;

DO $$
DECLARE
    service text := current_schema();
    tenant text := 'tenant_id IN (current_setting(''app.tenant'')::uuid, ''00000000-0000-0000-0000-000000000000'')';
BEGIN
    -- The owner reaches letters through the function only, and only these.
    EXECUTE format('CREATE POLICY eraser ON dead_letter TO %I USING (%s)', service || '_owner', tenant);
    EXECUTE format('CREATE POLICY eraser ON dead_letter_audit TO %I USING (%s)', service || '_owner', tenant);
    EXECUTE format('ALTER FUNCTION erase_letters SET search_path = %I, pg_temp', service);
    EXECUTE format('ALTER FUNCTION erase_shadow SET search_path = %I, pg_temp', service);
    EXECUTE 'REVOKE EXECUTE ON FUNCTION erase_letters, erase_shadow, letter_text FROM PUBLIC';
    EXECUTE format('GRANT EXECUTE ON FUNCTION erase_letters, erase_shadow TO %I', service || '_app');
END
$$;
