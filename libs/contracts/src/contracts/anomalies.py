"""Anomalies: a rule found the operation in a state that somebody should know of. Produced by anomaly-engine."""

from __future__ import annotations

from typing import ClassVar, Literal

from contracts.event import Event, UtcDatetime

__all__ = ["AnomalyFiredV1"]


class AnomalyFiredV1(Event):
    """A rule found something that somebody should know of."""

    type: ClassVar[str] = "anomaly.fired.v1"

    anomaly_id: str
    """Our own id of this firing."""
    rule: str
    """Name of the rule, the name of its file."""
    rule_version: str
    """Changes with the rule's text."""
    title: str
    """One line for people."""
    description: str
    """What the rule looks for."""
    learning: str
    """What the owner can learn from it, in one or two sentences."""
    severity: Literal["info", "warning", "critical"]
    """How soon somebody should look."""
    local_day: str
    """``YYYY-MM-DD`` in the tenant's zone; a rule fires at most once per tenant and day."""
    as_of: UtcDatetime
    """The moment that the rule was evaluated for."""
    fingerprint: str
    """The same while the evidence is the same."""
    evidence: tuple[dict[str, str | int | float | bool | None], ...] = ()
    """At most twenty rows; ``evidence_total`` counts all of them."""
    evidence_total: int
    """How many rows the rule found."""

    def entity_id(self) -> str:
        return self.rule
