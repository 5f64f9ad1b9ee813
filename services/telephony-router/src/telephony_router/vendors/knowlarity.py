"""Knowlarity: pushes of calls, with times in several zones. Its mid-ring question goes through field names that the
account sets, since no contract of it is published.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

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
from telephony_router.vendors.configurable import OPTIONS, Question, answer, ask
from telephony_router.vendors.proofs import shared_secret
from telephony_router.vendors.reading import call_id_of, fields_of, first, given, recorded_at, unquoted, word

__all__ = ["Knowlarity"]

QUESTION = Question(
    call_id=("callid", "call_id"),
    caller=("caller_id", "from"),
    did=("dispnumber", "to"),
    at=("start_time", "at"),
    digits=("digits", "extension"),
)
EVENTS = {"ringing": "ringing", "initiated": "initiated", "answered": "answered", "connected": "answered"}
ENDS = {"missed": "missed", "noanswer": "missed", "no-answer": "missed", "busy": "busy", "failed": "failed"}


class Knowlarity:
    name = "knowlarity"
    hooks: Mapping[str, Purpose] = {"ring": "ring", "status": "status"}
    methods = frozenset({"GET", "POST"})
    needs_token = False
    proof = "optional: a secret that Knowlarity is told to send as x-api-key"
    options = OPTIONS
    known: Mapping[str, str] = {
        **kinds(
            "s",
            "dispnumber extension callid destination caller_id end_time start_time timezone action resource_url"
            " hangup_cause type call_type call_id from to at digits",
        ),
        **kinds("sn", "call_duration"),
    }
    known_prefixes: tuple[str, ...] = ()

    def authenticate(self, request: RawRequest, account: Account, now: datetime) -> str:
        return shared_secret(request, account, "x-api-key")

    def parse(self, request: RawRequest, purpose: Purpose) -> CallSignal:
        fields = fields_of(request)
        if purpose == "ring":
            return ask(fields, request, self.name, QUESTION)
        kind, action = word(fields.get("type")), word(fields.get("action"))
        ended, seconds = moment(fields.get("end_time")), whole_number(fields.get("call_duration"))
        agent = first(fields, "destination")
        raw = action or kind
        if not raw and ended is None:
            raise BadRequest("action, type and end_time are missing")
        if action in EVENTS:
            status = EVENTS[action]
        elif kind == "dtmf" and ended is None:
            # The caller is in the menu.
            status = "ringing"
        elif action in ENDS:
            status = ENDS[action]
        elif ended is not None:
            status = "completed" if seconds and agent else "ended"
        else:
            status = "unknown"
        return CallSignal(
            kind="status",
            vendor=self.name,
            call_id=call_id_of(fields, "callid"),
            status=status,
            status_raw=raw or "end",
            sequence=kind,
            direction="outbound" if word(fields.get("call_type")).startswith("out") else "inbound",
            caller_raw=first(fields, "caller_id"),
            did_raw=first(fields, "dispnumber"),
            agent_raw=agent,
            at=ended or moment(fields.get("start_time")),
            duration_seconds=seconds if ended is not None else None,
            cause=given(fields.get("hangup_cause")),
            digits=unquoted(fields.get("extension")) if kind == "dtmf" else "",
            recording=recorded_at(fields.get("resource_url"), seconds=seconds),
        )

    def render(self, decision: Decision, signal: CallSignal, request: RawRequest) -> Response:
        return answer(decision, signal, request)

    def acknowledge(self, signal: CallSignal, request: RawRequest) -> Response:
        return Response(body=b"{}", content_type="application/json")
