"""Anomalies: a rule found the operation in a state that somebody should know of. Produced by anomaly-engine."""

from __future__ import annotations

from typing import ClassVar, Literal

from contracts.event import Event, UtcDatetime

__all__ = ["AnomalyFiredV1"]


class AnomalyFiredV1(Event):
    type: ClassVar[str] = "anomaly.fired.v1"

    anomaly_id: str
    rule: str
    rule_version: str
    title: str
    description: str
    learning: str
    """What the owner can learn from it, in one or two sentences."""
    severity: Literal["info", "warning", "critical"]
    local_day: str
    """``YYYY-MM-DD`` in the tenant's zone; a rule fires at most once per tenant and day."""
    as_of: UtcDatetime
    fingerprint: str
    evidence: tuple[dict[str, str | int | float | bool | None], ...] = ()
    """At most twenty rows; ``evidence_total`` counts all of them."""
    evidence_total: int

    def entity_id(self) -> str:
        return self.rule
