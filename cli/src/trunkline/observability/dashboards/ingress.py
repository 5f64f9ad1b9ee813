"""What vendors send us: how much, how fast it is answered, what is refused, what waits."""

from __future__ import annotations

from trunkline.observability.expressions import per_second, quantile, share
from trunkline.observability.panels import Board, Query, Row, Variable, figure, graph, listing

VENDOR = '{vendor=~"$vendor"}'
HOOKS = f"trunkline_webhooks_total{VENDOR}"
SECONDS = "trunkline_ring_answer_seconds"

TOTALS = Row("Now", (
    figure("Taken in", "percentunit",
           "Share of webhooks answered with 2xx, of those not rightly refused (4xx). The target is 99 %.",
           "1 - " + share('trunkline_webhook_answers_total{vendor=~"$vendor", outcome="failed"}',
                          'trunkline_webhook_answers_total{vendor=~"$vendor", outcome!="refused"}'), bad_below=0.99),
    figure("Webhooks", "reqps", "Webhooks a second, of all vendors chosen above.", per_second(HOOKS)),
    figure("Median answer", "s", "Half of the ringing callers wait less. Vendors publish 250 ms as what they expect.",
           quantile(0.5, SECONDS, "", VENDOR), bad_above=0.25),
    figure("99 of 100", "s", "The slowest hundredth of the answers; more than 1 s is what vendors call slow.",
           quantile(0.99, SECONDS, "", VENDOR), bad_above=1),
    figure("Waiting", "short", "Webhooks taken in and not yet processed.",
           f"sum(max by (vendor) (trunkline_intake_waiting{VENDOR}))", bad_above=500),
    figure("Oldest", "s", "Age of the oldest webhook that is not yet processed.",
           f"max(trunkline_intake_oldest_age_seconds{VENDOR})", bad_above=60),
))  # fmt: skip

TRAFFIC = Row("Traffic", (
    graph("Webhooks by vendor", "reqps", "What each vendor sends.", Query(per_second(HOOKS, "vendor"), "{{vendor}}")),
    graph("Webhooks by kind", "reqps", "Which hooks are called: ring, status, and what else a vendor has.",
          Query(per_second(HOOKS, "vendor, hook"), "{{vendor}} {{hook}}")),
    graph("Answers by status", "reqps", "The HTTP status that we answered with.",
          Query(per_second(HOOKS, "code"), "{{code}}"), stacked=True),
    graph("Refused", "percentunit", "Share refused with 4xx: a wrong secret or signature, or a body nobody can read.",
          Query(share('trunkline_webhook_answers_total{vendor=~"$vendor", outcome="refused"}',
                      f"trunkline_webhook_answers_total{VENDOR}", "vendor"), "{{vendor}}"),
          limit=0.2),
))  # fmt: skip

ANSWERS = Row("Ringing callers", (
    graph("Time to answer", "s", "From a ring webhook's last byte to our answer's first, by vendor. Deadline 250 ms.",
          Query(quantile(0.5, SECONDS, "vendor", VENDOR), "{{vendor}} median"),
          Query(quantile(0.99, SECONDS, "vendor", VENDOR), "{{vendor}} 99 %"), limit=0.25),
    graph("Asked again", "reqps",
          "Rings of a call that had its answer already, by where the answer was kept. Vendors repeat what is slow.",
          Query(per_second(f"trunkline_ring_replays_total{VENDOR}", "vendor, source"), "{{vendor}} {{source}}")),
    graph("Proofs", "reqps", "Accepted webhooks by the form of the proof that held: a signature, a secret in the path.",
          Query(per_second(f"trunkline_webhook_proofs_total{VENDOR}", "vendor, proof"), "{{vendor}} {{proof}}")),
    graph("Made durable", "reqps",
          "Where webhooks were recorded before the answer; the journal stands in for Postgres.",
          Query(per_second("trunkline_webhooks_recorded_total", "where"), "{{where}}"), stacked=True),
))  # fmt: skip

PROCESSING = Row("Processing", (
    graph("Processed", "ops", "Webhooks processed after they were taken in; parked ones need somebody.",
          Query(per_second(f"trunkline_intake_processed_total{VENDOR}", "vendor, outcome"), "{{vendor}} {{outcome}}")),
    graph("Waiting and parked", "short",
          "Webhooks taken in and not yet processed, and those that had no effect: trunkline router parked list.",
          Query(f"max by (vendor) (trunkline_intake_waiting{VENDOR})", "{{vendor}} waiting"),
          Query(f"max by (vendor) (trunkline_intake_parked{VENDOR})", "{{vendor}} parked")),
    listing("Since when", "short", "Webhooks of the range shown, by vendor, hook and status.",
            f"sum by (vendor, hook, code) (increase({HOOKS}[$__range]))"),
    listing("New to us", "short", "Fields that a vendor sends and we do not know, or of another kind, since the start.",
            f"sum by (vendor, field, change) (trunkline_vendor_drift_total{VENDOR})"),
))  # fmt: skip

BOARD = Board(
    uid="trunkline-ingress",
    title="Trunkline: webhooks by vendor",
    description="What vendors send, how fast ringing callers are answered, what is refused and what waits.",
    variables=(Variable("vendor", "trunkline_webhooks_total", "vendor", "The PBX vendors to look at."),),
    rows=(TOTALS, TRAFFIC, ANSWERS, PROCESSING),
)
