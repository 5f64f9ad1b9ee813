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
