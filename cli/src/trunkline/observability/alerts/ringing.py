"""What wakes somebody because callers, or what vendors tell us of them, are not served as promised."""

from __future__ import annotations

from trunkline.observability.rules import Alert

__all__ = ["ALERTS", "CACHE_FLOOR", "CACHE_TARGET"]

MINUTE = 60.0
CACHE_TARGET = 0.8
CACHE_FLOOR = 20

ALERTS = (
    Alert(
        name="CacheHitsLow",
        expr=f"""
(
  sum(rate(trunkline_ring_answers_total{{rung="redis"}}[$window])) or vector(0)
)
/ sum(rate(trunkline_ring_answers_total[$window])) < {CACHE_TARGET}
and sum(increase(trunkline_ring_answers_total[$window])) >= {CACHE_FLOOR}
""",
        windows={"window": 30 * MINUTE},
        wait=5 * MINUTE,
        severity="ticket",
        summary="Only {{ $value | humanizePercentage }} of ringing callers are answered out of Redis",
        runbook="cache-hits-low",
    ),
    Alert(
        name="RingAnswersSlow",
        expr="""
histogram_quantile(0.99, sum by (vendor, le) (rate(trunkline_ring_answer_seconds_bucket[$window]))) > 0.25
and sum by (vendor) (increase(trunkline_ring_answer_seconds_count[$window])) >= 20
""",
        windows={"window": 10 * MINUTE},
        wait=5 * MINUTE,
        severity="page",
        summary="One of a hundred ringing callers of {{ $labels.vendor }} waits {{ $value | humanizeDuration }}",
        runbook="ring-answers-slow",
    ),
    Alert(
        name="RingUnrecorded",
        expr="increase(trunkline_ring_unrecorded_total[$window]) > 0",
        windows={"window": 15 * MINUTE},
        wait=0,
        severity="page",
        summary="{{ $value | humanize }} ringing callers were answered and not recorded anywhere",
        runbook="ring-unrecorded",
    ),
    Alert(
        name="RingAnswerConflicts",
        expr="increase(trunkline_ring_answer_conflicts_total[$window]) > 0",
        windows={"window": 60 * MINUTE},
        wait=0,
        severity="ticket",
        summary="{{ $value | humanize }} calls were given two different answers by two routers",
        runbook="ring-answer-conflicts",
    ),
    Alert(
        name="JournalNotDraining",
        expr="trunkline_journal_bytes > 0 and delta(trunkline_journal_bytes[$window]) >= 0",
        windows={"window": 5 * MINUTE},
        wait=5 * MINUTE,
        severity="page",
        summary="{{ $value | humanize1024 }}B wait in the router's journal and do not become fewer",
        runbook="journal-not-draining",
    ),
    Alert(
        name="JournalCorrupt",
        expr="increase(trunkline_journal_corrupt_records_total[$window]) > 0",
        windows={"window": 60 * MINUTE},
        wait=0,
        severity="page",
        summary="{{ $value | humanize }} lines of the router's journal are damaged",
        runbook="journal-corrupt",
    ),
    Alert(
        name="SnapshotOld",
        expr="trunkline_snapshot_age_seconds > ${age_seconds}",
        windows={"age": 15 * MINUTE},
        wait=MINUTE,
        severity="ticket",
        summary="The router's snapshot was last confirmed {{ $value | humanizeDuration }} ago",
        runbook="snapshot-old",
    ),
    Alert(
        name="WebhooksWait",
        expr="max by (vendor) (trunkline_intake_oldest_age_seconds) > ${age_seconds}",
        windows={"age": MINUTE},
        wait=2 * MINUTE,
        severity="page",
        summary="The oldest webhook of {{ $labels.vendor }} has waited {{ $value | humanizeDuration }} to be processed",
        runbook="webhooks-wait",
    ),
    Alert(
        name="RecordingsWait",
        expr="max(trunkline_recordings_oldest_age_seconds) > ${age_seconds}",
        windows={"age": 60 * MINUTE},
        wait=5 * MINUTE,
        severity="ticket",
        summary="A recording waits to be fetched since {{ $value | humanizeDuration }}",
        runbook="recordings-wait",
    ),
    Alert(
        name="RecordingsDamaged",
        expr="sum(increase(trunkline_recordings_damaged_total[$window])) > 0",
        windows={"window": 60 * MINUTE},
        wait=0,
        severity="ticket",
        summary="{{ $value | humanize }} times the store of recordings gave back other bytes than it got",
        runbook="recordings-damaged",
    ),
    Alert(
        name="WebhooksParked",
        expr="max by (vendor) (trunkline_intake_parked) > 0",
        wait=MINUTE,
        severity="ticket",
        summary="{{ $value }} webhooks of {{ $labels.vendor }} were taken in and had no effect",
        runbook="webhooks-parked",
    ),
    Alert(
        name="WebhooksRefused",
        expr="""
sum by (vendor) (rate(trunkline_webhook_answers_total{outcome="refused"}[$window]))
  / sum by (vendor) (rate(trunkline_webhook_answers_total[$window])) > 0.2
and sum by (vendor) (increase(trunkline_webhook_answers_total[$window])) >= 20
""",
        windows={"window": 30 * MINUTE},
        wait=5 * MINUTE,
        severity="ticket",
        summary="{{ $value | humanizePercentage }} of the webhooks of {{ $labels.vendor }} are refused",
        runbook="webhooks-refused",
    ),
    Alert(
        name="MissedCallersWait",
        expr="max(trunkline_missed_oldest_open_age_seconds) > ${age_seconds}",
        windows={"age": 60 * MINUTE},
        wait=5 * MINUTE,
        severity="ticket",
        summary="A customer whose call was missed has waited {{ $value | humanizeDuration }}, and nobody calls back",
        runbook="missed-callers-wait",
    ),
    Alert(
        name="ViewDrifts",
        expr="increase(trunkline_view_drift_total[$window]) > 10",
        windows={"window": 60 * MINUTE},
        wait=0,
        severity="ticket",
        summary="A sweep had to repair {{ $value | humanize }} entries of the routing view in Redis",
        runbook="view-drifts",
    ),
)
