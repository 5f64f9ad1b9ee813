"""Which source row became which message: what finds the message that another row is about.

A store has as many as a million messages, so this keeps 24 bytes for each and no object.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from operator import itemgetter
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as QuickUUID  # noqa: N811 - a class

__all__ = ["RowMap"]

_ID_BYTES = 16


class RowMap:
    """Filled a chunk at a time, and asked. Safe to fill by tasks of one event loop, not by several threads.

    Each lane of an import brings its rows in their order, so there is a run for each, and nothing is ever sorted but
    a chunk.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[array[int], bytearray]] = []
        """Rows in their order, and beside them the ids of their messages."""

    def __len__(self) -> int:
        return sum(len(rows) for rows, _ in self._runs)

    def add(self, pairs: Iterable[tuple[int, UUID]]) -> None:
        chunk = sorted(pairs, key=itemgetter(0))
        if not chunk:
            return
        run = next((run for run in self._runs if run[0][-1] < chunk[0][0]), None)
        if run is None:
            run = (array("q"), bytearray())
            self._runs.append(run)
        rows, ids = run
        rows.extend([row for row, _ in chunk])
        ids += b"".join([id_.bytes for _, id_ in chunk])

    def get(self, row: int) -> UUID | None:
        for rows, ids in self._runs:
            at = bisect_left(rows, row)
            if at < len(rows) and rows[at] == row:
                found: UUID = QuickUUID(bytes(ids[at * _ID_BYTES : (at + 1) * _ID_BYTES]))
                return found
        return None
