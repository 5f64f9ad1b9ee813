-- Look-ups by many values go through LATERAL with OFFSET 0 (or LIMIT): one index look-up a value, whatever the
-- statistics say. With = ANY and fresh tables Postgres compares every row of the tenant with every value.

-- name: upsert_customer
-- Keep a customer's version if it is newer than ours; gives a row only then.
INSERT INTO customer (tenant_id, customer_id, version) VALUES ($1, $2, $3)
ON CONFLICT (tenant_id, customer_id) DO UPDATE SET version = excluded.version
WHERE customer.version < excluded.version
RETURNING customer_id

-- name: replace_numbers
-- Make a customer's numbers the given ones.
WITH gone AS (
    DELETE FROM customer_number WHERE customer_id = $2 AND NOT (number = ANY ($3::text[]))
)
INSERT INTO customer_number (tenant_id, number, customer_id) SELECT $1, number, $2 FROM unnest($3::text[]) AS number
ON CONFLICT DO NOTHING

-- name: delete_customer
-- Forget a customer and, by the foreign key, its numbers.
DELETE FROM customer WHERE customer_id = $1

-- name: customers_of_numbers
-- Whose numbers these are; one that two customers share belongs to the one with the lower id, always.
SELECT wanted.number, c.customer_id
FROM unnest($1::text[]) AS wanted (number)
CROSS JOIN LATERAL (
    SELECT customer_id FROM customer_number
    WHERE customer_number.number = wanted.number ORDER BY customer_id LIMIT 1
) AS c

-- name: subjects_of_sources
-- The subjects whose facts live on these sources.
SELECT DISTINCT f.subject
FROM unnest($2::text[]) AS wanted (source_id)
CROSS JOIN LATERAL (
    SELECT fact_id FROM evidence
    WHERE source_type = $1 AND evidence.source_id = wanted.source_id AND withdrawn_at IS NULL OFFSET 0
) AS e
CROSS JOIN LATERAL (SELECT subject FROM fact WHERE fact.fact_id = e.fact_id OFFSET 0) AS f

-- name: revisions_of_sources
-- The newest revision that was read of each source, where it matters.
SELECT s.source_id, s.revision
FROM unnest($2::text[]) AS wanted (source_id)
CROSS JOIN LATERAL (
    SELECT * FROM source WHERE source_type = $1 AND source.source_id = wanted.source_id OFFSET 0
) AS s

-- name: live_evidence_of_sources
-- All live evidence that these sources give.
SELECT e.*
FROM unnest($2::text[]) AS wanted (source_id)
CROSS JOIN LATERAL (
    SELECT * FROM evidence
    WHERE source_type = $1 AND evidence.source_id = wanted.source_id AND withdrawn_at IS NULL OFFSET 0
) AS e

-- name: facts_by_id
-- Facts by their ids.
SELECT f.*
FROM unnest($1::uuid[]) AS wanted (fact_id)
CROSS JOIN LATERAL (SELECT * FROM fact WHERE fact.fact_id = wanted.fact_id OFFSET 0) AS f

-- name: facts_of_keys
-- All facts of these pairs of subject and key.
SELECT f.*
FROM unnest($1::text[], $2::text[]) AS wanted (subject, key)
CROSS JOIN LATERAL (
    SELECT * FROM fact WHERE fact.subject = wanted.subject AND fact.key = wanted.key OFFSET 0
) AS f

-- name: earliest_evidence_elsewhere
-- For each fact its earliest live evidence outside these sources.
SELECT e.*
FROM unnest($1::uuid[]) AS wanted (fact_id)
CROSS JOIN LATERAL (
    SELECT * FROM evidence
    WHERE evidence.fact_id = wanted.fact_id AND withdrawn_at IS NULL
        AND NOT (source_type = $2 AND source_id = ANY ($3::text[]))
    ORDER BY said_at, source_id, start_at LIMIT 1
) AS e

-- name: upsert_facts
-- Write facts as their newest version has them.
INSERT INTO fact (tenant_id, fact_id, subject, key, value, value_type, unit, raw_value, confidence, extractor, state, version)
SELECT $1, f.*
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::float8[],
            $10::text[], $11::text[], $12::integer[]) AS f
ON CONFLICT (tenant_id, fact_id) DO UPDATE
SET raw_value = excluded.raw_value, confidence = excluded.confidence, extractor = excluded.extractor,
    state = excluded.state, version = excluded.version, updated_at = now()

-- name: insert_versions
-- Append to the facts' history.
INSERT INTO fact_version (tenant_id, fact_id, version, state, reason, source_type, source_id, evidence_source_id,
                          evidence_start_at, evidence_end_at)
SELECT $1, v.*
FROM unnest($2::uuid[], $3::integer[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::integer[],
            $10::integer[]) AS v

-- name: insert_evidence
-- Append evidence; a span that was read before in this revision is already there, and comes back if it was withdrawn.
INSERT INTO evidence (tenant_id, fact_id, source_type, source_id, revision, extractor, start_at, end_at, quote,
                      confidence, said_at)
SELECT $1, e.*
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::integer[], $8::integer[], $9::text[],
            $10::float8[], $11::timestamptz[]) AS e
ON CONFLICT (tenant_id, source_type, source_id, revision, fact_id, extractor, start_at, end_at)
DO UPDATE SET withdrawn_at = NULL

-- name: withdraw_evidence
-- Mark evidence that its source no longer gives.
UPDATE evidence SET withdrawn_at = now()
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::integer[], $5::text[], $6::integer[], $7::integer[])
    AS gone (fact_id, source_type, source_id, revision, extractor, start_at, end_at)
WHERE evidence.fact_id = gone.fact_id AND evidence.source_type = gone.source_type
    AND evidence.source_id = gone.source_id AND evidence.revision = gone.revision
    AND evidence.extractor = gone.extractor AND evidence.start_at = gone.start_at AND evidence.end_at = gone.end_at

-- name: upsert_sources
-- Remember the newest revision that was read of each source.
INSERT INTO source (tenant_id, source_type, source_id, revision)
SELECT $1, $2, s.* FROM unnest($3::text[], $4::integer[]) AS s
ON CONFLICT (tenant_id, source_type, source_id) DO UPDATE SET revision = excluded.revision
WHERE source.revision < excluded.revision

-- name: list_facts
-- Facts for a person, the latest change first; every filter may be absent.
SELECT f.* FROM fact f
WHERE ($1::text IS NULL OR f.subject = $1) AND ($2::text IS NULL OR f.key = $2) AND ($3::text IS NULL OR f.state = $3)
ORDER BY f.updated_at DESC, f.fact_id LIMIT $4

-- name: evidence_of_facts
-- The evidence of these facts, the earliest first, at most $2 of each.
SELECT e.*
FROM unnest($1::uuid[]) AS wanted (fact_id)
CROSS JOIN LATERAL (
    SELECT * FROM evidence WHERE evidence.fact_id = wanted.fact_id
    ORDER BY said_at, source_id, start_at LIMIT $2
) AS e

-- name: history_of_fact
-- Every version of a fact, the first one first.
SELECT v.* FROM fact_version v WHERE v.fact_id = $1 ORDER BY v.version

-- name: facts_of_period
-- A page of the facts whose newest version came about in a period, the earliest first, each with the evidence it tells.
SELECT f.*, v.at, e.source_type, e.source_id, e.revision, e.extractor AS evidence_extractor, e.start_at, e.end_at,
    e.quote, e.confidence AS evidence_confidence, e.said_at
FROM fact f
JOIN fact_version v ON v.tenant_id = f.tenant_id AND v.fact_id = f.fact_id AND v.version = f.version
CROSS JOIN LATERAL (
    SELECT * FROM evidence e WHERE e.tenant_id = f.tenant_id AND e.fact_id = f.fact_id
        AND e.source_id = v.evidence_source_id AND e.start_at = v.evidence_start_at AND e.end_at = v.evidence_end_at
    ORDER BY e.revision DESC, e.extractor LIMIT 1
) AS e
WHERE v.at >= $1 AND (v.at, f.fact_id) > ($1, $2) AND v.at < $3
ORDER BY v.at, f.fact_id LIMIT $4

-- name: evidence_to_erase
-- Facts that lose evidence: what these sources say; and, whole, what was said until $3 of these subjects, or with these
-- values.
SELECT f.fact_id, f.subject, f.key, false AS whole FROM fact f
WHERE f.fact_id IN (SELECT e.fact_id FROM evidence e WHERE e.source_type = 'message' AND e.source_id = ANY ($1::text[]))
UNION ALL
SELECT f.fact_id, f.subject, f.key, true FROM fact f
WHERE (f.subject = ANY ($2::text[])
        OR f.value_type IN ('phone', 'email') AND f.value = ANY ($4::text[])
        OR f.value_type = 'upi' AND split_part(f.value, '@', 1) = ANY ($5::text[]))
    AND EXISTS (SELECT FROM evidence e WHERE e.fact_id = f.fact_id AND e.said_at <= $3)

-- name: erase_evidence
-- Erase what these sources say and what was said of these facts until a time, and what rested on nothing else.
SELECT evidence_rows, fact_rows, version_rows, source_rows, touched FROM erase_evidence($1, $2, $3)

-- name: facts_to_tell_again
-- Of facts that were touched, those that stand, each with the evidence it can tell: live before withdrawn, then the
-- earliest; and whether what its newest version told is gone.
SELECT f.*, e.source_type, e.source_id, e.revision, e.extractor AS evidence_extractor, e.start_at, e.end_at, e.quote,
    e.confidence AS evidence_confidence, e.said_at, e.withdrawn_at IS NULL AS live,
    NOT EXISTS (SELECT FROM fact_version v WHERE v.tenant_id = f.tenant_id AND v.fact_id = f.fact_id
        AND v.version = f.version) AS told_is_gone
FROM fact f
CROSS JOIN LATERAL (
    SELECT * FROM evidence e WHERE e.tenant_id = f.tenant_id AND e.fact_id = f.fact_id
    ORDER BY e.withdrawn_at IS NOT NULL, e.said_at, e.source_id, e.start_at LIMIT 1
) AS e
WHERE f.fact_id = ANY ($1::uuid[])
    OR (f.subject, f.key) IN (SELECT * FROM unnest($2::text[], $3::text[])) AND f.state = 'conflicting'
ORDER BY f.fact_id

-- name: erase_customers
-- Customers that are an erased person, with their numbers.
DELETE FROM customer WHERE customer_id = ANY ($1::text[])

-- name: erase_numbers
-- An erased person's numbers, whoever else has them as well.
DELETE FROM customer_number WHERE number = ANY ($1::text[]) OR customer_id = ANY ($2::text[])

-- name: customers_with_numbers
-- All customers that have one of these numbers.
SELECT DISTINCT customer_id FROM customer_number WHERE number = ANY ($1::text[])
