"""Figures that an exporter makes when it is asked, declared as every metric is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from kit.metrics import Metric, Unit, declare

__all__ = ["CounterMetricFamily", "Figure", "GaugeMetricFamily", "counted", "shown"]


@dataclass(frozen=True, slots=True)
class Figure:
    metric: Metric

    def gauge(self, value: float | None = None) -> GaugeMetricFamily:
        """With its value, or to be filled by labels."""
        if value is not None:
            return GaugeMetricFamily(self.metric.name, self.metric.meaning, value=value)
        return GaugeMetricFamily(self.metric.name, self.metric.meaning, labels=self.metric.labels)

    def counter(self) -> CounterMetricFamily:
        return CounterMetricFamily(self.metric.name, self.metric.meaning, labels=self.metric.labels)


def shown(name: str, unit: Unit, meaning: str, labels: Sequence[str] = ()) -> Figure:
    """A gauge."""
    return Figure(declare("gauge", name, unit, meaning, labels))


def counted(name: str, unit: Unit, meaning: str, labels: Sequence[str] = ()) -> Figure:
    return Figure(declare("counter", name, unit, meaning, labels))
