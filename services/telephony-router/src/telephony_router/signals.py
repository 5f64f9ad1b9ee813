"""What a PBX told us, in our words: one webhook, whatever the vendor's dialect."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

__all__ = ["STATUSES", "CallSignal", "clean", "signal_from_json", "signal_to_json"]

Status = Literal[
    "initiated", "ringing", "answered", "ended", "missed", "cancelled", "failed", "busy", "completed", "unknown"
]
STATUSES: frozenset[str] = frozenset(
    {"initiated", "ringing", "answered", "ended", "missed", "cancelled", "failed", "busy", "completed", "unknown"}
)
FIELD_CHARACTERS = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class CallSignal:
    """One webhook. Numbers stay as they were sent; whoever needs E.164 makes it from them."""

    kind: Literal["ring", "status"]
    vendor: str
    call_id: str
    """The vendor's id of the call; empty when none was sent."""
    leg: str = ""
    status: str = "initiated"
    """One of :data:`STATUSES`. ``ended`` says only that the caller is gone: what it was depends on the rest."""
    status_raw: str = ""
    sequence: str = ""
    attempt: bool = False
    """True when the status is about one try to reach an agent, not about the whole call."""
    direction: Literal["inbound", "outbound"] = "inbound"
    caller_raw: str = ""
    did_raw: str = ""
    agent_raw: str = ""
    at: datetime | None = None
    duration_seconds: int | None = None
    cause: str = ""

    def identity(self, body: bytes, request_id: str) -> str:
        """What makes two webhooks the same one; with tenant and account it is unique.

        A status without a call id is known by its content. A ring without one is never a repetition:
        the same caller may ring the same number again.
        """
        if self.kind == "ring":
            return f"ring:{self.call_id}" if self.call_id else f"ring!{request_id}"
        if not self.call_id:
            return f"status!{hashlib.sha256(body).hexdigest()}"
        return f"status:{self.call_id}\x1f{self.leg}\x1f{self.status_raw}\x1f{self.sequence}"


def clean(value: object) -> str:
    """A vendor's field as text that every store accepts: no NUL, no lone surrogates, bounded."""
    if value is None or isinstance(value, dict | list | bool):
        return ""
    text = str(value)[:FIELD_CHARACTERS]
    if text.isascii() and "\x00" not in text:
        return text.strip()
    return text.encode("utf-8", "replace").decode().replace("\x00", "").strip()


def signal_to_json(signal: CallSignal) -> dict[str, Any]:
    """Only what was set, so that a row in a busy table stays small."""
    values = {
        "kind": signal.kind,
        "vendor": signal.vendor,
        "call_id": signal.call_id,
        "leg": signal.leg,
        "status": signal.status,
        "status_raw": signal.status_raw,
        "sequence": signal.sequence,
        "attempt": signal.attempt,
        "direction": signal.direction,
        "caller_raw": signal.caller_raw,
        "did_raw": signal.did_raw,
        "agent_raw": signal.agent_raw,
        "at": signal.at.isoformat() if signal.at else None,
        "duration_seconds": signal.duration_seconds,
        "cause": signal.cause,
    }
    return {name: value for name, value in values.items() if value is not None and value is not False and value != ""}


def signal_from_json(values: dict[str, Any]) -> CallSignal:
    at = values.get("at")
    return CallSignal(**{"call_id": "", **values, "at": datetime.fromisoformat(at) if at else None})
