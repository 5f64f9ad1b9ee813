"""What is committed to of that which stands beside messages: files of media, reactions, votes, identities. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_args
from uuid import UUID

from vault_importer.leaves import canonical, microseconds

__all__ = ["BESIDE", "BesideKind", "Key", "RowBeside", "row_beside"]

BesideKind = Literal["media", "reaction", "vote", "identity"]
BESIDE: tuple[BesideKind, ...] = get_args(BesideKind)

Key = tuple[UUID, int]
"""What a leaf is about: of media the message and 0, of a reaction or a vote the message and the row's number, of an
identity its number as an id and 0."""


class RowBeside(NamedTuple):
    id: UUID
    number: int
    import_id: UUID
    content: bytes

    @property
    def key(self) -> Key:
        return self.id, self.number


def row_beside(kind: BesideKind, row: Any) -> RowBeside:
    """A row as its leaf speaks of it. ``row`` has the columns of its table."""
    content = canonical(_CONTENT[kind](row))
    if kind == "identity":
        return RowBeside(UUID(int=row["number"]), 0, row["first_import_id"], content)
    return RowBeside(row["message_id"], 0 if kind == "media" else row["number"], row["import_id"], content)


_CONTENT: Mapping[BesideKind, Callable[[Any], dict[str, Any]]] = {
    "media": lambda row: {
        "sha256": row["sha256"].hex(),
        "bytes": row["bytes"],
        "file_hash": row["file_hash"],
        "hash_agrees": row["hash_agrees"],
    },
    "reaction": lambda row: {
        "by": str(row["contact_id"]),
        "reacted_us": microseconds(row["reacted_at"]),
        "reaction": row["reaction"],
    },
    "vote": lambda row: {
        "by": str(row["contact_id"]),
        "voted_us": microseconds(row["voted_at"]),
        "option": row["item"],
    },
    "identity": lambda row: {
        "hidden": row["lid"],
        "address": row["jid"],
        "source": row["source"],
        "seen_us": microseconds(row["first_seen_at"]),
    },
}
