"""The search index in Postgres: what is indexed, and what is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from kit.postgres import Transaction, load_queries

__all__ = [
    "Narrowed",
    "Place",
    "Progress",
    "Searchable",
    "advance",
    "alike",
    "bound",
    "find",
    "found_messages",
    "gone",
    "parts",
    "progress_of_search",
    "put_searchable",
    "to_index",
    "wordings",
]

Q = load_queries("vault_importer", "search.sql")
ID_BYTES = 16
BATCHES = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a tenant's archive is indexed, in leaves of its ledger."""

    next_leaf: int
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Searchable:
    """A message as it is found."""

    message_id: UUID
    sent_at: datetime
    account_id: UUID
    chat_id: UUID
    contact_id: UUID | None
    from_me: bool
    kind: str
    words: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Narrowed:
    """What else is asked of a message than its words."""

    account: UUID | None = None
    chat: UUID | None = None
    contact: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    kinds: Sequence[str] | None = None
    from_me: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where in the order of an answer: behind this message."""

    rank: float
    sent_at: datetime
    message_id: UUID


async def progress_of_search(tx: Transaction) -> Progress:
    row = await tx.fetchrow(Q.progress_of_search, tx.tenant)
    return Progress(**dict(row)) if row else Progress(next_leaf=0, size=0)


async def wordings(tx: Transaction, place: int, most: int) -> tuple[list[UUID], int]:
    """The messages of the next leaves, one for each wording, and the place behind them."""
    ids: list[UUID] = []
    for batch in await tx.fetch(Q.leaves_to_index, tx.tenant, place, BATCHES):
        skip = place - batch["first_leaf"]
        take = max(0, min(batch["leaves"] - skip, most - len(ids)))
        if batch["kind"] == "message":
            ids += [UUID(bytes=batch["ids"][at * ID_BYTES : (at + 1) * ID_BYTES]) for at in range(skip, skip + take)]
        place += take
        if len(ids) >= most:
            break
    return ids, place


async def to_index(tx: Transaction, progress: Progress, most: int) -> tuple[list[Any], int]:
    """The next messages in all their wordings, and the place behind them."""
    ids, place = await wordings(tx, progress.next_leaf, most)
    return (await tx.fetch(Q.texts_to_index, tx.tenant, list(set(ids))) if ids else []), place


async def gone(tx: Transaction, ids: Sequence[UUID]) -> bool:
    """Whether any of these messages is hidden or not in the archive any more."""
    return int(await tx.fetchval(Q.count_shown, tx.tenant, list(ids))) < len(ids)


async def advance(tx: Transaction, before: int, after: int) -> bool:
    """Whether the place was where we left it; if not, another process indexes."""
    return await tx.fetchval(Q.advance_search, tx.tenant, before, after) is not None


async def put_searchable(tx: Transaction, rows: Sequence[Searchable], sounds: Sequence[tuple[str, str]]) -> None:
    """``sounds`` are words and how they sound, sorted."""
    columns = [[getattr(row, name) for row in rows] for name in Searchable.__slots__]
    await tx.execute(Q.put_searchable, tx.tenant, *columns)
    await tx.execute(Q.put_words, tx.tenant, [word for word, _ in sounds], [sound for _, sound in sounds])


async def bound(tx: Transaction, milliseconds: int) -> None:
    """What follows in this transaction ends after so long, with an error."""
    await tx.execute(Q.bound_search, str(milliseconds))


async def parts(tx: Transaction, part: str, most: int) -> list[str]:
    return [row["word"] for row in await tx.fetch(Q.parts, part, most)]


async def alike(tx: Transaction, sound: str, least: float, most: int) -> list[str]:
    return [row["word"] for row in await tx.fetch(Q.alike, sound, least, most)]


async def find(
    tx: Transaction, words: str, narrowed: Narrowed, *, after: Place, ranked: int, limit: int
) -> list[Place]:
    """The next messages that have the words, the newest first, or of the newest ``ranked`` the fittest first."""
    rows = await tx.fetch(
        Q.find,
        words,
        narrowed.account,
        narrowed.chat,
        narrowed.contact,
        narrowed.since,
        narrowed.until,
        list(narrowed.kinds) if narrowed.kinds is not None else None,
        narrowed.from_me,
        after.rank,
        after.sent_at,
        after.message_id,
        ranked,
        limit,
    )
    return [Place(rank=row["rank"], sent_at=row["sent_at"], message_id=row["message_id"]) for row in rows]


async def found_messages(tx: Transaction, ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    return {row["id"]: dict(row) for row in await tx.fetch(Q.found_messages, tx.tenant, list(ids))}
