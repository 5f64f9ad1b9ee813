"""Calls: what the PBX asked, what we answered, and what became of the call. Produced by telephony-router."""

from __future__ import annotations

from typing import ClassVar, Literal

from contracts.event import Event, Part, UtcDatetime

__all__ = ["CallInboundV1", "CallStateV1", "Claim", "Destination", "Excluded", "RecordingStoredV1"]


class Destination(Part):
    """One number that the PBX was told to ring."""

    number: str
    """E.164"""
    staff_id: str | None = None
    """Absent when the number is nobody's own."""
    name: str = ""
    """As shown to people."""
    reason: str
    """Which rule chose it: ``last_agent``, ``owner``, ``vip``, ``menu``, ``did_default``, ``did_group``,
    ``after_hours``, ``overflow``, ``did_fallback``, ``tenant_fallback``, ``emergency``, ``spam``."""


class Excluded(Part):
    """One candidate that was not rung, and why."""

    staff_id: str
    """Who was not rung."""
    name: str = ""
    """As shown to people."""
    rule: str
    """The rule that would have chosen it."""
    reason: str
    """``on_leave``, ``outside_hours``, ``inactive``, ``no_number``, ``is_caller`` …"""


class CallInboundV1(Event):
    """A call rang and was answered with destinations."""

    type: ClassVar[str] = "call.inbound.v1"
    minor: ClassVar[int] = 1

    call_id: str
    """Our own id of the call."""
    vendor: str
    """The dialect it arrived in, for instance ``twilio``."""
    account_id: str
    """The vendor account it arrived through."""
    vendor_call_id: str
    """The vendor's name for the call; may repeat between accounts."""
    caller: str | None
    """E.164, or absent when the caller is anonymous or not a number."""
    caller_kind: str
    """``number``, ``anonymous``, ``invalid`` …"""
    caller_raw: str
    """What the vendor sent, unchanged."""
    did: str
    """The number that was called, E.164."""
    did_raw: str = ""
    """What the vendor sent, unchanged."""
    asked_at: UtcDatetime
    """When the vendor asked whom to ring."""
    destinations: tuple[Destination, ...]
    """In the order in which they are rung."""
    excluded: tuple[Excluded, ...] = ()
    """Everybody who would have been rung, and why not."""
    customer_id: str | None = None
    """The customer that the caller's number belongs to."""
    rule: str
    """The rule that gave the first destination."""
    rung: str
    """The rung of the ladder that supplied the view: ``redis``, ``snapshot``, ``postgres``, ``static``."""
    view_age_ms: int | None = None
    """How old the routing view was when it was used."""
    answer_ms: float | None = None
    """From the request's arrival to the answer."""
    rule_version: str
    """Version of the decision function."""
    config_version: int | None = None
    """Version of the tenant's routing configuration that it went by."""
    parallel: bool = False
    """Whether the destinations ring at the same time."""
    claimed: bool = False
    """Whether the destinations are kept free for this call."""
    digits: str = ""
    """What the caller had pressed."""
    hops: int = 0
    """How often the call had been passed on to us."""

    def entity_id(self) -> str:
        return self.call_id


class Claim(Part):
    """What is being done about a missed call."""

    status: str
    """``open``, ``claimed`` or ``resolved``."""
    user_id: str | None = None
    """Who claimed or resolved it."""
    user_name: str = ""
    """As shown to people."""
    outcome: str | None = None
    """What became of it: ``called_back``, ``no_answer``, ``not_needed``, ``spam`` …"""
    until: UtcDatetime | None = None
    """When a claim lapses by itself."""
    since: UtcDatetime | None = None
    """Since when it is so."""
    calls: int = 1
    """How many missed calls of this caller are one with it."""
    first_missed_at: UtcDatetime | None = None
    """The earliest of them."""
    last_missed_at: UtcDatetime | None = None
    """The latest of them."""
    reason: str = ""
    """Why it was released: ``lapsed``, ``call back busy`` …; or which call resolved it."""


class CallStateV1(Event):
    """A call moved from one state to another. States never move backwards."""

    type: ClassVar[str] = "call.state.v1"
    minor: ClassVar[int] = 2

    call_id: str
    """Our own id of the call."""
    vendor: str
    """The dialect it arrived in."""
    vendor_call_id: str
    """The vendor's name for the call."""
    leg: str
    """The vendor's name for one leg of the call."""
    state: str
    """``initiated``, ``ringing``, ``answered``; then ``completed``, ``missed``, ``busy``, ``failed``, ``cancelled``."""
    previous_state: str | None = None
    """Absent when this is the first state known."""
    direction: Literal["inbound", "outbound"] = "inbound"
    """Seen from the business."""
    caller: str | None = None
    """E.164, or absent when anonymous."""
    did: str | None = None
    """The business's number, E.164."""
    staff_id: str | None = None
    """The agent, when the number is known to be theirs."""
    agent_number: str | None = None
    """The number that was rung or that dialled, E.164."""
    at: UtcDatetime
    """When the vendor says the state began."""
    started_at: UtcDatetime | None = None
    """When the call began."""
    answered_at: UtcDatetime | None = None
    """When somebody took it."""
    ended_at: UtcDatetime | None = None
    """When it was over."""
    duration_seconds: int | None = None
    """From answer to end."""
    cause: str | None = None
    """The vendor's reason for the end, unchanged."""
    version: int
    """Grows with each state of the call."""
    claim: Claim | None = None
    """Of a missed call; its changes are told like states, the call's own state staying as it is."""

    def entity_id(self) -> str:
        return self.call_id


class RecordingStoredV1(Event):
    """The recording of a call is in the store, under the hash of its bytes."""

    type: ClassVar[str] = "recording.stored.v1"

    call_id: str
    """Our own id of the call."""
    recording_id: str
    """Our own id of the recording; a call may have several."""
    vendor: str
    """The dialect it arrived in."""
    sha256: str
    """Of the file as the vendor gave it, 64 hexadecimal digits; its name in the store."""
    size_bytes: int
    """Of that file."""
    content_type: str
    """Media type, for instance ``audio/mpeg``."""
    channels: int
    """As told by the file itself."""
    duration_ms: int
    """As told by the file itself."""
    speakers: str
    """How its voices are told apart: ``by_channel``, or ``mixed`` for mono and for one voice on both channels."""
    agent_sha256: str | None = None
    """The agent's channel by itself, when they are told apart by it."""
    customer_sha256: str | None = None
    """The customer's channel by itself."""
    stored_at: UtcDatetime
    """When it was stored."""

    def entity_id(self) -> str:
        return self.call_id
