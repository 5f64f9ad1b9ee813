"""HTTP in, about missed calls: for the console and for programs, with the admin token, in one tenant's name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Header, HTTPException, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from kit.postgres import Database
from telephony_router import claim_missed, claims_store
from telephony_router.call_back import call_back, telephones
from telephony_router.claim_missed import NoSuchItem
from telephony_router.claims import Item, Taken
from telephony_router.place_call import BeingAnswered, NotPossible
from telephony_router.record import DATABASE_FAILURES

__all__ = ["as_json", "missed_api"]

Tenant = Annotated[UUID, Header(alias="X-Tenant")]
State = Literal["open", "claimed", "resolved"]
UserId = Annotated[str, Field(min_length=1, max_length=100)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
AT_ONCE = 4
"""A rush for one caller leaves connections to those who process webhooks."""
GONE = "there is no such missed call"
CONFLICT: dict[int | str, dict[str, Any]] = {409: {"description": "Somebody else has it, or was faster"}}


class Claiming(BaseModel):
    user: UserId
    name: Name


class Renewing(BaseModel):
    user: UserId


class Releasing(BaseModel):
    user: UserId | None = None
    """Nobody: whoever has it."""
    by: str = Field("", max_length=100)
    """Who takes it from whoever has it."""
    reason: str = Field("", max_length=500)


class Leaving(BaseModel):
    user: UserId
    reason: str = Field("", max_length=500)


class Calling(BaseModel):
    user: UserId
    staff: str = Field(min_length=1, max_length=64)
    """Whose telephone rings first: one of ``GET /v1/missed/telephones``."""


class Resolving(BaseModel):
    user: UserId
    name: Name
    outcome: Literal["called_back", "no_answer", "not_needed", "spam", "other"]
    note: str = Field("", max_length=1000)


def as_json(item: Item) -> dict[str, Any]:
    """``after`` is where the next page begins; ``now`` is the database's time, by which all others are to be read."""
    return {
        "id": str(item.id),
        "caller": item.caller,
        "did": item.did,
        "calls": item.calls,
        "first_missed_at": item.first_at.isoformat(),
        "last_missed_at": item.last_at.isoformat(),
        "opened_at": item.opened_at.isoformat(),
        "state": item.state,
        "since": item.since.isoformat(),
        "user": item.user_id,
        "name": item.user_name,
        "until": item.until.isoformat() if item.until else None,
        "outcome": item.outcome,
        "note": item.note,
        "now": item.now.isoformat(),
    }


async def _answer(turns: asyncio.Semaphore, doing: Awaitable[Item], more: dict[str, str] | None = None) -> JSONResponse:
    """The item as it stands, and ``more``, which may be filled while it is done."""
    try:
        async with turns:
            item = await doing
            return JSONResponse({**as_json(item), **(more or {})})
    except (*DATABASE_FAILURES, BeingAnswered):
        # It may have been done all the same; whoever asks again is answered as the first time.
        raise HTTPException(503, "the database does not answer just now; ask again") from None
    except NotPossible as error:
        raise HTTPException(422, str(error)) from None
    except NoSuchItem:
        raise HTTPException(404, GONE) from None
    except Taken as taken:
        # Whoever comes too late learns who has it, since when and until when.
        return JSONResponse({"detail": str(taken), "item": as_json(taken.item)}, 409)


def _place(after: str) -> tuple[datetime, UUID] | None:
    if not after:
        return None
    at, _, id_ = after.partition("~")
    try:
        place = (datetime.fromisoformat(at), UUID(id_))
    except ValueError:
        raise HTTPException(422, "after is the next of a page before") from None
    if place[0].tzinfo is None:
        raise HTTPException(422, "after is the next of a page before")
    return place


def missed_api(database: Database, *, lease: timedelta, placed: Callable[[], None] = lambda: None) -> APIRouter:
    """The routes under ``/v1/missed``. ``placed`` is called when a call back was ordered, to be placed at once."""
    api = APIRouter(prefix="/v1/missed", tags=["missed calls"])
    _reading(api, database)
    _acting(api, database, lease)
    _calling(api, database, placed)
    return api


def _reading(api: APIRouter, database: Database) -> None:
    @api.get("")
    async def get_missed(
        tenant: Tenant,
        state: State | None = None,
        after: Annotated[str, Query(max_length=100)] = "",
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> dict[str, Any]:
        async with database.transaction(tenant) as tx:
            found = await claims_store.page(tx, state, _place(after), limit + 1)
        last = found[limit - 1] if len(found) > limit else None
        next_ = f"{last.opened_at.isoformat()}~{last.id}" if last else None
        return {"items": [as_json(item) for item in found[:limit]], "next": next_}

    @api.get("/telephones", summary="Whose telephones can ring to call somebody back")
    async def get_telephones(tenant: Tenant) -> dict[str, Any]:
        people = await telephones(database, tenant)
        return {"people": [{"staff_id": staff_id, "name": name} for staff_id, name in people]}

    @api.get("/{call}")
    async def get_one(call: UUID, tenant: Tenant) -> dict[str, Any]:
        async with database.transaction(tenant) as tx:
            item_id = await claims_store.item_of_call(tx, call)
            item = await claims_store.find(tx, item_id) if item_id else None
            if item is None:
                raise HTTPException(404, GONE)
            return {**as_json(item), "history": await claims_store.history(tx, item.id)}


def _acting(api: APIRouter, database: Database, lease: timedelta) -> None:
    turns = asyncio.Semaphore(AT_ONCE)

    @api.post("/release", summary="Release all that one user has")
    async def post_leave(body: Leaving, tenant: Tenant) -> dict[str, int]:
        released = await claim_missed.release_all(database, tenant, user=body.user, reason=body.reason)
        return {"released": released}

    @api.post("/{call}/claim", responses=CONFLICT)
    async def post_claim(call: UUID, body: Claiming, tenant: Tenant) -> JSONResponse:
        return await _answer(turns, claim_missed.claim(database, tenant, call, **body.model_dump(), lease=lease))

    @api.post("/{call}/renew", responses=CONFLICT)
    async def post_renew(call: UUID, body: Renewing, tenant: Tenant) -> JSONResponse:
        return await _answer(turns, claim_missed.renew(database, tenant, call, user=body.user, lease=lease))

    @api.post("/{call}/release", responses=CONFLICT)
    async def post_release(call: UUID, body: Releasing, tenant: Tenant) -> JSONResponse:
        return await _answer(turns, claim_missed.release(database, tenant, call, **body.model_dump()))

    @api.post("/{call}/resolve", responses=CONFLICT)
    async def post_resolve(call: UUID, body: Resolving, tenant: Tenant) -> JSONResponse:
        return await _answer(turns, claim_missed.resolve(database, tenant, call, **body.model_dump()))


def _calling(api: APIRouter, database: Database, placed: Callable[[], None]) -> None:
    turns = asyncio.Semaphore(AT_ONCE)

    @api.post("/{call}/call-back", responses=CONFLICT)
    async def post_call_back(call: UUID, body: Calling, tenant: Tenant) -> JSONResponse:
        """Ring the holder's telephone, then the caller's. One call for each claim, however often it is asked for."""
        ordered: dict[str, str] = {}

        async def order() -> Item:
            item, ordered["call"] = await call_back(database, tenant, call, **body.model_dump())
            placed()
            return item

        return await _answer(turns, order(), ordered)
