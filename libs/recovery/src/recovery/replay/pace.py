"""One step of a replay after another: the place is stored, the operator is heard, progress is shown."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from kit.postgres import SERVER_AWAY
from kit.telemetry import get_logger
from recovery.replay.book import Book, Entry, Wanted
from recovery.replay.throttle import Throttle

__all__ = ["Pace", "Progress", "Step"]

log = get_logger(__name__)

T = TypeVar("T")
Step = Literal["running", "paused", "cancelled", "done"]
_STEPS: dict[Wanted, Step] = {"run": "running", "pause": "paused", "cancel": "cancelled"}

BEAT_SECONDS = 2.0
RATE_OVER_SECONDS = 30.0
LONGEST_WAIT_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """What an operator sees while it runs."""

    state: Step
    seen: int
    total: int
    counts: Mapping[str, int]
    waiting_for: str
    """Why it goes slower than asked, or nothing."""
    allowed: float
    """How many records a second it may handle now."""
    per_second: float
    """How many it has handled a second lately."""


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
        self._step: Step = "running"
        self._told = 0.0
        self._marks = deque([(time.monotonic(), self.counts["seen"])])

    async def wait(self, records: int) -> Step:
        """Until so many more may be handled, or an operator wants something else than that it runs."""
        await self._throttle.take(records, listen=self._listen)
        return self._step

    async def wait_while(self, what: Callable[[], Awaitable[str]], *, every: float, longest: float) -> tuple[Step, str]:
        """While something is in the way, for so long at most; return what still is, or nothing."""
        gives_up = time.monotonic() + longest
        while why := await what():
            if time.monotonic() > gives_up:
                break
            if not await self._heard_for(every, why):
                break
        return self._step, why

    async def step(
        self,
        positions: Mapping[tuple[str, int], int],
        *,
        seen: int,
        outcomes: Mapping[str, int],
        last_told: Mapping[tuple[str, int], str] | None = None,
    ) -> Step:
        """After the effects of a chunk are committed. Anything but running ends the run."""
        self.counts.update(outcomes)
        self.counts["seen"] += seen
        self._mark()
        wanted = await self.patiently(
            lambda: self._book.checkpoint(
                self._entry.id, counts=self.counts, positions=positions, last_told=last_told,
                waiting_for=self._throttle.why, per_second=self.per_second,
            )
        )  # fmt: skip
        self._told = time.monotonic()
        self._obey(wanted)
        self._show(self._throttle.why)
        return self._step

    @property
    def per_second(self) -> float:
        (began, before), (now, seen) = self._marks[0], self._marks[-1]
        return (seen - before) / (now - began) if now > began else 0.0

    async def patiently(self, ask: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Ask the database; while it is away ask again, for some minutes, or until somebody stops the run."""
        delay, gives_up = 0.25, time.monotonic() + LONGEST_WAIT_SECONDS
        while True:
            try:
                return await ask(*arguments)
            except SERVER_AWAY as error:
                if self._stop.is_set() or time.monotonic() > gives_up:
                    raise
                log.warning("replay_waits", error=type(error).__name__)
                self._show("the database does not answer")
                await asyncio.sleep(delay)
                delay = min(delay * 2, 2.0)

    def _mark(self) -> None:
        now = time.monotonic()
        self._marks.append((now, self.counts["seen"]))
        while len(self._marks) > 2 and now - self._marks[1][0] > RATE_OVER_SECONDS:
            self._marks.popleft()

    async def _heard_for(self, seconds: float, why: str) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if not await self._listen(why):
                return False
            await asyncio.sleep(min(0.25, seconds))
        return True

    async def _listen(self, why: str = "") -> bool:
        """Look what is wanted, and say now and then that the run lives; whether it goes on."""
        waiting_for = why or self._throttle.why
        try:
            self._obey(await self._book.wanted(self._entry.id))
            if time.monotonic() - self._told > BEAT_SECONDS:
                self._mark()
                await self._book.beat(self._entry.id, waiting_for=waiting_for, per_second=self.per_second)
                self._told = time.monotonic()
        except SERVER_AWAY:
            # The throttle sees it as well and waits; whether it is for too long is decided where something is stored.
            if self._stop.is_set():
                self._step = "paused"
        self._show(waiting_for)
        return self._step == "running"

    def _obey(self, wanted: Wanted) -> None:
        self._step = _STEPS[wanted]
        if self._step == "running" and self._stop.is_set():
            self._step = "paused"

    def _show(self, waiting_for: str) -> None:
        self._report(
            Progress(
                state=self._step, seen=self.counts["seen"], total=self._entry.total, counts=dict(self.counts),
                waiting_for=waiting_for, allowed=self._throttle.rate * self._throttle.share,
                per_second=self.per_second,
            )
        )  # fmt: skip
