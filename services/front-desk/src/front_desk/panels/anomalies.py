"""Anomalies: rules that turned red, what they saw, and what to learn from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from front_desk.panels.base import Facet, Panel

__all__ = ["PANEL"]

_TONES = {"critical": "bad", "warning": "warn", "info": "quiet"}


def _card(row: Mapping[str, Any]) -> dict[str, Any]:
    evidence: list[dict[str, Any]] = json.loads(row["evidence"])
    columns = list(dict.fromkeys(column for line in evidence for column in line))
    return {
        **row,
        "columns": columns,
        "lines": [[line.get(column) for column in columns] for line in evidence],
        "tone": _TONES.get(row["severity"], "quiet"),
    }


PANEL = Panel(
    name="anomalies",
    title="Anomalies",
    page="anomalies",
    empty="Nothing is red. When a rule finds something that should be looked at, it appears here with its evidence.",
    facets=(
        Facet(value="critical", label="Critical"),
        Facet(value="warning", label="Warning"),
        Facet(value="info", label="Info"),
    ),
    card=_card,
)
