-- id: whatsapp_archive_stale_24h
-- title: A WhatsApp archive that has stopped growing
-- description: An account whose newest import that completed, or found nothing new, is older than 24 hours.
-- learning: What is not archived is lost with the phone. Check that the phone still backs up and that the copy arrives.
-- severity: critical
-- version: 1
-- requires: [archive]
-- key: [account_id]

-- An account that has never been imported completely counts from its first attempt.
SELECT
    account_id,
    account_name,
    archived_at AS newest_import_at,
    last_state,
    CAST(floor(extract(epoch FROM :as_of - coalesce(archived_at, first_seen_at)) / 3600) AS int) AS hours
FROM archive
WHERE coalesce(archived_at, first_seen_at) < :as_of - interval '24 hours'
ORDER BY coalesce(archived_at, first_seen_at), account_id
