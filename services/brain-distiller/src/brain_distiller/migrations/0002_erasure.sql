-- Forgetting a person. The service itself still cannot take back what was said: only this function can, and only for
-- what subject.erased names.

DO $$
DECLARE
    tenant CONSTANT text := 'tenant_id = current_setting(''app.tenant'')::uuid';
    each text;
BEGIN
    FOREACH each IN ARRAY ARRAY['source', 'fact', 'fact_version', 'evidence'] LOOP
        EXECUTE format('CREATE POLICY eraser ON %I TO %I USING (%s)', each, current_schema() || '_owner', tenant);
    END LOOP;
END
$$;

-- Erase what these sources say, and what was said of these facts until a time; then the facts that nothing says any
-- more. Of facts that stay, the history forgets the versions that told what is gone. Gives the facts that were touched.
CREATE FUNCTION erase_evidence(gone_sources text[], gone_facts uuid[], until_at timestamptz,
    OUT evidence_rows bigint, OUT fact_rows bigint, OUT version_rows bigint, OUT source_rows bigint, OUT touched uuid[])
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    forgotten text[];
    emptied uuid[];
BEGIN
    WITH erased AS (
        DELETE FROM evidence e
        WHERE e.source_type = 'message' AND e.source_id = ANY (gone_sources)
            OR e.fact_id = ANY (gone_facts) AND e.said_at <= until_at
        RETURNING e.fact_id, e.source_id)
    SELECT count(*), coalesce(array_agg(DISTINCT fact_id), '{}'), coalesce(array_agg(DISTINCT source_id), '{}')
    INTO evidence_rows, touched, forgotten FROM erased;

    SELECT coalesce(array_agg(t), '{}') INTO emptied FROM unnest(touched || gone_facts) t
    WHERE NOT EXISTS (SELECT FROM evidence e WHERE e.fact_id = t);

    DELETE FROM fact_version v WHERE v.fact_id = ANY (emptied)
        OR v.fact_id = ANY (touched) AND NOT EXISTS (
            SELECT FROM evidence e WHERE e.fact_id = v.fact_id AND e.source_id = v.evidence_source_id
                AND e.start_at = v.evidence_start_at AND e.end_at = v.evidence_end_at);
    GET DIAGNOSTICS version_rows = ROW_COUNT;
    DELETE FROM fact f WHERE f.fact_id = ANY (emptied);
    GET DIAGNOSTICS fact_rows = ROW_COUNT;
    -- Another message may have brought a fact that stays into the state it is in.
    UPDATE fact_version v SET source_id = '' WHERE v.source_id = ANY (gone_sources || forgotten);
    DELETE FROM source s WHERE s.source_type = 'message' AND (
        s.source_id = ANY (gone_sources)
        OR s.source_id = ANY (forgotten) AND NOT EXISTS (SELECT FROM evidence e WHERE e.source_id = s.source_id));
    GET DIAGNOSTICS source_rows = ROW_COUNT;
END
$$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION erase_evidence SET search_path = %I, pg_temp', current_schema());
    EXECUTE 'REVOKE EXECUTE ON FUNCTION erase_evidence FROM PUBLIC';
    EXECUTE format('GRANT EXECUTE ON FUNCTION erase_evidence TO %I', current_schema() || '_app');
END
$$;
