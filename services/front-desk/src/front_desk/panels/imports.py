"""Imports: WhatsApp backups that were read into the archive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from front_desk.panels.base import Panel

__all__ = ["PANEL"]

_TONES = {"completed": "good", "unchanged": "quiet", "started": "live", "failed": "bad"}


def _card(row: Mapping[str, Any]) -> dict[str, Any]:
    began, ended = row["started_at"], row["at"]
    took = (ended - began).total_seconds() if began is not None and row["state"] != "started" else None
    return {**row, "took": took, "tone": _TONES.get(row["state"], "quiet")}


PANEL = Panel(
    name="imports",
    title="Imports",
    page="archive",
    empty="No backup has been imported yet. Each import appears here with what it found.",
    card=_card,
)
