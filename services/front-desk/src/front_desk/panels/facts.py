"""Facts: what was read in messages and calls, each with the words it was read from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from front_desk.panels.base import Facet, Panel
from front_desk.present import highlight, indian_rupees, phone

__all__ = ["PANEL"]

_TONES = {"asserted": "good", "conflicting": "bad", "superseded": "quiet", "retracted": "quiet"}


def _card(row: Mapping[str, Any]) -> dict[str, Any]:
    shown = row["value"]
    if row["value_type"] == "money":
        shown = indian_rupees(shown)
    elif row["value_type"] == "phone":
        shown = phone(shown)
    return {
        **row,
        "shown": shown,
        "quoted": highlight(row["quote"], row["raw_value"]),
        "about": row["customer_name"] or _about(row["subject"]),
        "tone": _TONES.get(row["state"], "quiet"),
    }


def _about(subject: str) -> str:
    kind, _, name = subject.partition(":")
    if kind == "contact":
        return phone(name)
    return "a chat" if kind == "chat" else "a customer" if kind == "customer" else subject


PANEL = Panel(
    name="facts",
    title="Facts",
    page="facts",
    empty="No facts yet. GSTINs, PANs, phone numbers, addresses and amounts appear here as messages are read.",
    facets=(Facet(value="conflicting", label="Conflicting"), Facet(value="asserted", label="Current")),
    card=_card,
)
