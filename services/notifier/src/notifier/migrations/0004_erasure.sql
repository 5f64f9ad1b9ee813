-- Forgetting a person: why an operator decided about a send may name somebody. The decision stays on record and cannot be
-- changed; its words can be marked, whole, and nothing else can be made of them.
CREATE FUNCTION erase_reasons(resolutions uuid[]) RETURNS void LANGUAGE sql SECURITY DEFINER AS $$
    UPDATE send_resolution SET reason = '[erased]' WHERE resolution_id = ANY (resolutions)
$$;

DO $$
DECLARE
    service text := current_schema();
BEGIN
    EXECUTE format('CREATE POLICY eraser ON send_resolution TO %I USING (tenant_id = current_setting(''app.tenant'')::uuid)',
        service || '_owner');
    EXECUTE format('ALTER FUNCTION erase_reasons SET search_path = %I, pg_temp', service);
    EXECUTE 'REVOKE EXECUTE ON FUNCTION erase_reasons FROM PUBLIC';
    EXECUTE format('GRANT EXECUTE ON FUNCTION erase_reasons TO %I', service || '_app');
END
$$;
