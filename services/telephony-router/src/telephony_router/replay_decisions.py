"""Run a changed routing over the calls of some days: who would have got which call. Has no effect."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from identifiers.phone import Caller
from kit.postgres import Database
from telephony_router import store
from telephony_router.decide import decide
from telephony_router.entries import decision_from_json, did_from_json, routing_from_json, tenant_from_json
from telephony_router.explain import sentence
from telephony_router.inputs import inputs_from_json
from telephony_router.routing import Decision, DidEntry, Request, RoutingView, TenantEntry
from telephony_router.routing_file import changed_routing

__all__ = ["Compared", "compare", "replay_decisions"]

_Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One call, as it is decided on the one side and on the other."""

    call_id: str
    at: datetime
    did: str | None
    before: Decision
    after: Decision

    @property
    def outcome(self) -> str:
        """``unchanged``, ``moved`` (others ring, or otherwise), ``refused`` (nobody rings any more), ``admitted``."""
        if _rings(self.before) == _rings(self.after):
            return "unchanged"
        if self.before.action == "dial" and self.after.action == "dial":
            return "moved"
        return "refused" if self.before.action == "dial" else "admitted"

    def told(self) -> _Json:
        return {
            "call_id": self.call_id,
            "at": self.at.isoformat(),
            "did": self.did,
            "outcome": self.outcome,
            "from": {"rule": self.before.rule, "rings": _names(self.before), "parallel": self.before.parallel},
            "to": {"rule": self.after.rule, "rings": _names(self.after), "parallel": self.after.parallel},
            "why": sentence(self.after),
        }


def _rings(decision: Decision) -> tuple[object, ...]:
    numbers = tuple(each.number for each in decision.destinations)
    return (frozenset(numbers), True) if decision.parallel else (numbers, False)


def _names(decision: Decision) -> list[str]:
    return [each.name or each.staff_id or each.number for each in decision.destinations]


def compare(
    row: Mapping[str, Any], dids: Mapping[str, DidEntry], before: TenantEntry | None, after: TenantEntry
) -> Compared | None:
    """A recorded call under two directories, with what was known of it then. Without ``before`` what was decided then.

    None for a call whose inputs were not kept.
    """
    if row["inputs"] is None:
        return None
    inputs, did = inputs_from_json(json.loads(row["inputs"])), row["did"]
    caller = Caller(kind=row["caller_kind"], e164=row["caller"], raw=row["caller_raw"])
    request = Request(caller=caller, did=did, digits=inputs.digits, hops=inputs.hops, call=str(row["call_id"]))
    view = RoutingView(
        tenant=after,
        did=dids.get(did or ""),
        caller=inputs.caller,
        rung="postgres",
        load=inputs.load,
        offers=inputs.offers,
        claimed=inputs.claimed,
    )
    at: datetime = row["decided_at"]
    then = decision_from_json(json.loads(row["decision"]))
    left = decide(replace(view, tenant=before), request, at) if before is not None else then
    return Compared(call_id=str(row["call_id"]), at=at, did=did, before=left, after=decide(view, request, at))


async def replay_decisions(  # long: what of which calls
    database: Database, tenant: UUID, *, since: datetime, until: datetime, limit: int, change: object | None = None
) -> _Json:
    """With a ``change``, what differs from the directory as it is now; without one, what differs now from then.

    Raises :class:`BadRouting`.
    """
    async with database.transaction(tenant) as tx:
        entries = await store.view_tenants(tx, [tenant])
        dids = {each["did"]: did_from_json(each) for each in await store.view_dids(tx, [tenant])}
        entry = entries[0] if entries else None
        now = tenant_from_json(entry) if entry is not None else TenantEntry(tenant=tenant)
        after = now
        if change is not None:
            current = entry["routing"] if entry is not None else {}
            after = replace(now, routing=routing_from_json(changed_routing(current, change, now)))
        rows = await tx.fetch(store.Q.decisions_since, since, until, limit + 1)
    compared = [compare(dict(row), dids, now if change is not None else None, after) for row in rows[:limit]]
    calls = [each for each in compared if each is not None]
    counts = Counter(each.outcome for each in calls)
    return {
        "since": since.isoformat(),
        "until": until.isoformat(),
        "against": "the routing as it is now" if change is not None else "what was decided then",
        "calls": len(compared),
        "more": len(rows) > limit,
        "without_inputs": len(compared) - len(calls),
        "summary": {name: counts[name] for name in ("unchanged", "moved", "refused", "admitted")},
        "rings_first": _first(calls),
        "changed": [each.told() for each in calls if each.outcome != "unchanged"],
    }


def _first(calls: list[Compared]) -> list[_Json]:
    """Who is rung first how often, on either side; who has more on the one side than on the other first."""
    before = Counter(_names(each.before)[0] if each.before.destinations else "nobody" for each in calls)
    after = Counter(_names(each.after)[0] if each.after.destinations else "nobody" for each in calls)
    names = sorted({*before, *after}, key=lambda name: (-abs(after[name] - before[name]), name))
    return [{"who": name, "from": before[name], "to": after[name]} for name in names]
