"""What could not be handled, what waits behind it, how it is worked off, and replays."""

from __future__ import annotations

from trunkline.observability.expressions import per_second, share
from trunkline.observability.panels import Board, Query, Row, figure, graph, listing

NOW = Row("Now", (
    figure("Waiting", "short", "Dead letters that wait for somebody.",
           "sum(max by (consumer) (trunkline_dead_letters_waiting))", bad_above=1),
    figure("Oldest", "s", "How long the oldest of them has waited.",
           "max(trunkline_dead_letters_oldest_age_seconds)", bad_above=86400),
    figure("Keys that wait", "short", "Keys whose later events wait behind a dead letter.",
           "sum(max by (consumer) (trunkline_parked_keys))", bad_above=1),
    figure("Halted consumers", "short", "Consumers that stopped because they fail on nearly everything.",
           "sum(max by (consumer) (trunkline_consumer_halted))", bad_above=1),
    figure("Share parked", "percentunit", "Of the records handled, the share that was parked.",
           share("trunkline_dead_letters_total", "trunkline_events_handled_total"), bad_above=0.01),
    figure("Replays running", "short", "Replays that run now.",
           'sum(max by (service) (trunkline_replays{state="running"}))'),
))  # fmt: skip

LETTERS = Row("Dead letters", (
    graph("Parked", "ops", "Records parked, by reason.",
          Query(per_second("trunkline_dead_letters_total", "consumer, reason"), "{{consumer}} {{reason}}")),
    graph("Worked off", "ops", "Dead letters retried, edited or dropped by somebody.",
          Query(per_second("trunkline_dead_letters_worked_total", "consumer, action"), "{{consumer}} {{action}}")),
    graph("Waiting", "short", "Dead letters that wait for somebody, by consumer.",
          Query("max by (consumer) (trunkline_dead_letters_waiting)", "{{consumer}}")),
    graph("Oldest", "s", "How long the oldest has waited; after a day there is a ticket.",
          Query("max by (consumer) (trunkline_dead_letters_oldest_age_seconds)", "{{consumer}}"), limit=86400),
    graph("Keys that wait", "short", "Keys whose later events wait behind a dead letter, and are handled after it.",
          Query("max by (consumer) (trunkline_parked_keys)", "{{consumer}}")),
    graph("Parked behind", "ops", "Records that were parked only because an earlier one of their key was.",
          Query(per_second('trunkline_events_handled_total{outcome="parked_behind"}', "consumer"), "{{consumer}}")),
    listing("Since when, and why", "short", "Dead letters since the processes started, by topic and reason.",
            "sum by (consumer, topic, reason) (trunkline_dead_letters_total)", width=24),
))  # fmt: skip

REPLAYS = Row("Replays", (
    graph("By state", "short", "Replays that are planned, run, were paused, failed or are done.",
          Query("max by (service, state) (trunkline_replays)", "{{service}} {{state}}"), width=8),
    graph("Remaining", "short", "Records that running replays have still to handle.",
          Query("max by (service) (trunkline_replay_remaining_records)", "{{service}}"), width=8),
    graph("Handled", "short", "Records that running replays have handled.",
          Query("max by (service) (trunkline_replay_handled_records)", "{{service}}"), width=8),
    graph("Not handled", "short", "Records that the running replays could not handle.",
          Query("max by (service) (trunkline_replay_failed_records)", "{{service}}"), width=8),
    graph("Silent", "s", "Longest time since a running replay stored its place; after ten minutes there is a ticket.",
          Query("max by (service) (trunkline_replay_silent_seconds)", "{{service}}"), limit=600, width=8),
    graph("Giving way", "short", "Running replays that wait because live traffic has work to do.",
          Query("max by (service) (trunkline_replays_throttled)", "{{service}}"), width=8),
    graph("Told to nobody", "short", "Events that a replay was not allowed to tell.",
          Query("sum by (service) (increase(trunkline_suppressed_events_total[$__rate_interval]))", "{{service}}"),
          width=8),
))  # fmt: skip

BOARD = Board(
    uid="trunkline-dead-letters",
    title="Trunkline: dead letters and replays",
    description="What could not be handled, what waits behind it, how it is worked off, and how replays do.",
    rows=(NOW, LETTERS, REPLAYS),
)
