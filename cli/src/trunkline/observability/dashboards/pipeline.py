"""From outbox to effect: what leaves, what waits on Kafka, what is handled, how old it is by then."""

from __future__ import annotations

from trunkline.observability.expressions import per_second, quantile
from trunkline.observability.panels import Board, Query, Row, Variable, figure, graph, listing

GROUP = '{group=~"$group"}'
CONSUMER = '{consumer=~"$group"}'

NOW = Row("Now", (
    figure("Kafka", "short", "1 when Kafka answers the lag exporter.", "min(trunkline_kafka_up)", bad_below=1),
    figure("Oldest in an outbox", "s", "Age of the oldest event that is committed and not yet published.",
           "max(trunkline_outbox_oldest_age_seconds)", bad_above=60),
    figure("Furthest behind", "s", "How far the slowest consumer is behind, in time.",
           f"max(trunkline_consumer_lag_seconds{GROUP})", bad_above=120),
    figure("Records waiting", "short", "Records on Kafka that a consumer has not committed.",
           f"sum(trunkline_consumer_lag_records{GROUP})"),
    figure("Event age", "s", "From an event's time to the commit of its effect: 99 of 100 are younger.",
           quantile(0.99, "trunkline_event_age_seconds", "", CONSUMER), bad_above=5),
    figure("Missed", "short", "Records that Kafka deleted before a consumer read them. Any is a loss.",
           f"sum(trunkline_consumer_missed_records{GROUP})", bad_above=1),
))  # fmt: skip

OUTBOX = Row("Outboxes and relays", (
    graph("Unpublished", "short", "Events that are committed and not yet published.",
          Query("max by (service) (trunkline_outbox_unpublished)", "{{service}}"), width=8),
    graph("Oldest unpublished", "s", "Its age: how late the world hears of it at least.",
          Query("max by (service) (trunkline_outbox_oldest_age_seconds)", "{{service}}"), limit=60, width=8),
    graph("Published", "ops", "Events that the relays have published.",
          Query(per_second("trunkline_relayed_events_total", "service"), "{{service}}"), width=8),
    graph("Leaders", "short", "Relays that publish; each service has exactly one.",
          Query("sum by (service) (trunkline_relay_leader)", "{{service}}"), width=8),
    graph("Held back", "s", "Age of the oldest transaction that a relay has to wait for.",
          Query("max by (service) (trunkline_relay_held_back_seconds)", "{{service}}"), limit=30, width=8),
    graph("Held back by", "none", "The process of Postgres that has that transaction open; 0 when there is none.",
          Query("max by (service) (trunkline_relay_held_back_by_pid)", "{{service}}"), width=8),
    graph("Halted", "short", "1 while a relay publishes nothing, because Kafka is not what it was.",
          Query("max by (service) (trunkline_relay_halted)", "{{service}}"), width=8),
    graph("Relay errors", "short", "Times a relay had to start over: Kafka or Postgres was away.",
          Query("sum by (service) (increase(trunkline_relay_errors_total[$__rate_interval]))", "{{service}}"),
          width=8),
    graph("Told to nobody", "short", "Events that a replay was not allowed to tell.",
          Query("sum by (service) (increase(trunkline_suppressed_events_total[$__rate_interval]))", "{{service}}"),
          width=8),
))  # fmt: skip

LAG = Row("Lag, seen from outside the consumers", (
    graph("Behind, in time", "s", "Age of the oldest record that a group has not committed.",
          Query(f"max by (group) (trunkline_consumer_lag_seconds{GROUP})", "{{group}}"), limit=120),
    graph("Behind, in records", "short", "Records that a group has not committed.",
          Query(f"sum by (group) (trunkline_consumer_lag_records{GROUP})", "{{group}}")),
    graph("Committed", "ops", "Records a second over which a group's committed offsets move.",
          Query(f"sum by (group) (rate(trunkline_consumer_committed_offset{GROUP}[$__rate_interval]))", "{{group}}")),
    graph("Written", "ops", "Records a second that are appended to each topic.",
          Query("sum by (topic) (rate(trunkline_topic_end_offset[$__rate_interval]))", "{{topic}}")),
    graph("Kept", "short", "Records that each topic still holds: how far back a replay from Kafka can go.",
          Query("sum by (topic) (trunkline_topic_end_offset - trunkline_topic_start_offset)", "{{topic}}")),
    graph("Missed", "short", "Records that were deleted before a group read them: seen from outside, and by itself.",
          Query(f"sum by (group, topic) (trunkline_consumer_missed_records{GROUP})", "{{group}} {{topic}}"),
          Query(f"sum by (consumer, topic) (increase(trunkline_records_missed_total{CONSUMER}[$__range]))",
                "{{consumer}} {{topic}} (by itself)")),
    listing("Where it waits", "short", "The partitions with most records waiting.",
            f"topk(20, trunkline_consumer_lag_records{GROUP})"),
    graph("The lag exporter", "s", "How long its look at Kafka takes, and how old the last good one is.",
          Query("max(trunkline_lag_exporter_scrape_seconds)", "a look"),
          Query("time() - max(trunkline_lag_exporter_last_success_timestamp_seconds)", "since the last")),
))  # fmt: skip

HANDLING = Row("Handling", (
    graph("Handled", "ops", "Records by what became of them: handled, duplicate, ignored, parked behind, refused.",
          Query(per_second(f"trunkline_events_handled_total{CONSUMER}", "consumer, outcome"),
                "{{consumer}} {{outcome}}")),
    graph("Event age", "s", "From an event's time to the commit of its effect.",
          Query(quantile(0.5, "trunkline_event_age_seconds", "consumer", CONSUMER), "{{consumer}} median"),
          Query(quantile(0.99, "trunkline_event_age_seconds", "consumer", CONSUMER), "{{consumer}} 99 %")),
    graph("Duplicates", "ops", "Records that came again and had no effect: at-least-once at work.",
          Query(per_second('trunkline_events_handled_total{consumer=~"$group", outcome="duplicate"}', "consumer"),
                "{{consumer}}")),
    graph("Tried again", "ops", "Handler attempts after the first.",
          Query(per_second(f"trunkline_retries_total{CONSUMER}", "consumer"), "{{consumer}}")),
))  # fmt: skip

GROUPS = Row("Groups", (
    graph("Members", "short", "Processes that read for a group, as Kafka sees it.",
          Query(f"max by (group) (trunkline_consumer_group_members{GROUP})", "{{group}}"), width=8),
    graph("Partitions held", "short", "Partitions that this service's processes hold.",
          Query(f"sum by (consumer) (trunkline_consumer_partitions{CONSUMER})", "{{consumer}}"), width=8),
    graph("Rebalances", "short", "Times a group's partitions were dealt out anew.",
          Query(f"sum by (consumer) (increase(trunkline_rebalances_total{CONSUMER}[$__rate_interval]))",
                "{{consumer}}"), width=8),
    graph("Paused", "short", "1 while a consumer waits for its database.",
          Query(f"max by (consumer) (trunkline_consumer_paused{CONSUMER})", "{{consumer}}"), width=8),
    graph("Halted", "short", "1 after a consumer stopped at its dead-letter limits.",
          Query(f"max by (consumer) (trunkline_consumer_halted{CONSUMER})", "{{consumer}}"), width=8),
    graph("Refused commits", "short", "Offset commits that Kafka refused, after a rebalance or while it is away.",
          Query(f"sum by (consumer) (increase(trunkline_commit_failures_total{CONSUMER}[$__rate_interval]))",
                "{{consumer}}"), width=8),
))  # fmt: skip

BOARD = Board(
    uid="trunkline-pipeline",
    title="Trunkline: Kafka pipeline",
    description="From outbox to effect: what leaves, what waits, what is handled, and how old it is by then.",
    variables=(Variable("group", "trunkline_consumer_group_members", "group", "The consumer groups to look at."),),
    rows=(NOW, OUTBOX, LAG, HANDLING, GROUPS),
)
