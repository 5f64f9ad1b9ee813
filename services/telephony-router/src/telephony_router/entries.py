"""The routing view's values as JSON: the form they have in Redis, in the snapshot and on their way from SQL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic_core import from_json, to_json

from telephony_router.routing import (
    DEFAULT_ZONE,
    Agent,
    Away,
    Calendar,
    CallerEntry,
    Decision,
    DidEntry,
    Diversion,
    Emergency,
    Exclusion,
    Group,
    Holiday,
    Hours,
    Load,
    LoadEntry,
    Offer,
    Routing,
    Step,
    Target,
    TenantEntry,
)

__all__ = [
    "caller_from_json",
    "caller_row",
    "caller_to_json",
    "decision_from_json",
    "decision_to_json",
    "did_from_json",
    "did_row",
    "load_from_json",
    "load_row",
    "loads_to_json",
    "offers_from_json",
    "packed",
    "routing_from_json",
    "tenant_from_json",
    "tenant_row",
    "text_of",
    "unpacked",
]

_Json = dict[str, Any]


def packed(entry: _Json) -> bytes:
    """An entry for Redis: its version, a space, its JSON. Deterministic, so that equal entries are equal bytes."""
    return b"%d %s" % (entry["version"], text_of(entry))


def text_of(entry: _Json | None) -> bytes:
    """An entry's JSON, deterministic; ``null`` for none."""
    return json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()


def unpacked(value: bytes) -> _Json | None:
    """The entry, or None for one that is gone. Raises ``ValueError`` for what we did not write."""
    entry = from_json(value.partition(b" ")[2])
    if not isinstance(entry, dict):
        raise TypeError("an entry of the routing view is not an object")
    return None if entry.get("gone") else entry


def tenant_row(row: Mapping[str, Any]) -> _Json:
    routing = json.loads(row["routing"]) if row["routing"] else {}
    return {
        "tenant": str(row["tenant_id"]),
        "version": row["version"],
        "timezone": row["timezone"] or DEFAULT_ZONE,
        "active": row["active"] is not False,
        "agents": json.loads(row["agents"]) if row["agents"] else [],
        "routing": routing,
        "lines": json.loads(row["lines"]) if row["lines"] else [],
    }


def did_row(row: Mapping[str, Any]) -> _Json:
    return {
        "did": row["did"],
        "tenant": str(row["tenant_id"]),
        "version": row["version"],
        "label": row["label"],
        "default_staff_ids": list(row["default_staff_ids"]),
        "fallback_number": row["fallback_number"],
        "group": row["default_group"],
        "calendar": row["calendar"],
        "skills": list(row["skills"]),
        "menu": json.loads(row["menu"]),
    }


def load_row(row: Mapping[str, Any]) -> _Json:
    agents: dict[str, _Json] = {}
    for each in json.loads(row["agents"]) if row["agents"] else []:
        agents[each["staff_id"]] = {"calls": {}, "idle": each["idle_since"], "offered": each["offered_at"]}
    for each in json.loads(row["calls"]) if row["calls"] else []:
        agent = agents.setdefault(each["staff_id"], {"calls": {}, "idle": None, "offered": None})
        agent["calls"][each["call_id"]] = each["since"]
    return {"tenant": str(row["tenant_id"]), "version": row["version"], "agents": agents}


def caller_row(row: Mapping[str, Any]) -> _Json:
    at, spam_at = row["last_agent_at"], row["spam_at"]
    return {
        "number": row["number"],
        "version": row["version"],
        "kind": row["kind"] or "",
        "customer_id": row["customer_id"] if row["kind"] == "customer" else None,
        "name": row["name"] or "",
        "owner": row["owner_staff_id"],
        "last_agent": row["last_agent_id"],
        "last_agent_at": at.isoformat() if at else None,
        "vip": bool(row["vip"]),
        "language": row["language"] or "",
        "spam": row["spam_score"] or 0,
        "spam_at": spam_at.isoformat() if spam_at else None,
    }


def tenant_from_json(entry: _Json) -> TenantEntry:
    agents = [_agent(each) for each in entry["agents"]]
    # Entries of an older router have no lines.
    lines = [did_from_json({**each, "tenant": entry["tenant"]}) for each in entry.get("lines", ())]
    return TenantEntry(
        tenant=UUID(entry["tenant"]),
        version=entry["version"],
        timezone=entry["timezone"],
        active=entry["active"],
        agents={agent.staff_id: agent for agent in agents},
        routing=routing_from_json(entry["routing"]) if entry["routing"] else Routing(),
        lines={line.did: line for line in lines},
    )


_PLAIN: tuple[str, ...] = (
    "version",
    "last_agent_days",
    "ring_seconds",
    "fallback_number",
    "default_calendar",
    "vip_any_hour",
)
_PLAIN += ("spam_limit", "claim_agents", "wrap_up_seconds", "max_hops")


def routing_from_json(entry: _Json) -> Routing:
    """Of a newer router's entry what is known of it; of an older one's the defaults where it has nothing."""
    emergency = entry.get("emergency")
    return Routing(
        **{name: entry[name] for name in _PLAIN if name in entry},
        blocked=frozenset(entry.get("blocked", ())),
        groups={each["name"]: _group(each) for each in entry.get("groups", ())},
        calendars={each["name"]: _calendar(each) for each in entry.get("calendars", ())},
        after_hours=_diversion(entry.get("after_hours")),
        overflow=_diversion(entry.get("overflow")),
        vip=_diversion(entry.get("vip")),
        vip_numbers=frozenset(entry.get("vip_numbers", ())),
        spam=_diversion(entry.get("spam")),
        emergency=Emergency(
            group=emergency.get("group"),
            number=emergency.get("number"),
            until=_time(emergency.get("until")),
            reason=emergency.get("reason", ""),
        )
        if emergency
        else None,
    )


def _group(entry: _Json) -> Group:
    return Group(
        name=entry["name"],
        strategy=entry.get("strategy", "in_order"),
        staff_ids=tuple(entry.get("staff_ids", ())),
        ring_seconds=entry.get("ring_seconds"),
    )


def _calendar(entry: _Json) -> Calendar:
    return Calendar(
        name=entry["name"],
        hours=_hours(entry.get("hours", ())),
        holidays={
            each["date"]: Holiday(
                start=_minutes(each["start"]) if each.get("start") else None,
                until=_minutes(each["until"]) if each.get("until") else None,
                label=each.get("label", ""),
            )
            for each in entry.get("holidays", ())
        },
    )


def _hours(entries: Iterable[_Json]) -> tuple[Hours, ...]:
    return tuple(
        Hours(weekday=each["weekday"], start=_minutes(each["start"]), until=_minutes(each["until"])) for each in entries
    )


def _diversion(entry: _Json | None) -> Diversion | None:
    return Diversion(group=entry.get("group"), number=entry.get("number")) if entry else None


def _agent(entry: _Json) -> Agent:
    return Agent(
        staff_id=entry["staff_id"],
        name=entry["name"],
        numbers=tuple(entry["numbers"]),
        active=entry["active"],
        hours=_hours(entry["hours"]),
        leave=tuple(
            Away(start=datetime.fromisoformat(each["start"]), until=_time(each.get("until")), reason=each["reason"])
            for each in entry["leave"]
        ),
        skills=frozenset(entry.get("skills", ())),
        capacity=entry.get("capacity", 1),
        wrap_up_seconds=entry.get("wrap_up_seconds"),
    )


def _minutes(clock: str) -> int:
    hours, _, minutes = clock.partition(":")
    return int(hours) * 60 + int(minutes)


def _time(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None


def did_from_json(entry: _Json) -> DidEntry:
    return DidEntry(
        did=entry["did"],
        tenant=UUID(entry["tenant"]),
        version=entry.get("version", 0),
        label=entry["label"],
        default_staff_ids=tuple(entry["default_staff_ids"]),
        fallback_number=entry["fallback_number"],
        group=entry.get("group"),
        calendar=entry.get("calendar"),
        skills=frozenset(entry.get("skills", ())),
        menu={each["digits"]: each["group"] for each in entry.get("menu", ())},
    )


def caller_from_json(entry: _Json) -> CallerEntry:
    return CallerEntry(
        number=entry["number"],
        version=entry["version"],
        # An older router did not tell leads from strangers: whoever has an owner is neither.
        kind=entry.get("kind", "lead" if entry["owner"] else ""),
        customer_id=entry["customer_id"],
        name=entry["name"],
        owner_staff_id=entry["owner"],
        last_agent_id=entry["last_agent"],
        last_agent_at=_time(entry["last_agent_at"]),
        vip=entry.get("vip", False),
        language=entry.get("language", ""),
        spam_score=entry.get("spam", 0),
        spam_at=_time(entry.get("spam_at")),
    )


def caller_to_json(entry: CallerEntry) -> _Json:
    return {
        "number": entry.number,
        "version": entry.version,
        "kind": entry.kind,
        "customer_id": entry.customer_id,
        "name": entry.name,
        "owner": entry.owner_staff_id,
        "last_agent": entry.last_agent_id,
        "last_agent_at": _text(entry.last_agent_at),
        "vip": entry.vip,
        "language": entry.language,
        "spam": entry.spam_score,
        "spam_at": _text(entry.spam_at),
    }


def _text(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


def load_from_json(entry: _Json) -> LoadEntry:
    return LoadEntry(
        version=entry.get("version", 0),
        agents={
            staff_id: Load(
                calls={call: datetime.fromisoformat(since) for call, since in each["calls"].items()},
                idle_since=_time(each["idle"]),
                offered_at=_time(each["offered"]),
            )
            for staff_id, each in entry["agents"].items()
        },
    )


def loads_to_json(loads: Mapping[str, Load]) -> _Json:
    return {
        staff_id: {
            "calls": {call: since.isoformat() for call, since in load.calls.items()},
            "idle": _text(load.idle_since),
            "offered": _text(load.offered_at),
        }
        for staff_id, load in loads.items()
    }


def offers_from_json(entry: _Json) -> dict[str, Offer]:
    """As the script in Redis keeps them: times in milliseconds, and a list where there are no leases."""
    return {
        staff_id: Offer(
            offered_at=_moment(each["o"]) if "o" in each else None,
            leases={call: _moment(until) for call, until in dict(each.get("l") or {}).items()},
        )
        for staff_id, each in entry.items()
    }


def _moment(milliseconds: float) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def decision_to_json(decision: Decision) -> str:
    return to_json(decision).decode()


_DECIDED = frozenset(each.name for each in fields(Decision))


def decision_from_json(values: _Json) -> Decision:
    """Of a newer router's decision what is known of it; an older one's has no steps."""
    known = {name: value for name, value in values.items() if name in _DECIDED}
    return Decision(
        **{
            **known,
            "destinations": tuple(Target(**each) for each in values["destinations"]),
            "excluded": tuple(Exclusion(**each) for each in values["excluded"]),
            "steps": tuple(Step(**each) for each in values.get("steps", ())),
        }
    )
