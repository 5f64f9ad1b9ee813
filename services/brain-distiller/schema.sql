-- Facts with their evidence and history, and the part of the directory that says whose a number is.

-- The directory's customers, newest version only.
CREATE TABLE customer (
    tenant_id uuid NOT NULL,
    customer_id text NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (tenant_id, customer_id)
);
SELECT protect('customer');

-- Two customers may share a number.
CREATE TABLE customer_number (
    tenant_id uuid NOT NULL,
    number text NOT NULL,
    customer_id text NOT NULL,
    PRIMARY KEY (tenant_id, number, customer_id),
    FOREIGN KEY (tenant_id, customer_id) REFERENCES customer ON DELETE CASCADE
);
CREATE INDEX customer_number_customer ON customer_number (tenant_id, customer_id);
SELECT protect('customer_number');

-- The newest revision read of each source that ever mentioned something or was revised.
CREATE TABLE source (
    tenant_id uuid NOT NULL,
    source_type text NOT NULL CHECK (source_type IN ('message', 'transcript')),
    source_id text NOT NULL,
    revision integer NOT NULL,
    PRIMARY KEY (tenant_id, source_type, source_id)
);
SELECT protect('source', 'SELECT, INSERT, UPDATE');

-- One row for one value of one key of one subject, as its newest version has it.
CREATE TABLE fact (
    tenant_id uuid NOT NULL,
    fact_id uuid NOT NULL,
    subject text NOT NULL,
    key text NOT NULL,
    value text NOT NULL,
    value_type text NOT NULL,
    unit text,
    raw_value text NOT NULL,
    confidence double precision NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    extractor text NOT NULL,
    state text NOT NULL CHECK (state IN ('asserted', 'conflicting', 'superseded', 'retracted')),
    version integer NOT NULL CHECK (version > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, fact_id),
    UNIQUE (tenant_id, subject, key, value)
);
CREATE INDEX fact_latest ON fact (tenant_id, updated_at DESC, fact_id);
SELECT protect('fact', 'SELECT, INSERT, UPDATE');

-- Every state a fact was ever in, why, and because of which source. Never changed.
CREATE TABLE fact_version (
    tenant_id uuid NOT NULL,
    fact_id uuid NOT NULL,
    version integer NOT NULL,
    state text NOT NULL CHECK (state IN ('asserted', 'conflicting', 'superseded', 'retracted')),
    reason text NOT NULL,
    source_type text NOT NULL,
    source_id text NOT NULL,
    evidence_source_id text NOT NULL,
    evidence_start_at integer NOT NULL,
    evidence_end_at integer NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, fact_id, version),
    FOREIGN KEY (tenant_id, fact_id) REFERENCES fact
);
SELECT protect('fact_version', 'SELECT, INSERT');

-- Spans that say a fact's value: half-open, in characters of the source's text. Withdrawn when the source was edited
-- or revoked, never removed.
CREATE TABLE evidence (
    tenant_id uuid NOT NULL,
    fact_id uuid NOT NULL,
    source_type text NOT NULL CHECK (source_type IN ('message', 'transcript')),
    source_id text NOT NULL,
    revision integer NOT NULL,
    extractor text NOT NULL,
    start_at integer NOT NULL CHECK (start_at >= 0),
    end_at integer NOT NULL,
    quote text NOT NULL,
    confidence double precision NOT NULL,
    said_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    withdrawn_at timestamptz,
    PRIMARY KEY (tenant_id, source_type, source_id, revision, fact_id, extractor, start_at, end_at),
    FOREIGN KEY (tenant_id, fact_id) REFERENCES fact,
    CHECK (end_at > start_at)
);
CREATE INDEX evidence_of_fact ON evidence (tenant_id, fact_id, said_at, source_id, start_at);
SELECT protect('evidence', 'SELECT, INSERT, UPDATE');

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
