"""One step of a replay after another: the place is stored, the operator is heard, progress is shown."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from recovery.replay.book import Book, Entry, Wanted
from recovery.replay.throttle import Throttle

__all__ = ["Pace", "Progress", "Step"]

Step = Literal["running", "paused", "cancelled", "done"]
_STEPS: dict[Wanted, Step] = {"run": "running", "pause": "paused", "cancel": "cancelled"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """What an operator sees while it runs."""

    state: Step
    seen: int
    total: int
    counts: Mapping[str, int]
    waiting_for: str
    """Why it goes slower than asked, or nothing."""


class Pace:
    """Keeps one running replay's place, counts and speed."""

    def __init__(
        self, book: Book, entry: Entry, *, throttle: Throttle, report: Callable[[Progress], None], stop: asyncio.Event
    ) -> None:
        self.counts: Counter[str] = Counter(entry.counts)
        self._book = book
        self._entry = entry
        self._throttle = throttle
        self._report = report
        self._stop = stop

    async def wait(self, records: int) -> None:
        """Until so many more may be handled."""
        await self._throttle.take(records)

    async def step(self, positions: Mapping[tuple[str, int], int], *, seen: int, outcomes: Mapping[str, int]) -> Step:
        """After the effects of a chunk are committed. Anything but running ends the run."""
        self.counts.update(outcomes)
        self.counts["seen"] += seen
        wanted = await self._book.checkpoint(self._entry.id, counts=self.counts, positions=positions)
        step = _STEPS[wanted]
        if step == "running" and self._stop.is_set():
            step = "paused"
        progress = Progress(
            state=step,
            seen=self.counts["seen"],
            total=self._entry.total,
            counts=dict(self.counts),
            waiting_for=self._throttle.why,
        )
        self._report(progress)
        return step
