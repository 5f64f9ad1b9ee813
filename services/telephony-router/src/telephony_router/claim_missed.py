"""What people do about missed calls: claim, renew, release, resolve.

Each is one conditional update in a transaction that holds the key of the call: of many that claim at once, one wins
and the others learn who has it. The line of history and the event commit with it. To ask again for what one has is
answered as the first time, so whoever got no answer may simply ask again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Final
from uuid import UUID

from kit import outbox
from kit.postgres import Database, Transaction
from telephony_router import claims_store
from telephony_router.claims import Item, Taken, claim_event
from telephony_router.metrics import METRICS

__all__ = ["NoSuchItem", "claim", "release", "release_all", "renew", "resolve", "tell"]

OPERATOR: Final = (None, "an operator")


class NoSuchItem(Exception):
    """No missed call of this tenant has this id."""


async def tell(
    tx: Transaction, item: Item, change: str, *, who: tuple[str | None, str] | None = None, reason: str = ""
) -> Item:
    """Note a change in the item's history and tell it. ``who`` did it; by default whoever the item now names."""
    await claims_store.note_change(tx, item, change, who or (item.user_id, item.user_name), reason)
    await outbox.append(tx, claim_event(await claims_store.grown_call(tx, item.id), item, reason))
    METRICS.claim_changes.labels(change).inc()
    return item


@asynccontextmanager
async def _held(database: Database, tenant: UUID, call_id: UUID) -> AsyncIterator[tuple[Transaction, Item]]:
    """A transaction that holds the item of a call; raises :class:`NoSuchItem`."""
    async with database.transaction(tenant) as tx:
        item_id = await claims_store.item_of_call(tx, call_id)
        if item_id is None:
            raise NoSuchItem
        await tx.hold(str(item_id))
        item = await claims_store.find(tx, item_id)
        if item is None:
            raise NoSuchItem
        yield tx, item


async def claim(database: Database, tenant: UUID, call_id: UUID, *, user: str, name: str, lease: timedelta) -> Item:
    """Exactly one of many gets it; the others, :class:`Taken`. Its holder gets it as it is."""
    async with _held(database, tenant, call_id) as (tx, before):
        after = await claims_store.claim(tx, before.id, user, name, lease)
        if after is None:
            if before.state == "claimed" and before.user_id == user:
                return before
            METRICS.claim_changes.labels("refused").inc()
            raise Taken(before)
        if before.state == "claimed":
            await _note_lapsed(tx, before)
        else:
            METRICS.claim_seconds.observe((after.since - after.opened_at).total_seconds())
        return await tell(tx, after, "claimed")


async def _note_lapsed(tx: Transaction, before: Item) -> None:
    """Its claim had run out and nobody had noticed yet: the history says so before it goes on."""
    free = replace(before, state="open", user_id=None, user_name="", until=None)
    await claims_store.note_change(tx, free, "released", (before.user_id, before.user_name), "lapsed")


async def renew(database: Database, tenant: UUID, call_id: UUID, *, user: str, lease: timedelta) -> Item:
    """Longer, from now. Raises :class:`Taken` when it is not this user's (any more)."""
    async with _held(database, tenant, call_id) as (tx, before):
        after = await claims_store.renew(tx, before.id, user, lease)
        if after is None:
            raise Taken(before)
        return await tell(tx, after, "renewed")


async def release(
    database: Database, tenant: UUID, call_id: UUID, *, user: str | None, reason: str, by: str = ""
) -> Item:
    """Back to everybody. Without a user, whoever has it: an operator, or an owner, whom ``by`` names."""
    async with _held(database, tenant, call_id) as (tx, before):
        after = await claims_store.release(tx, before.id, user)
        if after is None:
            if before.state == "open":
                return before
            raise Taken(before)
        who = (before.user_id, before.user_name) if user is not None else (None, by or OPERATOR[1])
        return await tell(tx, after, "released", who=who, reason=reason)


async def release_all(database: Database, tenant: UUID, *, user: str, reason: str) -> int:
    """All that one user has: somebody who is gone calls nobody back. How many there were."""
    async with database.transaction(tenant) as tx:
        held = await claims_store.held_by(tx, user)
        if not held:
            return 0
        await tx.hold(*map(str, held))
        count = 0
        for item_id in held:
            before = await claims_store.find(tx, item_id)
            after = await claims_store.release(tx, item_id, user)
            if before is not None and after is not None:
                await tell(tx, after, "released", who=(before.user_id, before.user_name), reason=reason)
                count += 1
        return count


async def resolve(
    database: Database, tenant: UUID, call_id: UUID, *, user: str, name: str, outcome: str, note: str
) -> Item:
    """What came of it. Raises :class:`Taken` while somebody else has it, or when it was resolved otherwise."""
    async with _held(database, tenant, call_id) as (tx, before):
        after = await claims_store.resolve(tx, before.id, user, name, outcome, note)
        if after is None:
            if before.state == "resolved" and (before.user_id, before.outcome) == (user, outcome):
                return before
            raise Taken(before)
        return await tell(tx, after, "resolved")
