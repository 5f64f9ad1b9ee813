"""Whether a vendor is asked at all. Pure: the state of one account's breaker, moved by results and by time.

Opens when half of a window's requests failed, at least five; then lets one request through after a pause that doubles
with every failure of that one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

__all__ = ["Breaker", "admit", "noted"]

State = Literal["closed", "open", "half_open"]

WINDOW = timedelta(seconds=60)
FAILURES_LEAST = 5
FAILURE_RATIO = 0.5
PAUSE = timedelta(seconds=15)
PAUSE_MOST = timedelta(minutes=10)
PROBE = timedelta(seconds=30)
"""How long the result of the one request is waited for, before another one is let through."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Breaker:
    state: State = "closed"
    window_at: datetime | None = None
    """Since when ``good`` and ``bad`` are counted."""
    good: int = 0
    bad: int = 0
    trips: int = 0
    """How often it opened without a success in between."""
    until: datetime | None = None
    """Before that nothing is let through."""


def admit(breaker: Breaker, now: datetime) -> tuple[Breaker, bool]:
    """The breaker after somebody wants to ask, and whether they may."""
    if breaker.state == "closed":
        return breaker, True
    if breaker.until is not None and now < breaker.until:
        return breaker, False
    return replace(breaker, state="half_open", until=now + PROBE), True


def noted(breaker: Breaker, healthy: bool, now: datetime) -> Breaker:
    """The breaker after a request has ended. What was let through before it opened changes nothing any more."""
    if breaker.state == "open":
        return breaker
    if breaker.state == "half_open":
        return Breaker() if healthy else _opened(breaker, now)
    if breaker.window_at is None or now - breaker.window_at >= WINDOW:
        breaker = Breaker(window_at=now)
    after = replace(breaker, good=breaker.good + healthy, bad=breaker.bad + (not healthy))
    if after.bad >= FAILURES_LEAST and after.bad >= FAILURE_RATIO * (after.good + after.bad):
        return _opened(after, now)
    return after


def _opened(breaker: Breaker, now: datetime) -> Breaker:
    pause = min(PAUSE * 2 ** min(breaker.trips, 10), PAUSE_MOST)
    return Breaker(state="open", trips=breaker.trips + 1, until=now + pause)
