"""The router's own dialect, for every PBX that can post JSON and read it.

The secret in the path proves the account. An account with auth tokens must also sign:
``X-Trunkline-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256 of "<t>." + body>``.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from pydantic_core import from_json, to_json

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
    moment,
    whole_number,
)

__all__ = ["Generic"]

SIGNATURE_HEADER = "x-trunkline-signature"
TOLERANCE_SECONDS = 300
CALL_ID_CHARACTERS = 128
ABSENT = frozenset({"", "none", "null", "undefined"})
STATUSES = {
    "initiated": "initiated",
    "queued": "initiated",
    "ringing": "ringing",
    "answered": "answered",
    "in-progress": "answered",
    "completed": "completed",
    "ended": "ended",
    "hangup": "ended",
    "missed": "missed",
    "no-answer": "missed",
    "noanswer": "missed",
    "busy": "busy",
    "failed": "failed",
    "canceled": "cancelled",
    "cancelled": "cancelled",
}


class Generic:
    name = "generic"
    hooks: Mapping[str, Purpose] = {"ring": "ring", "status": "status"}
    methods = frozenset({"POST"})
    needs_token = False
    proof = "a secret to sign with, shared with the PBX"
    options: Mapping[str, str] = {"record": RECORD}

    def authenticate(self, request: RawRequest, account: Account, now: datetime) -> str:
        if not account.auth_tokens:
            return "path"
        parts = dict(part.strip().partition("=")[::2] for part in request.headers.get(SIGNATURE_HEADER, "").split(","))
        stamp, given = parts.get("t", ""), parts.get("v1", "")
        if not stamp.isascii() or not stamp.isdigit() or len(stamp) > 12:
            raise Forbidden("the signature's time is missing")
        if abs(now.timestamp() - int(stamp)) > TOLERANCE_SECONDS:
            raise Forbidden("the signature is too old or from the future")
        message = stamp.encode() + b"." + request.body
        for token in account.auth_tokens:
            wanted = hmac.new(token.encode(), message, hashlib.sha256).hexdigest()
            if hmac.compare_digest(wanted.encode(), given.encode()):
                return "hmac"
        raise Forbidden("the signature does not match")

    def parse(self, request: RawRequest, purpose: Purpose) -> CallSignal:
        fields = _fields(request)
        ring = CallSignal(
            kind="ring",
            vendor=self.name,
            call_id=_call_id(fields.get("call_id")),
            caller_raw=clean(fields.get("from")),
            did_raw=clean(fields.get("to")),
            at=moment(fields.get("at")),
        )
        if purpose == "ring":
            return ring
        status = clean(fields.get("status")).lower().replace("_", "-").replace(" ", "-")
        if not status:
            raise BadRequest("status is missing")
        return replace(
            ring,
            kind="status",
            leg=clean(fields.get("leg")),
            status=STATUSES.get(status, "unknown"),
            status_raw=status,
            sequence=clean(fields.get("sequence")),
            attempt=fields.get("attempt") in (True, "true", "1"),
            direction="outbound" if clean(fields.get("direction")).lower().startswith("out") else "inbound",
            agent_raw=clean(fields.get("agent_number")),
            duration_seconds=whole_number(fields.get("duration_seconds")),
            cause=clean(fields.get("cause")),
        )

    def render(self, decision: Decision, signal: CallSignal, request: RawRequest) -> Response:
        return _json(
            {
                "call_id": signal.call_id,
                "action": decision.action,
                "destinations": [
                    {"number": target.number, "name": target.name, "reason": target.reason}
                    for target in decision.destinations
                ],
                "ring_seconds": decision.ring_seconds,
                **({"record": True} if request.options.get("record") == "true" else {}),
                "excluded": [
                    {"staff_id": each.staff_id, "name": each.name, "rule": each.rule, "reason": each.reason}
                    for each in decision.excluded
                ],
            }
        )

    def acknowledge(self, signal: CallSignal, request: RawRequest) -> Response:
        return _json({})


def _json(value: dict[str, Any]) -> Response:
    return Response(body=to_json(value), content_type="application/json")


def _fields(request: RawRequest) -> dict[str, Any]:
    """JSON whatever the content type says, for senders forget it; a form when it is declared as one."""
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        try:
            return dict(parse_qsl(request.body.decode("utf-8", "replace"), max_num_fields=PARAMETERS_MAX))
        except ValueError:
            raise BadRequest(f"more than {PARAMETERS_MAX} parameters") from None
    try:
        fields = from_json(request.body)
    except ValueError:
        raise BadRequest("the body is not JSON") from None
    if not isinstance(fields, dict):
        raise BadRequest("the body is not a JSON object")
    if len(fields) > PARAMETERS_MAX:
        raise BadRequest(f"more than {PARAMETERS_MAX} parameters")
    return fields


def _call_id(value: object) -> str:
    if isinstance(value, dict | list | bool):
        raise BadRequest("call_id is not a string")
    if isinstance(value, str) and len(value) > CALL_ID_CHARACTERS:
        raise BadRequest(f"call_id is longer than {CALL_ID_CHARACTERS} characters")
    call_id = clean(value)
    return "" if call_id.lower() in ABSENT else call_id
