"""Telnyx: TeXML applications, which are asked and answered as Twilio is, and the events of Call Control. Both are
signed with Ed25519 over the time and the body. Telnyx promises no order and repeats itself.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from telephony_router.routing import Decision
from telephony_router.signals import CallSignal, Recording
from telephony_router.vendors.base import (
    RECORD,
    Account,
    BadRequest,
    Forbidden,
    Purpose,
    RawRequest,
    Response,
    kinds,
    moment,
    whole_number,
)
from telephony_router.vendors.reading import call_id_of, fields_of, first, given
from telephony_router.vendors.twilio import Twilio, dial, told, twiml

__all__ = ["Telnyx"]

TOLERANCE_SECONDS = 300
EVENTS = {
    "call.initiated": "initiated",
    "call.ringing": "ringing",
    "call.answered": "answered",
    "call.bridged": "answered",
    "call.dtmf.received": "ringing",
    "call.hangup": "ended",
}
HANGUPS = {
    "user_busy": "busy",
    "call_rejected": "missed",
    "timeout": "missed",
    "no_answer": "missed",
    # Whether anybody had answered, other events tell.
    "time_limit": "ended",
    "normal_clearing": "ended",
    "originator_cancel": "cancelled",
}


class Telnyx:
    name = "telnyx"
    hooks: Mapping[str, Purpose] = {"voice": "ring", "status": "status", "recording": "recording"}
    methods = frozenset({"POST"})
    needs_token = True
    proof = "the account's public key (base64), from the portal's keys and credentials"
    options: Mapping[str, str] = {"record": RECORD}
    known: Mapping[str, str] = {
        **Twilio.known,
        **kinds("s", "CallSidLegacy ConnectionId CallLegId CallSessionId HangupCause HangupSource"),
        **kinds(
            "s",
            "data.record_type data.event_type data.id data.occurred_at data.payload.call_control_id"
            " data.payload.connection_id data.payload.call_leg_id data.payload.call_session_id"
            " data.payload.client_state data.payload.from data.payload.to data.payload.direction data.payload.state"
            " data.payload.start_time data.payload.end_time data.payload.hangup_cause data.payload.hangup_source"
            " data.payload.sip_hangup_cause data.payload.digit data.payload.channels data.payload.format"
            " data.payload.recording_id data.payload.recording_started_at data.payload.recording_ended_at"
            " data.payload.recording_urls.* data.payload.public_recording_urls.* data.payload.caller_id_name"
            " data.payload.tags[] data.payload.custom_headers[].* data.payload.call_quality_stats.* meta.delivered_to",
        ),
        **kinds("n", "meta.attempt"),
    }
    known_prefixes: tuple[str, ...] = ()

    def authenticate(self, request: RawRequest, account: Account, now: datetime) -> str:
        stamp = request.headers.get("telnyx-timestamp", "")
        if not stamp.isascii() or not stamp.isdigit() or len(stamp) > 12:
            raise Forbidden("telnyx-timestamp is missing")
        if abs(now.timestamp() - int(stamp)) > TOLERANCE_SECONDS:
            raise Forbidden("the signature is too old or from the future")
        try:
            signature = base64.b64decode(request.headers.get("telnyx-signature-ed25519", ""), validate=True)
        except (binascii.Error, ValueError):
            raise Forbidden("telnyx-signature-ed25519 is not base64") from None
        message = f"{stamp}|".encode() + request.body
        if not any(_signed(key, signature, message) for key in account.auth_tokens):
            raise Forbidden("telnyx-signature-ed25519 does not match")
        return "ed25519"

    def parse(self, request: RawRequest, purpose: Purpose) -> CallSignal:
        fields = fields_of(request)
        data = fields.get("data")
        if isinstance(data, dict):
            return _event(data)
        own = call_id_of(fields, "CallSid")
        if not own:
            raise BadRequest("CallSid is missing")
        if purpose == "ring":
            return CallSignal(
                kind="ring",
                vendor=self.name,
                call_id=own,
                caller_raw=first(fields, "From"),
                did_raw=first(fields, "To"),
                digits=first(fields, "Digits"),
            )
        return told(fields, own, self.name)

    def render(self, decision: Decision, signal: CallSignal, request: RawRequest) -> Response:
        return dial(decision, request)

    def acknowledge(self, signal: CallSignal, request: RawRequest) -> Response:
        # Also the answer to <Dial action>; Call Control reads only the status code.
        return twiml("")


def _signed(key: str, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(base64.b64decode(key)).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _event(data: Mapping[str, Any]) -> CallSignal:
    """An event of Call Control. Never a question: those applications are steered by commands, not by answers."""
    payload = data.get("payload")
    kind = given(data.get("event_type"))
    if not isinstance(payload, dict) or not kind:
        raise BadRequest("data.event_type or data.payload is missing")
    call_id = call_id_of(payload, "call_session_id", "call_leg_id")
    if kind == "call.recording.saved":
        return _recording(data, payload, call_id)
    outgoing = given(payload.get("direction")).startswith("out")
    # An outgoing leg of a session that somebody called into is a try to reach an agent; the session's first leg has
    # the session's name.
    attempt = outgoing and given(payload.get("call_leg_id")) != call_id
    cause = given(payload.get("hangup_cause"))
    status = EVENTS.get(kind, "unknown")
    if kind == "call.hangup" and (outgoing or attempt):
        status = HANGUPS.get(cause, "failed")
    elif kind in ("call.answered", "call.bridged") and not outgoing:
        # We answer the caller ourselves, before anybody else does.
        status = "answered" if kind == "call.bridged" else "ringing"
    return CallSignal(
        kind="status",
        vendor=Telnyx.name,
        call_id=call_id,
        leg=given(payload.get("call_leg_id")),
        status=status,
        status_raw=kind,
        sequence=given(data.get("id")),
        attempt=attempt,
        direction="outbound" if outgoing and not attempt else "inbound",
        caller_raw="" if attempt else given(payload.get("from")),
        did_raw="" if attempt else given(payload.get("to")),
        agent_raw=given(payload.get("to")) if attempt else "",
        at=moment(data.get("occurred_at")),
        cause=cause,
        digits=given(payload.get("digit")),
    )


def _recording(data: Mapping[str, Any], payload: Mapping[str, Any], call_id: str) -> CallSignal:
    urls = payload.get("recording_urls") or payload.get("public_recording_urls")
    found = urls if isinstance(urls, dict) else {}
    began, ended = moment(payload.get("recording_started_at")), moment(payload.get("recording_ended_at"))
    return CallSignal(
        kind="recording",
        vendor=Telnyx.name,
        call_id=call_id,
        leg=given(payload.get("call_leg_id")),
        at=moment(data.get("occurred_at")),
        recording=Recording(
            url=str(found.get("wav") or found.get("mp3") or "")[:2048],
            id=given(payload.get("recording_id")) or given(data.get("id")),
            duration_seconds=whole_number((ended - began).total_seconds()) if began and ended else None,
            channels={"single": 1, "dual": 2}.get(given(payload.get("channels"))),
        ),
    )
