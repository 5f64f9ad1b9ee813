"""Calls that we place, vendors that are left alone, calls without an end, and webhooks that come again."""

from __future__ import annotations

from trunkline.observability.expressions import per_second
from trunkline.observability.panels import Board, Query, Row, Variable, figure, graph

VENDOR = '{vendor=~"$vendor"}'

NOW = Row("Now", (
    figure("Waiting", "short", "Calls to place, or being placed. More than a few means that nobody places them.",
           f"sum(max by (vendor) (trunkline_outbound_waiting{VENDOR}))", bad_above=20),
    figure("Unknown", "short", "Calls placed of which nobody knows whether they rang; they are never dialled again.",
           f"sum(max by (vendor) (trunkline_outbound_unknown{VENDOR}))", bad_above=1),
    figure("Breakers open", "short", "Accounts whose vendor is not asked to dial, since it failed.",
           f"sum(max by (vendor) (trunkline_vendor_breakers_open{VENDOR}))", bad_above=1),
    figure("Stuck", "short", "Calls without an end although their last news is old: trunkline router stuck.",
           f"sum(max by (vendor) (trunkline_calls_stuck{VENDOR}))", bad_above=10),
))  # fmt: skip

PLACED = Row("Calls that we place", (
    graph("Orders and outcomes", "ops", "Calls ordered, and what the vendor made of them. Unknown ones need its word.",
          Query(per_second(f"trunkline_outbound_calls_total{VENDOR}", "vendor, outcome"), "{{vendor}} {{outcome}}")),
    graph("Breakers", "short", "Times a breaker opened, or opened again after the one call that was let through.",
          Query(f"sum by (vendor) (increase(trunkline_vendor_breaker_trips_total{VENDOR}[$__rate_interval]))",
                "{{vendor}}")),
    graph("Tokens minted", "short", "Tokens that vendors' APIs were asked for; all routers together need one a day.",
          Query("sum by (vendor, outcome) (increase(trunkline_vendor_token_mints_total[$__rate_interval]))",
                "{{vendor}} {{outcome}}")),
    graph("Asked about", "short",
          "Calls without an end that vendors were asked about: told, live, unknown to the vendor, or no answer.",
          Query(f"sum by (vendor, outcome) (increase(trunkline_calls_reconciled_total{VENDOR}[$__rate_interval]))",
                "{{vendor}} {{outcome}}")),
))  # fmt: skip

REPEATS = Row("Webhooks that come again", (
    graph("Repeated in 24 hours", "percentunit",
          "Share of an account's webhooks of a day that came before. A sudden rise or fall: the vendor has changed.",
          Query(f"max by (vendor, account) (trunkline_webhook_dedupe_skips_24h{VENDOR})\n"
                f"/ (max by (vendor, account) (trunkline_webhooks_24h{VENDOR}) > 0)", "{{vendor}} {{account}}")),
    graph("Webhooks of 24 hours", "short", "What came to the store, repetitions included, by account.",
          Query(f"max by (vendor, account) (trunkline_webhooks_24h{VENDOR})", "{{vendor}} {{account}}")),
))  # fmt: skip

BOARD = Board(
    uid="trunkline-outbound",
    title="Trunkline: calls placed and calls unfinished",
    description="Calls that we place, vendors left alone, calls without an end, and webhooks that come again.",
    variables=(Variable("vendor", "trunkline_outbound_waiting", "vendor", "The PBX vendors to look at."),),
    rows=(NOW, PLACED, REPEATS),
)
