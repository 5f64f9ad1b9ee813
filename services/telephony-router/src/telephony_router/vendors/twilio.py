"""Twilio Programmable Voice: forms in, TwiML out, every request signed with the account's auth token."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qsl, urlsplit
from xml.sax.saxutils import escape, quoteattr

from pydantic_core import from_json

from telephony_router.routing import Decision
from telephony_router.signals import CallSignal, clean
from telephony_router.vendors.base import (
    PARAMETERS_MAX,
    RECORD,
    Account,
    BadRequest,
    Forbidden,
    Purpose,
    RawRequest,
    Response,
    whole_number,
)

__all__ = ["Twilio", "signature"]

# Reported both as signed and as added after signing; either form proves the sender, who knows the token.
LATE_PARAMETERS = frozenset({"CallToken", "StirVerstat"})
DEFAULT_PORTS = {"https": 443, "http": 80}
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
DIAL_STATUSES = {**ATTEMPT_STATUSES, "in-progress": "answered"}


class Twilio:
    name = "twilio"
    hooks: Mapping[str, Purpose] = {"voice": "ring", "status": "status"}
    methods = frozenset({"POST", "GET"})
    needs_token = True
    proof = "the account's Auth Token"
    options: Mapping[str, str] = {"record": RECORD}

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
        for url in _urls(request):
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
            )
        return _dial_result(fields, own) if "DialCallStatus" in fields else _progress(fields, own)

    def render(self, decision: Decision, signal: CallSignal, request: RawRequest) -> Response:
        if not decision.destinations:
            return _twiml('<Reject reason="busy"/>')
        status = quoteattr(f"{request.hook_url}/status")
        # One after the other in the decision's order; Twilio's default would ring all of them at once.
        sequential = ' sequential="true"' if len(decision.destinations) > 1 else ""
        numbers = "".join(
            f'<Number statusCallback={status} statusCallbackEvent="initiated ringing answered completed">'
            f"{escape(target.number)}</Number>"
            for target in decision.destinations
        )
        attributes = f'action={status} timeout="{decision.ring_seconds}" answerOnBridge="true"{sequential}'
        return _twiml(f"<Dial {attributes}>{numbers}</Dial>")

    def acknowledge(self, signal: CallSignal, request: RawRequest) -> Response:
        # Also the answer to <Dial action>: nothing more to do, so the call ends.
        return _twiml("")


def signature(token: str, url: str, parameters: Iterable[tuple[str, str]]) -> str:
    """What Twilio puts into X-Twilio-Signature: base64 of HMAC-SHA1 over the URL and the sorted parameters."""
    message = url + "".join(name + value for name, value in sorted(set(parameters)))
    digest = hmac.new(token.encode(), message.encode("utf-8", "surrogateescape"), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def _urls(request: RawRequest) -> Iterator[str]:
    tail = request.url_path + (f"?{request.query}" if request.query else "")
    for base in request.bases:
        yield from _with_and_without_port(base, tail)


def _with_and_without_port(base: str, tail: str) -> Iterator[str]:
    parts = urlsplit(base)
    yield f"{parts.scheme}://{parts.netloc}{tail}"
    host, colon, port = parts.netloc.rpartition(":")
    if colon and port.isdigit():
        yield f"{parts.scheme}://{host}{tail}"
    elif parts.scheme in DEFAULT_PORTS:
        yield f"{parts.scheme}://{parts.netloc}:{DEFAULT_PORTS[parts.scheme]}{tail}"


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


def _dial_result(fields: dict[str, object], own: str) -> CallSignal:
    """The ``action`` of our <Dial>: what became of all attempts together."""
    raw = clean(fields.get("DialCallStatus")).lower()
    return CallSignal(
        kind="status",
        vendor=Twilio.name,
        call_id=own,
        leg="dial",
        status=DIAL_STATUSES.get(raw, "unknown") if raw != "answered" else "completed",
        status_raw=raw,
        sequence=clean(fields.get("DialCallSid")),
        caller_raw=clean(fields.get("From")),
        did_raw=clean(fields.get("To")),
        at=_moment(fields.get("Timestamp")),
        duration_seconds=whole_number(fields.get("DialCallDuration")),
    )


def _progress(fields: dict[str, object], own: str) -> CallSignal:
    """A progress event of the caller's leg, or of one attempt to reach an agent (it names its parent)."""
    parent = clean(fields.get("ParentCallSid"))
    raw = clean(fields.get("CallStatus")).lower()
    if not raw:
        raise BadRequest("CallStatus is missing")
    outbound = not parent and clean(fields.get("Direction")).lower().startswith("outbound")
    statuses = ATTEMPT_STATUSES if parent or outbound else CALLER_STATUSES
    return CallSignal(
        kind="status",
        vendor=Twilio.name,
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


def _twiml(inner: str) -> Response:
    body = f'<?xml version="1.0" encoding="UTF-8"?><Response>{inner}</Response>'
    return Response(body=body.encode(), content_type="text/xml")
