-- id: capsule_fact_value_conflict
-- title: Two values for what has only one
-- description: A subject whose current facts hold more than one value under a key that has only one.
-- learning: Ask the customer which value is right before the next invoice; a wrong tax number comes back as a rejected one.
-- severity: warning
-- version: 1
-- requires: [fact]
-- key: [subject, fact_key]

-- A capsule is all current facts of one subject. Phone numbers, addresses and amounts may well be several.
SELECT
    subject,
    key AS fact_key,
    count(DISTINCT value) AS distinct_values,
    string_agg(DISTINCT value, ', ' ORDER BY value) AS found_values,
    max(seen_at) AS newest_at
FROM fact
WHERE key IN ('gstin', 'pan')
    AND state IN ('asserted', 'conflicting')
    AND seen_at <= :as_of
GROUP BY subject, key
HAVING count(DISTINCT value) > 1
ORDER BY max(seen_at) DESC, subject, key
