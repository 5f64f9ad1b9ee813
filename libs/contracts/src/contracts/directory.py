"""The directory: who works here, who calls, which numbers ring. Owned and published by front-desk.

These topics are compacted. Each event is the entity's whole current state with its ``version``; consumers
keep only newer versions. A record without a value deletes the entity.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from contracts.event import Event, UtcDatetime

__all__ = [
    "CustomerV1",
    "DidV1",
    "LeadV1",
    "Leave",
    "OpeningHours",
    "RoutingV1",
    "StaffV1",
    "TenantV1",
]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class OpeningHours(_Part):
    """One stretch of one weekday in the tenant's local time. ``until`` is exclusive; ``24:00`` is the day's end."""

    weekday: int
    """ISO weekday: 1 is Monday, 7 is Sunday."""
    start: str
    """``HH:MM``"""
    until: str
    """``HH:MM``"""


class Leave(_Part):
    """A time away; ``until`` is exclusive and absent while the end is not known."""

    start: UtcDatetime
    until: UtcDatetime | None = None
    reason: str = ""


class TenantV1(Event):
    type: ClassVar[str] = "directory.tenant.v1"

    tenant_id: str
    version: int
    name: str
    timezone: str = "Asia/Kolkata"
    """IANA name; a business day is a day of this zone."""
    active: bool = True
    owner_name: str = ""
    owner_email: str = ""
    """Where the daily pulse goes."""
    pulse_at: str = "09:00"
    """Local time of day of the pulse, ``HH:MM``."""

    def entity_id(self) -> str:
        return self.tenant_id


class StaffV1(Event):
    type: ClassVar[str] = "directory.staff.v1"

    staff_id: str
    version: int
    name: str
    numbers: tuple[str, ...] = ()
    """E.164; the first is where calls ring."""
    active: bool = True
    working_hours: tuple[OpeningHours, ...] = ()
    """Empty means always."""
    leave: tuple[Leave, ...] = ()

    def entity_id(self) -> str:
        return self.staff_id


class CustomerV1(Event):
    type: ClassVar[str] = "directory.customer.v1"

    customer_id: str
    version: int
    name: str
    numbers: tuple[str, ...] = ()
    """E.164"""
    emails: tuple[str, ...] = ()
    gstin: str | None = None
    owner_staff_id: str | None = None

    def entity_id(self) -> str:
        return self.customer_id


class LeadV1(Event):
    type: ClassVar[str] = "directory.lead.v1"

    lead_id: str
    version: int
    name: str
    numbers: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    owner_staff_id: str | None = None

    def entity_id(self) -> str:
        return self.lead_id


class DidV1(Event):
    """A number that rings here. One DID belongs to one tenant."""

    type: ClassVar[str] = "directory.did.v1"

    did: str
    """E.164"""
    version: int
    label: str = ""
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
    version: int
    last_agent_days: int = 30
    """How long the agent who last talked to a caller is preferred."""
    ring_seconds: int = 25
    fallback_number: str | None = None
    """E.164; the tenant's last resort."""
    blocked_numbers: tuple[str, ...] = ()

    def entity_id(self) -> str:
        return self.routing_id
