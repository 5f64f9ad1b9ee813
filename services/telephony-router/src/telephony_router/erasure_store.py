"""What the router holds of a person, in Postgres, and how it goes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from kit.postgres import Transaction, load_queries

__all__ = [
    "blob_gone",
    "erase_calls",
    "erase_last_agents",
    "erase_scores",
    "erased_blobs",
    "erased_people",
    "let_go",
    "listened",
]

Q = load_queries("telephony_router", "erasure.sql")


async def erase_calls(tx: Transaction, numbers: Sequence[str], *, until: datetime) -> dict[str, int]:
    """Rows by table; empty when there were no such calls."""
    return {row["store"]: row["rows"] for row in await tx.fetch(Q.erase_calls, list(numbers), until)}


async def erase_last_agents(tx: Transaction, numbers: Sequence[str], *, until: datetime) -> int:
    return _rows(await tx.execute(Q.erase_last_agents, tx.tenant, list(numbers), until))


async def erase_scores(tx: Transaction, numbers: Sequence[str], *, until: datetime) -> int:
    return _rows(await tx.execute(Q.erase_scores, tx.tenant, list(numbers), until))


async def listened(tx: Transaction, numbers: Sequence[str]) -> int:
    """How often somebody listened to recordings of these callers. Asked before the calls are erased."""
    return int(await tx.fetchval(Q.listened, tx.tenant, list(numbers)))


async def erased_people(tx: Transaction) -> list[tuple[UUID, datetime, list[str]]]:
    """Tenant, since when, and numbers of who was erased lately. As the system role."""
    return [(row["tenant_id"], row["effective_at"], row["numbers"]) for row in await tx.fetch(Q.erased_people)]


async def erased_blobs(tx: Transaction, limit: int) -> list[tuple[UUID, str]]:
    """Bytes that are to leave the store. As the system role."""
    rows = await tx.fetch(Q.tenants_with_erased_blobs, limit)
    return [(row["tenant_id"], row["sha256"]) for row in rows]


async def blob_gone(tx: Transaction, sha256: str) -> None:
    await tx.execute(Q.blob_gone, tx.tenant, sha256)


async def let_go(tx: Transaction, blobs: Sequence[str]) -> None:
    """Bytes that whoever stored them cannot name any more."""
    await tx.execute(Q.let_go, tx.tenant, list(blobs))


def _rows(status: str) -> int:
    return int(status.rpartition(" ")[2])
