"""The console's live lists: one file each, one line each here."""

from front_desk.panels import anomalies, calls, chats, facts, imports, mails, missed
from front_desk.panels.base import Panel

__all__ = ["PANELS"]

PANELS: dict[str, Panel] = {
    panel.name: panel
    for panel in (calls.PANEL, missed.PANEL, anomalies.PANEL, facts.PANEL, mails.PANEL, imports.PANEL, chats.PANEL)
}
