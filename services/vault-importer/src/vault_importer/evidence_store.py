"""Reads what an evidence bundle holds: messages, who wrote them, and their leaves with proofs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from kit.postgres import Transaction
from vault_importer.leaves_beside import BesideKind, Key, RowBeside
from vault_importer.ledger_beside import identities_of_people, leaves_of_rows, rows_beside
from vault_importer.ledger_store import Q, Record, read_nodes, records_of
from vault_importer.merkle import assemble, inclusion_ranges, needed

__all__ = ["Proven", "Scope", "Unproven", "beside", "chats_of", "identities", "messages_in", "people_of", "proofs"]

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


class Unproven(Exception):
    """A row has no leaf. ``str()`` is a sentence."""

    def __init__(self, kind: BesideKind, key: Key) -> None:
        super().__init__(f"A row of kind {kind} beside {key[0]} has no leaf: `vault adopt` gives it one, once.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Proven:
    """A row that stands beside messages, with its leaf and its proof."""

    row: RowBeside
    leaf: int
    record: Record
    proof: list[bytes]


async def beside(tx: Transaction, kind: BesideKind, message_ids: Sequence[UUID], size: int) -> list[Proven]:
    """What stands beside some messages, with proofs in the tree of a size. Raises :class:`Unproven`."""
    return await _proven(tx, kind, await rows_beside(tx, kind, message_ids), size)


async def identities(tx: Transaction, jids: Sequence[str], size: int) -> list[Proven]:
    """What says who some people are, with proofs. Raises :class:`Unproven`."""
    return await _proven(tx, "identity", await identities_of_people(tx, jids), size)


async def _proven(tx: Transaction, kind: BesideKind, rows: Sequence[RowBeside], size: int) -> list[Proven]:
    leaves = await leaves_of_rows(tx, kind, rows)
    for row in rows:
        if row.key not in leaves:
            raise Unproven(kind, row.key)
    # An import may go on while evidence is gathered: what it brings is not signed yet.
    rows = [row for row in rows if leaves[row.key] < size]
    proven = await proofs(tx, [leaves[row.key] for row in rows], size)
    found = []
    for row in rows:
        record, proof = proven[leaves[row.key]]
        found.append(Proven(row=row, leaf=leaves[row.key], record=record, proof=proof))
    return found
