-- Bulk actions and tries of dead letters that can be told afterwards: who planned, applied, cancelled; what came of it.

-- trying_since: set while the worker tries a letter, which nobody may then drop or edit. job: the bulk action that
-- asked for the try, so that its outcome is counted there.
ALTER TABLE dead_letter
    ADD COLUMN trying_since timestamptz,
    ADD COLUMN job uuid;

-- tenant_id: whose letters it is about, if of one tenant. who: under whose name it acts, once applied.
-- retried, failed: what became of letters that were tried; skipped: those that no longer waited when their turn came.
ALTER TABLE dead_letter_job
    ADD COLUMN tenant_id uuid,
    ADD COLUMN planned_by text NOT NULL DEFAULT '',
    ADD COLUMN retried integer NOT NULL DEFAULT 0,
    ADD COLUMN skipped integer NOT NULL DEFAULT 0;
UPDATE dead_letter_job SET planned_by = who, skipped = failed, failed = 0;

CREATE TABLE dead_letter_job_audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id uuid NOT NULL,
    action text NOT NULL CHECK (action IN ('plan', 'apply', 'cancel', 'done')),
    who text NOT NULL,
    why text NOT NULL DEFAULT '',
    plan_hash text NOT NULL,
    done integer NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX dead_letter_job_audit_of_job ON dead_letter_job_audit (job_id, id);

DO $$
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, DELETE ON dead_letter_job_audit TO %I', current_schema() || '_system');
END
$$;
