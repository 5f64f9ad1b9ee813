-- Recordings whose time is over: that there was one stays known, and nothing else of it.
ALTER TABLE recording_fetch DROP CONSTRAINT recording_fetch_state_check;
ALTER TABLE recording_fetch ADD CONSTRAINT recording_fetch_state_check
    CHECK (state IN ('pending', 'fetching', 'stored', 'absent', 'failed', 'expired'));
CREATE INDEX recording_file_age ON recording_file (stored_at);
DO $$
BEGIN
    EXECUTE format('GRANT DELETE ON recording_file TO %I', current_schema() || '_app');
END
$$;
SELECT open_to_system('recording_file', 'SELECT');
