"""Mails: what was sent to whom, and whether it arrived."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from front_desk.panels.base import Facet, Panel
from front_desk.present import mask_email

__all__ = ["PANEL"]

_TONES = {"sent": "good", "accepted": "live", "failed": "bad", "unknown": "warn", "suppressed": "quiet"}


def _card(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "recipient": mask_email(row["recipient"]), "tone": _TONES.get(row["state"], "quiet")}


PANEL = Panel(
    name="mails",
    title="Mails",
    page="mails",
    empty="No mails yet. The daily pulse appears here when it is sent.",
    facets=(Facet(value="sent", label="Sent"), Facet(value="failed", label="Failed")),
    card=_card,
)
