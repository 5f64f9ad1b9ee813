-- Forgetting a person: facts go with the message that they were told of, and findings lose the rows that name somebody.
-- What was told before this names no message; it goes by its subject, or is told anew by a replay of fact.extracted.
ALTER TABLE fact ADD COLUMN source_id text NOT NULL DEFAULT '';
CREATE INDEX fact_source ON fact (tenant_id, source_id);

DO $$
DECLARE
    app text := current_schema() || '_app';
BEGIN
    EXECUTE format('GRANT UPDATE (evidence) ON rule_run TO %I', app);
    EXECUTE format('GRANT UPDATE (evidence) ON anomaly TO %I', app);
END
$$;
