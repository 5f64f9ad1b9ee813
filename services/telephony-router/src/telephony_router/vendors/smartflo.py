"""Tata Smartflo and Servetel: the API dialplan, answered with steps, and webhooks made of the same variables."""

from __future__ import annotations

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
    kinds,
    moment,
    whole_number,
)
from telephony_router.vendors.proofs import shared_secret
from telephony_router.vendors.reading import call_id_of, fields_of, first, recorded_at, unquoted, word

__all__ = ["Smartflo"]

STATUSES = {
    "initiated": "initiated",
    "received": "initiated",
    "ringing": "ringing",
    "answered": "answered",
    "missed": "missed",
    "no-answer": "missed",
    "noanswer": "missed",
    "busy": "busy",
    "failed": "failed",
    "cancelled": "cancelled",
    "completed": "completed",
    "hangup": "ended",
}


class Smartflo:
    name = "smartflo"
    hooks: Mapping[str, Purpose] = {"ring": "ring", "status": "status"}
    methods = frozenset({"GET", "POST"})
    needs_token = False
    proof = "optional: a secret that the dialplan is told to send as x-api-key or Authorization"
    options: Mapping[str, str] = {
        "transfer": "list (default): one step with all numbers; steps: a step for each number"
    }
    known: Mapping[str, str] = {
        **kinds(
            "s",
            "uuid call_id call_to_number caller_id_number start_stamp answer_stamp end_stamp last_dtmf call_flow"
            " call_flow[].* call_status status direction answered_agent_number answer_agent_number hangup_cause"
            " hangup_cause_key hangup_cause_code recording_url customer_number_with_prefix did_number",
        ),
        **kinds("sn", "billsec duration"),
        **kinds(
            "s",
            "$uuid $call_id $call_to_number $caller_id_number $start_stamp $answer_stamp $end_stamp $last_dtmf"
            " $call_flow $call_status $direction $answered_agent_number $hangup_cause_key $recording_url",
        ),
        **kinds("sn", "$billsec $duration"),
    }
    known_prefixes: tuple[str, ...] = ()

    def authenticate(self, request: RawRequest, account: Account, now: datetime) -> str:
        return shared_secret(request, account, "x-api-key")

    def parse(self, request: RawRequest, purpose: Purpose) -> CallSignal:
        # The panel's variables are written with a dollar, and some send it along.
        fields = {name.lstrip("$"): value for name, value in fields_of(request).items()}
        call_id = call_id_of(fields, "call_id", "uuid")
        if purpose == "ring" and not call_id:
            raise BadRequest("call_id and uuid are missing")
        common: dict[str, Any] = {
            "vendor": self.name,
            "call_id": call_id,
            "caller_raw": first(fields, "caller_id_number", "customer_number_with_prefix"),
            "did_raw": first(fields, "call_to_number", "did_number"),
            "digits": unquoted(fields.get("last_dtmf")),
        }
        if purpose == "ring":
            return CallSignal(kind="ring", at=moment(fields.get("start_stamp")), **common)
        raw = word(fields.get("call_status")) or word(fields.get("status"))
        if not raw:
            raise BadRequest("call_status is missing")
        over = moment(fields.get("end_stamp"))
        status = STATUSES.get(raw, "unknown")
        if status == "answered" and over is not None:
            status = "completed"
        return CallSignal(
            kind="status",
            status=status,
            status_raw=raw,
            sequence="end" if over is not None else "",
            direction="outbound" if word(fields.get("direction")).startswith(("out", "click")) else "inbound",
            agent_raw=first(fields, "answered_agent_number", "answer_agent_number"),
            at=over or moment(fields.get("answer_stamp")) or moment(fields.get("start_stamp")),
            duration_seconds=whole_number(first(fields, "billsec", "duration")) if over is not None else None,
            cause=first(fields, "hangup_cause_key", "hangup_cause_code", "hangup_cause"),
            recording=recorded_at(fields.get("recording_url"), seconds=fields.get("billsec")),
            **common,
        )

    def render(self, decision: Decision, signal: CallSignal, request: RawRequest) -> Response:
        numbers = [target.number for target in decision.destinations]
        groups = [[each] for each in numbers] if request.options.get("transfer") == "steps" else [numbers]
        # No step at all is a failure to Smartflo, which then takes the failover destination of the dialplan.
        steps = [{"transfer": {"type": "number", "data": group}} for group in groups if group]
        return Response(body=to_json(steps), content_type="application/json")

    def acknowledge(self, signal: CallSignal, request: RawRequest) -> Response:
        return Response(body=b"{}", content_type="application/json")
