"""Whom a caller would be put through to at some moment, by the same function that answers the PBX."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic_core import to_jsonable_python

from identifiers.phone import parse_caller, to_e164
from kit.postgres import Database
from telephony_router.decide import decide
from telephony_router.explain import in_full, sentence
from telephony_router.ladder import read_view
from telephony_router.routing import Request, RoutingView, TenantEntry

__all__ = ["simulate"]


async def simulate(  # long: what a call is asked by
    database: Database, tenant: UUID, *, did: str, caller: str, at: datetime, digits: str = "", hops: int = 0
) -> dict[str, Any]:
    """Reads Postgres, so it shows the directory as it is, not as some cache has it. Has no effect.

    Whoever is on a call counts as busy only for about now: at another time nobody is.
    """
    request = Request(caller=parse_caller(caller), did=to_e164(did), digits=digits, hops=hops)
    number = request.caller.e164 if request.caller.kind == "number" else None
    found = await read_view(database, tenant, request.did, number)
    view = RoutingView(
        tenant=found.tenant or TenantEntry(tenant=tenant),
        did=found.did,
        caller=found.caller,
        rung="postgres",
        load=found.load,
    )
    decision = decide(view, request, at)
    return {
        "at": at.isoformat(),
        "why": sentence(decision),
        "in_full": in_full(decision),
        "decision": to_jsonable_python(decision),
    }
