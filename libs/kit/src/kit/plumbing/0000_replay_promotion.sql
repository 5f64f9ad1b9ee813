-- A promotion enters that it was one, and by whom, in the transaction that makes the rows live: the service's own role
-- may say so of a replay, and nothing else.
DO $$
DECLARE
    service text := current_schema();
BEGIN
    EXECUTE format('GRANT SELECT (id, state), UPDATE (state, heartbeat_at, finished_at) ON replay TO %I',
        service || '_app');
    EXECUTE format('GRANT INSERT ON replay_audit TO %I', service || '_app');
END
$$;
