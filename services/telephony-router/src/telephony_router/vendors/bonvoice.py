"""Bonvoice: notifications and hang-ups in both of their shapes. Its mid-ring question is published nowhere, so that
goes through field names that the account sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from telephony_router.routing import Decision
from telephony_router.signals import CallSignal
from telephony_router.vendors.base import (
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
from telephony_router.vendors.configurable import OPTIONS, Question, answer, ask
from telephony_router.vendors.proofs import same, shared_secret
from telephony_router.vendors.reading import call_id_of, fields_of, first, given, order_of, recorded_at, unquoted, word

__all__ = ["Bonvoice"]

QUESTION = Question(
    call_id=("callID", "call_id"),
    caller=("SourceNumber", "from"),
    did=("DisplayNumber", "DestinationNumber", "to"),
    at=("StartTime", "at"),
    digits=("DTMF", "digits"),
)
STATUSES = {
    "initiated": "initiated",
    "ringing": "ringing",
    "answered": "answered",
    "completed": "completed",
    "noanswer": "missed",
    "no-answer": "missed",
    "missed": "missed",
    "busy": "busy",
    "cancelled": "cancelled",
    "cancel": "cancelled",
    "failed": "failed",
    # No line was free to reach the agent; the caller heard that.
    "no-channel": "failed",
    # The caller typed nothing and went.
    "noinput": "ended",
}


class Bonvoice:
    name = "bonvoice"
    hooks: Mapping[str, Purpose] = {"ring": "ring", "status": "status"}
    methods = frozenset({"GET", "POST"})
    needs_token = False
    proof = "optional: the bearer token that Bonvoice is told to send"
    options: Mapping[str, str] = {**OPTIONS, "account_id": "the AccountID that every status must carry"}
    known: Mapping[str, str] = {
        **kinds(
            "s",
            "SourceNumber DestinationNumber DisplayNumber StartTime EndTime CallDuration Status Direction Leg"
            " AgentStatus AgentNumber TransferredNumber ResourceURL DTMF callType callID eventID callBackParentID"
            " callBackParams.* callBackParams Network DataSource callerCountryCode call_id from to at digits",
        ),
        **kinds("sn", "AccountID"),
    }
    known_prefixes: tuple[str, ...] = ()

    def authenticate(self, request: RawRequest, account: Account, now: datetime) -> str:
        wanted = account.options.get("account_id")
        # Only statuses carry it. It keeps other customers' webhooks out; as no secret, it proves nothing.
        if wanted and request.hook == "status":
            try:
                fields = fields_of(request)
            except BadRequest:
                raise Forbidden("AccountID cannot be read") from None
            if not same(given(fields.get("AccountID")), wanted):
                raise Forbidden("AccountID is not this account's")
        return shared_secret(request, account)

    def parse(self, request: RawRequest, purpose: Purpose) -> CallSignal:
        fields = fields_of(request)
        if purpose == "ring":
            return ask(fields, request, self.name, QUESTION)
        raw, ended = word(fields.get("Status")), moment(fields.get("EndTime"))
        if not raw:
            raise BadRequest("Status is missing")
        agent = first(fields, "AgentNumber")
        second = word(fields.get("Leg")) == "b"
        status = STATUSES.get(raw, "unknown")
        over = bool(given(fields.get("EndTime")))
        if status == "answered" and over:
            # The caller's leg is answered by the menu already: only with an agent on it somebody talked.
            alone = word(fields.get("Leg")) == "a" and not agent and word(fields.get("AgentStatus")) != "answered"
            status = "ended" if alone else "completed"
        order = order_of(fields.get("eventID"))
        if order and status == "answered" and not second:
            # Of a call that we asked for, the first leg is the agent's: the customer is only rung now.
            status = "ringing"
        parameters = fields.get("callBackParams")
        nested = parameters if isinstance(parameters, dict) else {}
        return CallSignal(
            kind="status",
            vendor=self.name,
            call_id=call_id_of(fields, "callID"),
            leg=given(fields.get("Leg")),
            status=status,
            status_raw=raw,
            sequence="hangup" if over else "notification",
            attempt=second,
            direction="outbound" if word(fields.get("Direction")) == "outbound" else "inbound",
            caller_raw="" if second else first(fields, "SourceNumber"),
            did_raw="" if second else first(fields, "DisplayNumber", "DestinationNumber"),
            # Of a call that we asked for, the second leg is the customer's.
            agent_raw=agent or (first(fields, "DestinationNumber") if second and not order else ""),
            at=ended or moment(fields.get("StartTime")),
            duration_seconds=whole_number(fields.get("CallDuration")) if over else None,
            cause=raw if raw in ("no-channel", "noinput") else "",
            parent_call=first(fields, "callBackParentID") or first(nested, "callBackParentID"),
            digits=unquoted(fields.get("DTMF")),
            transferred_raw=first(fields, "TransferredNumber"),
            recording=recorded_at(fields.get("ResourceURL"), seconds=fields.get("CallDuration")),
            correlation=order,
        )

    def render(self, decision: Decision, signal: CallSignal, request: RawRequest) -> Response:
        return answer(decision, signal, request)

    def acknowledge(self, signal: CallSignal, request: RawRequest) -> Response:
        return Response(body=b"{}", content_type="application/json")
