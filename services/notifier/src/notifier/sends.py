"""A send: one message to one recipient for one cause, and the states it goes through.

``pending`` → ``sending`` (leased to one sender) → ``sent``, ``failed`` or ``unknown``; back to ``pending`` when it is
certain that nothing has left. ``unknown`` means that the other side may or may not have taken the message: only an
operator ends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Literal
from uuid import UUID

from contracts.notifications import NotificationStateV1
from kit.ids import name_uuid

__all__ = ["PULSE", "RetryPolicy", "Send", "SendState", "event_of", "message_id", "send_id_of"]

PULSE = "daily_pulse"
Told = Literal["accepted", "sent", "failed", "unknown", "suppressed"]


class SendState(StrEnum):
    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SUPPRESSED = "suppressed"

    @property
    def settled(self) -> bool:
        """Nothing more happens to it by itself."""
        return self not in (SendState.PENDING, SendState.SENDING)


_TOLD: dict[SendState, Told] = {
    SendState.PENDING: "accepted",
    SendState.SENDING: "accepted",
    SendState.SENT: "sent",
    SendState.FAILED: "failed",
    SendState.UNKNOWN: "unknown",
    SendState.SUPPRESSED: "suppressed",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Send:
    id: UUID
    tenant: UUID
    kind: str
    local_day: date
    channel: str
    recipient: str
    subject_line: str
    text_body: str
    html_body: str
    state: SendState
    version: int
    reason: str | None
    attempts: int
    created_at: datetime
    traceparent: str = ""
    """The trace in which it was composed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """How long to wait after an attempt that certainly sent nothing, and when to stop."""

    first: timedelta = timedelta(seconds=15)
    longest: timedelta = timedelta(minutes=15)
    give_up: timedelta = timedelta(hours=12)

    def wait(self, attempts: int, *, waited: timedelta) -> timedelta | None:
        """The pause after so many attempts; nothing when the message has waited long enough."""
        if waited >= self.give_up:
            return None
        return min(self.first * (1 << min(max(attempts - 1, 0), 30)), self.longest)


def send_id_of(tenant: UUID, kind: str, day: date, channel: str) -> UUID:
    """The same for the same cause, whoever finds it due."""
    return name_uuid("send", str(tenant), kind, day.isoformat(), channel)


def message_id(send: UUID, sender: str) -> str:
    """The Message-ID of a send, the same in every attempt, so that a receiver can tell a repetition."""
    domain = sender.rpartition("@")[2].strip("> ") or "localhost"
    return f"<{send}@{domain}>"


def event_of(send: Send, *, at: datetime) -> NotificationStateV1:
    """What the others are told of it."""
    return NotificationStateV1(
        notification_id=str(send.id),
        version=send.version,
        kind=send.kind,
        channel="email",
        recipient=send.recipient,
        state=_TOLD[send.state],
        reason=send.reason,
        at=at,
        subject_line=send.subject_line,
        local_day=send.local_day.isoformat(),
    )
