"""What is learnt and what is noticed: facts from messages, rules over everything."""

from __future__ import annotations

from trunkline.observability.expressions import per_second, quantile
from trunkline.observability.panels import Board, Query, Row, Variable, figure, graph, listing

BRAIN = '{service="brain-distiller"}'
READERS = '{consumer=~"brain-distiller.*"}'
RULE = '{rule=~"$rule"}'

BOARD = Board(
    uid="trunkline-brain",
    title="Trunkline: brain and anomalies",
    description="Facts distilled from messages, and the rules that watch the operation.",
    rows=(
        Row("Facts", (
            graph("Read", "ops", "What the distiller has read, by topic and what became of it.",
                  Query(per_second(f"trunkline_events_handled_total{READERS}", "topic, outcome"),
                        "{{topic}} {{outcome}}"), width=8),
            graph("Told", "ops", "Events of facts that were published.",
                  Query(per_second(f"trunkline_relayed_events_total{BRAIN}"), "facts"), width=8),
            graph("Entered", "short", "Facts by kind and by the state that they entered.",
                  Query("sum by (key, state) (increase(trunkline_facts_total[$__rate_interval]))", "{{key}} {{state}}"),
                  stacked=True, width=8),
            graph("Conflicts", "short", "Facts of which a second value was said, by kind: somebody has to decide.",
                  Query('sum by (key) (increase(trunkline_facts_total{state="conflicting"}[$__rate_interval]))',
                        "{{key}}"), width=8),
            graph("Time to distil", "s", "To make facts of one batch of a tenant's messages.",
                  Query(quantile(0.5, "trunkline_distil_seconds"), "median"),
                  Query(quantile(0.99, "trunkline_distil_seconds"), "99 %"), width=8),
            graph("Age when known", "s", "From a message's event to its facts being on record.",
                  Query(quantile(0.5, "trunkline_event_age_seconds", "topic", READERS), "{{topic}} median"),
                  Query(quantile(0.99, "trunkline_event_age_seconds", "topic", READERS), "{{topic}} 99 %"), width=8),
        )),
        Row("Rules", (
            figure("Evaluated", "ops", "Evaluations a second, over all rules and tenants.",
                   per_second("trunkline_rule_evaluations_total"), width=6),
            figure("Failing", "short", "Evaluations whose query failed: nobody knows whether all is well.",
                   'sum(increase(trunkline_rule_evaluations_total{state="error"}[$__range]))', bad_above=1, width=6),
            figure("Fired", "short", "Anomalies told to others in the range shown.",
                   "sum(increase(trunkline_anomalies_fired_total[$__range]))", width=6),
            figure("Slowest rule", "s", "99 of 100 evaluations are faster; a rule is stopped at 2 s.",
                   quantile(0.99, "trunkline_rule_duration_seconds"), bad_above=2, width=6),
            graph("Evaluations", "ops", "Evaluations by what they gave.",
                  Query(per_second(f"trunkline_rule_evaluations_total{RULE}", "state"), "{{state}}"), stacked=True),
            graph("Time of a rule", "s", "How long its query took; 99 of 100 are faster.",
                  Query(quantile(0.99, "trunkline_rule_duration_seconds", "rule", RULE), "{{rule}}"), limit=2),
            graph("Told", "short", "Anomalies told to others, once per tenant, rule and day.",
                  Query("sum by (rule, severity) (increase(trunkline_anomalies_fired_total[$__rate_interval]))",
                        "{{rule}} {{severity}}")),
            listing("By rule", "short", "Evaluations since the service started, by rule and what they gave.",
                    f"sum by (rule, state) (trunkline_rule_evaluations_total{RULE})"),
        )),
    ),
    variables=(Variable("rule", "trunkline_rule_evaluations_total", "rule", "The rules to look at."),),
)  # fmt: skip
