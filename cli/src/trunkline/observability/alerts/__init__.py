"""The table of alert rules, by what they watch. A new file of rules is named here."""

from __future__ import annotations

from collections.abc import Iterator

from trunkline.observability import objectives
from trunkline.observability.alerts import delivery, outbound, ringing, servers, work
from trunkline.observability.rules import Alert, Group

__all__ = ["GROUPS", "all_alerts"]

GROUPS = (
    *(objectives.recordings(objective) for objective in objectives.OBJECTIVES),
    Group("objectives", objectives.alerts()),
    Group("ringing", ringing.ALERTS),
    Group("outbound", outbound.ALERTS),
    Group("delivery", delivery.ALERTS),
    Group("work", work.ALERTS),
    Group("servers", servers.ALERTS),
)
"""Every group of rules; each becomes a file of its name in deploy/prometheus/rules."""


def all_alerts() -> Iterator[Alert]:
    for group in GROUPS:
        yield from group.alerts
