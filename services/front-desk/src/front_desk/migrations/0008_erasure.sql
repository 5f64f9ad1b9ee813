-- Earlier versions of the routing are nobody's to change; a person who is erased leaves the list of those who go first
-- in them too, by this function alone.
DO $$
BEGIN
    EXECUTE format('CREATE POLICY eraser ON routing_version TO %I USING (tenant_id = current_setting(''app.tenant'')::uuid)',
        current_schema() || '_owner');
END
$$;

CREATE FUNCTION erase_vip_numbers(numbers text[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = front_desk, pg_temp AS $$
DECLARE
    changed bigint;
BEGIN
    UPDATE routing_version SET body = jsonb_set(body, '{vip_numbers}', (
        SELECT coalesce(jsonb_agg(n ORDER BY at), '[]') FROM jsonb_array_elements(body -> 'vip_numbers')
            WITH ORDINALITY AS u (n, at) WHERE n #>> '{}' <> ALL (numbers)))
    WHERE tenant_id = current_setting('app.tenant')::uuid AND body -> 'vip_numbers' ?| numbers;
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END
$$;

DO $$
BEGIN
    EXECUTE 'REVOKE ALL ON FUNCTION erase_vip_numbers FROM PUBLIC';
    EXECUTE format('GRANT EXECUTE ON FUNCTION erase_vip_numbers TO %I', current_schema() || '_app');
END
$$;
