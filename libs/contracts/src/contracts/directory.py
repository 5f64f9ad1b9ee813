"""The directory: who works here, who calls, which numbers ring. Owned and published by front-desk.

These topics are compacted. Each event is the entity's whole current state with its ``version``; consumers
keep only newer versions. A record without a value deletes the entity.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from contracts.event import Event, Part, UtcDatetime

__all__ = ["CustomerV1", "DidV1", "LeadV1", "Leave", "OpeningHours", "RoutingV1", "StaffV1", "TenantV1"]


class OpeningHours(Part):
    """One stretch of one weekday in the tenant's local time. ``until`` is exclusive; ``24:00`` is the day's end."""

    weekday: int
    """ISO weekday: 1 is Monday, 7 is Sunday."""
    start: str
    """``HH:MM``"""
    until: str
    """``HH:MM``"""


class Leave(Part):
    """A time away; ``until`` is exclusive and absent while the end is not known."""

    start: UtcDatetime
    """First moment away."""
    until: UtcDatetime | None = None
    """First moment back."""
    reason: str = ""
    """As staff wrote it."""


class TenantV1(Event):
    """A business, and where its daily pulse goes."""

    type: ClassVar[str] = "directory.tenant.v1"

    tenant_id: str
    """The id that row-level security compares."""
    version: int
    """Grows with each change."""
    name: str
    """As shown to people."""
    timezone: str = "Asia/Kolkata"
    """IANA name; a business day is a day of this zone."""
    active: bool = True
    """Whether the business is served."""
    owner_name: str = ""
    """Who is greeted in the pulse."""
    owner_email: str = ""
    """Where the daily pulse goes."""
    pulse_at: str = "09:00"
    """Local time of day of the pulse, ``HH:MM``."""

    def entity_id(self) -> str:
        return self.tenant_id


class StaffV1(Event):
    """A person who answers calls: where they ring, and when they can."""

    type: ClassVar[str] = "directory.staff.v1"

    staff_id: str
    """Our own id of the person."""
    version: int
    """Grows with each change."""
    name: str
    """As shown to people."""
    numbers: tuple[str, ...] = ()
    """E.164; the first is where calls ring."""
    active: bool = True
    """Somebody inactive is never rung."""
    working_hours: tuple[OpeningHours, ...] = ()
    """Empty means always."""
    leave: tuple[Leave, ...] = ()
    """Times away, past and planned."""

    def entity_id(self) -> str:
        return self.staff_id


class CustomerV1(Event):
    """A customer: how they are reached, and who looks after them."""

    type: ClassVar[str] = "directory.customer.v1"

    customer_id: str
    """Our own id of the customer."""
    version: int
    """Grows with each change."""
    name: str
    """As shown to people."""
    numbers: tuple[str, ...] = ()
    """E.164"""
    emails: tuple[str, ...] = ()
    """Where they read mail."""
    gstin: str | None = None
    """Tax number, fifteen characters."""
    owner_staff_id: str | None = None
    """The person who looks after them; rung before the DID's default."""

    def entity_id(self) -> str:
        return self.customer_id


class LeadV1(Event):
    """Somebody who may become a customer."""

    type: ClassVar[str] = "directory.lead.v1"

    lead_id: str
    """Our own id of the lead."""
    version: int
    """Grows with each change."""
    name: str
    """As shown to people."""
    numbers: tuple[str, ...] = ()
    """E.164"""
    emails: tuple[str, ...] = ()
    """Where they read mail."""
    owner_staff_id: str | None = None
    """The person who follows them up."""

    def entity_id(self) -> str:
        return self.lead_id


class DidV1(Event):
    """A number that rings here. One DID belongs to one tenant."""

    type: ClassVar[str] = "directory.did.v1"

    did: str
    """E.164"""
    version: int
    """Grows with each change."""
    label: str = ""
    """As shown to people."""
    default_staff_ids: tuple[str, ...] = ()
    """Rung in this order when neither last agent nor owner can take the call."""
    fallback_number: str | None = None
    """E.164; rung when nobody else can."""

    def entity_id(self) -> str:
        return self.did


class RoutingV1(Event):
    """How one tenant's calls are routed; one per tenant."""

    type: ClassVar[str] = "directory.routing.v1"

    routing_id: Literal["default"] = "default"
    """One per tenant, so it is always the same."""
    version: int
    """Grows with each change."""
    last_agent_days: int = 30
    """How long the agent who last talked to a caller is preferred."""
    ring_seconds: int = 25
    """How long each destination rings."""
    fallback_number: str | None = None
    """E.164; the tenant's last resort."""
    blocked_numbers: tuple[str, ...] = ()
    """E.164; never routed to a person."""

    def entity_id(self) -> str:
        return self.routing_id
