"""Dead letters as a source, in the order in which they were parked; and those of a replay itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from kit.postgres import Database

__all__ = ["LETTERS", "LetterRecord", "letters_of", "planned_letters", "read_letters", "record_of"]

#: The place of a replay of dead letters: how many of the planned ones are behind it.
LETTERS = ("dead_letter", 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class LetterRecord:
    """A parked record as handlers take it: the bytes, the key and the headers that Kafka had."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


def record_of(row: Any) -> LetterRecord:
    """From a row of ``dead_letter``; an edited value stands for the original one."""
    recorded = row["recorded_at"]
    return LetterRecord(
        topic=row["topic"],
        partition=row["partition"],
        offset=row["offset"],
        timestamp=int(recorded.timestamp() * 1000) if recorded else 0,
        key=row["key"],
        value=row["edited_value"] if row["edited_value"] is not None else row["value"],
        headers=list(zip(row["header_names"], row["header_values"], strict=True)),
    )


def letters_of(consumer: str, replay_id: str) -> str:
    """Under which name a replay's own dead letters are kept: apart from those of live traffic."""
    return f"{consumer}@{replay_id}"


async def planned_letters(database: Database, consumer: str, fingerprint: str) -> list[tuple[UUID, LetterRecord]]:
    """The letters of one fingerprint that wait."""
    async with database.system() as tx:
        rows = await tx.fetch(
            "SELECT * FROM dead_letter WHERE consumer = $1 AND fingerprint = $2 AND state <> 'dropped' ORDER BY seq",
            consumer, fingerprint,
        )  # fmt: skip
    return [(row["id"], record_of(row)) for row in rows]


async def read_letters(
    database: Database, ids: Sequence[str], *, start: int, chunk: int
) -> AsyncIterator[list[LetterRecord]]:
    """The planned letters from ``start``; those that were worked off meanwhile are left out."""
    for first in range(start, len(ids), chunk):
        async with database.system() as tx:
            rows = await tx.fetch(
                "SELECT * FROM dead_letter WHERE id = ANY ($1::uuid[]) ORDER BY seq", ids[first : first + chunk]
            )
        yield [record_of(row) for row in rows]
