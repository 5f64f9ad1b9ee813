"""The router's own dialect, for every PBX that can post JSON and read it, under the field names of the account.

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

from pydantic_core import from_json

from telephony_router.routing import Decision
from telephony_router.signals import CallSignal, clean
from telephony_router.vendors.base import (
    PARAMETERS_MAX,
    Account,
    BadRequest,
    Forbidden,
    Purpose,
    RawRequest,
    Response,
    kinds,
    whole_number,
)
from telephony_router.vendors.configurable import OPTIONS, Question, answer, ask
from telephony_router.vendors.reading import given, order_of, recorded_at, word

__all__ = ["Generic"]

SIGNATURE_HEADER = "x-trunkline-signature"
TOLERANCE_SECONDS = 300
QUESTION = Question()
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
    options = OPTIONS
    known: Mapping[str, str] = {
        **kinds("sn", "call_id at sequence duration_seconds cause hops"),
        **kinds(
            "s", "from to digits status leg direction agent_number parent_call_id transferred_to recording_url order"
        ),
        **kinds("sb", "attempt"),
    }
    known_prefixes: tuple[str, ...] = ()

    def authenticate(self, request: RawRequest, account: Account, now: datetime) -> str:
        if not account.auth_tokens:
            return "path"
        parts = dict(part.strip().partition("=")[::2] for part in request.headers.get(SIGNATURE_HEADER, "").split(","))
        stamp, signed = parts.get("t", ""), parts.get("v1", "")
        if not stamp.isascii() or not stamp.isdigit() or len(stamp) > 12:
            raise Forbidden("the signature's time is missing")
        if abs(now.timestamp() - int(stamp)) > TOLERANCE_SECONDS:
            raise Forbidden("the signature is too old or from the future")
        message = stamp.encode() + b"." + request.body
        for token in account.auth_tokens:
            wanted = hmac.new(token.encode(), message, hashlib.sha256).hexdigest()
            if hmac.compare_digest(wanted.encode(), signed.encode()):
                return "hmac"
        raise Forbidden("the signature does not match")

    def parse(self, request: RawRequest, purpose: Purpose) -> CallSignal:
        fields = _fields(request)
        ring = ask(fields, request, self.name, QUESTION)
        if purpose == "ring":
            return ring
        status = word(fields.get("status"))
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
            parent_call=given(fields.get("parent_call_id")),
            transferred_raw=given(fields.get("transferred_to")),
            recording=recorded_at(fields.get("recording_url")),
            correlation=order_of(fields.get("order")),
        )

    def render(self, decision: Decision, signal: CallSignal, request: RawRequest) -> Response:
        return answer(decision, signal, request)

    def acknowledge(self, signal: CallSignal, request: RawRequest) -> Response:
        return Response(body=b"{}", content_type="application/json")


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
