"""What the archive holds of a person: where, how much, since when. Asks, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from kit.postgres import Database
from vault_importer.erasure import store
from vault_importer.erasure.case import Who

__all__ = ["Reach", "reach_of"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    addresses: Sequence[str]
    messages: int
    chats: Sequence[Mapping[str, Any]]
    """Conversations with id, kind, account, how many messages of theirs, the first and the last."""
    beside: Mapping[str, int]


async def reach_of(database: Database, tenant: UUID, asked: Who) -> Reach:
    """For the person's own question under section 11 of the DPDP Act, or for whom a breach has reached."""
    async with database.transaction(tenant) as tx:
        who = await store.who_is(tx, asked)
        chats = await store.chats_reached_by(tx, who)
        beside = await store.reached_beside(tx, UUID(int=0), who)
    return Reach(addresses=who.addresses, messages=sum(chat["messages"] for chat in chats), chats=chats, beside=beside)
