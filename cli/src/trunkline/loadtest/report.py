"""The figures of a run: how long answers took, what failed, what was lost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trunkline.loadtest.shoot import Fired

__all__ = ["SHARES", "Figures", "Report", "figures", "percentile", "report"]

SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the sorted values that at least this share of them does not exceed (nearest rank)."""
    return values[max(0, math.ceil(share * len(values)) - 1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Of webhooks of one kind, or of effects; milliseconds."""

    count: int
    failed: int
    p50: float
    p95: float
    p99: float
    p999: float
    slowest: float


def figures(seconds: Sequence[float], failed: int = 0) -> Figures | None:
    """Of what came through; nothing when nothing did."""
    if not seconds:
        return None
    ordered = sorted(value * 1000 for value in seconds)
    p50, p95, p99, p999 = (round(percentile(ordered, share), 3) for share in SHARES.values())
    return Figures(
        count=len(ordered) + failed, failed=failed, p50=p50, p95=p95, p99=p99, p999=p999, slowest=round(ordered[-1], 3)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    calls: int
    rate: float
    """Calls a second that were really begun."""
    rings: Figures | None
    statuses: Figures | None
    effects: Figures | None
    """From the moment that a ring was due until its event was published; absent when nobody listened."""
    errors: Mapping[str, int]
    """By HTTP status, or the kind of failure when no answer came."""
    lost: int
    """Rings that were answered and led to no event in time."""
    slip_ms: float
    """By how much this process was late for one webhook in a hundred (p99)."""

    @property
    def clean(self) -> bool:
        return not self.errors and not self.lost

    @property
    def slipped(self) -> bool:
        """Whether this machine was too slow to send in time, so that the figures are its own and not the router's."""
        return self.rings is not None and self.slip_ms > max(5.0, self.rings.p99 / 2)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "clean": self.clean, "slipped": self.slipped}


def report(fired: Sequence[Fired], seconds: float, published: Mapping[str, float] | None) -> Report:
    """``published`` says when each call's event was there; none at all when nobody listened."""
    rings = [each for each in fired if each.kind == "ring"]
    answered = [each for each in rings if _ok(each)]
    effects = None
    lost = 0
    if published is not None:
        effects = figures([published[each.call_id] - each.due for each in answered if each.call_id in published])
        lost = sum(each.call_id not in published for each in answered)
    slips = sorted(each.slip * 1000 for each in fired)
    return Report(
        calls=len(rings),
        rate=round(len(rings) / seconds, 1),
        rings=_of(rings),
        statuses=_of([each for each in fired if each.kind != "ring"]),
        effects=effects,
        errors=dict(Counter(each.error or f"HTTP {each.status}" for each in fired if not _ok(each))),
        lost=lost,
        slip_ms=round(percentile(slips, 0.99), 3) if slips else 0.0,
    )


def _ok(each: Fired) -> bool:
    # Exotel's Passthru reads a redirect as "nobody": an answer like any other.
    return 200 <= each.status < 400


def _of(fired: Sequence[Fired]) -> Figures | None:
    good = [each.seconds for each in fired if _ok(each)]
    return figures(good, failed=len(fired) - len(good))
