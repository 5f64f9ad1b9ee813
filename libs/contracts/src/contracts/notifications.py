"""What became of each notification. Produced by notifier."""

from __future__ import annotations

from typing import ClassVar, Literal

from contracts.event import Event, UtcDatetime

__all__ = ["NotificationStateV1"]


class NotificationStateV1(Event):
    type: ClassVar[str] = "notification.state.v1"

    notification_id: str
    version: int
    kind: str
    """``daily_pulse`` …"""
    channel: Literal["email"]
    recipient: str
    """The address; personal data, so this topic forgets like the others."""
    state: Literal["accepted", "sent", "failed", "unknown", "suppressed"]
    reason: str | None = None
    at: UtcDatetime
    subject_line: str = ""
    local_day: str | None = None

    def entity_id(self) -> str:
        return self.notification_id
