"""How each PBX says that somebody rings, and what became of it. Pure: a call and a word in, a request out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlencode

from trunkline.demo.clients import twilio_signature

__all__ = ["DIALECTS", "Call", "Dialect", "Shot"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    id: str
    """The vendor's name for the call."""
    caller: str
    did: str
    agent: str = ""
    """Who answers it; nobody does when it is empty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shot:
    """One webhook, without the address of the account that all of them begin with."""

    method: str
    path: str
    """The hook, with the query if there is one."""
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Dialect(Protocol):
    def ring(self, call: Call, base: str, token: str) -> Shot:
        """The question that is asked while the caller waits. ``base`` is the account's address, which may be signed."""

    def status(self, call: Call, status: str, sequence: int, base: str, token: str) -> Shot:
        """``status`` is ``ringing``, ``answered``, ``completed`` or ``missed``."""


class _Generic:
    def ring(self, call: Call, base: str, token: str) -> Shot:
        return self._shot("ring", {"call_id": call.id, "from": call.caller, "to": call.did}, token)

    def status(self, call: Call, status: str, sequence: int, base: str, token: str) -> Shot:
        told = {"call_id": call.id, "from": call.caller, "to": call.did, "status": status, "sequence": sequence}
        return self._shot("status", {**told, **({"agent_number": call.agent} if call.agent else {})}, token)

    def _shot(self, hook: str, fields: dict[str, object], token: str) -> Shot:
        return Shot(
            method="POST", path=hook, body=json.dumps(fields).encode(), headers={"content-type": "application/json"}
        )


class _Exotel:
    """Connect's dynamic URL is asked by GET; what became of the call is posted as a form."""

    words: Mapping[str, str] = {
        "ringing": "ringing",
        "answered": "in-progress",
        "completed": "completed",
        "missed": "no-answer",
    }

    def ring(self, call: Call, base: str, token: str) -> Shot:
        fields = {"CallSid": call.id, "CallFrom": call.caller, "CallTo": call.did, "Direction": "incoming"}
        return Shot(method="GET", path=f"connect?{urlencode({**fields, 'CallStatus': 'ringing'})}")

    def status(self, call: Call, status: str, sequence: int, base: str, token: str) -> Shot:
        # Subscribers of its events get "answered" and "terminal"; that it rings is told by the plain callback alone.
        event = {"answered": "answered", "completed": "terminal", "missed": "terminal"}.get(status)
        fields = {
            "CallSid": call.id,
            "From": call.caller,
            "To": call.did,
            "Direction": "incoming",
            "Status": self.words[status],
            **({"EventType": event} if event else {}),
            **({"DialWhomNumber": call.agent} if call.agent else {}),
        }
        return _form("status", fields)


class _Twilio:
    """Forms, signed over the address and the sorted parameters."""

    def ring(self, call: Call, base: str, token: str) -> Shot:
        return self._signed("voice", self._fields(call, "ringing"), base, token)

    def status(self, call: Call, status: str, sequence: int, base: str, token: str) -> Shot:
        """The caller's leg rings, the agent's is picked up, the action of <Dial> tells the end."""
        fields = self._fields(call, "ringing" if status == "ringing" else "in-progress")
        progress = {"SequenceNumber": str(sequence), "CallbackSource": "call-progress-events"}
        match status:
            case "ringing":
                fields |= progress
            case "answered":
                leg = {"CallSid": f"{call.id}-leg", "ParentCallSid": call.id, "To": call.agent}
                fields |= {**progress, **leg, "Direction": "outbound-dial"}
            case _:
                fields |= {"DialCallStatus": "completed" if status == "completed" else "no-answer"}
        return self._signed("status", fields, base, token)

    def _fields(self, call: Call, status: str) -> dict[str, str]:
        return {
            "CallSid": call.id,
            "AccountSid": "AC" + "0" * 32,
            "From": call.caller,
            "To": call.did,
            "CallStatus": status,
            "ApiVersion": "2010-04-01",
            "Direction": "inbound",
        }

    def _signed(self, hook: str, fields: dict[str, str], base: str, token: str) -> Shot:
        return _form(hook, fields, {"x-twilio-signature": twilio_signature(token, f"{base}/{hook}", fields)})


def _form(hook: str, fields: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Shot:
    kind = {"content-type": "application/x-www-form-urlencoded"}
    return Shot(method="POST", path=hook, body=urlencode(fields).encode(), headers={**kind, **(headers or {})})


DIALECTS: dict[str, Dialect] = {"generic": _Generic(), "exotel": _Exotel(), "twilio": _Twilio()}
