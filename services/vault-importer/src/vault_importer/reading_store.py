"""Conversations in Postgres: pages of a chat with what stands beside its messages, and the chats of a person."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from kit.postgres import Transaction, load_queries

__all__ = [
    "FIRST",
    "LAST",
    "Place",
    "accounts",
    "beside",
    "chat_head",
    "contacts_of",
    "conversations_of",
    "page",
    "place_of",
]

Q = load_queries("vault_importer", "reading.sql")

Place = tuple[datetime, UUID]
FIRST: Place = (datetime.min.replace(tzinfo=UTC), UUID(int=0))
LAST: Place = (datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))


async def accounts(tx: Transaction) -> list[dict[str, Any]]:
    return [dict(row) for row in await tx.fetch(Q.accounts, tx.tenant)]


async def chat_head(tx: Transaction, chat_id: UUID) -> dict[str, Any] | None:
    row = await tx.fetchrow(Q.chat_head, tx.tenant, chat_id)
    return dict(row) if row else None


async def place_of(tx: Transaction, chat_id: UUID, message_id: UUID) -> Place | None:
    row = await tx.fetchrow(Q.place_of_message, tx.tenant, chat_id, message_id)
    return (row["sent_at"], row["id"]) if row else None


async def page(tx: Transaction, chat_id: UUID, place: Place, limit: int, *, forward: bool) -> list[dict[str, Any]]:
    """Messages next to a place, the nearest first."""
    query = Q.messages_after if forward else Q.messages_before
    return [dict(row) for row in await tx.fetch(query, tx.tenant, chat_id, *place, limit)]


async def beside(tx: Transaction, messages: Sequence[dict[str, Any]]) -> None:
    """Give each message its media, what it answers, its reactions and what it said before."""
    ids = [message["id"] for message in messages]
    found: dict[str, dict[UUID, list[dict[str, Any]]]] = {}
    for name, query in (
        ("media", Q.media_of),
        ("quote", Q.quotes_of),
        ("reactions", Q.reactions_of),
        ("history", Q.revisions_of),
    ):
        found[name] = defaultdict(list)
        for row in await tx.fetch(query, tx.tenant, ids):
            values = dict(row)
            found[name][values.pop("message_id")].append(values)
    for message in messages:
        mine = {name: rows.get(message["id"], []) for name, rows in found.items()}
        message |= {**mine, "media": next(iter(mine["media"]), None), "quote": next(iter(mine["quote"]), None)}


async def contacts_of(tx: Transaction, numbers: Sequence[str]) -> list[dict[str, Any]]:
    return [dict(row) for row in await tx.fetch(Q.contacts_of_numbers, tx.tenant, list(numbers))]


async def conversations_of(
    tx: Transaction, contacts: Sequence[UUID], *, before: Place, limit: int
) -> list[dict[str, Any]]:
    return [dict(row) for row in await tx.fetch(Q.conversations_of, tx.tenant, list(contacts), *before, limit)]
