"""MyOperator: the input node's question, and webhooks during and after a call, which come in different shapes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic_core import from_json, to_json

from telephony_router.routing import Decision
from telephony_router.signals import CallSignal, Recording
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
from telephony_router.vendors.reading import call_id_of, fields_of, first, given, recorded_at, unquoted, word

__all__ = ["MyOperator"]

CALL_STATES = {"0": "ringing", "1": "answered"}
DIALS = {"answer": "completed", "busy": "busy", "cancel": "cancelled", "failed": "failed", "chanunavail": "failed"}


class MyOperator:
    name = "myoperator"
    hooks: Mapping[str, Purpose] = {"node": "ring", "status": "status"}
    methods = frozenset({"GET", "POST"})
    needs_token = False
    proof = "optional: the value of x-myop-signature, or user:password for Basic"
    options: Mapping[str, str] = {
        "did": "the number that callers dial, which the input node does not tell",
        "say": "what callers hear before they are put through; silence by default",
        "dial_method": "how MyOperator rings several numbers; serial by default",
    }
    known: Mapping[str, str] = {
        **kinds("s", "uid node_id clid input did myoperator public_ivr_id _ai _ci _cr _cl _fn _fu _us created"),
        **kinds("sn", "timestamp call_state event _st _ms _et _dr _ev _ty _ui _ld[]._rst"),
        **kinds("s", "users[] users[].contact_number users[].number _pm[] _ld[]._ds _ld[]._ac _ld[]._rr[]._nr"),
        **kinds("s", "_ld[]._rr[]._em"),
    }
    known_prefixes: tuple[str, ...] = ()

    def authenticate(self, request: RawRequest, account: Account, now: datetime) -> str:
        return shared_secret(request, account, "x-myop-signature")

    def parse(self, request: RawRequest, purpose: Purpose) -> CallSignal:
        fields = _unwrapped(fields_of(request))
        if purpose == "ring":
            call_id = call_id_of(fields, "uid")
            if not call_id:
                raise BadRequest("uid is missing")
            return CallSignal(
                kind="ring",
                vendor=self.name,
                call_id=call_id,
                caller_raw=first(fields, "clid"),
                did_raw=first(fields, "did") or request.options.get("did", ""),
                digits=unquoted(fields.get("input")),
                at=moment(fields.get("timestamp")),
            )
        return _after(fields, request) if any(name.startswith("_") for name in fields) else _during(fields, request)

    def render(self, decision: Decision, signal: CallSignal, request: RawRequest) -> Response:
        numbers = [target.number for target in decision.destinations]
        answer: dict[str, Any] = {"action": "tts", "value": request.options.get("say", "")}
        if numbers:
            method = request.options.get("dial_method", "serial")
            answer |= {"operation": "dial-numbers", "operation-data": {"data": numbers, "dial_method": method}}
        else:
            answer["operation"] = "hangup"
        return Response(body=to_json(answer), content_type="application/json")

    def acknowledge(self, signal: CallSignal, request: RawRequest) -> Response:
        return Response(body=b"{}", content_type="application/json")


def _unwrapped(fields: dict[str, Any]) -> dict[str, Any]:
    """Older webhooks carry their document as text in a field of a form."""
    inner = fields.get("myoperator")
    if isinstance(inner, str):
        try:
            inner = from_json(inner)
        except ValueError:
            raise BadRequest("the field myoperator is not JSON") from None
    if inner is None:
        return fields
    if not isinstance(inner, dict):
        raise BadRequest("the field myoperator is not a JSON object")
    return inner


def _during(fields: Mapping[str, Any], request: RawRequest) -> CallSignal:
    raw = word(fields.get("call_state"))
    if not raw:
        raise BadRequest("call_state is missing")
    return CallSignal(
        kind="status",
        vendor=MyOperator.name,
        call_id=call_id_of(fields, "uid"),
        status=CALL_STATES.get(raw, "unknown"),
        status_raw=raw,
        sequence=f"in-call-{given(fields.get('event'))}",
        caller_raw=first(fields, "clid"),
        did_raw=first(fields, "did") or request.options.get("did", ""),
        # While it rings, several may be meant.
        agent_raw=_agent(fields.get("users")) if raw == "1" else "",
        at=moment(fields.get("timestamp")) or moment(fields.get("created")),
    )


def _agent(users: object) -> str:
    """The number of the first user, who is a number or an object with one."""
    user = users[0] if isinstance(users, list) and users else users
    if isinstance(user, dict):
        return first(user, "contact_number", "number", "_nr")
    text = given(user)
    return text if any(each.isdigit() for each in text) else ""


def _after(fields: Mapping[str, Any], request: RawRequest) -> CallSignal:
    """The document after the call, whose keys are abbreviations."""
    tries = [each for each in fields.get("_ld") or () if isinstance(each, dict)] if _is_list(fields.get("_ld")) else []
    taken = next((each for each in reversed(tries) if word(each.get("_ac")) == "received"), None)
    last = taken or (tries[-1] if tries else {})
    dial = word(last.get("_ds"))
    if taken is not None:
        status = "completed"
    elif dial and dial != "answer":
        status = DIALS.get(dial, "missed")
    else:
        status = "ended"
    people = last.get("_rr")
    person = people[0] if isinstance(people, list) and people and isinstance(people[0], dict) else {}
    return CallSignal(
        kind="status",
        vendor=MyOperator.name,
        call_id=call_id_of(fields, "uid", "_ai"),
        status=status,
        status_raw=dial or "end",
        sequence="after-call",
        direction="outbound" if given(fields.get("_ev")) == "2" else "inbound",
        caller_raw=first(fields, "_cl", "_cr"),
        did_raw=first(fields, "did") or request.options.get("did", ""),
        agent_raw=first(person, "_nr") if taken is not None else "",
        at=moment(fields.get("_et")) or moment(fields.get("_st")),
        duration_seconds=_seconds(fields.get("_dr")),
        recording=_recording(fields),
    )


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _seconds(value: object) -> int | None:
    """Seconds, or hours, minutes and seconds with colons between."""
    text = given(value)
    if ":" not in text:
        return whole_number(text)
    total = 0
    for part in text.split(":"):
        if not part.isdigit() or not part.isascii() or len(part) > 4:
            return None
        total = total * 60 + int(part)
    return total


def _recording(fields: Mapping[str, Any]) -> Recording | None:
    """Its address, or the file name with which a token API gives it out."""
    name = given(fields.get("_fn"))
    found = recorded_at(fields.get("_fu"), own_id=name)
    return found or (Recording(id=name) if name else None)
