"""Leaves of what stands beside messages, and the rows that they speak of, in Postgres."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from kit.postgres import Transaction, load_queries
from vault_importer.leaves import REVISION_BYTES, packed_leaves
from vault_importer.leaves_beside import BesideKind, Key, RowBeside, row_beside
from vault_importer.ledger_store import append_leaves, find_leaves, keys_in_ledger

__all__ = [
    "FIRST", "append_beside", "counts_beside", "first_beside", "identities_of_people", "leaves_of_rows", "page_beside",
    "rows_beside", "rows_of_people",
]  # fmt: skip

Q = load_queries("vault_importer", "ledger_beside.sql")

PAGE = 5_000
FIRST: Key = (UUID(int=0), 0)


async def append_beside(tx: Transaction, kind: BesideKind, rows: Iterable[RowBeside], *, at: datetime) -> None:
    """A leaf for each row, in the transaction that writes them, as the last thing that it does."""
    by_import: dict[UUID, list[tuple[UUID, int, bytes]]] = defaultdict(list)
    for row in rows:
        by_import[row.import_id].append((row.id, row.number, row.content))
    for import_id, records in by_import.items():
        await append_leaves(tx, packed_leaves(kind, records, import_id=import_id), at=at)


async def rows_beside(tx: Transaction, kind: BesideKind, ids: Sequence[UUID]) -> list[RowBeside]:
    """What stands beside some messages; of identities, those of these numbers."""
    return [row_beside(kind, row) for row in await tx.fetch(getattr(Q, f"{kind}_of"), tx.tenant, list(ids))]


async def page_beside(tx: Transaction, kind: BesideKind, after: Key = FIRST) -> list[RowBeside]:
    """A page of everything of a kind."""
    rows = await tx.fetch(getattr(Q, f"page_of_{kind}"), tx.tenant, *after, PAGE)
    return [row_beside(kind, row) for row in rows]


async def identities_of_people(tx: Transaction, jids: Sequence[str]) -> list[RowBeside]:
    """Pairs that say which addresses belong to one person."""
    return [row_beside("identity", row) for row in await tx.fetch(Q.identities_of_people, tx.tenant, list(jids))]


async def rows_of_people(
    tx: Transaction, kind: BesideKind, contacts: Sequence[UUID], jids: Sequence[str]
) -> list[RowBeside]:
    """What some people made of messages, whosever they are; of identities, theirs."""
    if kind == "identity":
        return await identities_of_people(tx, jids)
    return [row_beside(kind, row) for row in await tx.fetch(getattr(Q, f"{kind}_by"), tx.tenant, list(contacts))]


async def counts_beside(tx: Transaction) -> dict[str, int]:
    return dict(await tx.fetchrow(Q.counts_beside, tx.tenant) or {})


async def leaves_of_rows(tx: Transaction, kind: BesideKind, rows: Sequence[RowBeside]) -> dict[Key, int]:
    """Where the leaves of these rows are."""
    return await find_leaves(tx, kind, {row.key: row.import_id for row in rows})


async def first_beside(tx: Transaction, kind: BesideKind) -> Key | None:
    """The first row that no leaf speaks of. Holds every key at once: only when there is one."""
    known = await keys_in_ledger(tx, kind)
    after = FIRST
    while rows := await page_beside(tx, kind, after):
        for row in rows:
            if row.id.bytes + row.number.to_bytes(REVISION_BYTES, "big") not in known:
                return row.key
        after = rows[-1].key
    return None
