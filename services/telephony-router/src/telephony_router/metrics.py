"""What the router measures. The help text is the documentation."""

from __future__ import annotations

from functools import cache
from typing import TypeVar

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

__all__ = ["METRICS", "child"]

ANSWER_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1, 2.5)

M = TypeVar("M", bound=MetricWrapperBase)


@cache
def child(metric: M, *labels: str) -> M:
    """``metric.labels(...)``, remembered: looking it up costs the ringing path more than counting."""
    return metric.labels(*labels)


class METRICS:
    answer_seconds = Histogram(
        "trunkline_ring_answer_seconds",
        "Time from a ring webhook's last byte to its answer's first",
        ["vendor"],
        buckets=ANSWER_BUCKETS,
    )
    answers = Counter(
        "trunkline_ring_answers",
        "Ring webhooks answered, by the rung of the ladder that knew whom to ring and the rule that chose",
        ["vendor", "rung", "rule"],
    )
    replayed = Counter(
        "trunkline_ring_replays", "Ring webhooks of a call that had its answer already", ["vendor", "source"]
    )
    webhooks = Counter(
        "trunkline_webhooks", "Webhooks by what became of them (the HTTP status we sent)", ["vendor", "hook", "code"]
    )
    webhook_answers = Counter(
        "trunkline_webhook_answers",
        "Webhooks by how they were answered: taken (2xx), refused (4xx), failed (5xx). All are there from the start",
        ["vendor", "outcome"],
    )
    proofs = Counter(
        "trunkline_webhook_proofs", "Accepted webhooks by the form of the proof that held", ["vendor", "proof"]
    )
    recorded = Counter("trunkline_webhooks_recorded", "Webhooks made durable, by where: postgres, journal", ["where"])
    answer_conflicts = Counter(
        "trunkline_ring_answer_conflicts",
        "Rings that were answered out of the journal while another router gave the call another answer",
    )
    unrecorded = Counter(
        "trunkline_ring_unrecorded", "Ringing callers answered although nothing could be written. Alarm on any."
    )
    rung_failures = Counter(
        "trunkline_ladder_failures",
        "Times a rung of the ladder gave no view: it failed, was slow or knew nothing",
        ["rung", "why"],
    )
    journal_bytes = Gauge("trunkline_journal_bytes", "Bytes waiting in the local journal for Postgres")
    journal_corrupt = Counter("trunkline_journal_corrupt_records", "Journal lines that failed their checksum")
    intake_waiting = Gauge("trunkline_intake_waiting", "Webhooks taken in and not yet processed", ["vendor"])
    intake_age = Gauge("trunkline_intake_oldest_age_seconds", "Age of the oldest webhook not yet processed", ["vendor"])
    intake_parked = Gauge("trunkline_intake_parked", "Webhooks that had no effect and wait for somebody", ["vendor"])
    intake_processed = Counter("trunkline_intake_processed", "Webhooks processed, by outcome", ["vendor", "outcome"])
    view_writes = Counter("trunkline_view_writes", "Entries written to the Redis view, by outcome", ["outcome"])
    view_drift = Counter("trunkline_view_drift", "Entries of the Redis view that a sweep had to repair")
    did_conflicts = Counter("trunkline_did_conflicts", "Claims of a DID that already rings for another tenant, refused")
    snapshot_age = Gauge("trunkline_snapshot_age_seconds", "Time since the snapshot was last confirmed by Postgres")
