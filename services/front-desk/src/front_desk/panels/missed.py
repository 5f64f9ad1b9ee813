"""Missed calls: whom to call back, who sees to it and for how long, what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from front_desk.panels.base import Facet, Panel

__all__ = ["PANEL", "micros"]

_TONES = {"open": "bad", "claimed": "live", "resolved": "quiet"}
_CHIPS = {"open": "Nobody yet", "claimed": "Being called", "resolved": "Done"}


def micros(at: datetime | None) -> int:
    """An instant as pages compare it: of two changes of a card, the one that came later is the larger."""
    return int(at.timestamp()) * 1_000_000 + at.microsecond if at is not None else 0


def _card(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **row,
        "tone": _TONES.get(row["state"], "quiet"),
        "chip": _CHIPS.get(row["state"], row["state"]),
        "since_us": micros(row["since"]),
        "until_us": micros(row["until"]),
    }


PANEL = Panel(
    name="missed",
    title="Missed calls",
    page="missed",
    empty="Nobody waits to be called back. A call that nobody answers appears here until somebody has seen to it.",
    facets=(
        Facet(value="open", label="Nobody yet"),
        Facet(value="claimed", label="Being called"),
        Facet(value="resolved", label="Done"),
    ),
    card=_card,
    whole=True,
)
