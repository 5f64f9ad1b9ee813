"""Call a missed caller back: the holder's own telephone rings first, then the caller's."""

from __future__ import annotations

from uuid import UUID

from pydantic_core import from_json

from kit.postgres import Database
from telephony_router import claims_store
from telephony_router import outbound_store as store
from telephony_router.claim_missed import NoSuchItem
from telephony_router.claims import Item, Taken
from telephony_router.place_call import NotPossible, OtherRequest, Wanted, place
from telephony_router.store import Q as ROUTER

__all__ = ["call_back", "telephones"]

NOT_SET_UP = "no account of this business is set up to dial: trunkline router dialling set"


async def telephones(database: Database, tenant: UUID) -> list[tuple[str, str]]:
    """Who may be rung to call somebody back, as id and name; nobody where no account is set up to dial."""
    async with database.transaction(tenant) as tx:
        if await store.account_to_dial(tx, None) is None:
            return []
        return await store.people_with_telephones(tx)


async def call_back(database: Database, tenant: UUID, call_id: UUID, *, user: str, staff: str) -> tuple[Item, str]:
    """The item as it stands, and the id of the call that was ordered.

    One for each claim: asked again it is the same call, so neither a double click nor a repetition of a request that
    got no answer rings twice. Raises :class:`NoSuchItem`, :class:`Taken` without a claim of the user's, and what
    :func:`place` raises.
    """
    async with database.transaction(tenant) as tx:
        item_id = await claims_store.item_of_call(tx, call_id)
        item = await claims_store.find(tx, item_id) if item_id is not None else None
        if item is None:
            raise NoSuchItem
        if item.state != "claimed" or item.user_id != user:
            raise Taken(item)
        if item.caller is None:
            raise NotPossible("the number was withheld")
        account = await store.account_to_dial(tx, item.id)
        if account is None:
            raise NotPossible(NOT_SET_UP)
        ours = item.did is not None and await tx.fetchval(ROUTER.holds_did, item.did)
    did = item.did or "" if ours else ""
    claim = (item.id, item.since)
    wanted = Wanted(account=account, to=item.caller, from_staff=staff, did=did, missed=claim)
    try:
        answer = await place(database, tenant, f"missed:{item.id}:{item.since.isoformat()}", wanted)
    except OtherRequest:
        raise NotPossible("it was called back already; give it back and take it again to call once more") from None
    return item, str(from_json(answer)["id"])
