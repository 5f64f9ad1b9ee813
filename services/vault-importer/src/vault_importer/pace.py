"""How much of an import is done at once. Pure.

Whoever writes to the same archive waits for a transaction of an import, and an interrupted import does its last one
again: so none takes longer than about half a second, on a machine that is slow or busy as well.
"""

from __future__ import annotations

__all__ = ["Pace"]

WANTED_SECONDS = 0.5
#: Below this a transaction is mostly its own beginning and end.
FEWEST_ROWS = 250
#: One that was quick by chance does not make the next one long.
MOST_GROWTH = 1.25


class Pace:
    """The rows of the next chunk, by how long those before took."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.rows = most

    def took(self, rows: int, seconds: float) -> None:
        """Learn from a chunk. A small one tells little: what it takes besides its rows would count as theirs."""
        if rows * 2 < self.rows and seconds < WANTED_SECONDS:
            return
        fitting = int(rows * WANTED_SECONDS / max(seconds, 0.001))
        grown = int(self.rows * MOST_GROWTH) + 1
        self.rows = max(min(FEWEST_ROWS, self._most), min(fitting, grown, self._most))
