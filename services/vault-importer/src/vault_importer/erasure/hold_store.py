"""Holds in Postgres: what must stay, and what had to."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from kit.postgres import Transaction, load_queries
from vault_importer.erasure.case import Case, Hold, Who, holds_on

__all__ = ["add_hold", "empty_released", "holds", "holds_on_case", "release_hold"]

Q = load_queries("vault_importer", "erasure/erasure.sql")


async def add_hold(tx: Transaction, hold: Hold) -> None:
    await tx.execute(
        Q.add_hold, tx.tenant, hold.id, hold.number, hold.chat_id, hold.reason, hold.placed_by, hold.placed_at
    )


async def holds(tx: Transaction) -> list[Hold]:
    return [Hold(**dict(row)) for row in await tx.fetch(Q.holds, tx.tenant)]


async def holds_on_case(tx: Transaction, case: Case) -> list[Hold]:
    """What forbids to erase it: once it is known what the request reaches. Whoever has an address of the person may be
    the person: what is held of them holds this as well."""
    reached = [row["id"] for row in await tx.fetch(Q.reached_chats, tx.tenant, case.id)]
    beside = [row["number"] for row in await tx.fetch(Q.numbers_beside_emails, tx.tenant, list(case.who.emails))]
    numbers = (*case.who.numbers, *beside)
    return holds_on(await holds(tx), numbers=numbers, chats=(*case.who.chat_ids, *reached))


async def release_hold(tx: Transaction, id_: UUID, *, by: str, at: datetime, why: str) -> bool:
    return await tx.fetchval(Q.release_hold, tx.tenant, id_, by, at, why) is not None


async def empty_released(tx: Transaction, who: Who) -> None:
    """Forget on whom holds were that are released, and what for: of a person who is forgotten."""
    await tx.execute(Q.empty_released_holds, tx.tenant, list(who.numbers), list(who.chat_ids))
