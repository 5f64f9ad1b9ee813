"""Whom to ring: a pure function of what is known, what was asked, and the time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from identifiers.phone import Caller

__all__ = [
    "RULE_VERSION",
    "Agent",
    "Away",
    "CallerEntry",
    "Decision",
    "DidEntry",
    "Exclusion",
    "Hours",
    "Request",
    "Routing",
    "RoutingView",
    "Target",
    "TenantEntry",
    "decide",
    "is_open",
]

RULE_VERSION = "1"
DAY_MINUTES = 24 * 60
DEFAULT_ZONE = "Asia/Kolkata"

Rung = Literal["redis", "snapshot", "postgres", "static"]


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Routing:
    last_agent_days: int = 30
    ring_seconds: int = 25
    fallback_number: str | None = None
    blocked: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class TenantEntry:
    """All that routing needs of one tenant, whoever calls."""

    tenant: UUID
    version: int = 0
    timezone: str = DEFAULT_ZONE
    active: bool = True
    agents: Mapping[str, Agent] = field(default_factory=dict)
    routing: Routing = field(default_factory=Routing)


@dataclass(frozen=True, kw_only=True, slots=True)
class DidEntry:
    did: str
    tenant: UUID
    version: int = 0
    label: str = ""
    default_staff_ids: tuple[str, ...] = ()
    fallback_number: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CallerEntry:
    """What is known of one number that calls one tenant."""

    number: str
    version: int = 0
    customer_id: str | None = None
    name: str = ""
    owner_staff_id: str | None = None
    last_agent_id: str | None = None
    last_agent_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingView:
    """What is known for one call, and where it came from."""

    tenant: TenantEntry
    did: DidEntry | None
    caller: CallerEntry | None
    rung: Rung
    age_ms: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    caller: Caller
    did: str | None
    """E.164, or None when what was dialled is not a number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    number: str
    reason: str
    staff_id: str | None = None
    name: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exclusion:
    staff_id: str
    """Empty for a fallback number that belongs to nobody."""
    rule: str
    reason: str
    name: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    action: Literal["dial", "reject"]
    destinations: tuple[Target, ...]
    excluded: tuple[Exclusion, ...]
    rule: str
    """The rule that gave the first destination; ``blocked`` or ``nobody`` when there is none."""
    rung: Rung
    view_age_ms: int = 0
    ring_seconds: int = 25
    customer_id: str | None = None
    customer_name: str = ""
    rule_version: str = RULE_VERSION


def decide(view: RoutingView, request: Request, now: datetime) -> Decision:
    """Last agent, then owner; without them the DID's defaults; without those the fallbacks.

    Every candidate that a rule named and that is not rung is kept with the rule and the reason.
    """
    caller = request.caller.e164 if request.caller.kind == "number" else None
    entry = view.caller if caller is not None else None
    if caller is not None and caller in view.tenant.routing.blocked:
        return _decision(view, entry, "reject", (), (), "blocked")
    excluded: list[Exclusion] = []
    for stage in (_personal(view, entry, now, excluded), _defaults(view)):
        targets = _reachable(view, stage, caller, now, excluded)
        if targets:
            return _decision(view, entry, "dial", targets, tuple(excluded), targets[0].reason)
    target = _fallback(view, request, caller, excluded)
    if target is not None:
        return _decision(view, entry, "dial", (target,), tuple(excluded), target.reason)
    return _decision(view, entry, "reject", (), tuple(excluded), "nobody")


def _decision(
    view: RoutingView,
    entry: CallerEntry | None,
    action: Literal["dial", "reject"],
    destinations: tuple[Target, ...],
    excluded: tuple[Exclusion, ...],
    rule: str,
) -> Decision:
    return Decision(
        action=action,
        destinations=destinations,
        excluded=excluded,
        rule=rule,
        rung=view.rung,
        view_age_ms=view.age_ms,
        ring_seconds=view.tenant.routing.ring_seconds,
        customer_id=entry.customer_id if entry else None,
        customer_name=entry.name if entry else "",
    )


def _personal(
    view: RoutingView, entry: CallerEntry | None, now: datetime, excluded: list[Exclusion]
) -> Iterator[tuple[str, str]]:
    """Who this caller knows: (rule, staff id). An anonymous caller knows nobody."""
    if entry is None:
        return
    if entry.last_agent_id and entry.last_agent_at:
        if now - entry.last_agent_at <= timedelta(days=view.tenant.routing.last_agent_days):
            yield "last_agent", entry.last_agent_id
        else:
            agent = view.tenant.agents.get(entry.last_agent_id)
            name = agent.name if agent else ""
            excluded.append(
                Exclusion(staff_id=entry.last_agent_id, name=name, rule="last_agent", reason="too_long_ago")
            )
    if entry.owner_staff_id:
        yield "owner", entry.owner_staff_id


def _defaults(view: RoutingView) -> Iterator[tuple[str, str]]:
    if view.did is not None:
        for staff_id in view.did.default_staff_ids:
            yield "did_default", staff_id


def _reachable(
    view: RoutingView,
    candidates: Iterator[tuple[str, str]],
    caller: str | None,
    now: datetime,
    excluded: list[Exclusion],
) -> tuple[Target, ...]:
    targets: dict[str, Target] = {}
    for rule, staff_id in candidates:
        agent = view.tenant.agents.get(staff_id)
        reason = "unknown_staff" if agent is None else _why_not(agent, caller, view, now)
        if agent is None or reason is not None:
            name = agent.name if agent else ""
            excluded.append(Exclusion(staff_id=staff_id, name=name, rule=rule, reason=reason or "unknown_staff"))
            continue
        number = agent.numbers[0]
        targets.setdefault(number, Target(number=number, reason=rule, staff_id=staff_id, name=agent.name))
    return tuple(targets.values())


def _why_not(agent: Agent, caller: str | None, view: RoutingView, now: datetime) -> str | None:
    """The first reason not to ring an agent, or None."""
    if not agent.active:
        return "inactive"
    if not agent.numbers:
        return "no_number"
    if caller is not None and caller in agent.numbers:
        return "is_caller"
    if view.did is not None and agent.numbers[0] == view.did.did:
        return "is_did"
    if any(away.start <= now and (away.until is None or now < away.until) for away in agent.leave):
        return "on_leave"
    if agent.hours and not is_open(agent.hours, now, view.tenant.timezone):
        return "outside_hours"
    return None


def _fallback(view: RoutingView, request: Request, caller: str | None, excluded: list[Exclusion]) -> Target | None:
    did_fallback = view.did.fallback_number if view.did is not None else None
    for rule, number in (("did_fallback", did_fallback), ("tenant_fallback", view.tenant.routing.fallback_number)):
        if not number:
            continue
        if number == caller:
            excluded.append(Exclusion(staff_id="", rule=rule, reason="is_caller"))
        elif number == request.did:
            excluded.append(Exclusion(staff_id="", rule=rule, reason="is_did"))
        else:
            return Target(number=number, reason=rule)
    return None


def is_open(hours: tuple[Hours, ...], now: datetime, timezone: str) -> bool:
    """Whether a moment lies in one of the stretches, by the clock on the wall of the tenant's zone."""
    try:
        local = now.astimezone(ZoneInfo(timezone))
    except (ZoneInfoNotFoundError, ValueError):
        local = now.astimezone(ZoneInfo(DEFAULT_ZONE))
    minute = local.hour * 60 + local.minute
    today = local.isoweekday()
    yesterday = 7 if today == 1 else today - 1
    for each in hours:
        overnight = each.until <= each.start
        until = each.until + DAY_MINUTES if overnight else each.until
        if each.weekday == today and each.start <= minute < until:
            return True
        if overnight and each.weekday == yesterday and minute + DAY_MINUTES < until:
            return True
    return False
