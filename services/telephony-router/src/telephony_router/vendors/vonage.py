"""Vonage (Nexmo): NCCO answers, events of every leg, proven by a JWT over the hash of the body.

A connect reaches one number, so each gets its own: when nobody answers, Vonage asks ``next``, which is the same
question again and gets the same decision, from where it stopped.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from pydantic_core import from_json, to_json

from telephony_router.routing import Decision
from telephony_router.signals import CallSignal
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
from telephony_router.vendors.proofs import same
from telephony_router.vendors.reading import call_id_of, fields_of, first, given, pairs, plus, recorded_at, word

__all__ = ["Vonage"]

TOLERANCE_SECONDS = 300
TOKEN_MAX = 4096
STATUSES = {
    "started": "initiated",
    "ringing": "ringing",
    "answered": "answered",
    "human": "answered",
    "machine": "answered",
    "completed": "completed",
    "busy": "busy",
    "cancelled": "cancelled",
    "unanswered": "missed",
    "timeout": "missed",
    "rejected": "missed",
    "disconnected": "failed",
    "failed": "failed",
}
# We answer the caller's own leg ourselves, and it completes also when nobody picked up.
CALLER = {**STATUSES, "answered": "ringing", "completed": "ended", "disconnected": "ended"}
UNREACHED = frozenset({"busy", "unanswered", "timeout", "rejected", "failed"})


class Vonage:
    name = "vonage"
    hooks: Mapping[str, Purpose] = {"answer": "ring", "next": "ring", "event": "status", "recording": "recording"}
    methods = frozenset({"GET", "POST"})
    needs_token = True
    proof = "the account's signature secret"
    options: Mapping[str, str] = {
        "record": RECORD,
        "api_key": "the account's API key, which a token must then name",
        "application_id": "the application, which a token must then name",
    }
    known: Mapping[str, str] = {
        **kinds(
            "s",
            "to from uuid call_uuid conversation_uuid conversation_uuid_from conversation_uuid_to status direction"
            " timestamp start_time end_time network detail reason type recording_url recording_uuid dtmf region_url"
            " from_user to_user endpoint_type custom_data.* disconnected_by n",
        ),
        **kinds("sn", "duration rate price size channels"),
    }
    known_prefixes: tuple[str, ...] = ("SipHeader_",)

    def authenticate(self, request: RawRequest, account: Account, now: datetime) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Forbidden("the bearer token is missing")
        claims = _claims(token.strip(), account.auth_tokens)
        if claims.get("iss") != "Vonage":
            raise Forbidden("the token is not Vonage's")
        issued, expires = _number(claims.get("iat")), _number(claims.get("exp", float("inf")))
        if issued is None or abs(now.timestamp() - issued) > TOLERANCE_SECONDS:
            raise Forbidden("the token is too old or from the future")
        if expires is None or expires < now.timestamp():
            raise Forbidden("the token has expired")
        for name in ("api_key", "application_id"):
            wanted = account.options.get(name)
            if wanted and not same(str(claims.get(name, "")), wanted):
                raise Forbidden(f"the token's {name} is not this account's")
        if not request.body:
            # What a GET says is not in the token.
            return "jwt_without_payload"
        if not same(str(claims.get("payload_hash", "")).lower(), hashlib.sha256(request.body).hexdigest()):
            raise Forbidden("payload_hash is not the body's")
        return "jwt"

    def parse(self, request: RawRequest, purpose: Purpose) -> CallSignal:
        fields = fields_of(request)
        own = call_id_of(fields, "conversation_uuid", "conversation_uuid_to", "uuid", "call_uuid")
        if not own:
            raise BadRequest("conversation_uuid is missing")
        if first(fields, "recording_url"):
            return _recording(fields, own)
        raw = word(fields.get("status")) or word(fields.get("type"))
        if purpose == "ring" and (request.hook != "next" or raw in UNREACHED):
            return _ring(fields, own, request)
        return _event(fields, own, raw)

    def render(self, decision: Decision, signal: CallSignal, request: RawRequest) -> Response:
        position = _position(request)
        actions: list[dict[str, Any]] = []
        if position < len(decision.destinations):
            hook, caller = request.hook_url, {"from": signal.caller_raw, "to": signal.did_raw}
            if request.options.get("record") == "true" and position == 0:
                actions.append(
                    {"action": "record", "split": "conversation", "channels": 2, "eventUrl": [f"{hook}/recording"]}
                )
            after = urlencode({"n": position + 1, **caller})
            shown = signal.did_raw.lstrip("+")
            number = decision.destinations[position].number.lstrip("+")
            actions.append(
                {
                    "action": "connect",
                    **({"from": shown} if shown.isdigit() else {}),
                    "timeout": decision.ring_seconds,
                    "eventType": "synchronous",
                    "eventUrl": [f"{hook}/next?{after}"],
                    "endpoint": [{"type": "phone", "number": number}],
                }
            )
        return Response(body=to_json(actions), content_type="application/json")

    def acknowledge(self, signal: CallSignal, request: RawRequest) -> Response:
        # No NCCO: what runs goes on.
        return Response(body=b"{}", content_type="application/json")


def _claims(token: str, secrets: tuple[str, ...]) -> dict[str, Any]:
    """The claims of a JWT that one of the secrets signed with HS256. Raises :class:`Forbidden`."""
    parts = token.split(".")
    if len(token) > TOKEN_MAX or len(parts) != 3 or not token.isascii():
        raise Forbidden("the token is no JWT")
    try:
        header, claims, signature = from_json(_decoded(parts[0])), from_json(_decoded(parts[1])), _decoded(parts[2])
    except (binascii.Error, ValueError):
        raise Forbidden("the token is no JWT") from None
    if not isinstance(header, dict) or header.get("alg") != "HS256" or not isinstance(claims, dict):
        raise Forbidden("the token is not signed with HS256")
    message = f"{parts[0]}.{parts[1]}".encode()
    proven = False
    for secret in secrets:
        # No early return: how long it takes must not tell which guess was close.
        proven |= hmac.compare_digest(hmac.new(secret.encode(), message, hashlib.sha256).digest(), signature)
    if not proven:
        raise Forbidden("the token's signature does not match")
    return claims


def _decoded(part: str) -> bytes:
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _position(request: RawRequest) -> int:
    if request.hook != "next":
        return 0
    return whole_number(dict(pairs(request.query)).get("n")) or 0


def _ring(fields: Mapping[str, Any], own: str, request: RawRequest) -> CallSignal:
    # An event of the leg that was not reached names that leg; the caller is in the address we gave.
    asked = dict(pairs(request.query)) if request.hook == "next" else fields
    return CallSignal(
        kind="ring",
        vendor=Vonage.name,
        call_id=own,
        caller_raw=plus(asked.get("from")),
        did_raw=plus(asked.get("to")),
        at=moment(fields.get("timestamp")),
    )


def _event(fields: Mapping[str, Any], own: str, raw: str) -> CallSignal:
    if not raw:
        raise BadRequest("status is missing")
    if raw == "transfer":
        return CallSignal(
            kind="status",
            vendor=Vonage.name,
            call_id=call_id_of(fields, "conversation_uuid_to", "conversation_uuid"),
            leg=first(fields, "uuid"),
            status="initiated",
            status_raw=raw,
            attempt=True,
            parent_call=first(fields, "conversation_uuid_from"),
            at=moment(fields.get("timestamp")),
        )
    attempt = word(fields.get("direction")) == "outbound"
    detail = first(fields, "detail", "reason")
    return CallSignal(
        kind="status",
        vendor=Vonage.name,
        call_id=own,
        leg=first(fields, "uuid") if attempt else "",
        status=(STATUSES if attempt else CALLER).get(raw, "unknown"),
        status_raw=raw,
        attempt=attempt,
        caller_raw="" if attempt else plus(fields.get("from")),
        did_raw="" if attempt else plus(fields.get("to")),
        agent_raw=plus(fields.get("to")) if attempt else "",
        at=moment(first(fields, "timestamp", "end_time", "start_time")),
        duration_seconds=whole_number(fields.get("duration")),
        cause=detail,
        digits=given(fields.get("dtmf")),
    )


def _recording(fields: Mapping[str, Any], own: str) -> CallSignal:
    began, ended = moment(fields.get("start_time")), moment(fields.get("end_time"))
    seconds = (ended - began).total_seconds() if began and ended else None
    return CallSignal(
        kind="recording",
        vendor=Vonage.name,
        call_id=own,
        at=moment(fields.get("timestamp")),
        recording=recorded_at(
            fields.get("recording_url"),
            own_id=fields.get("recording_uuid"),
            seconds=seconds,
            channels=fields.get("channels"),
        ),
    )
