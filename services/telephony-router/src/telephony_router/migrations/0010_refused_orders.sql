-- Whoever places calls notes those that were refused: what was claimed to make them is everybody's again.
DO $$
BEGIN
    EXECUTE format('GRANT INSERT ON missed_due TO %I', current_schema() || '_system');
END
$$;
