"""A replay's pace: never faster than asked, and slower while it would stand in live traffic's way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

__all__ = ["Limits", "Pressure", "Throttle"]

WINDOW = 1.0
LISTEN_SECONDS = 0.25
SLOWEST = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class Pressure:
    """How live traffic fares."""

    lag_records: int = 0
    """How far consumer groups are behind: the service's own, and those of what the replay makes it tell."""
    database_ms: float = 0.0
    """How long a trivial statement takes."""
    outbox_seconds: float = 0.0
    """The age of the service's oldest unpublished event."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Beyond any of these a replay gives way."""

    lag_records: int = 1000
    database_ms: float = 100.0
    outbox_seconds: float = 5.0

    def exceeded(self, pressure: Pressure) -> str:
        """Which limit is exceeded, as a phrase, or nothing."""
        if pressure.lag_records > self.lag_records:
            return f"live consumers are {pressure.lag_records} records behind"
        if pressure.database_ms > self.database_ms:
            return f"the database takes {pressure.database_ms:.0f} ms for a trivial statement"
        if pressure.outbox_seconds > self.outbox_seconds:
            return f"the outbox is {pressure.outbox_seconds:.0f} s behind"
        return ""


class Throttle:
    """Halves the pace at every look that finds a limit exceeded, and finds back a quarter at a time."""

    def __init__(
        self, rate: float, *, limits: Limits, look: Callable[[], Awaitable[Pressure]], every: float = WINDOW
    ) -> None:
        if rate <= 0:
            raise ValueError("a rate is above 0 records a second")
        self.rate = rate
        self.share = 1.0
        self.why = ""
        self._limits = limits
        self._look = look
        self._every = every
        self._looked = 0.0
        self._owed = 0.0
        self._paid_at = time.monotonic()

    async def take(self, records: int, *, listen: Callable[[], Awaitable[bool]]) -> None:
        """Wait until ``records`` more may be handled, or until ``listen``, asked several times a second, says no."""
        while True:
            if time.monotonic() - self._looked >= self._every:
                self.adapt(await self._look())
                self._looked = time.monotonic()
            now, pace = time.monotonic(), self.rate * self.share
            self._owed -= (now - self._paid_at) * pace
            self._paid_at = now
            if not await listen():
                return
            if self._owed <= 0:
                # What was handled last has been waited for; what is taken now is waited for before the next.
                self._owed = float(records)
                return
            await asyncio.sleep(min(LISTEN_SECONDS, self._owed / pace))

    def adapt(self, pressure: Pressure) -> None:
        self.why = self._limits.exceeded(pressure)
        self.share = max(SLOWEST, self.share / 2) if self.why else min(1.0, self.share * 1.25)
