"""Plivo: forms in, Plivo XML out, every request signed with V3.

One ``<Dial>`` rings all of its numbers at once, so each number gets its own: when nobody answers, Plivo asks ``next``,
which is the same question again and gets the same decision, from where it stopped.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape, quoteattr

from identifiers.phone import to_e164
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
from telephony_router.vendors.proofs import urls
from telephony_router.vendors.reading import (
    bridged,
    call_id_of,
    fields_of,
    first,
    given,
    order_of,
    pairs,
    plus,
    recorded_at,
    word,
)

__all__ = ["CALLER", "Plivo", "signature"]

SIGNATURES = ("x-plivo-signature-v3", "x-plivo-signature-ma-v3")
NONCE = "x-plivo-signature-v3-nonce"
STATUSES = {
    "initiated": "initiated",
    "ringing": "ringing",
    "in-progress": "answered",
    "answer": "answered",
    "connected": "answered",
    "completed": "completed",
    "hangup": "completed",
    "busy": "busy",
    "failed": "failed",
    "timeout": "missed",
    "no-answer": "missed",
    "cancel": "cancelled",
    "canceled": "cancelled",
    "cancelled": "cancelled",
    "rejected": "missed",
}
# The caller's own leg is in progress as soon as our XML runs, and completed also when nobody picked up.
CALLER = {**STATUSES, "in-progress": "ringing", "completed": "ended", "hangup": "ended"}
TALKED = frozenset({"completed", "answer", "connected"})


class Plivo:
    name = "plivo"
    hooks: Mapping[str, Purpose] = {
        "answer": "ring",
        "next": "ring",
        "status": "status",
        "recording": "recording",
        # The agent of a call that we asked for is there, and is to be put through to the customer.
        "bridge": "status",
    }
    methods = frozenset({"POST", "GET"})
    needs_token = True
    proof = "the account's Auth Token"
    options: Mapping[str, str] = {"record": RECORD}
    known: Mapping[str, str] = kinds(
        "s",
        "ALegRequestUUID ALegUUID AnswerTime BillDuration BillRate CallStatus CallUUID DialALegUUID DialAction"
        " DialBLegBillDuration DialBLegBillRate DialBLegDuration DialBLegFrom DialBLegHangupCause"
        " DialBLegHangupCauseCode DialBLegHangupCauseName DialBLegHangupSource DialBLegPosition DialBLegStatus"
        " DialBLegTo DialBLegTotalCost DialBLegUUID DialDigits DialHangupCause DialRingStatus DialStatus Digits"
        " Direction Duration EndTime Event ForwardedFrom ForwardedTo From HangupCause HangupCauseCode"
        " HangupCauseName HangupSource ParentAuthID ParentCallUUID RecordFile RecordUrl RecordingDuration"
        " RecordingDurationMs RecordingEndMs RecordingEndReason RecordingID RecordingStartMs RequestUUID"
        " RouteType STIRAttestation STIRVerification SessionStart StartTime To TotalCost n order to did",
    )
    known_prefixes: tuple[str, ...] = ()

    def authenticate(self, request: RawRequest, account: Account, now: datetime) -> str:
        nonce = request.headers.get(NONCE, "")
        shown = [each.strip() for name in SIGNATURES for each in request.headers.get(name, "").split(",")]
        if not nonce or not any(shown):
            raise Forbidden("X-Plivo-Signature-V3 or its nonce is missing")
        try:
            query = pairs(request.query)
            form = pairs(request.body.decode("utf-8", "replace")) if request.method == "POST" else []
        except BadRequest:
            raise Forbidden("too many parameters to check a signature over") from None
        proven = False
        for url in urls(request):
            address = url.partition("?")[0]
            for token in account.auth_tokens:
                wanted = signature(token, request.method, address, query, form, nonce).encode()
                for given_ in shown:
                    # No early return: how long it takes must not tell which guess was close.
                    proven |= hmac.compare_digest(wanted, given_.encode("utf-8", "replace"))
        if not proven:
            raise Forbidden("X-Plivo-Signature-V3 does not match")
        return "v3"

    def parse(self, request: RawRequest, purpose: Purpose) -> CallSignal:
        fields = fields_of(request)
        own = call_id_of(fields, "DialALegUUID", "CallUUID")
        if not own:
            raise BadRequest("CallUUID is missing")
        if first(fields, "RecordingID", "RecordUrl") and "DialStatus" not in fields:
            return _recording(fields, own)
        dialled = word(fields.get("DialStatus"))
        if purpose == "ring" and dialled not in TALKED:
            return CallSignal(
                kind="ring",
                vendor=self.name,
                call_id=own,
                caller_raw=plus(fields.get("From")),
                did_raw=plus(fields.get("To")),
                digits=first(fields, "Digits"),
            )
        return bridged(_status(fields, own, dialled), order_of(fields.get("order")), CALLER)

    def render(self, decision: Decision, signal: CallSignal, request: RawRequest) -> Response:
        position = _position(request)
        if position >= len(decision.destinations):
            return _xml("<Hangup/>" if decision.destinations else '<Hangup reason="busy"/>')
        hook = request.hook_url
        # Numbers in one Dial ring at once; one after the other each has a Dial of its own.
        ringing = decision.destinations if decision.parallel else decision.destinations[position : position + 1]
        more = position + len(ringing) < len(decision.destinations)
        after = f"{hook}/next?n={position + 1}" if more else f"{hook}/status"
        record = ""
        if request.options.get("record") == "true" and position == 0:
            where = quoteattr(f"{hook}/recording")
            record = (
                f'<Record recordSession="true" startOnDialAnswer="true" recordChannelType="stereo" redirect="false"'
                f' callbackUrl={where} callbackMethod="POST"/>'
            )
        status = quoteattr(f"{hook}/status")
        attributes = (
            f'timeout="{decision.ring_seconds}" action={quoteattr(after)} method="POST" redirect="true"'
            f' callbackUrl={status} callbackMethod="POST"'
        )
        numbers = "".join(f"<Number>{escape(each.number)}</Number>" for each in ringing)
        return _xml(f"{record}<Dial {attributes}>{numbers}</Dial>")

    def acknowledge(self, signal: CallSignal, request: RawRequest) -> Response:
        if request.hook == "bridge":
            return _bridge(request)
        # Also the answer to <Dial action>: nothing more to do, so the call ends.
        return _xml("<Hangup/>")


def signature(  # long: what is signed, and with what
    token: str, method: str, address: str, query: Iterable[tuple[str, str]], form: Iterable[tuple[str, str]], nonce: str
) -> str:
    """What Plivo puts into X-Plivo-Signature-V3: address, sorted query, sorted form, nonce."""
    queried = "&".join(f"{name}={value}" for name, value in sorted(query))
    posted = "".join(name + value for name, value in sorted(form)) if method == "POST" else ""
    message = address
    if queried or posted:
        message += f"?{queried}"
    if posted:
        message += f".{posted}" if queried else posted
    digest = hmac.new(token.encode(), f"{message}.{nonce}".encode("utf-8", "surrogateescape"), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def _position(request: RawRequest) -> int:
    """From which destination on; the first, unless ``next`` says otherwise."""
    if request.hook != "next":
        return 0
    return whole_number(dict(pairs(request.query)).get("n")) or 0


def _status(fields: Mapping[str, Any], own: str, dialled: str) -> CallSignal:
    second = first(fields, "DialBLegUUID")
    leg_word = word(fields.get("DialBLegStatus") or fields.get("DialAction"))
    raw = dialled or leg_word or word(fields.get("CallStatus"))
    if not raw:
        raise BadRequest("CallStatus is missing")
    attempt = bool(leg_word) and not dialled
    outbound = word(fields.get("Direction")) == "outbound" and not attempt and not dialled
    table = CALLER if not attempt and not dialled and not outbound else STATUSES
    status = table.get(raw, "unknown")
    if attempt and raw == "hangup" and not whole_number(fields.get("DialBLegDuration")):
        status = "missed"
    agent = plus(first(fields, "DialBLegTo")) if attempt or dialled else ""
    return CallSignal(
        kind="status",
        vendor=Plivo.name,
        call_id=own,
        leg=second if attempt else "dial" if dialled else "",
        status=status,
        status_raw=raw,
        sequence=second if dialled else given(fields.get("Event")),
        attempt=attempt,
        direction="outbound" if outbound else "inbound",
        caller_raw="" if attempt else plus(fields.get("From")),
        did_raw="" if attempt else plus(fields.get("To")),
        agent_raw=agent,
        at=moment(first(fields, "EndTime", "AnswerTime", "StartTime")),
        duration_seconds=whole_number(first(fields, "DialBLegDuration", "Duration")),
        cause=first(fields, "DialBLegHangupCause", "DialHangupCause", "HangupCause", "HangupCauseName"),
        parent_call=first(fields, "ParentCallUUID"),
        digits=first(fields, "DialDigits", "Digits"),
        transferred_raw=plus(fields.get("ForwardedTo")),
    )


def _bridge(request: RawRequest) -> Response:
    """Put the agent through. Whom to is in the address that we gave, and the signature is made over it."""
    query = dict(pairs(request.query))
    customer, shown, order = (first(query, name) for name in ("to", "did", "order"))
    if not to_e164(customer) or not order_of(order):
        return _xml("<Hangup/>")
    status = quoteattr(f"{request.hook_url}/status?order={order}")
    attributes = f'callerId={quoteattr(shown)} action={status} method="POST" callbackUrl={status} callbackMethod="POST"'
    return _xml(f"<Dial {attributes}><Number>{escape(customer)}</Number></Dial>")


def _recording(fields: Mapping[str, Any], own: str) -> CallSignal:
    url = unquote(first(fields, "RecordUrl"))
    found = recorded_at(url, own_id=fields.get("RecordingID"), seconds=fields.get("RecordingDuration"))
    return CallSignal(
        kind="recording",
        vendor=Plivo.name,
        call_id=own,
        recording=found or Recording(id=given(fields.get("RecordingID")), state="pending"),
    )


def _xml(inner: str) -> Response:
    body = f'<?xml version="1.0" encoding="UTF-8"?><Response>{inner}</Response>'
    return Response(body=body.encode(), content_type="application/xml")
