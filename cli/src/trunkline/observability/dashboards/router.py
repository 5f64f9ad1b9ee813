"""How the router decides: which rung of the ladder knew, the view in Redis, the snapshot, the journal."""

from __future__ import annotations

from trunkline.observability.expressions import per_second, quantile, share
from trunkline.observability.panels import Board, Query, Row, figure, graph

ANSWERS = "trunkline_ring_answers_total"

NOW = Row("Now", (
    figure("Cache hits", "percentunit", "Share of rings answered out of Redis; the target is 80 %.",
           share(f'{ANSWERS}{{rung="redis"}}', ANSWERS), bad_below=0.8),
    figure("Within the deadline", "percentunit", "Share of ringing callers answered within 250 ms.",
           'sum(rate(trunkline_ring_answer_seconds_bucket{le="0.25"}[$__rate_interval]))\n'
           "/ sum(rate(trunkline_ring_answer_seconds_count[$__rate_interval]))", bad_below=0.99),
    figure("Unrecorded", "short", "Callers of the range shown who were answered though nothing could be written.",
           "sum(increase(trunkline_ring_unrecorded_total[$__range]))", bad_above=1),
    figure("Snapshot", "s", "Time since the snapshot was last confirmed by Postgres: how old an answer can be.",
           "max(trunkline_snapshot_age_seconds)", bad_above=900),
    figure("Journal", "bytes", "Bytes that wait in the local journal for Postgres.", "sum(trunkline_journal_bytes)",
           bad_above=1),
    figure("Damaged lines", "short", "Lines of the journal whose checksum failed, in the range shown.",
           "sum(increase(trunkline_journal_corrupt_records_total[$__range]))", bad_above=1),
))  # fmt: skip

LADDER = Row("The ladder", (
    graph("Answers by rung", "reqps", "Who knew whom to ring: redis, snapshot, postgres, or nobody (static).",
          Query(per_second(ANSWERS, "rung"), "{{rung}}"), stacked=True),
    graph("Answers by rule", "reqps", "Why this person: owner, menu, group, fallback; or why nobody: spam, blocked.",
          Query(per_second(ANSWERS, "rule"), "{{rule}}"), stacked=True),
    graph("Rungs that gave nothing", "reqps", "Each time a rung failed, was slow or knew nothing, and why.",
          Query(per_second("trunkline_ladder_failures_total", "rung, why"), "{{rung}} {{why}}")),
    graph("Time to answer", "s", "From a ring webhook's last byte to our answer's first.",
          Query(quantile(0.5, "trunkline_ring_answer_seconds"), "median"),
          Query(quantile(0.95, "trunkline_ring_answer_seconds"), "95 %"),
          Query(quantile(0.99, "trunkline_ring_answer_seconds"), "99 %"), limit=0.25),
))  # fmt: skip

VIEW = Row("The view in Redis and the snapshot", (
    graph("View writes", "ops", "Entries written; refused ones were older than what was there.",
          Query(per_second("trunkline_view_writes_total", "outcome"), "{{outcome}}")),
    graph("Drift", "short", "Entries that a sweep had to repair: something wrote or lost them behind our back.",
          Query("sum(increase(trunkline_view_drift_total[$__rate_interval]))", "repaired")),
    graph("Age of the snapshot", "s", "Grows while Postgres is away.",
          Query("max(trunkline_snapshot_age_seconds)", "snapshot"), limit=900),
    graph("Claims of a taken number", "short", "Claims of a DID that already rings for another tenant, refused.",
          Query("sum(increase(trunkline_did_conflicts_total[$__rate_interval]))", "refused")),
))  # fmt: skip

PEOPLE = Row("Keeping people free", (
    graph("Answers that claim their people", "reqps",
          "All were kept free (claimed), others had some (contested) or all of them (nobody); slow, down, paused"
          " went out unclaimed.",
          Query(per_second("trunkline_agent_claims_total", "outcome"), "{{outcome}}"), stacked=True),
    graph("Turns and releases that Redis was not told", "short", "Leases lapse by themselves; whose turn it is, is in"
          " Postgres as well.", Query("sum(increase(trunkline_agent_notes_lost_total[$__rate_interval]))", "lost")),
))  # fmt: skip

JOURNAL = Row("The journal", (
    graph("Waiting for Postgres", "bytes", "Grows while Postgres is away, and is drained when it is back.",
          Query("sum(trunkline_journal_bytes)", "journal")),
    graph("What the journal could not settle", "short",
          "Answers that differ from another router's, damaged lines, and callers recorded nowhere.",
          Query("sum(increase(trunkline_ring_answer_conflicts_total[$__rate_interval]))", "answer conflicts"),
          Query("sum(increase(trunkline_journal_corrupt_records_total[$__rate_interval]))", "damaged lines"),
          Query("sum(increase(trunkline_ring_unrecorded_total[$__rate_interval]))", "unrecorded")),
))  # fmt: skip

MISSED = Row("Missed calls", (
    graph("Not seen to", "short",
          "Missed callers: open ones nobody has taken, claimed ones somebody calls back. Calls put_aside met an error.",
          Query("max by (state) (trunkline_missed_items)", "{{state}}")),
    graph("The oldest waits", "s", "For how long the oldest missed caller has waited without anybody taking the call.",
          Query("max(trunkline_missed_oldest_open_age_seconds)", "oldest"), limit=3600),
    graph("Time to claim", "s", "From a missed call to its first claim; one of ten takes longer than the upper line.",
          Query(quantile(0.5, "trunkline_missed_claim_seconds"), "median"),
          Query(quantile(0.9, "trunkline_missed_claim_seconds"), "90 %")),
    graph("What is done", "short",
          "Items opened, claimed, renewed, released, resolved; refused claims came after somebody else's.",
          Query("sum by (change) (increase(trunkline_missed_changes_total[$__rate_interval]))", "{{change}}")),
))  # fmt: skip

RECORDINGS = Row("Recordings", (
    graph("Recordings by state", "short", "What waits, what is being fetched, what failed: trunkline recordings list.",
          Query('max by (state) (trunkline_recordings{state!~"stored|expired"})', "{{state}}")),
    graph("The longest wait", "s", "Since when the recording that waits longest could have been fetched.",
          Query("max(trunkline_recordings_oldest_age_seconds)", "oldest"), limit=3600),
    graph("Attempts by outcome", "ops", "Stored, tried again later, failed for good, or lost to another fetcher.",
          Query(per_second("trunkline_recording_attempts_total", "vendor, outcome"), "{{vendor}} {{outcome}}")),
    graph("Bytes fetched", "Bps", "What recordings take of the way out, and of the store, each second.",
          Query(per_second("trunkline_recording_bytes_total"), "bytes")),
    graph("Time to fetch and store", "s", "From the first byte asked for to the last one stored, speakers taken apart.",
          Query(quantile(0.5, "trunkline_recording_seconds"), "median"),
          Query(quantile(0.99, "trunkline_recording_seconds"), "99 %")),
    graph("Damaged", "short", "Reads that found other bytes in the store than were put there.",
          Query("sum(increase(trunkline_recordings_damaged_total[$__rate_interval]))", "damaged")),
))  # fmt: skip

BOARD = Board(
    uid="trunkline-router",
    title="Trunkline: router",
    description="Which rung answers ringing callers, how view, snapshot and journal do, which missed callers wait, and "
    "what becomes of recordings.",
    rows=(NOW, LADDER, VIEW, PEOPLE, JOURNAL, MISSED, RECORDINGS),
)
