"""One business: what its calls, messages, facts and mails amount to, and what of it is stuck."""

from __future__ import annotations

from trunkline.observability.panels import Board, Query, Row, Variable, figure, graph, listing

EVENTS = 'trunkline_tenant_events_total{tenant=~"$tenant"}'
WAITING = 'trunkline_tenant_dead_letters_waiting{tenant=~"$tenant"}'
PARKED = 'trunkline_tenant_parked_keys{tenant=~"$tenant"}'

BOARD = Board(
    uid="trunkline-tenants",
    title="Trunkline: one tenant",
    description=(
        "The busiest tenants by their opaque ids, from the tenants exporter, which operators alone reach. Names are in "
        "the console."
    ),
    variables=(Variable("tenant", "trunkline_tenant_events_total", "tenant", "The tenants to look at, by their ids."),),
    rows=(
        Row("Now", (
            figure("Events", "ops", "Events a second of the tenants chosen above: calls, messages, facts, mails.",
                   f"sum(rate({EVENTS}[$__rate_interval]))", width=6),
            figure("Dead letters", "short", "Records of these tenants that wait for somebody.", f"sum({WAITING})",
                   bad_above=1, width=6),
            figure("Tenants with events", "short", "Tenants that had any event since the exporter started.",
                   "max(trunkline_tenants_seen)", width=6),
            figure("Tenants shown", "short", "The busiest of them, which have series of their own here.",
                   "max(trunkline_tenants_shown)", width=6),
        )),
        Row("What happens", (
            graph("By tenant", "ops", "Events a second of each tenant.",
                  Query(f"sum by (tenant) (rate({EVENTS}[$__rate_interval]))", "{{tenant}}")),
            graph("By topic", "ops", "Events a second by topic: calls, messages, facts, anomalies, mails.",
                  Query(f"sum by (topic) (rate({EVENTS}[$__rate_interval]))", "{{topic}}"), stacked=True),
            listing("In the range shown", "short", "Events by tenant and topic.",
                    f"sum by (tenant, topic) (increase({EVENTS}[$__range]))", width=24),
        )),
        Row("What is stuck", (
            graph("Dead letters", "short", "Records that wait for somebody, by tenant and service.",
                  Query(f"sum by (tenant, service) ({WAITING})", "{{tenant}} {{service}}")),
            graph("Keys that wait", "short", "Keys of a tenant whose later events wait behind a dead letter.",
                  Query(f"sum by (tenant, service) ({PARKED})", "{{tenant}} {{service}}")),
        )),
    ),
)  # fmt: skip
