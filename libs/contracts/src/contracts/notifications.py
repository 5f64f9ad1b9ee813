"""What became of each notification. Produced by notifier."""

from __future__ import annotations

from typing import ClassVar, Literal

from contracts.event import Event, UtcDatetime

__all__ = ["NotificationStateV1"]


class NotificationStateV1(Event):
    """What became of one notification to one recipient."""

    type: ClassVar[str] = "notification.state.v1"

    notification_id: str
    """Our own id of the notification."""
    version: int
    """Grows with each change of state."""
    kind: str
    """``daily_pulse`` …"""
    channel: str
    """How it travels: ``email`` …; channels are added."""
    recipient: str
    """The address; personal data, so this topic forgets like the others."""
    state: Literal["accepted", "sent", "failed", "unknown", "suppressed"]
    """``unknown`` when the server may or may not have taken it; such a one is never sent again."""
    reason: str | None = None
    """Why it failed or was suppressed."""
    at: UtcDatetime
    """When the state began."""
    subject_line: str = ""
    """As the recipient sees it."""
    local_day: str | None = None
    """``YYYY-MM-DD`` in the tenant's zone; only of notifications that are daily."""

    def entity_id(self) -> str:
        return self.notification_id
