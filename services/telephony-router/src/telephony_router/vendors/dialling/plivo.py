"""Plivo's API: a call whose answer URL dials the customer, the live calls, and the records of those that ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from telephony_router.signals import CallSignal
from telephony_router.vendors.base import moment, whole_number
from telephony_router.vendors.dialling.base import (
    Access,
    ApiAnswer,
    ApiRequest,
    Login,
    Order,
    Outcome,
    basic,
    callback,
    json_of,
    posted,
    rejected,
)
from telephony_router.vendors.plivo import CALLER
from telephony_router.vendors.reading import call_id_of, first, given, plus, word

__all__ = ["PlivoDialler"]


class PlivoDialler:
    name = "plivo"
    bases: Sequence[str] = ("https://api.plivo.com",)
    secrets: Mapping[str, str] = {
        "auth_token": "the account's Auth Token",
        "webhooks": "the account's webhook address, as account add printed it, with scheme and host",
    }
    options: Mapping[str, str] = {
        "auth_id": "needed: the account's Auth ID",
        "caller_id": "needed: the number that both see, where an order names no line",
        "ring_seconds": "how long the agent's telephone rings; 30 by default",
    }
    login: Login | None = None

    def dial(self, order: Order, access: Access, token: str) -> ApiRequest:
        shown = order.did or access.options["caller_id"]
        status = callback(access, "status", order)
        values = {
            "from": shown.removeprefix("+"),
            "to": order.agent.removeprefix("+"),
            "answer_url": callback(access, "bridge", order, to=order.customer, did=shown),
            "answer_method": "POST",
            "ring_url": status,
            "ring_method": "POST",
            "hangup_url": status,
            "hangup_method": "POST",
            "ring_timeout": int(access.options.get("ring_seconds", "30")),
        }
        return posted(f"{_calls(access)}/", _proof(access), values)

    def dialled(self, answer: ApiAnswer) -> Outcome:
        failed = rejected(answer)
        if failed is not None:
            return failed
        found = json_of(answer).get("request_uuid")
        # A list when several were called; we call one.
        own = given(found[0] if isinstance(found, list) and found else found)
        return Outcome(kind="submitted", vendor_call_id=own) if own else Outcome(kind="unknown", code="garbled")

    def ask(self, call_id: str, ref: str, access: Access, token: str) -> ApiRequest | None:
        if not call_id:
            return None
        return ApiRequest(method="GET", url=f"{_calls(access)}/{quote(call_id, safe='')}/", headers=_proof(access))

    def ask_more(self, call_id: str, answer: ApiAnswer, access: Access) -> ApiRequest | None:
        if answer.status == 404:
            # Only calls that ended have a record.
            url = f"{_calls(access)}/{quote(call_id, safe='')}/?status=live"
        elif answer.status == 200:
            url = f"{_calls(access)}/?parent_call_uuid={quote(call_id, safe='')}&limit=20"
        else:
            return None
        return ApiRequest(method="GET", url=url, headers=_proof(access))

    def told(self, call_id: str, ref: str, answers: Sequence[ApiAnswer]) -> CallSignal | None:
        if len(answers) < 2 or answers[1].status != 200:
            return None
        record, second = json_of(answers[0]), json_of(answers[1])
        live = answers[0].status == 404
        call = second if live else record
        if call_id_of(call, "call_uuid") != call_id:
            return None
        outbound = bool(ref) or word(call.get("call_direction") or call.get("direction")).startswith("outbound")
        base = CallSignal(
            kind="status",
            vendor=self.name,
            call_id=call_id,
            direction="outbound" if outbound else "inbound",
            caller_raw=plus(first(call, "from_number", "from")),
            did_raw=plus(first(call, "to_number", "to")),
            correlation=ref,
        )
        if live:
            raw = word(call.get("call_status"))
            return _with(base, CALLER.get(raw, "unknown"), raw) if raw else None
        legs = second.get("objects")
        if not moment(record.get("end_time")) or not isinstance(legs, list):
            return None
        talks = [each for each in legs if isinstance(each, dict) and _seconds(each)]
        talk = max(talks, key=_seconds) if talks else {}
        return _with(
            base,
            "completed" if talk else "ended",
            first(record, "hangup_cause_name", "call_state") or "ended",
            at=moment(record.get("end_time")),
            duration_seconds=_seconds(talk) if talk else None,
            agent_raw="" if outbound else plus(talk.get("to_number")),
        )


def _with(base: CallSignal, status: str, raw: str, **more: Any) -> CallSignal:
    return replace(base, status=status, status_raw=word(raw), **more)


def _seconds(leg: dict[str, object]) -> int:
    return whole_number(leg.get("call_duration")) or 0


def _calls(access: Access) -> str:
    return f"{access.base}/v1/Account/{quote(access.options['auth_id'], safe='')}/Call"


def _proof(access: Access) -> dict[str, str]:
    return basic(access.options["auth_id"], access.secrets["auth_token"])
