"""What a decision was made of beside the directory: kept with it, so that it can be explained and made again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from telephony_router.entries import caller_from_json, caller_to_json, load_from_json, loads_to_json
from telephony_router.routing import CallerEntry, Decision, Load, LoadEntry, Offer, Request, RoutingView

__all__ = ["Inputs", "inputs_from_json", "inputs_of"]

_Json = dict[str, Any]


class Inputs:
    """The recorded inputs of one decision, as values again."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        caller = values.get("caller")
        self.caller: CallerEntry | None = caller_from_json(caller) if caller else None
        self.digits: str = values.get("digits", "")
        self.hops: int = values.get("hops", 0)
        self.load: LoadEntry = load_from_json({"agents": values.get("load", {})})
        self.offers: dict[str, Offer] = {
            staff_id: Offer(
                offered_at=datetime.fromisoformat(each["offered"]) if each["offered"] else None,
                leases={call: datetime.fromisoformat(until) for call, until in each["leases"].items()},
            )
            for staff_id, each in values.get("offers", {}).items()
        }
        self.claimed: frozenset[str] = frozenset(values.get("claimed", ()))


def inputs_from_json(values: Mapping[str, Any]) -> Inputs:
    return Inputs(values)


def inputs_of(view: RoutingView, request: Request, decision: Decision) -> _Json:
    """The caller as known then, what was pressed, the hops, the candidates' load, and the versions of all of it."""
    named = dict.fromkeys(each.staff_id for each in decision.destinations if each.staff_id)
    named |= dict.fromkeys(each.staff_id for each in decision.excluded if each.staff_id)
    loads: dict[str, Load] = {each: view.load.agents[each] for each in named if each in view.load.agents}
    offers = {each: _offer(view.offers[each]) for each in named if each in view.offers}
    values: _Json = {
        "caller": caller_to_json(view.caller) if view.caller is not None else None,
        "digits": request.digits,
        "hops": request.hops,
        "load": loads_to_json(loads) if loads else {},
        "versions": {
            "tenant": view.tenant.version,
            "did": view.did.version if view.did is not None else None,
            "load": view.load.version,
            "routing": view.tenant.routing.version,
        },
    }
    if offers:
        values["offers"] = offers
    if view.claimed:
        values["claimed"] = sorted(view.claimed)
    return values


def _offer(offer: Offer) -> _Json:
    return {
        "offered": offer.offered_at.isoformat() if offer.offered_at else None,
        "leases": {call: until.isoformat() for call, until in offer.leases.items()},
    }
