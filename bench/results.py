"""What a measurement gives: a row for the table and for ``.run/bench/latest.json``."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

__all__ = ["Addresses", "Result", "percentile"]


@dataclass(frozen=True, slots=True)
class Addresses:
    """The servers to measure on. ``postgres_dsn`` is a superuser's."""

    postgres_dsn: str
    kafka_bootstrap: str
    redis_url: str


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

    def row(self) -> dict[str, Any]:
        return {**asdict(self), "at": datetime.now(UTC).isoformat(timespec="seconds")}


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered)) - 1))]


def own_rss_mb() -> float:
    """The most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cores() -> int:
    return len(os.sched_getaffinity(0))
