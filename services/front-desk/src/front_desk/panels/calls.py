"""Calls: who rang, whom we rang for them and why, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from front_desk.panels.base import Facet, Panel
from front_desk.present import phone

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
    destinations = json.loads(row["destinations"])
    return {
        **row,
        "destinations": destinations,
        "excluded": json.loads(row["excluded"]),
        "tone": _TONES.get(row["state"], "quiet"),
        "known": row["asked_at"] is not None,
        "with_whom": _with_whom(row, destinations),
        "recordings": _recordings(row),
    }


def _recordings(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The recordings that are there: how long each is, and whether it tells who speaks."""
    return [
        {"seconds": each["duration_ms"] // 1000, "apart": each["speakers"] == "by_channel"}
        for each in json.loads(row["recordings"] or "{}").values()
    ]


def _with_whom(row: Mapping[str, Any], destinations: list[dict[str, Any]]) -> str:
    """Who took the call, or else who is being rung for it; nothing when nobody is."""
    if row["staff_name"]:
        return str(row["staff_name"])
    if row["agent_number"]:
        names = {each["number"]: each["name"] for each in destinations}
        return names.get(row["agent_number"]) or phone(row["agent_number"])
    return (destinations[0]["name"] or phone(destinations[0]["number"])) if destinations else ""


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
