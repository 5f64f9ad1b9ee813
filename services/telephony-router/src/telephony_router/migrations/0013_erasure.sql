-- Forgetting a person: their calls and all that hangs on them go by one function of the owner, which needs the numbers
-- and a time; what the service may only add to or change stays so for everything else.

-- Bytes of recordings that nothing names any more, until they are out of the store.
CREATE TABLE erased_blob (
    tenant_id uuid NOT NULL,
    sha256 text NOT NULL,
    PRIMARY KEY (tenant_id, sha256)
);
-- A fetcher whose recording was erased meanwhile says what it had stored by then.
SELECT protect('erased_blob', 'SELECT, INSERT, DELETE');
SELECT open_to_system('erased_blob', 'SELECT');

-- What is told late of an erased call without naming anybody is known by the call; what never became a call is found by
-- the number in it.
CREATE INDEX outbound_call_to ON outbound_call (tenant_id, to_number);
CREATE INDEX intake_call ON intake (tenant_id, call_id);
CREATE INDEX intake_parked ON intake (tenant_id) WHERE parked IS NOT NULL;
CREATE INDEX missed_by_caller ON missed (tenant_id, caller);
CREATE INDEX missed_call_item ON missed_call (tenant_id, missed_id);
CREATE INDEX call_outbound_did ON call (tenant_id, did) WHERE direction = 'outbound';

DO $$
DECLARE
    target text;
BEGIN
    FOREACH target IN ARRAY ARRAY['erased_blob', 'intake', 'call', 'call_status', 'recording', 'recording_fetch',
        'recording_file', 'recording_audit', 'routing_decision', 'agent_call', 'outbound_call', 'idempotency_key', 'missed',
        'missed_call', 'missed_change', 'missed_due', 'reconciliation', 'erased_lately', 'last_agent', 'outbound_audit'] LOOP
        EXECUTE format('CREATE POLICY eraser ON %I TO %I USING (tenant_id = current_setting(''app.tenant'')::uuid)',
            target, current_schema() || '_owner');
    END LOOP;
END
$$;

-- Erase the calls from and to some numbers that began by a time; how many rows of what. Who listened to a recording stays,
-- without what it was called. Which calls they were is noted: a recording may be told late by its call's id alone.
CREATE FUNCTION erase_calls(numbers text[], up_to timestamptz) RETURNS TABLE (store text, rows bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = telephony_router, pg_temp AS $$
DECLARE
    tenant CONSTANT uuid := current_setting('app.tenant')::uuid;
    ids uuid[];
    orders uuid[];
    items uuid[];
    target text;
    parked bigint;
BEGIN
    SELECT array_agg(o.id) INTO orders FROM outbound_call o
        WHERE o.tenant_id = tenant AND o.to_number = ANY (numbers) AND o.requested_at <= up_to;
    SELECT array_agg(c.id) INTO ids FROM (
            SELECT k.id FROM call k WHERE k.tenant_id = tenant AND k.caller = ANY (numbers)
            UNION
            SELECT k.id FROM call k WHERE k.tenant_id = tenant AND k.direction = 'outbound' AND k.did = ANY (numbers)
            UNION
            SELECT unnest(orders)
            UNION
            SELECT o.alias FROM outbound_call o WHERE o.tenant_id = tenant AND o.id = ANY (orders)) named
        JOIN call c ON c.tenant_id = tenant AND c.id = named.id
        -- Told late, a call is as old as the oldest that is said of it.
        WHERE least(c.asked_at, c.started_at, c.answered_at, c.ended_at, c.created_at,
                (SELECT min(coalesce(s.at, s.received_at)) FROM call_status s
                    WHERE s.tenant_id = tenant AND s.call_id = c.id)) <= up_to;
    SELECT array_agg(m.id) INTO items FROM missed m WHERE m.tenant_id = tenant AND (m.id = ANY (ids)
        OR (m.caller = ANY (numbers) AND m.first_at <= up_to));
    -- An item has the id of a call, and cannot stay without it.
    SELECT array_agg(DISTINCT i) INTO ids FROM unnest(ids || items || orders || ARRAY(
        SELECT e.id FROM (SELECT substr(value, 6)::uuid AS id FROM erased_lately
                WHERE tenant_id = tenant AND value LIKE 'call:%') e
        WHERE EXISTS (SELECT FROM intake i WHERE i.tenant_id = tenant AND i.call_id = e.id)
            OR EXISTS (SELECT FROM recording r WHERE r.tenant_id = tenant AND r.call_id = e.id)
            OR EXISTS (SELECT FROM call c WHERE c.tenant_id = tenant AND c.id = e.id))) i;
    -- What could not be processed may have no call.
    DELETE FROM intake i WHERE i.tenant_id = tenant AND i.parked IS NOT NULL AND i.received_at <= up_to
        AND EXISTS (SELECT FROM unnest(numbers) n WHERE position(CASE WHEN n ~ '^[+]91[0-9]{10}$' THEN right(n, 10)
            ELSE substr(n, 2) END IN regexp_replace(i.signal || ' ' || encode(i.body, 'escape'), '[ ()-]', '', 'g')) > 0);
    GET DIAGNOSTICS parked = ROW_COUNT;
    IF ids IS NULL THEN
        store := 'intake'; rows := parked; RETURN NEXT;
        RETURN;
    END IF;
    INSERT INTO erased_lately (tenant_id, value, effective_at, forget_at)
        SELECT tenant, 'call:' || i, up_to, now() + interval '32 days' FROM unnest(ids) i ON CONFLICT DO NOTHING;
    INSERT INTO erased_blob SELECT DISTINCT tenant, b FROM recording_file f,
        unnest(ARRAY[f.sha256, f.agent_sha256, f.customer_sha256]) b
        WHERE f.tenant_id = tenant AND f.call_id = ANY (ids) AND b IS NOT NULL ON CONFLICT DO NOTHING;
    UPDATE outbound_audit SET reason = '(erased)' WHERE tenant_id = tenant AND subject = ANY (orders);
    UPDATE recording_audit SET detail = '' WHERE tenant_id = tenant AND call_id = ANY (ids) AND detail <> '';
    -- Told late without a time, they would have talked just now.
    DELETE FROM last_agent l WHERE l.tenant_id = tenant AND l.number = ANY (numbers)
        AND EXISTS (SELECT FROM call c WHERE c.tenant_id = tenant AND c.caller = l.number AND c.id = ANY (ids))
        AND NOT EXISTS (SELECT FROM call c WHERE c.tenant_id = tenant AND c.caller = l.number
            AND c.answered_at IS NOT NULL AND c.id <> ALL (ids));
    GET DIAGNOSTICS rows = ROW_COUNT; store := 'last_agent'; RETURN NEXT;
    DELETE FROM missed_change WHERE tenant_id = tenant AND missed_id = ANY (items);
    GET DIAGNOSTICS rows = ROW_COUNT; store := 'missed_change'; RETURN NEXT;
    DELETE FROM missed_call WHERE tenant_id = tenant AND (missed_id = ANY (items) OR call_id = ANY (ids));
    GET DIAGNOSTICS rows = ROW_COUNT; store := 'missed_call'; RETURN NEXT;
    DELETE FROM missed WHERE tenant_id = tenant AND id = ANY (items);
    GET DIAGNOSTICS rows = ROW_COUNT; store := 'missed'; RETURN NEXT;
    DELETE FROM idempotency_key k WHERE k.tenant_id = tenant
        AND EXISTS (SELECT FROM unnest(orders) o WHERE position(o::text IN k.answer) > 0);
    GET DIAGNOSTICS rows = ROW_COUNT; store := 'idempotency_key'; RETURN NEXT;
    DELETE FROM outbound_call WHERE tenant_id = tenant AND id = ANY (orders);
    GET DIAGNOSTICS rows = ROW_COUNT; store := 'outbound_call'; RETURN NEXT;
    FOREACH target IN ARRAY ARRAY['missed_due', 'reconciliation', 'agent_call', 'recording_file', 'recording_fetch', 'recording',
        'routing_decision', 'call_status', 'intake', 'call'] LOOP
        EXECUTE format('DELETE FROM %I WHERE tenant_id = $1 AND %I = ANY ($2)', target,
            CASE target WHEN 'call' THEN 'id' ELSE 'call_id' END) USING tenant, ids;
        GET DIAGNOSTICS rows = ROW_COUNT; store := target;
        rows := rows + CASE target WHEN 'intake' THEN parked ELSE 0 END;
        RETURN NEXT;
    END LOOP;
END
$$;

DO $$
BEGIN
    EXECUTE 'REVOKE ALL ON FUNCTION erase_calls FROM PUBLIC';
    EXECUTE format('GRANT EXECUTE ON FUNCTION erase_calls TO %I', current_schema() || '_app');
END
$$;
