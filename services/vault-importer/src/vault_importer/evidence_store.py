"""Reads what an evidence bundle holds: messages, who wrote them, and their leaves with proofs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from kit.postgres import Transaction
from vault_importer.ledger_store import Q, Record, read_nodes, records_of
from vault_importer.merkle import assemble, inclusion_ranges, needed

__all__ = ["Scope", "chats_of", "messages_in", "people_of", "proofs"]

PAGE = 2_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """Which messages: of a chat, of a person (what they wrote, and direct chats with them), or some themselves."""

    chat: UUID | None = None
    customer: str | None = None
    """A number in E.164, or the id of a contact."""
    messages: tuple[UUID, ...] = ()


async def messages_in(tx: Transaction, scope: Scope) -> list[UUID]:
    """In the order in which they were sent."""
    rows = await tx.fetch(Q.messages_in_scope, tx.tenant, scope.chat, scope.customer, list(scope.messages))
    return [row["id"] for row in rows]


async def people_of(tx: Transaction, contact_ids: Sequence[UUID]) -> list[dict[str, Any]]:
    return [dict(row) for row in await tx.fetch(Q.people_by_id, tx.tenant, list(contact_ids))]


async def chats_of(tx: Transaction, chat_ids: Sequence[UUID]) -> list[dict[str, Any]]:
    return [dict(row) for row in await tx.fetch(Q.chats_by_id, tx.tenant, list(chat_ids))]


async def proofs(tx: Transaction, leaves: Sequence[int], size: int) -> dict[int, tuple[Record, list[bytes]]]:
    """The record of each leaf, and the proof that it is in the tree of a size."""
    found: dict[int, tuple[Record, list[bytes]]] = {}
    for at in range(0, len(leaves), PAGE):
        page = leaves[at : at + PAGE]
        ranges = {leaf: inclusion_ranges(leaf, size) for leaf in page}
        nodes = await read_nodes(tx, {node for each in ranges.values() for node in needed(each)})
        records = await records_of(tx, page)
        found.update({leaf: (records[leaf], assemble(ranges[leaf], nodes)) for leaf in page})
    return found
