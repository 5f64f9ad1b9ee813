"""The directory: who works here, who calls, which numbers ring. Owned and published by front-desk.

These topics are compacted. Each event is the entity's whole current state with its ``version``; consumers
keep only newer versions. A record without a value deletes the entity.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from contracts.event import Event, Part, UtcDatetime

__all__ = [
    "Calendar",
    "CustomerV1",
    "DidV1",
    "Diversion",
    "Emergency",
    "Holiday",
    "LeadV1",
    "Leave",
    "MenuChoice",
    "OpeningHours",
    "RingGroup",
    "RoutingV1",
    "StaffV1",
    "TenantV1",
]


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
    minor: ClassVar[int] = 1

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
    skills: tuple[str, ...] = ()
    """What they can do and speak, in small letters: ``gst``, and languages as BCP 47 tags: ``ml``, ``hi``."""
    capacity: int = 1
    """How many calls they take at once."""
    wrap_up_seconds: int | None = None
    """How long they are left alone after a call; absent means as long as the routing says."""

    def entity_id(self) -> str:
        return self.staff_id


class CustomerV1(Event):
    """A customer: how they are reached, and who looks after them."""

    type: ClassVar[str] = "directory.customer.v1"
    minor: ClassVar[int] = 1

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
    vip: bool = False
    """Whether they are put through first and at any hour, as the routing says."""
    language: str = ""
    """BCP 47 tag of the language they are spoken to in, for instance ``ml``; empty when nothing is known."""

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


class MenuChoice(Part):
    """What a caller pressed, and the ring group that takes such calls."""

    digits: str
    """As the PBX reports them, ``0`` to ``9``, ``*`` and ``#``."""
    group: str
    """Name of a ring group of the routing."""


class DidV1(Event):
    """A number that rings here. One DID belongs to one tenant."""

    type: ClassVar[str] = "directory.did.v1"
    minor: ClassVar[int] = 1

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
    default_group: str | None = None
    """The ring group that takes its calls, after ``default_staff_ids``."""
    calendar: str | None = None
    """The calendar of its opening hours; absent means the routing's."""
    skills: tuple[str, ...] = ()
    """What whoever takes its calls has to be able to do; people whom the caller knows are not asked for it."""
    menu: tuple[MenuChoice, ...] = ()
    """What callers can press before anybody is rung."""

    def entity_id(self) -> str:
        return self.did


class RingGroup(Part):
    """People who take each other's calls."""

    name: str
    """Unique within the routing; small letters, digits and hyphens."""
    strategy: str = "in_order"
    """``in_order``, ``simultaneous``, ``round_robin`` or ``longest_idle``; a reader takes others for ``in_order``."""
    staff_ids: tuple[str, ...] = ()
    """Its members, in order."""
    ring_seconds: int | None = None
    """How long each destination rings; absent means as long as the routing says."""


class Holiday(Part):
    """A day with hours of its own."""

    date: str
    """``YYYY-MM-DD``, a day of the tenant's zone."""
    label: str = ""
    """As shown to people."""
    start: str = ""
    """``HH:MM``; empty means closed all day."""
    until: str = ""
    """``HH:MM``, exclusive."""


class Calendar(Part):
    """When a number is open."""

    name: str
    """Unique within the routing; small letters, digits and hyphens."""
    hours: tuple[OpeningHours, ...] = ()
    """Empty means always, but for the holidays."""
    holidays: tuple[Holiday, ...] = ()
    """Days that the hours do not hold for."""


class Diversion(Part):
    """Where calls go instead: a group, and after it a number; either may be absent."""

    group: str | None = None
    """Name of a ring group of the routing."""
    number: str | None = None
    """E.164"""


class Emergency(Part):
    """All calls go here and nowhere else, whatever the hour and whoever calls."""

    group: str | None = None
    """Name of a ring group of the routing."""
    number: str | None = None
    """E.164"""
    until: UtcDatetime | None = None
    """When it ends by itself; absent means when somebody ends it."""
    reason: str = ""
    """As shown to people."""


class RoutingV1(Event):
    """How one tenant's calls are routed; one per tenant."""

    type: ClassVar[str] = "directory.routing.v1"
    minor: ClassVar[int] = 1

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
    groups: tuple[RingGroup, ...] = ()
    """The ring groups that all the rest names."""
    calendars: tuple[Calendar, ...] = ()
    """The calendars that this and the DIDs name."""
    default_calendar: str | None = None
    """For DIDs that name none; absent means always open."""
    after_hours: Diversion | None = None
    """Where calls go while the calendar is closed; absent means as if it were open."""
    overflow: Diversion | None = None
    """Where calls go when nobody else can take them, before the fallback numbers."""
    vip: Diversion | None = None
    """Who is rung for a VIP after the people they know, and before anybody else."""
    vip_numbers: tuple[str, ...] = ()
    """E.164; VIPs beside the customers who are marked so."""
    vip_any_hour: bool = True
    """Whether calendars and working hours do not hold for VIPs."""
    spam_limit: int | None = None
    """From this score of 1 to 100 a stranger's call is taken for spam; absent means never."""
    spam: Diversion | None = None
    """Where spam goes; absent means that it is refused."""
    emergency: Emergency | None = None
    """Present while it holds."""
    claim_agents: bool = False
    """Whether those who are named in an answer are kept free for that call."""
    wrap_up_seconds: int = 0
    """How long whoever had a call is left alone after it."""
    max_hops: int = 5
    """How often a call may have been passed on to us before it is refused as going in a circle."""

    def entity_id(self) -> str:
        return self.routing_id
