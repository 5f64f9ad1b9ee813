"""Calls: what the PBX asked, what we answered, and what became of the call. Produced by telephony-router."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from contracts.event import Event, UtcDatetime

__all__ = ["CallInboundV1", "CallStateV1", "Destination", "Excluded"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Destination(_Part):
    """One number that the PBX was told to ring."""

    number: str
    """E.164"""
    staff_id: str | None = None
    name: str = ""
    reason: str
    """Which rule chose it: ``last_agent``, ``owner``, ``did_default``, ``did_fallback``, ``tenant_fallback``."""


class Excluded(_Part):
    """One candidate that was not rung, and why."""

    staff_id: str
    name: str = ""
    rule: str
    """The rule that would have chosen it."""
    reason: str
    """``on_leave``, ``outside_hours``, ``inactive``, ``no_number``, ``is_caller`` …"""


class CallInboundV1(Event):
    """A call rang and was answered with destinations."""

    type: ClassVar[str] = "call.inbound.v1"

    call_id: str
    vendor: str
    account_id: str
    vendor_call_id: str
    caller: str | None
    """E.164, or absent when the caller is anonymous or not a number."""
    caller_kind: str
    """``number``, ``anonymous``, ``invalid`` …"""
    caller_raw: str
    did: str
    did_raw: str = ""
    asked_at: UtcDatetime
    destinations: tuple[Destination, ...]
    excluded: tuple[Excluded, ...] = ()
    customer_id: str | None = None
    rule: str
    """The rule that gave the first destination."""
    rung: str
    """The rung of the ladder that supplied the view: ``redis``, ``snapshot``, ``postgres``, ``static``."""
    view_age_ms: int | None = None
    answer_ms: float | None = None
    rule_version: str

    def entity_id(self) -> str:
        return self.call_id


class CallStateV1(Event):
    """A call moved from one state to another. States never move backwards."""

    type: ClassVar[str] = "call.state.v1"

    call_id: str
    vendor: str
    vendor_call_id: str
    leg: str
    state: str
    """``initiated``, ``ringing``, ``answered``, then one of ``completed``, ``missed``, ``busy``, ``failed``, ``cancelled``."""
    previous_state: str | None = None
    direction: Literal["inbound", "outbound"] = "inbound"
    caller: str | None = None
    did: str | None = None
    staff_id: str | None = None
    agent_number: str | None = None
    at: UtcDatetime
    started_at: UtcDatetime | None = None
    answered_at: UtcDatetime | None = None
    ended_at: UtcDatetime | None = None
    duration_seconds: int | None = None
    cause: str | None = None
    version: int

    def entity_id(self) -> str:
        return self.call_id
