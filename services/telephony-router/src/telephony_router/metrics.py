"""What the router measures. The help text is the documentation."""

from __future__ import annotations

from kit.metrics import counter, gauge, histogram

__all__ = ["METRICS"]

ANSWER_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1, 2.5)


class METRICS:
    answer_seconds = histogram(
        "trunkline_ring_answer_seconds",
        "seconds",
        "Time from a ring webhook's last byte to its answer's first",
        ["vendor"],
        buckets=ANSWER_BUCKETS,
    )
    answers = counter(
        "trunkline_ring_answers",
        "1",
        "Ring webhooks answered, by the rung of the ladder that knew whom to ring and the rule that chose",
        ["vendor", "rung", "rule"],
    )
    replayed = counter(
        "trunkline_ring_replays", "1", "Ring webhooks of a call that had its answer already", ["vendor", "source"]
    )
    webhooks = counter(
        "trunkline_webhooks",
        "1",
        "Webhooks by what became of them (the HTTP status we sent)",
        ["vendor", "hook", "code"],
    )
    webhook_answers = counter(
        "trunkline_webhook_answers",
        "1",
        "Webhooks by how they were answered: taken (2xx), refused (4xx), failed (5xx). All are there from the start",
        ["vendor", "outcome"],
    )
    proofs = counter(
        "trunkline_webhook_proofs", "1", "Accepted webhooks by the form of the proof that held", ["vendor", "proof"]
    )
    vendor_drift = counter(
        "trunkline_vendor_drift",
        "1",
        "Webhook fields that we do not know (unknown) or with another kind of value (type); at most 50 names a vendor",
        ["vendor", "field", "change"],
    )
    recorded = counter(
        "trunkline_webhooks_recorded", "1", "Webhooks made durable, by where: postgres, journal", ["where"]
    )
    answer_conflicts = counter(
        "trunkline_ring_answer_conflicts",
        "1",
        "Rings that were answered out of the journal while another router gave the call another answer",
    )
    unrecorded = counter(
        "trunkline_ring_unrecorded", "1", "Ringing callers answered although nothing could be written. Alarm on any"
    )
    rung_failures = counter(
        "trunkline_ladder_failures",
        "1",
        "Times a rung of the ladder gave no view: it failed, was slow or knew nothing",
        ["rung", "why"],
    )
    agent_claims = counter(
        "trunkline_agent_claims",
        "1",
        "Answers that were to keep their people free: all were (claimed), others had some (contested) or all of them"
        " (nobody), or Redis was slow, down or paused and the answer went out without",
        ["outcome"],
    )
    agent_notes_lost = counter(
        "trunkline_agent_notes_lost", "1", "Turns and releases of people that Redis was not told; leases lapse"
    )
    journal_bytes = gauge("trunkline_journal_bytes", "bytes", "Bytes waiting in the local journal for Postgres")
    journal_corrupt = counter("trunkline_journal_corrupt_records", "1", "Journal lines that failed their checksum")
    intake_waiting = gauge("trunkline_intake_waiting", "1", "Webhooks taken in and not yet processed", ["vendor"])
    intake_age = gauge(
        "trunkline_intake_oldest_age_seconds", "seconds", "Age of the oldest webhook not yet processed", ["vendor"]
    )
    intake_parked = gauge(
        "trunkline_intake_parked", "1", "Webhooks that had no effect and wait for somebody", ["vendor"]
    )
    intake_processed = counter(
        "trunkline_intake_processed", "1", "Webhooks processed, by outcome", ["vendor", "outcome"]
    )
    outbound_calls = counter(
        "trunkline_outbound_calls",
        "1",
        "Calls that we were asked to place (requested), and what the vendor made of them: submitted, refused, unknown,"
        " or expired when nobody came to place them",
        ["vendor", "outcome"],
    )
    outbound_waiting = gauge("trunkline_outbound_waiting", "1", "Calls to place, or being placed", ["vendor"])
    outbound_unknown = gauge(
        "trunkline_outbound_unknown", "1", "Calls placed of which nobody knows yet whether they rang", ["vendor"]
    )
    token_mints = counter(
        "trunkline_vendor_token_mints",
        "1",
        "Tokens that vendors' APIs were asked for, by outcome",
        ["vendor", "outcome"],
    )
    breakers_open = gauge(
        "trunkline_vendor_breakers_open", "1", "Accounts whose vendor is not asked to dial, since it failed", ["vendor"]
    )
    breaker_trips = counter(
        "trunkline_vendor_breaker_trips", "1", "Times an account's breaker opened, or opened again", ["vendor"]
    )
    calls_stuck = gauge(
        "trunkline_calls_stuck", "1", "Calls without an end although their last news is old", ["vendor"]
    )
    calls_reconciled = counter(
        "trunkline_calls_reconciled",
        "1",
        "Calls that a vendor was asked about: told (how it ended), live, unknown (it cannot say), failed (no answer)",
        ["vendor", "outcome"],
    )
    dedupe_skips = gauge(
        "trunkline_webhook_dedupe_skips_24h",
        "1",
        "Repetitions of the webhooks that were stored in the last 24 hours",
        ["vendor", "account"],
    )
    webhooks_of_a_day = gauge(
        "trunkline_webhooks_24h",
        "1",
        "Webhooks of the last 24 hours that came to the store, repetitions included",
        ["vendor", "account"],
    )
    view_writes = counter("trunkline_view_writes", "1", "Entries written to the Redis view, by outcome", ["outcome"])
    view_drift = counter("trunkline_view_drift", "1", "Entries of the Redis view that a sweep had to repair")
    did_conflicts = counter(
        "trunkline_did_conflicts", "1", "Claims of a DID that already rings for another tenant, refused"
    )
    snapshot_age = gauge(
        "trunkline_snapshot_age_seconds", "seconds", "Time since the snapshot was last confirmed by Postgres"
    )
    missed_items = gauge(
        "trunkline_missed_items",
        "1",
        "Missed callers not seen to yet: open, claimed; calls put_aside by an error",
        ["state"],
    )
    missed_oldest = gauge(
        "trunkline_missed_oldest_open_age_seconds", "seconds", "For how long the oldest missed caller waits unclaimed"
    )
    claim_seconds = histogram(
        "trunkline_missed_claim_seconds",
        "seconds",
        "From a missed call to its first claim",
        [],
        buckets=(10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400),
    )
    claim_changes = counter(
        "trunkline_missed_changes",
        "1",
        "What was done about missed calls: opened, missed_again, claimed, renewed, released, resolved; refused claims",
        ["change"],
    )
    recordings = gauge(
        "trunkline_recordings",
        "1",
        "Recordings by what became of them: pending, fetching, stored, absent, failed",
        ["state"],
    )
    recordings_age = gauge(
        "trunkline_recordings_oldest_age_seconds",
        "seconds",
        "Since when the recording that waits longest could have been fetched",
    )
    recording_attempts = counter(
        "trunkline_recording_attempts",
        "1",
        "Attempts to fetch a recording, by outcome: stored, again, failed, lost (another fetcher has it)",
        ["vendor", "outcome"],
    )
    recording_bytes = counter("trunkline_recording_bytes", "bytes", "Bytes of recordings that were fetched")
    recording_seconds = histogram(
        "trunkline_recording_seconds",
        "seconds",
        "Time to fetch a recording, take its speakers apart and store it",
        ["vendor"],
        buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300, 900),
    )
    recordings_damaged = counter(
        "trunkline_recordings_damaged",
        "1",
        "Recordings that the store gave back otherwise than it got them. Alarm on any",
    )
