"""The only way to declare a metric: with its unit and its meaning, in one list of all, by which they are judged."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from typing import Literal, NamedTuple, TypeVar

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

__all__ = ["Kind", "Metric", "Unit", "child", "counter", "declare", "declared", "gauge", "histogram"]

M = TypeVar("M", bound=MetricWrapperBase)
Kind = Literal["counter", "gauge", "histogram"]
Unit = Literal["1", "seconds", "seconds of the epoch", "bytes", "offset", "process id"]
ENDINGS: dict[str, Unit] = {"_timestamp_seconds": "seconds of the epoch", "_seconds": "seconds", "_bytes": "bytes"}


class Metric(NamedTuple):
    package: str
    name: str
    """As it is exposed: a counter's ends in ``_total``."""
    kind: Kind
    unit: Unit
    labels: tuple[str, ...]
    meaning: str


_declared: dict[str, Metric] = {}


def declared() -> list[Metric]:
    """Every metric of the modules that are loaded, by package and name."""
    return sorted(_declared.values())


def declare(kind: Kind, name: str, unit: Unit, meaning: str, labels: Sequence[str], depth: int = 1) -> Metric:
    """Of an exporter that makes its figures when it is asked; whatever else measures has the functions below.

    ``depth`` is how far up the module is whose metric it is.
    """
    said = next((unit for ending, unit in ENDINGS.items() if name.endswith(ending)), unit)
    if not name.startswith("trunkline_") or not meaning or said != unit:
        raise ValueError(f"{name} in {unit!r} is not as metrics are declared: trunkline_…, its unit last, its meaning")
    package = sys._getframe(depth).f_globals["__name__"].partition(".")[0]
    exposed = f"{name}_total" if kind == "counter" else name
    metric = Metric(package, exposed, kind, unit, tuple(labels), meaning)
    if _declared.setdefault(exposed, metric) != metric:
        raise ValueError(f"{exposed} is declared twice")
    return metric


def counter(name: str, unit: Unit, meaning: str, labels: Sequence[str] = ()) -> Counter:
    return Counter(name, declare("counter", name, unit, meaning, labels, 2).meaning, labels)


def gauge(name: str, unit: Unit, meaning: str, labels: Sequence[str] = ()) -> Gauge:
    return Gauge(name, declare("gauge", name, unit, meaning, labels, 2).meaning, labels)


def histogram(name: str, unit: Unit, meaning: str, labels: Sequence[str], buckets: Sequence[float]) -> Histogram:
    return Histogram(name, declare("histogram", name, unit, meaning, labels, 2).meaning, labels, buckets=buckets)


@cache
def child(metric: M, *labels: str) -> M:
    """``metric.labels(...)``, remembered: looking it up costs a hot path more than counting."""
    return metric.labels(*labels)
