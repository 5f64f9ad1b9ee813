"""What is known of a call that rings, what is asked, and what is decided. The values; ``decide`` makes one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from identifiers.phone import Caller

__all__ = [
    "BUSY_MAX",
    "DEFAULT_ZONE",
    "REASONS",
    "REFUSALS",
    "RULES",
    "RULE_VERSION",
    "SPAM_DAYS",
    "Agent",
    "Away",
    "Calendar",
    "CallerEntry",
    "Decision",
    "DidEntry",
    "Diversion",
    "Emergency",
    "Exclusion",
    "Group",
    "Holiday",
    "Hours",
    "Load",
    "LoadEntry",
    "Offer",
    "Request",
    "Routing",
    "RoutingView",
    "Rung",
    "Step",
    "Target",
    "TenantEntry",
    "offered_first",
]

RULE_VERSION = "2"
# Whoever a caller knows, and a number's own people, are not in turn.
OUT_OF_TURN = frozenset({"last_agent", "owner", "did_default"})
DEFAULT_ZONE = "Asia/Kolkata"
BUSY_MAX = timedelta(hours=4)
"""A call that somebody took longer ago than this keeps them busy no more: its end was never reported."""
SPAM_DAYS = timedelta(days=1)
"""How long a score holds after the call that it was made at."""

Rung = Literal["redis", "snapshot", "postgres", "static"]

RULES = (
    "emergency",
    "spam",
    "last_agent",
    "owner",
    "vip",
    "menu",
    "after_hours",
    "did_default",
    "did_group",
    "overflow",
    "did_fallback",
    "tenant_fallback",
)
"""Whatever can choose a destination, in the order in which it is asked."""
REFUSALS = ("loop", "blocked", "spam", "nobody")
"""The rules of a decision without a destination."""
REASONS = (
    "unknown_staff",
    "unknown_group",
    "inactive",
    "no_number",
    "is_caller",
    "is_did",
    "is_line",
    "same_number",
    "on_leave",
    "closed",
    "outside_hours",
    "too_long_ago",
    "lacks_skill",
    "busy",
    "claimed",
    "wrap_up",
    "loop",
)
"""Why a candidate is not rung."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hours:
    """One stretch of a weekday, in minutes of the local day. ``until`` at or before ``start`` is on the next day."""

    weekday: int
    """ISO: 1 is Monday."""
    start: int
    until: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Away:
    start: datetime
    until: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agent:
    staff_id: str
    name: str = ""
    numbers: tuple[str, ...] = ()
    active: bool = True
    hours: tuple[Hours, ...] = ()
    """Empty means always."""
    leave: tuple[Away, ...] = ()
    skills: frozenset[str] = frozenset()
    capacity: int = 1
    wrap_up_seconds: int | None = None
    """None: as long as the routing says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    name: str
    strategy: str = "in_order"
    staff_ids: tuple[str, ...] = ()
    ring_seconds: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Holiday:
    """A day with hours of its own, in minutes; without a start it is closed all day."""

    start: int | None = None
    until: int | None = None
    label: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calendar:
    name: str
    hours: tuple[Hours, ...] = ()
    """Empty means always, but for the holidays."""
    holidays: Mapping[str, Holiday] = field(default_factory=dict)
    """By day, ``YYYY-MM-DD`` of the tenant's zone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Diversion:
    group: str | None = None
    number: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Emergency:
    group: str | None = None
    number: str | None = None
    until: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Routing:
    version: int | None = None
    """The configuration's own, as its owner counts it."""
    last_agent_days: int = 30
    ring_seconds: int = 25
    fallback_number: str | None = None
    blocked: frozenset[str] = frozenset()
    groups: Mapping[str, Group] = field(default_factory=dict)
    calendars: Mapping[str, Calendar] = field(default_factory=dict)
    default_calendar: str | None = None
    after_hours: Diversion | None = None
    overflow: Diversion | None = None
    vip: Diversion | None = None
    vip_numbers: frozenset[str] = frozenset()
    vip_any_hour: bool = True
    spam_limit: int | None = None
    spam: Diversion | None = None
    emergency: Emergency | None = None
    claim_agents: bool = False
    wrap_up_seconds: int = 0
    max_hops: int = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class DidEntry:
    did: str
    tenant: UUID
    version: int = 0
    label: str = ""
    default_staff_ids: tuple[str, ...] = ()
    fallback_number: str | None = None
    group: str | None = None
    calendar: str | None = None
    skills: frozenset[str] = frozenset()
    menu: Mapping[str, str] = field(default_factory=dict)
    """The group for what a caller pressed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TenantEntry:
    """All that routing needs of one tenant, whoever calls."""

    tenant: UUID
    version: int = 0
    timezone: str = DEFAULT_ZONE
    active: bool = True
    agents: Mapping[str, Agent] = field(default_factory=dict)
    routing: Routing = field(default_factory=Routing)
    lines: Mapping[str, DidEntry] = field(default_factory=dict)
    """Every DID that rings for the tenant: a call sent to one of them would come back to us."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CallerEntry:
    """What is known of one number that calls one tenant."""

    number: str
    version: int = 0
    kind: str = ""
    """``customer``, ``lead``, or empty for a stranger."""
    customer_id: str | None = None
    name: str = ""
    owner_staff_id: str | None = None
    last_agent_id: str | None = None
    last_agent_at: datetime | None = None
    vip: bool = False
    language: str = ""
    spam_score: int = 0
    spam_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What one agent has to do with calls."""

    calls: Mapping[str, datetime] = field(default_factory=dict)
    """The calls that they took and that are not over, each with since when."""
    idle_since: datetime | None = None
    """When the last call that they took was over."""
    offered_at: datetime | None = None
    """When a call was last offered to them before anybody else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadEntry:
    """The load of all agents of a tenant, as their calls' states add up to."""

    version: int = 0
    agents: Mapping[str, Load] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """What answers of just now mean for an agent: nothing of it is in a call's state yet."""

    offered_at: datetime | None = None
    leases: Mapping[str, datetime] = field(default_factory=dict)
    """The calls that they are kept free for, each with until when."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingView:
    """What is known for one call, and where it came from."""

    tenant: TenantEntry
    did: DidEntry | None
    caller: CallerEntry | None
    rung: Rung
    age_ms: int = 0
    load: LoadEntry = field(default_factory=LoadEntry)
    offers: Mapping[str, Offer] = field(default_factory=dict)
    claimed: frozenset[str] = frozenset()
    """Agents who were just refused to this call, because others have them."""
    busy_max: timedelta = BUSY_MAX


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    caller: Caller
    did: str | None
    """E.164, or None when what was dialled is not a number."""
    digits: str = ""
    hops: int = 0
    call: str = ""
    """Our id of the call: what keeps an agent free for it does not keep them from it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    number: str
    reason: str
    staff_id: str | None = None
    name: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exclusion:
    staff_id: str
    """Empty for a number that belongs to nobody, and for a group."""
    rule: str
    reason: str
    name: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One rule that had something to say, in the order in which they were asked."""

    rule: str
    outcome: str
    """``rang``, ``refused``, ``nobody`` (named some, none could be rung), ``open``, ``closed``, ``passed``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    action: Literal["dial", "reject"]
    destinations: tuple[Target, ...]
    excluded: tuple[Exclusion, ...]
    rule: str
    """The rule that gave the first destination; one of :data:`REFUSALS` when there is none."""
    rung: Rung
    view_age_ms: int = 0
    ring_seconds: int = 25
    customer_id: str | None = None
    customer_name: str = ""
    rule_version: str = RULE_VERSION
    steps: tuple[Step, ...] = ()
    config_version: int | None = None
    parallel: bool = False
    """Whether the destinations ring at once."""
    claimed: bool = False
    """Whether the destinations are kept free for this call."""


def offered_first(decision: Decision) -> str | None:
    """Whose turn it was: the first of a group."""
    if not decision.destinations or decision.rule in OUT_OF_TURN:
        return None
    return decision.destinations[0].staff_id
