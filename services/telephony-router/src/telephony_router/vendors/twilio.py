"""Twilio Programmable Voice: forms in, TwiML out, every request signed with the account's auth token."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape, quoteattr

from pydantic_core import from_json

from telephony_router.routing import Decision
from telephony_router.signals import URL_CHARACTERS, CallSignal, Recording, clean
from telephony_router.vendors.base import (
    PARAMETERS_MAX,
    RECORD,
    Account,
    BadRequest,
    Forbidden,
    Purpose,
    RawRequest,
    Response,
    kinds,
    whole_number,
)
from telephony_router.vendors.proofs import urls
from telephony_router.vendors.reading import bridged, order_of

__all__ = ["CALLER_STATUSES", "Twilio", "dial", "signature", "told", "twiml"]

# Reported both as signed and as added after signing; either form proves the sender, who knows the token.
LATE_PARAMETERS = frozenset({"CallToken", "StirVerstat"})
ATTEMPT_STATUSES = {
    "queued": "initiated",
    "initiated": "initiated",
    "ringing": "ringing",
    "in-progress": "answered",
    "answered": "answered",
    "completed": "completed",
    "busy": "busy",
    "no-answer": "missed",
    "failed": "failed",
    "canceled": "cancelled",
}
# The caller's own leg is "in progress" as soon as our TwiML runs, and "completed" also when nobody picked up.
CALLER_STATUSES = {**ATTEMPT_STATUSES, "in-progress": "ringing", "answered": "ringing", "completed": "ended"}
RECORDINGS: dict[str, Literal["pending", "failed", "absent", "available"]] = {
    "in-progress": "pending",
    "completed": "available",
    "absent": "absent",
    "failed": "failed",
}
DIAL_STATUSES = {**ATTEMPT_STATUSES, "in-progress": "answered"}


class Twilio:
    name = "twilio"
    hooks: Mapping[str, Purpose] = {"voice": "ring", "status": "status", "recording": "recording"}
    methods = frozenset({"POST", "GET"})
    needs_token = True
    proof = "the account's Auth Token"
    options: Mapping[str, str] = {"record": RECORD}
    known: Mapping[str, str] = kinds(
        "s",
        "AccountSid ApiVersion AnsweredBy CallDuration CallSid CallStatus CallToken Called CalledCity CalledCountry"
        " CalledState CalledZip CallbackSource Caller CallerCity CallerCountry CallerName CallerState CallerZip"
        " DialBridged DialCallDuration DialCallSid DialCallStatus Digits Direction Duration ErrorCode ErrorUrl"
        " ForwardedFrom From FromCity FromCountry FromState FromZip ParentCallSid QueueTime RecordingChannels"
        " RecordingDuration RecordingSid RecordingSource RecordingStartTime RecordingStatus RecordingTrack"
        " RecordingUrl SequenceNumber SipCallId SipResponseCode StirPassportToken StirVerstat Timestamp To ToCity"
        " ToCountry ToState ToZip bodySHA256 order",
    )
    known_prefixes: tuple[str, ...] = ()

    def authenticate(self, request: RawRequest, account: Account, now: datetime) -> str:
        given = request.headers.get("x-twilio-signature", "").encode()
        if not given:
            raise Forbidden("X-Twilio-Signature is missing")
        signed_body = dict(parse_qsl(request.query, keep_blank_values=True)).get("bodySHA256")
        if signed_body is not None:
            digest = hashlib.sha256(request.body).hexdigest()
            if not hmac.compare_digest(digest.encode(), signed_body.lower().encode("utf-8", "replace")):
                raise Forbidden("bodySHA256 is not the body's")
        form = _form(request) if signed_body is None and request.method == "POST" else []
        proof = ""
        for url in urls(request):
            for form_name, parameters in _forms(form):
                for token in account.auth_tokens:
                    # No early return: how long it takes must not tell which guess was close.
                    if hmac.compare_digest(signature(token, url, parameters).encode(), given):
                        proof = proof or form_name
        if not proof:
            raise Forbidden("X-Twilio-Signature does not match")
        return proof

    def parse(self, request: RawRequest, purpose: Purpose) -> CallSignal:
        fields = _fields(request)
        own = clean(fields.get("CallSid"))
        if not own:
            raise BadRequest("CallSid is missing")
        if len(own) > 128:
            raise BadRequest("CallSid is too long")
        if purpose == "ring":
            return CallSignal(
                kind="ring",
                vendor=self.name,
                call_id=own,
                caller_raw=clean(fields.get("From")),
                did_raw=clean(fields.get("To")),
                parent_call=clean(fields.get("ParentCallSid")),
                digits=clean(fields.get("Digits")),
            )
        return bridged(told(fields, own, self.name), order_of(fields.get("order")), CALLER_STATUSES)

    def render(self, decision: Decision, signal: CallSignal, request: RawRequest) -> Response:
        return dial(decision, request)

    def acknowledge(self, signal: CallSignal, request: RawRequest) -> Response:
        # Also the answer to <Dial action>: nothing more to do, so the call ends.
        return twiml("")


def dial(decision: Decision, request: RawRequest) -> Response:
    """The decision as TwiML."""
    if not decision.destinations:
        return twiml('<Reject reason="busy"/>')
    status = quoteattr(f"{request.hook_url}/status")
    # One after the other in the decision's order, unless it wants Twilio's default, which rings all of them at once.
    sequential = ' sequential="true"' if len(decision.destinations) > 1 and not decision.parallel else ""
    numbers = "".join(
        f'<Number statusCallback={status} statusCallbackEvent="initiated ringing answered completed">'
        f"{escape(target.number)}</Number>"
        for target in decision.destinations
    )
    record = ""
    if request.options.get("record") == "true":
        where = quoteattr(f"{request.hook_url}/recording")
        record = (
            f' record="record-from-answer-dual" recordingStatusCallback={where}'
            ' recordingStatusCallbackEvent="in-progress completed absent"'
        )
    attributes = f'action={status} timeout="{decision.ring_seconds}" answerOnBridge="true"{sequential}{record}'
    return twiml(f"<Dial {attributes}>{numbers}</Dial>")


def told(fields: dict[str, object], own: str, vendor: str) -> CallSignal:
    """A callback: of a recording, of all attempts together, or of one leg. Several arrive on one hook."""
    if fields.get("RecordingStatus"):
        return _recording(fields, own, vendor)
    return _dial_result(fields, own, vendor) if "DialCallStatus" in fields else _progress(fields, own, vendor)


def signature(token: str, url: str, parameters: Iterable[tuple[str, str]]) -> str:
    """What Twilio puts into X-Twilio-Signature: base64 of HMAC-SHA1 over the URL and the sorted parameters."""
    message = url + "".join(name + value for name, value in sorted(set(parameters)))
    digest = hmac.new(token.encode(), message.encode("utf-8", "surrogateescape"), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def _forms(form: Sequence[tuple[str, str]]) -> Iterator[tuple[str, Sequence[tuple[str, str]]]]:
    yield "as_sent", form
    early = [pair for pair in form if pair[0] not in LATE_PARAMETERS]
    if len(early) != len(form):
        yield "without_late_parameters", early


def _form(request: RawRequest) -> list[tuple[str, str]]:
    try:
        return _pairs(request.body.decode("utf-8", "surrogateescape"))
    except BadRequest:
        raise Forbidden("too many parameters to check a signature over") from None


def _pairs(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=PARAMETERS_MAX)
    except ValueError:
        raise BadRequest(f"more than {PARAMETERS_MAX} parameters") from None


def _fields(request: RawRequest) -> dict[str, object]:
    fields: dict[str, object] = dict(_pairs(request.query))
    if request.method != "POST":
        return fields
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            body = from_json(request.body)
        except ValueError:
            raise BadRequest("the body is not JSON") from None
        if not isinstance(body, dict):
            raise BadRequest("the body is not a JSON object")
        return {**fields, **body}
    return {**fields, **dict(_pairs(request.body.decode("utf-8", "replace")))}


def _recording(fields: dict[str, object], own: str, vendor: str) -> CallSignal:
    raw = clean(fields.get("RecordingStatus")).lower()
    sid = clean(fields.get("RecordingSid"))
    if raw not in RECORDINGS:
        raise BadRequest("RecordingStatus is not one we know")
    if not sid:
        raise BadRequest("RecordingSid is missing")
    return CallSignal(
        kind="recording",
        vendor=vendor,
        call_id=own,
        at=_moment(fields.get("RecordingStartTime")),
        cause=clean(fields.get("ErrorCode")),
        recording=Recording(
            url=clean(fields.get("RecordingUrl"), URL_CHARACTERS),
            id=sid,
            state=RECORDINGS[raw],
            duration_seconds=whole_number(fields.get("RecordingDuration")),
            channels=whole_number(fields.get("RecordingChannels")),
        ),
    )


def _dial_result(fields: dict[str, object], own: str, vendor: str) -> CallSignal:
    """The ``action`` of our <Dial>: what became of all attempts together."""
    raw = clean(fields.get("DialCallStatus")).lower()
    return CallSignal(
        kind="status",
        vendor=vendor,
        call_id=own,
        leg="dial",
        status=DIAL_STATUSES.get(raw, "unknown") if raw != "answered" else "completed",
        status_raw=raw,
        sequence=clean(fields.get("DialCallSid")),
        caller_raw=clean(fields.get("From")),
        did_raw=clean(fields.get("To")),
        at=_moment(fields.get("Timestamp")),
        duration_seconds=whole_number(fields.get("DialCallDuration")),
        recording=_dialled_recording(fields),
    )


def _dialled_recording(fields: dict[str, object]) -> Recording | None:
    """The same recording as its own callback tells of: its id is the last part of the address."""
    url = clean(fields.get("RecordingUrl"), URL_CHARACTERS)
    sid = url.rpartition("/")[2].partition(".")[0]
    return Recording(url=url, id=sid if sid.startswith("RE") else "") if url else None


def _progress(fields: dict[str, object], own: str, vendor: str) -> CallSignal:
    """A progress event of the caller's leg, or of one attempt to reach an agent (it names its parent)."""
    parent = clean(fields.get("ParentCallSid"))
    raw = clean(fields.get("CallStatus")).lower()
    if not raw:
        raise BadRequest("CallStatus is missing")
    outbound = not parent and clean(fields.get("Direction")).lower().startswith("outbound")
    statuses = ATTEMPT_STATUSES if parent or outbound else CALLER_STATUSES
    return CallSignal(
        kind="status",
        vendor=vendor,
        call_id=parent or own,
        leg=own if parent else "",
        status=statuses.get(raw, "unknown"),
        status_raw=raw,
        sequence=clean(fields.get("SequenceNumber")),
        attempt=bool(parent),
        direction="outbound" if outbound else "inbound",
        # On an attempt, From is what the agent sees and To is the agent.
        caller_raw="" if parent else clean(fields.get("From")),
        did_raw="" if parent else clean(fields.get("To")),
        agent_raw=clean(fields.get("To")) if parent else "",
        at=_moment(fields.get("Timestamp")),
        duration_seconds=whole_number(fields.get("CallDuration")),
        cause=clean(fields.get("SipResponseCode")),
    )


def _moment(value: object) -> datetime | None:
    """Twilio's times are RFC 2822 and always UTC."""
    try:
        found = parsedate_to_datetime(str(value)) if value else None
    except (ValueError, TypeError, OverflowError):
        return None
    if found is None:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def twiml(inner: str) -> Response:
    body = f'<?xml version="1.0" encoding="UTF-8"?><Response>{inner}</Response>'
    return Response(body=body.encode(), content_type="text/xml")
