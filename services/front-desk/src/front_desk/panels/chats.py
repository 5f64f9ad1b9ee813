"""Chats of the archive, with how many messages each has and the latest one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from front_desk.panels.base import Facet, Panel
from front_desk.present import phone

__all__ = ["PANEL"]


def _card(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "title": row["chat_name"] or phone(row["peer_number"]) or "Unnamed chat"}


PANEL = Panel(
    name="chats",
    title="Chats",
    page="archive",
    empty="No messages yet. Chats appear here as a backup is imported.",
    facets=(Facet(value="direct", label="Direct"), Facet(value="group", label="Groups")),
    card=_card,
)
