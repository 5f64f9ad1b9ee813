"""Missed calls and their claims in Postgres. All times are the database's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from kit.postgres import Transaction, load_queries
from telephony_router.call_record import CallRecord
from telephony_router.claims import Item

__all__ = [
    "RefusedOrder",
    "began_at",
    "claim",
    "count_again",
    "count_call",
    "done_with",
    "figures",
    "find",
    "grown_call",
    "held_by",
    "history",
    "item_of_call",
    "lapsed",
    "note_change",
    "open_item",
    "page",
    "put_aside",
    "refused_orders",
    "release",
    "release_lapsed",
    "renew",
    "resolve",
    "settle",
    "staff_name",
    "still_due",
    "talked_since",
    "unresolved",
    "waiting",
]

Q = load_queries("telephony_router")


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusedOrder:
    """A call back that was ordered and was not made."""

    code: str
    missed_id: UUID
    claimed_at: datetime
    """When what it answers was claimed."""


def _item(row: Any) -> Item | None:
    return Item.from_row(row) if row is not None else None


async def item_of_call(tx: Transaction, call_id: UUID) -> UUID | None:
    """The item that a missed call belongs to."""
    found: UUID | None = await tx.fetchval(Q.missed_of_call, call_id)
    return found


async def find(tx: Transaction, item_id: UUID) -> Item | None:
    return _item(await tx.fetchrow(Q.find_missed, item_id))


async def unresolved(tx: Transaction, numbers: Iterable[str]) -> list[Item]:
    """The items of these callers that are not resolved, the oldest first."""
    return [Item.from_row(dict(row)) for row in await tx.fetch(Q.unresolved_missed, sorted(numbers))]


async def page(tx: Transaction, state: str | None, after: tuple[datetime, UUID] | None, limit: int) -> list[Item]:
    at, id_ = after or (None, None)
    return [Item.from_row(dict(row)) for row in await tx.fetch(Q.page_missed, state, at, id_, limit)]


async def history(tx: Transaction, item_id: UUID) -> list[dict[str, Any]]:
    return [dict(row) for row in await tx.fetch(Q.missed_history, item_id)]


async def open_item(tx: Transaction, call: CallRecord, at: datetime) -> Item | None:
    return _item(await tx.fetchrow(Q.open_missed, tx.tenant, call.id, call.caller, call.did, at))


async def count_again(tx: Transaction, item_id: UUID, at: datetime) -> Item | None:
    return _item(await tx.fetchrow(Q.missed_again, item_id, at))


async def count_call(tx: Transaction, call_id: UUID, item_id: UUID) -> bool:
    """Count a call to an item; false when it was counted before."""
    return await tx.fetchval(Q.count_missed_call, tx.tenant, call_id, item_id) is not None


async def claim(tx: Transaction, item_id: UUID, user_id: str, name: str, lease: timedelta) -> Item | None:
    """Nothing when somebody has it. One conditional update: of many that ask, one gets a row."""
    return _item(await tx.fetchrow(Q.claim_missed, item_id, user_id, name, lease))


async def renew(tx: Transaction, item_id: UUID, user_id: str, lease: timedelta) -> Item | None:
    return _item(await tx.fetchrow(Q.renew_missed, item_id, user_id, lease))


async def release(tx: Transaction, item_id: UUID, user_id: str | None) -> Item | None:
    """By its holder, or by anybody when no user is named."""
    return _item(await tx.fetchrow(Q.release_missed, item_id, user_id))


async def release_lapsed(tx: Transaction, item_id: UUID) -> Item | None:
    return _item(await tx.fetchrow(Q.release_lapsed, item_id))


async def resolve(tx: Transaction, item_id: UUID, user_id: str, name: str, outcome: str, note: str) -> Item | None:
    """Of an item that is open or whose claim is this user's."""
    return _item(await tx.fetchrow(Q.resolve_missed, item_id, user_id, name, outcome, note))


async def settle(tx: Transaction, item_id: UUID, user_id: str, name: str, outcome: str, note: str) -> Item | None:
    """Of an item that is not resolved, whoever has it."""
    return _item(await tx.fetchrow(Q.settle_missed, item_id, user_id, name, outcome, note))


async def held_by(tx: Transaction, user_id: str) -> list[UUID]:
    return [row["id"] for row in await tx.fetch(Q.missed_held_by, user_id)]


async def grown_call(tx: Transaction, call_id: UUID) -> CallRecord:
    """The call of an item with its next version, which is written. Its key must be held."""
    row = await tx.fetchrow(Q.grow_call, call_id)
    if row is None:
        raise LookupError("an item without its call")
    return CallRecord.from_row(dict(row))


async def note_change(tx: Transaction, item: Item, change: str, who: tuple[str | None, str], reason: str) -> None:
    await tx.execute(
        Q.add_missed_change, tx.tenant, item.id, change, item.calls, *who, item.until, item.outcome, item.note, reason
    )


async def talked_since(tx: Transaction, number: str, at: datetime) -> bool:
    """Whether somebody has talked with this number after a moment."""
    return bool(await tx.fetchval(Q.talked_since, number, at))


async def began_at(tx: Transaction, call_id: UUID) -> datetime | None:
    """When we first heard of a call, by the database's clock."""
    found: datetime | None = await tx.fetchval(Q.call_began, call_id)
    return found


async def staff_name(tx: Transaction, staff_id: str) -> str:
    return await tx.fetchval(Q.staff_name, staff_id) or ""


async def waiting(tx: Transaction, limit: int) -> list[tuple[UUID, int, UUID]]:
    """(tenant, seq, call) of what is due, the oldest first. As the system role."""
    return [(row["tenant_id"], row["seq"], row["call_id"]) for row in await tx.fetch(Q.waiting_missed_due, limit)]


async def still_due(tx: Transaction, seqs: Sequence[int]) -> list[tuple[int, UUID]]:
    return [(row["seq"], row["call_id"]) for row in await tx.fetch(Q.still_missed_due, list(seqs))]


async def refused_orders(tx: Transaction, ids: Iterable[UUID]) -> dict[UUID, RefusedOrder]:
    """Those of the calls that were ordered to call somebody back and that were not made."""
    return {
        row["id"]: RefusedOrder(code=row["code"], missed_id=row["missed_id"], claimed_at=row["missed_since"])
        for row in await tx.fetch(Q.refused_orders, list(ids))
    }


async def done_with(tx: Transaction, seqs: Sequence[int]) -> None:
    await tx.execute(Q.done_missed_due, list(seqs))


async def put_aside(tx: Transaction, seq: int, reason: str) -> None:
    """This cannot be seen to, and why; it holds nothing up."""
    await tx.execute(Q.put_missed_aside, seq, reason)


async def lapsed(tx: Transaction, limit: int) -> list[tuple[UUID, UUID]]:
    """(tenant, item) of claims whose time is over. As the system role."""
    return [(row["tenant_id"], row["id"]) for row in await tx.fetch(Q.lapsed_missed, limit)]


async def figures(tx: Transaction) -> dict[str, Any]:
    """How many are open and claimed, and the age of the oldest open one in seconds. As the system role."""
    row = await tx.fetchrow(Q.missed_figures)
    return dict(row) if row is not None else {}
