"""What a measurement gives: a row for the table and for ``.run/bench/latest.json``."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

__all__ = ["TARGETS", "Addresses", "Result", "Target", "percentile", "percentiles"]


@dataclass(frozen=True, slots=True)
class Addresses:
    """The servers to measure on. ``postgres_dsn`` is a superuser's."""

    postgres_dsn: str
    kafka_bootstrap: str
    redis_url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What a figure is to reach: no less in ``value`` and ``ratio``, no more in ``most``, which is of ``value`` too, in
    ``p99_ms`` and in ``rss_mb``."""

    value: float | None = None
    ratio: float | None = None
    most: float | None = None
    """Of a value of which less is better."""
    p99_ms: float | None = None
    rss_mb: float | None = None

    def __str__(self) -> str:
        parts = {
            "≥ {:,.0f}/s": self.value,
            "≥ {}": self.ratio,
            "≤ {:g}": self.most,
            "p99 ≤ {:.0f} ms": self.p99_ms,
            "≤ {:.0f} MB": self.rss_mb,
        }
        return ", ".join(form.format(bound) for form, bound in parts.items() if bound is not None)


TARGETS = {
    "relay": Target(value=40_000, ratio=0.7),
    "consume_single": Target(value=5_000),
    "consume_batch": Target(value=25_000),
    "event_age": Target(p99_ms=50),
    "import": Target(value=33_425, rss_mb=300),
    "reimport": Target(most=1),
    "nightly": Target(most=3),
    "import_tenfold": Target(most=11),
    "midring_fleet": Target(p99_ms=5),
    "search": Target(p99_ms=100),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """``ratio`` is value over limit; for figures where less is better it is limit over value."""

    name: str
    value: float
    unit: str
    limit_name: str = ""
    limit: float | None = None
    ratio: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    rss_mb: float | None = None
    note: str = ""

    @property
    def target(self) -> Target | None:
        return TARGETS.get(self.name)

    @property
    def met(self) -> bool | None:
        """Whether it reaches its target; nothing when it has none."""
        if self.target is None:
            return None
        at_least = [(self.value, self.target.value), (self.ratio, self.target.ratio)]
        met = [(found or 0.0) >= bound for found, bound in at_least if bound is not None]
        at_most = [(self.value, self.target.most), (self.p99_ms, self.target.p99_ms), (self.rss_mb, self.target.rss_mb)]
        met += [found is not None and found <= bound for found, bound in at_most if bound is not None]
        return all(met)

    def row(self) -> dict[str, Any]:
        target = None if self.target is None else str(self.target)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return {**asdict(self), "target": target, "met": self.met, "at": at}


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered)) - 1))]


def percentiles(values: Sequence[float]) -> tuple[float, float, float]:
    """What half of the values, 95 and 99 of a hundred do not exceed."""
    return percentile(values, 0.5), percentile(values, 0.95), percentile(values, 0.99)


def own_rss_mb() -> float:
    """The most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cores() -> int:
    return len(os.sched_getaffinity(0))
