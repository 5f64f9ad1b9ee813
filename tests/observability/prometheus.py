"""A real Prometheus, asked over HTTP, and what is asked of it: every query of every dashboard and rule."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tests.observability.pace import PATIENCE

from trunkline.observability import lint, promql
from trunkline.observability.alerts import GROUPS
from trunkline.observability.rules import Alert, Rule, Scale, expression

__all__ = [
    "Known",
    "Prometheus",
    "Question",
    "answers",
    "asked_by_boards",
    "asked_by_rule",
    "asked_by_rules",
    "orphans",
]

ROOT = Path(__file__).parents[2]
SERIES_AT_MOST = 400
POINTS = 120
_HTTP = httpx.Client(timeout=PATIENCE)
PLAIN = re.compile(r"_(bucket|count|sum)$")
LEGEND = re.compile(r"\{\{\s*(\w+)\s*\}\}")
SUMMARY = re.compile(r"\$labels\.(\w+)")


@dataclass(frozen=True, slots=True)
class Question:
    """A query as it is asked, and where it comes from."""

    place: str
    expr: str
    names: frozenset[str] = frozenset()
    """The labels by which its series are told apart: in a panel's legend, or in an alert's summary."""


@dataclass(frozen=True, slots=True)
class Prometheus:
    """``since`` is when the run began: everything is asked over all of it."""

    url: str
    since: float

    def get(self, path: str, **parameters: Any) -> Any:
        answer = _HTTP.post(f"{self.url}/api/v1/{path}", data=parameters)
        return answer.status_code, answer.json()

    def series(self, expr: str) -> tuple[list[Mapping[str, Any]], str]:
        """The series that a query gives over the whole run, without those that are never a number; else why not."""
        now = time.time()
        step = max(1.0, (now - self.since) / POINTS)
        code, body = self.get("query_range", query=expr, start=self.since, end=now, step=step)
        if code != 200 or body["status"] != "success":
            return [], f"{code}: {body.get('error', '')}"
        if body.get("warnings"):
            return [], f"a warning: {body['warnings'][0]}"
        found = [
            each for each in body["data"]["result"] if any(not math.isnan(float(value)) for _, value in each["values"])
        ]
        return found, ""

    def values(self, metric: str, label: str) -> list[str]:
        place = f"{self.url}/api/v1/label/{label}/values"
        found: list[str] = _HTTP.get(place, params={"match[]": metric, "start": self.since}).json()["data"]
        return found

    def exemplars(self, series: str, trace_id: str, **labels: str) -> list[Mapping[str, Any]]:
        """What Prometheus keeps of a trace's measurements in a series with these labels."""
        wanted = ", ".join(f'{name}="{value}"' for name, value in labels.items())
        _, body = self.get("query_exemplars", query=f"{series}{{{wanted}}}", start=self.since, end=time.time() + 60)
        return [each for row in body["data"] for each in row["exemplars"] if each["labels"]["trace_id"] == trace_id]

    def firing(self) -> dict[str, list[Mapping[str, str]]]:
        """The alerts that fire now, by name, with their labels."""
        found: dict[str, list[Mapping[str, str]]] = {}
        for each in _HTTP.get(f"{self.url}/api/v1/alerts").json()["data"]["alerts"]:
            if each["state"] == "firing":
                found.setdefault(each["labels"]["alertname"], []).append(each["labels"])
        return found

    def fired(
        self, since: float, severity: str = "page|ticket", *, until: float | None = None
    ) -> dict[str, list[Mapping[str, str]]]:
        """The alerts that fired at any time since, by name, with their labels."""
        expr = f'ALERTS{{alertstate="firing", severity=~"{severity}"}}'
        _, body = self.get("query_range", query=expr, start=since, end=until or time.time(), step=1)
        found: dict[str, list[Mapping[str, str]]] = {}
        for each in body["data"]["result"]:
            found.setdefault(each["metric"]["alertname"], []).append(each["metric"])
        return found

    def unhealthy(self) -> list[str]:
        """Rules whose last evaluation failed."""
        groups = _HTTP.get(f"{self.url}/api/v1/rules").json()["data"]["groups"]
        return [f"{rule['name']}: {rule.get('lastError') or rule['health']}"
                for group in groups for rule in group["rules"] if rule["health"] != "ok"]  # fmt: skip

    def exported(self) -> set[str]:
        """The metrics of ours that anything exported, as they are declared: without the parts of a histogram."""
        names = self.values('{__name__=~"trunkline_.+"}', "__name__")
        return {PLAIN.sub("", name) for name in names if not name.endswith("_created")}


def boards() -> list[dict[str, Any]]:
    """The dashboards as they are committed."""
    return [json.loads(path.read_text(encoding="utf-8"))
            for path in sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))]  # fmt: skip


def asked_by_boards(dashboards: Sequence[Mapping[str, Any]], window: str) -> Iterator[Question]:
    """Panels, variables and annotations, with what Grafana puts in put in."""
    for board in dashboards:
        values = {"__rate_interval": window, "__range": "1h"}
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                values[variable["name"]] = variable["allValue"]
                metric, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
                expr = f"count by ({label}) ({metric})"
                yield Question(f"{board['uid']} / variable {variable['name']}", expr, frozenset((label,)))
        for place, expr, legend in lint.queries_of(board):
            yield Question(place, promql.substituted(expr, values), frozenset(LEGEND.findall(legend)))


def asked_by_rules(scale: Scale) -> Iterator[Question]:
    """Recordings as they are; alerts with each comparison giving 0 or 1, since they are silent while all is well."""
    for group in GROUPS:
        for rule in group.rules:
            yield asked_by_rule(rule, expression(rule, scale))


def asked_by_rule(rule: Rule, expr: str) -> Question:
    if not isinstance(rule, Alert):
        return Question(f"rule {rule.name}", expr)
    return Question(f"rule {rule.name}", promql.always(expr), frozenset(SUMMARY.findall(rule.summary)))


@dataclass(slots=True)
class Known:
    """What selectors find, each asked once: the labels that are on their series, or nothing when there are none."""

    prometheus: Prometheus
    _labels: dict[str, frozenset[str]] = field(default_factory=dict)

    def labels(self, selector: str) -> frozenset[str]:
        if selector not in self._labels:
            series, _ = self.prometheus.series(selector)
            self._labels[selector] = frozenset(name for each in series for name in each["metric"])
        return self._labels[selector]


def answers(known: Known, questions: Sequence[Question], waived: Mapping[str, str]) -> list[str]:
    """What is wrong with the answers, a sentence each. ``waived`` are selectors that need not find anything."""
    found = []
    for question in questions:
        series, problem = known.prometheus.series(question.expr)
        if problem:
            found.append(f"{question.place}: {problem}")
            continue
        selectors = promql.selectors(question.expr)
        dead = [each for each in selectors if not known.labels(each) and each not in waived]
        found += [f"{question.place}: nothing is there under {selector}" for selector in dead]
        if set(selectors) & waived.keys():
            continue
        if not series and not dead:
            found.append(f"{question.place}: no data for {question.expr}")
        there = {label for selector in selectors for label in known.labels(selector)}
        found += [f"{question.place}: nothing that it reads has the label {label}"
                  for label in sorted(promql.grouped(question.expr) - there) if selectors and not dead]  # fmt: skip
        nameless = [label for label in question.names if not all(each["metric"].get(label) for each in series)]
        found += [f"{question.place}: a series has no {label}, by which it is named" for label in sorted(nameless)]
        if len(series) > SERIES_AT_MOST:
            found.append(f"{question.place}: {len(series)} series, which nobody can read")
    return found


def orphans(exported: set[str], questions: Sequence[Question], waived: Mapping[str, str]) -> list[str]:
    """Metrics that are measured and that no panel and no rule looks at."""
    used = {PLAIN.sub("", name) for question in questions for name in promql.metrics_of(question.expr)}
    found = [f"{name} is exported and nobody looks at it" for name in sorted(exported - used - waived.keys())]
    return found + [f"the waiver of {name} is not needed" for name in sorted(waived.keys() & used)]
