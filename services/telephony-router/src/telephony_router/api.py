"""HTTP in: the webhooks, and beside them the admin API."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, SecretStr

from kit.postgres import Database
from runtime.tracing import QUIET
from telephony_router import store
from telephony_router.blob_store import Verified
from telephony_router.entries import decision_from_json
from telephony_router.explain import UNCONFIRMED, in_full, sentence
from telephony_router.hooks import PREFIX, Hooks
from telephony_router.outbound_api import add_orders, outbound_of, without_values
from telephony_router.recording_api import add_recordings
from telephony_router.simulate import simulate

__all__ = ["admin_app", "router_app"]

AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]


def router_app(hooks: Hooks, admin: AsgiApp) -> AsgiApp:
    """Webhooks go straight to their own app, everything else to the framework."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].startswith(PREFIX):
            await hooks(scope, receive, send)
        else:
            await admin(scope, receive, send)

    return app


Tenant = Annotated[UUID, Header(alias="X-Tenant")]


class SimulateRequest(BaseModel):
    did: str = Field(max_length=64)
    caller: str = Field(alias="from", max_length=64)
    at: datetime | None = None
    digits: str = Field(default="", max_length=32)
    hops: int = Field(default=0, ge=0, le=1000)


async def _story(database: Database, call_id: UUID, tenant: UUID) -> tuple[Any, Any, list[Any]]:
    async with database.transaction(tenant) as tx:
        found = await store.call_story(tx, call_id)
    if found is None:
        raise HTTPException(404, "there is no such call")
    return found


async def _told(database: Database, call_id: UUID, tenant: UUID) -> dict[str, Any]:
    ordered = await outbound_of(database, tenant, call_id)
    async with database.transaction(tenant) as tx:
        found = await store.call_story(tx, call_id)
        recordings = await store.call_recordings(tx, call_id)
    if found is None:
        if ordered is None:
            raise HTTPException(404, "there is no such call")
        # Nothing was heard of it yet.
        told = {"id": call_id, "state": ordered["state"], "direction": "outbound"}
        return {**told, "timeline": [], "recordings": [], "outbound": ordered}
    call, _, timeline = found
    hidden = ("tenant_id", "facts")
    return {
        **{k: v for k, v in dict(call).items() if k not in hidden},
        "timeline": [dict(row) for row in timeline],
        "recordings": [dict(row) for row in recordings],
        "outbound": ordered,
    }


def _why(call: Any, decided: Any, timeline: list[Any]) -> dict[str, Any]:
    values = json.loads(decided["decision"]) if decided is not None else None
    decision = decision_from_json(values) if values else None
    why = sentence(decision) if decision else "We were never asked whom to ring for this call."
    told = {
        "call_id": call["id"],
        "why": why if call["confirmed"] else f"{why} {UNCONFIRMED}",
        "confirmed": call["confirmed"],
        "in_full": in_full(decision) if decision else [],
        "decision": values,
    }
    if decided is None:
        return told
    return {
        **told,
        "decided_at": decided["decided_at"],
        "answer_ms": decided["answer_ms"],
        # Of what the decision was made; nothing is known of those of a time before it was kept.
        "inputs": json.loads(decided["inputs"]) if decided["inputs"] else None,
        "timeline": [dict(row) for row in timeline],
    }


def admin_app(
    database: Database,
    admin_token: SecretStr,
    blobs: Verified,
    more: Sequence[APIRouter] = (),
    *,
    placed: Callable[[], None] = lambda: None,
) -> FastAPI:
    async def allowed(authorization: Annotated[str, Header()] = "") -> None:
        wanted = admin_token.get_secret_value()
        scheme, _, given = authorization.partition(" ")
        same = hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())
        if not wanted or scheme.lower() != "bearer" or not same:
            raise HTTPException(401, "an admin token is needed")

    app = FastAPI(
        title="Trunkline telephony-router",
        version="1",
        redoc_url=None,
        dependencies=[Depends(allowed)],
        telemetry=QUIET,
    )

    app.add_exception_handler(RequestValidationError, without_values)
    add_orders(app, database, placed)

    @app.get("/v1/calls/{call_id}")
    async def get_call(call_id: UUID, tenant: Tenant) -> dict[str, Any]:
        """A call: its state, its timeline, and what became of the order for it if it was ordered here."""
        return await _told(database, call_id, tenant)

    @app.get("/v1/calls/{call_id}/why")
    async def get_why(call_id: UUID, tenant: Tenant) -> dict[str, Any]:
        return _why(*await _story(database, call_id, tenant))

    @app.post("/v1/simulate")
    async def post_simulate(body: SimulateRequest, tenant: Tenant) -> dict[str, Any]:
        at = body.at or datetime.now(UTC)
        if at.tzinfo is None:
            raise HTTPException(422, "a time needs a zone")
        asked = {"did": body.did, "caller": body.caller, "digits": body.digits}
        return await simulate(database, tenant, at=at, hops=body.hops, **asked)

    for routes in more:
        app.include_router(routes)
    add_recordings(app, database, blobs)
    return app
