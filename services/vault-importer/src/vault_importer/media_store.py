"""Which media have their file, in Postgres. The files themselves lie under their hashes in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from kit.postgres import Transaction, load_queries
from vault_importer.erasure.suppression_store import keep_in
from vault_importer.ledger_beside import append_beside, rows_beside

__all__ = [
    "Link", "Waiting", "count_media", "link_files", "media_kept_elsewhere", "media_without_file", "messages_that_stay",
]  # fmt: skip

Q = load_queries("vault_importer")


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """A message's media whose file is not in the store."""

    message_id: UUID
    file_hash: str
    file_path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    message_id: UUID
    sha256: bytes
    size: int
    file_hash: str
    """The phone's own, as it was when the file was taken."""
    hash_agrees: bool
    """Whether the file is the one that was sent, as far as the phone's own hash tells."""


async def count_media(tx: Transaction, account_id: UUID) -> tuple[int, int]:
    """Of an account: all media, and those that have their file."""
    row = await tx.fetchrow(Q.count_media, tx.tenant, account_id)
    return (row["seen"], row["linked"]) if row else (0, 0)


async def media_without_file(tx: Transaction, account_id: UUID, *, after: UUID, limit: int) -> list[Waiting]:
    await tx.execute(Q.probe_by_index)
    rows = await tx.fetch(Q.media_without_file, tx.tenant, account_id, after, limit)
    return [Waiting(**dict(row)) for row in rows]


async def media_kept_elsewhere(
    tx: Transaction, account_id: UUID, *, after: UUID, limit: int
) -> list[tuple[Waiting, Link]]:
    """Media without a file whose content, by the phone's own hash, the vault has from another message."""
    await tx.execute(Q.probe_by_index)
    rows = await tx.fetch(Q.media_kept_elsewhere, tx.tenant, account_id, after, limit)
    return [
        (
            Waiting(message_id=row["message_id"], file_hash=row["file_hash"], file_path=row["file_path"]),
            Link(
                message_id=row["message_id"], sha256=row["sha256"], size=row["bytes"], file_hash=row["file_hash"],
                hash_agrees=True,
            ),
        )
        for row in rows
    ]  # fmt: skip


async def messages_that_stay(tx: Transaction, ids: Sequence[UUID]) -> set[UUID]:
    """Those to which something may still be added, until the transaction ends: nobody begins to erase before."""
    await keep_in(tx)
    return {row["id"] for row in await tx.fetch(Q.messages_that_stay, tx.tenant, list(ids))}


async def link_files(tx: Transaction, links: Sequence[Link], *, import_id: UUID, at: datetime) -> None:
    """Keep which files belong to which messages, with a leaf for each that is new. The messages are among
    :func:`messages_that_stay` of the same transaction."""
    added = await tx.fetch(
        Q.add_media_files,
        tx.tenant,
        [each.message_id for each in links],
        [each.sha256 for each in links],
        [each.size for each in links],
        [each.hash_agrees for each in links],
        import_id,
        [each.file_hash for each in links],
    )
    if added:
        rows = await rows_beside(tx, "media", [row["message_id"] for row in added])
        await append_beside(tx, "media", rows, at=at)
