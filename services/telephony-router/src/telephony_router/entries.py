"""The routing view's values as JSON: the form they have in Redis, in the snapshot and on their way from SQL."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic_core import from_json, to_json

from telephony_router.routing import (
    DEFAULT_ZONE,
    Agent,
    Away,
    CallerEntry,
    Decision,
    DidEntry,
    Exclusion,
    Hours,
    Routing,
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
    "packed",
    "tenant_from_json",
    "tenant_row",
    "unpacked",
]

_Json = dict[str, Any]


def packed(entry: _Json) -> bytes:
    """An entry for Redis: its version, a space, its JSON. Deterministic, so that equal entries are equal bytes."""
    return b"%d %s" % (entry["version"], json.dumps(entry, sort_keys=True, separators=(",", ":")).encode())


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
    }


def did_row(row: Mapping[str, Any]) -> _Json:
    return {
        "did": row["did"],
        "tenant": str(row["tenant_id"]),
        "version": row["version"],
        "label": row["label"],
        "default_staff_ids": list(row["default_staff_ids"]),
        "fallback_number": row["fallback_number"],
    }


def caller_row(row: Mapping[str, Any]) -> _Json:
    at = row["last_agent_at"]
    return {
        "number": row["number"],
        "version": row["version"],
        "customer_id": row["customer_id"] if row["kind"] == "customer" else None,
        "name": row["name"] or "",
        "owner": row["owner_staff_id"],
        "last_agent": row["last_agent_id"],
        "last_agent_at": at.isoformat() if at else None,
    }


def tenant_from_json(entry: _Json) -> TenantEntry:
    agents = [_agent(each) for each in entry["agents"]]
    routing = entry["routing"]
    return TenantEntry(
        tenant=UUID(entry["tenant"]),
        version=entry["version"],
        timezone=entry["timezone"],
        active=entry["active"],
        agents={agent.staff_id: agent for agent in agents},
        routing=Routing(**{**routing, "blocked": frozenset(routing["blocked"])}) if routing else Routing(),
    )


def _agent(entry: _Json) -> Agent:
    return Agent(
        staff_id=entry["staff_id"],
        name=entry["name"],
        numbers=tuple(entry["numbers"]),
        active=entry["active"],
        hours=tuple(
            Hours(weekday=each["weekday"], start=_minutes(each["start"]), until=_minutes(each["until"]))
            for each in entry["hours"]
        ),
        leave=tuple(
            Away(start=datetime.fromisoformat(each["start"]), until=_time(each.get("until")), reason=each["reason"])
            for each in entry["leave"]
        ),
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
        version=entry["version"],
        label=entry["label"],
        default_staff_ids=tuple(entry["default_staff_ids"]),
        fallback_number=entry["fallback_number"],
    )


def caller_from_json(entry: _Json) -> CallerEntry:
    return CallerEntry(
        number=entry["number"],
        version=entry["version"],
        customer_id=entry["customer_id"],
        name=entry["name"],
        owner_staff_id=entry["owner"],
        last_agent_id=entry["last_agent"],
        last_agent_at=_time(entry["last_agent_at"]),
    )


def caller_to_json(entry: CallerEntry) -> _Json:
    return {
        "number": entry.number,
        "version": entry.version,
        "customer_id": entry.customer_id,
        "name": entry.name,
        "owner": entry.owner_staff_id,
        "last_agent": entry.last_agent_id,
        "last_agent_at": entry.last_agent_at.isoformat() if entry.last_agent_at else None,
    }


def decision_to_json(decision: Decision) -> str:
    return to_json(decision).decode()


def decision_from_json(values: _Json) -> Decision:
    return Decision(
        **{
            **values,
            "destinations": tuple(Target(**each) for each in values["destinations"]),
            "excluded": tuple(Exclusion(**each) for each in values["excluded"]),
        }
    )
