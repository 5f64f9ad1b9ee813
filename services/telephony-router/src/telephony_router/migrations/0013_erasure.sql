-- Forgetting a person: their calls and all that hangs on them go by one function of the owner, which needs the numbers
-- and a time; what the service may only add to or change stays so for everything else.

-- Bytes of recordings that nothing names any more, until they are out of the store.
CREATE TABLE erased_blob (
    tenant_id uuid NOT NULL,
    sha256 text NOT NULL,
    PRIMARY KEY (tenant_id, sha256)
);
SELECT protect('erased_blob', 'SELECT, DELETE');
SELECT open_to_system('erased_blob', 'SELECT');

CREATE INDEX outbound_call_to ON outbound_call (tenant_id, to_number);

DO $$
DECLARE
    target text;
BEGIN
    FOREACH target IN ARRAY ARRAY['erased_blob', 'intake', 'call', 'call_status', 'recording', 'recording_fetch',
        'recording_file', 'recording_audit', 'routing_decision', 'agent_call', 'outbound_call', 'idempotency_key', 'missed',
        'missed_call', 'missed_change', 'missed_due', 'reconciliation'] LOOP
        EXECUTE format('CREATE POLICY eraser ON %I TO %I USING (tenant_id = current_setting(''app.tenant'')::uuid)',
            target, current_schema() || '_owner');
    END LOOP;
END
$$;

-- Erase the calls from and to some numbers that began by a time; how many rows of what. Who listened to a recording stays,
-- without what it was called.
CREATE FUNCTION erase_calls(numbers text[], up_to timestamptz) RETURNS TABLE (store text, rows bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = telephony_router, pg_temp AS $$
DECLARE
    tenant CONSTANT uuid := current_setting('app.tenant')::uuid;
    ids uuid[];
    orders uuid[];
    items uuid[];
    target text;
BEGIN
    SELECT array_agg(o.id) INTO orders FROM outbound_call o
        WHERE o.tenant_id = tenant AND o.to_number = ANY (numbers) AND o.requested_at <= up_to;
    SELECT array_agg(c.id) INTO ids FROM call c
        -- Told late, a call is as old as the oldest that is said of it.
        WHERE c.tenant_id = tenant AND least(c.asked_at, c.started_at, c.answered_at, c.ended_at, c.created_at,
                (SELECT min(coalesce(s.at, s.received_at)) FROM call_status s
                    WHERE s.tenant_id = tenant AND s.call_id = c.id)) <= up_to
            AND (c.caller = ANY (numbers) OR (c.direction = 'outbound' AND c.did = ANY (numbers)) OR c.id = ANY (orders)
                OR c.id IN (SELECT o.alias FROM outbound_call o WHERE o.tenant_id = tenant AND o.id = ANY (orders)));
    SELECT array_agg(m.id) INTO items FROM missed m WHERE m.tenant_id = tenant AND (m.id = ANY (ids)
        OR (m.caller = ANY (numbers) AND m.first_at <= up_to));
    -- An item has the id of a call, and cannot stay without it.
    SELECT array_agg(DISTINCT i) INTO ids FROM unnest(ids || items) i;
    IF ids IS NULL AND orders IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO erased_blob SELECT DISTINCT tenant, b FROM recording_file f,
        unnest(ARRAY[f.sha256, f.agent_sha256, f.customer_sha256]) b
        WHERE f.tenant_id = tenant AND f.call_id = ANY (ids) AND b IS NOT NULL ON CONFLICT DO NOTHING;
    UPDATE recording_audit SET detail = '' WHERE tenant_id = tenant AND call_id = ANY (ids) AND detail <> '';
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
        GET DIAGNOSTICS rows = ROW_COUNT; store := target; RETURN NEXT;
    END LOOP;
END
$$;

DO $$
BEGIN
    EXECUTE 'REVOKE ALL ON FUNCTION erase_calls FROM PUBLIC';
    EXECUTE format('GRANT EXECUTE ON FUNCTION erase_calls TO %I', current_schema() || '_app');
END
$$;
