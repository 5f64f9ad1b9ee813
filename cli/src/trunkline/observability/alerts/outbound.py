"""What is told about calls that we place, and calls whose end nobody told us."""

from __future__ import annotations

from trunkline.observability.rules import Alert

__all__ = ["ALERTS"]

MINUTE = 60.0

ALERTS = (
    Alert(
        name="VendorBreakerOpen",
        expr="max by (vendor) (trunkline_vendor_breakers_open) > 0",
        wait=2 * MINUTE,
        severity="ticket",
        summary="{{ $labels.vendor }} is not asked to dial for {{ $value }} accounts, since it failed",
        runbook="vendor-breaker-open",
    ),
    Alert(
        name="OutboundUnknown",
        expr="max by (vendor) (trunkline_outbound_unknown) > 0",
        wait=30 * MINUTE,
        severity="ticket",
        summary="Of {{ $value }} calls placed with {{ $labels.vendor }} nobody knows whether they rang",
        runbook="outbound-unknown",
    ),
    Alert(
        name="CallsStuck",
        expr="max by (vendor) (trunkline_calls_stuck) > 10",
        wait=60 * MINUTE,
        severity="ticket",
        summary="{{ $value }} calls of {{ $labels.vendor }} have no end, although nothing was heard of them for long",
        runbook="calls-stuck",
    ),
)
