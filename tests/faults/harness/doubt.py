"""What faults took back by design, to the unit: what was under way while Postgres was rewound, what was worked off
meanwhile and came back as not done, and what nobody had read when Kafka lost it. It is counted, not judged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Doubt", "Loss", "Standing"]

LATE = 15.0
"""An event may be seen so long after it was published."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far everybody is at one moment: committed offsets by (group, topic, partition), mails not sent yet."""

    epoch: int
    committed: Mapping[tuple[str, str, int], int]
    unsent: frozenset[str] = frozenset()

    def is_behind(self, group: str, topic: str, partition: int, offset: int) -> bool:
        """Whether the group had not done with the record by then."""
        return offset >= self.committed.get((group, topic, partition), 0)


@dataclass(slots=True)
class Doubt:
    """A window that Postgres forgot. Until it has an end, everything since its beginning is in doubt."""

    why: str
    begin: float
    standing: Standing
    """At the beginning: what was done by then stays done."""
    end: float = math.inf
    ends: Mapping[tuple[str, int], int] | None = None
    """Where each partition ended at the end: what was read by then may have been half done. Unknown: anywhere."""

    @property
    def open(self) -> bool:
        return self.end == math.inf

    def touches(self, first: float, settled: float) -> bool:
        """Whether an input was under way at some time in the window."""
        return first <= self.end and settled >= self.begin

    def may_have_forgotten(self, seen_at: float) -> bool:
        """Whether an event that was first seen then may be of a transaction that is gone; the outbox tells."""
        return self.begin <= seen_at <= self.end + LATE

    def took_back(self, group: str, epoch: int, topic: str, partition: int, offset: int) -> bool:
        """Whether the outcome of a record may be gone although its offset was committed."""
        if epoch != self.standing.epoch or not self.standing.is_behind(group, topic, partition, offset):
            return False
        return self.ends is None or offset < self.ends.get((topic, partition), 0)


@dataclass(frozen=True, slots=True)
class Loss:
    """Kafka lost its data. What an outsider had put there comes back from no outbox."""

    at: float
    standing: Standing
    """Just before."""
