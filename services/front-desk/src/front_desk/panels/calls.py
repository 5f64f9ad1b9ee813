"""Calls: who rang, whom we rang for them and why, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from front_desk.panels.base import Facet, Panel

__all__ = ["PANEL"]

_TONES = {
    "answered": "live",
    "completed": "good",
    "missed": "bad",
    "failed": "bad",
    "busy": "warn",
    "cancelled": "quiet",
    "ringing": "live",
    "initiated": "live",
}


def _card(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **row,
        "destinations": json.loads(row["destinations"]),
        "excluded": json.loads(row["excluded"]),
        "tone": _TONES.get(row["state"], "quiet"),
        "known": row["asked_at"] is not None,
    }


PANEL = Panel(
    name="calls",
    title="Calls",
    page="calls",
    empty="No calls yet. They appear here while they ring, with the person who was rung and why.",
    facets=(
        Facet(value="ringing", label="Ringing"),
        Facet(value="answered", label="Talking"),
        Facet(value="completed", label="Completed"),
        Facet(value="missed", label="Missed"),
    ),
    card=_card,
)
