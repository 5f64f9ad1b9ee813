"""The suppression list in Postgres, and the lock between those who erase and those who write to the archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from kit.postgres import Transaction, load_queries
from vault_importer.erasure.case import SuppressionKey

__all__ = [
    "Suppression", "keep_in", "keep_out", "lift", "still", "suppress", "suppress_again", "suppression", "tags_of",
    "unsuppress",
]  # fmt: skip

Q = load_queries("vault_importer", "erasure/erasure.sql")


async def keep_in(tx: Transaction) -> None:
    """Whoever writes to the archive: until the transaction ends nobody begins to erase."""
    await tx.execute(Q.keep_in, str(tx.tenant))


async def still(tx: Transaction, known: Suppression) -> bool:
    """:func:`keep_in`, and whether nobody was erased, or let in, since ``known``."""
    await keep_in(tx)
    return bool(await tx.fetchval(Q.suppression_version, tx.tenant) == known.version)


async def keep_out(tx: Transaction) -> None:
    """Whoever begins to erase: wait for those who write, and let them wait."""
    await tx.execute(Q.keep_out, str(tx.tenant))


@dataclass(frozen=True, kw_only=True, slots=True)
class Suppression:
    """Who must not come back, as it was at one time: until when what they wrote stays out, by tag."""

    until: Mapping[bytes, datetime]
    version: str


async def suppression(tx: Transaction) -> Suppression:
    await keep_in(tx)
    rows = await tx.fetch(Q.suppressed, tx.tenant)
    version = await tx.fetchval(Q.suppression_version, tx.tenant)
    return Suppression(until={row["tag"]: row["until"] for row in rows}, version=version)


async def suppress(
    tx: Transaction, key: SuppressionKey, addresses: Sequence[str], *, erasure_id: UUID, until: datetime
) -> None:
    await tx.execute(Q.suppress, tx.tenant, [key.tag(tx.tenant, each) for each in addresses], erasure_id, until)


async def suppress_again(tx: Transaction, tags: Sequence[bytes], *, erasure_id: UUID, until: datetime) -> int:
    """Put on the list again what an erasure once put there; how many addresses were missing. :func:`keep_out` first."""
    return int((await tx.execute(Q.suppress_again, tx.tenant, list(tags), erasure_id, until)).rpartition(" ")[2])


async def lift(tx: Transaction, tags: Sequence[bytes], *, by: str) -> int:
    """Let people in again with what is newer than their erasure; how many addresses that were."""
    return int((await tx.execute(Q.lift, tx.tenant, list(tags), by)).rpartition(" ")[2])


async def tags_of(tx: Transaction, erasure_id: UUID) -> list[bytes]:
    return [row["tag"] for row in await tx.fetch(Q.tags_of, tx.tenant, erasure_id)]


async def unsuppress(tx: Transaction, erasure_id: UUID, *, by: str) -> None:
    await tx.execute(Q.unsuppress, tx.tenant, erasure_id, by)
