"""Checkpoints, and what others signed under them, in Postgres."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kit.postgres import Transaction
from vault_importer.ledger_store import Q
from vault_importer.merkle import HASH_BYTES
from vault_importer.signed_note import Checkpoint, parse_checkpoint, parse_note

__all__ = [
    "StoredCheckpoint", "add_checkpoint", "add_cosignature", "add_timestamp", "checkpoints_after", "cosignatures",
    "handovers", "newest_checkpoint", "timestamps",
]  # fmt: skip

PAGE = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredCheckpoint:
    sequence: int
    size: int
    at: datetime
    note: str
    proof: bytes
    """That it continues the one before: its hashes side by side."""

    @property
    def hashes(self) -> list[bytes]:
        return [self.proof[at : at + HASH_BYTES] for at in range(0, len(self.proof), HASH_BYTES)]

    @property
    def said(self) -> Checkpoint:
        """What the note says. Raises :class:`NoteError`."""
        return parse_checkpoint(parse_note(self.note).text)


async def newest_checkpoint(tx: Transaction) -> StoredCheckpoint | None:
    row = await tx.fetchrow(Q.newest_checkpoint, tx.tenant)
    return StoredCheckpoint(**dict(row)) if row else None


async def checkpoints_after(tx: Transaction, sequence: int) -> list[StoredCheckpoint]:
    """A page of them."""
    return [StoredCheckpoint(**dict(row)) for row in await tx.fetch(Q.checkpoints, tx.tenant, sequence, PAGE)]


async def handovers(tx: Transaction, up_to: int | None = None) -> list[StoredCheckpoint]:
    """Those by which the log went over to another key."""
    return [StoredCheckpoint(**dict(row)) for row in await tx.fetch(Q.handovers, tx.tenant, up_to)]


async def add_checkpoint(tx: Transaction, made: StoredCheckpoint) -> None:
    await tx.execute(Q.add_checkpoint, tx.tenant, made.sequence, made.size, made.at, made.note, made.proof)


async def add_cosignature(tx: Transaction, sequence: int, witness: str, line: str) -> None:
    await tx.execute(Q.add_cosignature, tx.tenant, sequence, witness, line)


async def cosignatures(tx: Transaction, sequence: int) -> dict[str, str]:
    """Lines by the name of who signed."""
    return {row["witness"]: row["line"] for row in await tx.fetch(Q.cosignatures, tx.tenant, sequence)}


async def add_timestamp(tx: Transaction, sequence: int, authority: str, token: bytes) -> None:
    await tx.execute(Q.add_timestamp, tx.tenant, sequence, authority, token)


async def timestamps(tx: Transaction, sequence: int) -> dict[str, bytes]:
    """Tokens by the address of the authority."""
    return {row["authority"]: row["token"] for row in await tx.fetch(Q.timestamps, tx.tenant, sequence)}
