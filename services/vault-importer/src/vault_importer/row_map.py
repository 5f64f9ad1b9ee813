"""Which source row became which message: what finds the message that another row is about.

A store has as many as a million messages, so this keeps 24 bytes for each and no object.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as QuickUUID  # noqa: N811 - a class

__all__ = ["RowMap"]

_ID_BYTES = 16


class RowMap:
    """Filled first, asked after. Safe to fill by tasks of one event loop, not by several threads."""

    def __init__(self) -> None:
        self._rows = array("q")
        self._ids = bytearray()
        self._sorted = True

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, pairs: Iterable[tuple[int, UUID]]) -> None:
        for row, id_ in pairs:
            self._rows.append(row)
            self._ids += id_.bytes
        self._sorted = False

    def get(self, row: int) -> UUID | None:
        if not self._sorted:
            self._sort()
        at = bisect_left(self._rows, row)
        if at == len(self._rows) or self._rows[at] != row:
            return None
        found: UUID = QuickUUID(bytes(self._ids[at * _ID_BYTES : (at + 1) * _ID_BYTES]))
        return found

    def _sort(self) -> None:
        order = sorted(range(len(self._rows)), key=self._rows.__getitem__)
        ids = memoryview(bytes(self._ids))
        self._ids = bytearray(b"".join(ids[at * _ID_BYTES : (at + 1) * _ID_BYTES] for at in order))
        self._rows = array("q", (self._rows[at] for at in order))
        self._sorted = True
