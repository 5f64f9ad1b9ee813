"""One call as it is kept: who rang whom, and the state that all of its webhooks add up to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from contracts.calls import CallInboundV1, CallStateV1, Claim, Destination, Excluded
from telephony_router.answer_ring import number_of, request_of
from telephony_router.calls import CallState, apply, noted
from telephony_router.routing import Decision
from telephony_router.signals import CallSignal

__all__ = ["CallRecord", "inbound_event", "state_event", "with_ring", "with_status"]


_FACTS = tuple(each.name for each in fields(CallState))
_TIMES = frozenset({"started_at", "answered_at", "ended_at", "agent_at", "digits_at", "transferred_at"})


@dataclass(frozen=True, kw_only=True, slots=True)
class CallRecord:
    id: UUID
    vendor: str
    account_id: UUID
    vendor_call_id: str
    direction: str = "inbound"
    caller: str | None = None
    caller_kind: str = "invalid"
    caller_raw: str = ""
    did: str | None = None
    did_raw: str = ""
    asked_at: datetime | None = None
    quarantined: bool = True
    """No ring of this call was ever seen: its statuses are kept, but nothing is learned from them."""
    facts: CallState = field(default_factory=CallState)
    staff_id: str | None = None
    agent_number: str | None = None
    version: int = 0
    confirmed: bool = True
    """Every webhook of this call came from a proven sender."""

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> CallRecord:
        facts = json.loads(row["facts"])
        for name in _TIMES & facts.keys():
            facts[name] = datetime.fromisoformat(facts[name]) if facts[name] else None
        same = ("id", "vendor", "account_id", "vendor_call_id", "direction", "caller", "caller_kind", "caller_raw")
        more = ("did", "did_raw", "asked_at", "quarantined", "staff_id", "agent_number", "version", "confirmed")
        return cls(facts=CallState(**facts), **{name: row[name] for name in same + more})

    def to_row(self) -> tuple[object, ...]:
        """In the order of ``put_calls``."""
        state = self.facts
        return (
            self.id,
            self.vendor,
            self.account_id,
            self.vendor_call_id,
            self.direction,
            self.caller,
            self.caller_kind,
            self.caller_raw,
            self.did,
            self.did_raw,
            self.asked_at,
            self.quarantined,
            state.state,
            json.dumps({name: getattr(state, name) for name in _FACTS}, default=datetime.isoformat),
            self.staff_id,
            self.agent_number,
            state.started_at,
            state.answered_at,
            state.ended_at,
            state.duration_seconds,
            state.cause,
            self.version,
            self.confirmed,
            state.parent_call,
            state.digits,
            number_of(state.transferred_raw) or state.transferred_raw if state.transferred_raw else "",
        )


def with_ring(call: CallRecord, signal: CallSignal, asked_at: datetime) -> CallRecord:
    """The PBX asked whom to ring: this call is known, whatever was heard of it before."""
    request = request_of(signal)
    return replace(
        call,
        direction="inbound",
        caller=request.caller.e164,
        caller_kind=request.caller.kind,
        caller_raw=signal.caller_raw,
        did=request.did,
        did_raw=signal.did_raw,
        asked_at=asked_at,
        quarantined=False,
        confirmed=call.confirmed and signal.confirmed,
        facts=noted(call.facts, signal, signal.at or asked_at),
    )


def with_status(
    call: CallRecord, signal: CallSignal, received_at: datetime, staff_by_number: Mapping[str, str]
) -> CallRecord:
    """Raises ``ValueError`` for a status that cannot be placed."""
    after = replace(call, facts=apply(call.facts, signal, received_at))
    if call.asked_at is None:
        # Of a call that nobody asked us about, the statuses are all there is. Outbound calls are never asked about.
        outbound = signal.direction == "outbound"
        request = request_of(signal)
        after = replace(
            after,
            direction=signal.direction if outbound else after.direction,
            quarantined=after.quarantined and not outbound,
            caller=after.caller or request.caller.e164,
            caller_kind=request.caller.kind if signal.caller_raw else after.caller_kind,
            caller_raw=after.caller_raw or signal.caller_raw,
            did=after.did or request.did,
            did_raw=after.did_raw or signal.did_raw,
        )
    number = number_of(after.facts.agent_raw) if after.facts.agent_raw else None
    return replace(after, agent_number=number, staff_id=staff_by_number.get(number) if number else None)


def inbound_event(call: CallRecord, decision: Decision, answer_ms: float, asked: CallSignal) -> CallInboundV1:
    if call.asked_at is None:
        raise ValueError("a call that was never asked about has no answer")
    return CallInboundV1(
        call_id=str(call.id),
        vendor=call.vendor,
        account_id=str(call.account_id),
        vendor_call_id=call.vendor_call_id,
        caller=call.caller,
        caller_kind=call.caller_kind,
        caller_raw=call.caller_raw,
        did=call.did or "",
        did_raw=call.did_raw,
        asked_at=call.asked_at,
        destinations=tuple(
            Destination(number=each.number, staff_id=each.staff_id, name=each.name, reason=each.reason)
            for each in decision.destinations
        ),
        excluded=tuple(
            Excluded(staff_id=each.staff_id, name=each.name, rule=each.rule, reason=each.reason)
            for each in decision.excluded
        ),
        customer_id=decision.customer_id,
        rule=decision.rule,
        rung=decision.rung,
        view_age_ms=decision.view_age_ms,
        answer_ms=answer_ms,
        rule_version=decision.rule_version,
        config_version=decision.config_version,
        parallel=decision.parallel,
        claimed=decision.claimed,
        digits=asked.digits,
        hops=asked.hops,
    )


def state_event(
    call: CallRecord, previous: str | None, leg: str, at: datetime, claim: Claim | None = None
) -> CallStateV1:
    state = call.facts
    return CallStateV1(
        call_id=str(call.id),
        vendor=call.vendor,
        vendor_call_id=call.vendor_call_id,
        leg=leg,
        state=state.state,
        previous_state=previous,
        direction="outbound" if call.direction == "outbound" else "inbound",
        caller=call.caller,
        did=call.did,
        staff_id=call.staff_id,
        agent_number=call.agent_number,
        at=at,
        started_at=state.started_at,
        answered_at=state.answered_at,
        ended_at=state.ended_at,
        duration_seconds=state.duration_seconds,
        cause=state.cause or None,
        version=call.version,
        claim=claim,
    )
