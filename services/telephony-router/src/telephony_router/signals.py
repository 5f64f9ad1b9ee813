"""What a PBX told us, in our words: one webhook, whatever the vendor's dialect."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from kit.ids import name_uuid

__all__ = [
    "STATUSES",
    "CallSignal",
    "Recording",
    "call_named",
    "clean",
    "mark_unconfirmed",
    "signal_from_json",
    "signal_to_json",
]

Status = Literal[
    "initiated", "ringing", "answered", "ended", "missed", "cancelled", "failed", "busy", "completed", "unknown"
]
STATUSES: frozenset[str] = frozenset(
    {"initiated", "ringing", "answered", "ended", "missed", "cancelled", "failed", "busy", "completed", "unknown"}
)
FIELD_CHARACTERS = 256
NOT_TEXT = (dict, list, bool)
URL_CHARACTERS = 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """A recording as the vendor describes it. Nothing is fetched from here."""

    url: str = ""
    id: str = ""
    """The vendor's own id; empty when it has none."""
    state: Literal["pending", "failed", "absent", "available"] = "available"
    """In the order of what a later report may replace. ``absent``: the call was too short or silent for one."""
    duration_seconds: int | None = None
    channels: int | None = None
    available_by: datetime | None = None
    """When the vendor expects a pending one to be there."""

    @property
    def key(self) -> str:
        """What tells the recordings of one call apart."""
        return self.id or hashlib.sha256(self.url.encode()).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True, slots=True)
class CallSignal:
    """One webhook. Numbers stay as they were sent; whoever needs E.164 makes it from them."""

    kind: Literal["ring", "status", "recording"]
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
    parent_call: str = ""
    """The vendor's id of the call that this one grew out of: a bridge, a click-to-call, a transfer."""
    digits: str = ""
    """What the caller typed."""
    transferred_raw: str = ""
    """The number that the call was passed on to."""
    hops: int = 0
    """How often the call had been passed on to us before."""
    recording: Recording | None = None
    correlation: str = ""
    """Our own name for a call that we asked for, which the vendor brings back."""
    source: str = ""
    """Empty for a webhook; ``reconcile`` when the vendor's API was asked."""
    confirmed: bool = True
    """Whether the sender was proven, rather than known by the secret address alone. Whoever took it in says so."""

    def identity(self, body: bytes, request_id: str) -> str:
        """What makes two webhooks the same one; with tenant and account it is unique.

        A status or a recording without a call id is known by its content. A ring without one is never a repetition:
        the same caller may ring the same number again.
        """
        if self.kind == "ring":
            return f"ring:{self.call_id}" if self.call_id else f"ring!{request_id}"
        if not self.call_id:
            return f"{self.kind}!{hashlib.sha256(body).hexdigest()}"
        own = f"{self.call_id}\x1f{self.leg}\x1f{self.status_raw}\x1f{self.sequence}"
        # The same end reported again, now with where its recording is, is news.
        recorded = f"\x1f{self.recording.key}\x1f{self.recording.state}" if self.recording is not None else ""
        return f"{self.kind}:{own}{recorded}"


def mark_unconfirmed(signal: CallSignal) -> None:
    """Say of a signal that was just made, and that nobody else has yet, that its sender is not proven.

    In place: a copy would cost the ringing path more than reading the webhook does.
    """
    object.__setattr__(signal, "confirmed", False)


def call_named(tenant: UUID, vendor: str, account: UUID, name: str) -> UUID:
    """Our id of the call that goes by this name at a vendor's account: the same wherever and whenever it is made."""
    return name_uuid(str(tenant), vendor, str(account), name)


def clean(value: object, limit: int = FIELD_CHARACTERS) -> str:
    """A vendor's field as text that every store accepts: no NUL, no lone surrogates, bounded."""
    if value is None or isinstance(value, NOT_TEXT):
        return ""
    text = str(value)[:limit]
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
        "parent_call": signal.parent_call,
        "digits": signal.digits,
        "transferred_raw": signal.transferred_raw,
        "hops": signal.hops or None,
        "recording": _recording_to_json(signal.recording) if signal.recording is not None else None,
        "correlation": signal.correlation,
        "source": signal.source,
    }
    kept = {name: value for name, value in values.items() if value is not None and value is not False and value != ""}
    # The one that counts when it is false; rows of a time before it are as good as confirmed.
    return kept if signal.confirmed else {**kept, "confirmed": False}


def signal_from_json(values: dict[str, Any]) -> CallSignal:
    """Reads rows of older routers, and of newer ones what it knows of."""
    known = {name: value for name, value in values.items() if name in _NAMES}
    recording = known.get("recording")
    return CallSignal(
        **{
            "call_id": "",
            **known,
            "at": _time(known.get("at")),
            "recording": _recording_from_json(recording) if recording else None,
        }
    )


_NAMES = frozenset(each.name for each in fields(CallSignal))
_RECORDING_NAMES = frozenset(each.name for each in fields(Recording))


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _recording_to_json(recording: Recording) -> dict[str, Any]:
    values = {
        "url": recording.url,
        "id": recording.id,
        "state": recording.state,
        "duration_seconds": recording.duration_seconds,
        "channels": recording.channels,
        "available_by": recording.available_by.isoformat() if recording.available_by else None,
    }
    return {name: value for name, value in values.items() if value is not None and value != ""}


def _recording_from_json(values: dict[str, Any]) -> Recording:
    known = {name: value for name, value in values.items() if name in _RECORDING_NAMES}
    return Recording(**{**known, "available_by": _time(known.get("available_by"))})
