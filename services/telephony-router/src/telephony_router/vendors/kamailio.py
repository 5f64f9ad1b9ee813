"""Kamailio: asked with JSON from a route, answered with rtjson, told of dialogs. A configuration of ours asks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic_core import to_json

from telephony_router.routing import Decision
from telephony_router.signals import CallSignal
from telephony_router.vendors.base import (
    Account,
    BadRequest,
    Purpose,
    RawRequest,
    Response,
    hops_of,
    kinds,
    moment,
    whole_number,
)
from telephony_router.vendors.proofs import shared_secret
from telephony_router.vendors.reading import call_id_of, fields_of, first, word

__all__ = ["Kamailio"]

EVENTS = {
    "start": "answered",
    "dialog:start": "answered",
    "end": "completed",
    "dialog:end": "completed",
    "ringing": "ringing",
    "failed": "failed",
    "dialog:failed": "failed",
    "cancelled": "cancelled",
}
CODES = {
    "486": "busy",
    "600": "busy",
    "487": "cancelled",
    "408": "missed",
    "480": "missed",
    "603": "missed",
    "607": "missed",
}
UNSAFE = re.compile(r"[^A-Za-z0-9@.\-_]")
FR_TIMER_MS = 5000


class Kamailio:
    name = "kamailio"
    hooks: Mapping[str, Purpose] = {"ring": "ring", "status": "status"}
    methods = frozenset({"POST"})
    needs_token = False
    proof = "optional: a secret that Kamailio sends as X-API-Key"
    options: Mapping[str, str] = {
        "domain": "the host of the destinations' addresses; pstn.invalid by default, which has to be set",
        "dst_uri": "where every branch is sent, such as sip:gateway.example.com:5060",
        "fr_timer_ms": f"how long a branch may stay silent; {FR_TIMER_MS} by default",
    }
    known: Mapping[str, str] = {
        **kinds("s", "event call_id from from_uri from_name from_tag to to_uri to_name to_tag ruri pai source_ip"),
        **kinds("s", "branch branch_uri agent reason auth diversion"),
        **kinds("sn", "source_port at code duration_seconds hops"),
    }
    known_prefixes: tuple[str, ...] = ()

    def authenticate(self, request: RawRequest, account: Account, now: datetime) -> str:
        return shared_secret(request, account, "x-api-key")

    def parse(self, request: RawRequest, purpose: Purpose) -> CallSignal:
        fields = fields_of(request)
        call_id = call_id_of(fields, "call_id")
        if not call_id:
            raise BadRequest("call_id is missing")
        caller = first(fields, "from", "from_uri")
        # Whoever withholds the number is not to be told apart by what the network knows of them.
        if "anonymous" not in caller.lower():
            caller = first(fields, "pai") or caller
        common: dict[str, Any] = {
            "vendor": self.name,
            "call_id": call_id,
            "caller_raw": caller,
            "did_raw": first(fields, "to", "to_uri", "ruri"),
            "at": moment(fields.get("at")),
        }
        if purpose == "ring":
            # The route counts the marks that answers of ours left on the INVITE.
            return CallSignal(kind="ring", hops=hops_of(fields.get("hops")), **common)
        event, code = word(fields.get("event")), first(fields, "code")
        if not event:
            raise BadRequest("event is missing")
        status = EVENTS.get(event, "unknown")
        if status == "failed":
            status = CODES.get(code, "failed")
        branch = first(fields, "branch")
        return CallSignal(
            kind="status",
            status=status,
            status_raw=event,
            leg=branch,
            sequence=code,
            attempt=bool(branch) and status not in ("completed", "answered"),
            agent_raw=first(fields, "agent", "branch_uri"),
            duration_seconds=whole_number(fields.get("duration_seconds")),
            cause=code,
            **common,
        )

    def render(self, decision: Decision, signal: CallSignal, request: RawRequest) -> Response:
        if not decision.destinations:
            answer: dict[str, Any] = {"success": False, "code": 480, "reason": "Temporarily Unavailable"}
            return Response(body=to_json(answer), content_type="application/json")
        options = request.options
        domain = options.get("domain", "pstn.invalid")
        # Kamailio refuses a call that comes round with this header: it went through here already.
        mark = f"X-Route-Decision: {UNSAFE.sub('', signal.call_id)[:128]}\r\n"
        fr_timer = whole_number(options.get("fr_timer_ms")) or FR_TIMER_MS
        routes = [
            {
                "uri": f"sip:{target.number}@{domain}",
                **({"dst_uri": options["dst_uri"]} if "dst_uri" in options else {}),
                "headers": {"extra": mark},
                "fr_timer": fr_timer,
                "fr_inv_timer": decision.ring_seconds * 1000,
            }
            for target in decision.destinations
        ]
        rtjson = {"version": "1.0", "routing": "parallel" if decision.parallel else "serial", "routes": routes}
        return Response(body=to_json({"success": True, "rtjson": rtjson}), content_type="application/json")

    def acknowledge(self, signal: CallSignal, request: RawRequest) -> Response:
        return Response(body=b"{}", content_type="application/json")
