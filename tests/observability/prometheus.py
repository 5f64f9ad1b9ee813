"""A real Prometheus, asked over HTTP, and what is asked of it: every query of every dashboard and rule."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from trunkline.observability import lint, promql
from trunkline.observability.alerts import GROUPS
from trunkline.observability.rules import Alert, Scale, expression

__all__ = ["Prometheus", "Question", "answers", "asked_by_boards", "asked_by_rules", "orphans"]

ROOT = Path(__file__).parents[2]
SERIES_AT_MOST = 400
WINDOW = "15s"
POINTS = 120
_HTTP = httpx.Client(timeout=30)
PLAIN = re.compile(r"_(bucket|count|sum)$")


@dataclass(frozen=True, slots=True)
class Question:
    """A query as it is asked, and where it comes from."""

    place: str
    expr: str


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

    def firing(self) -> dict[str, list[Mapping[str, str]]]:
        """The alerts that fire now, by name, with their labels."""
        found: dict[str, list[Mapping[str, str]]] = {}
        for each in _HTTP.get(f"{self.url}/api/v1/alerts").json()["data"]["alerts"]:
            if each["state"] == "firing":
                found.setdefault(each["labels"]["alertname"], []).append(each["labels"])
        return found

    def fired(self, since: float, severity: str) -> dict[str, list[Mapping[str, str]]]:
        """The alerts that fired at any time since, by name."""
        expr = f'ALERTS{{alertstate="firing", severity="{severity}"}}'
        _, body = self.get("query_range", query=expr, start=since, end=time.time(), step=1)
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


def asked_by_boards(dashboards: Sequence[Mapping[str, Any]]) -> Iterator[Question]:
    """Panels, variables and annotations, with what Grafana puts in put in."""
    for board in dashboards:
        values = {"__rate_interval": WINDOW, "__range": "1h"}
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                values[variable["name"]] = variable["allValue"]
                metric, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
                yield Question(f"{board['uid']} / variable {variable['name']}", f"count by ({label}) ({metric})")
        for place, expr in lint.queries_of(board):
            yield Question(place, promql.substituted(expr, values))


def asked_by_rules(scale: Scale) -> Iterator[Question]:
    """Recordings as they are; alerts with each comparison giving 0 or 1, since they are silent while all is well."""
    for group in GROUPS:
        for rule in group.rules:
            expr = expression(rule, scale)
            yield Question(f"rule {rule.name}", promql.always(expr) if isinstance(rule, Alert) else expr)


def answers(prometheus: Prometheus, questions: Sequence[Question], waived: Mapping[str, str]) -> list[str]:
    """What is wrong with the answers, a sentence each. ``waived`` are selectors that need not find anything."""
    found = []
    alive: dict[str, bool] = {}
    for question in questions:
        series, problem = prometheus.series(question.expr)
        if problem:
            found.append(f"{question.place}: {problem}")
            continue
        dead = []
        for selector in promql.selectors(question.expr):
            if selector not in alive:
                alive[selector] = bool(prometheus.series(selector)[0])
            if not alive[selector] and selector not in waived:
                dead.append(selector)
        found += [f"{question.place}: nothing is there under {selector}" for selector in dead]
        if not series and not dead and not set(promql.selectors(question.expr)) & waived.keys():
            found.append(f"{question.place}: no data for {question.expr}")
        if len(series) > SERIES_AT_MOST:
            found.append(f"{question.place}: {len(series)} series, which nobody can read")
    return found


def orphans(exported: set[str], questions: Sequence[Question], waived: Mapping[str, str]) -> list[str]:
    """Metrics that are measured and that no panel and no rule looks at."""
    used = {PLAIN.sub("", name) for question in questions for name in promql.metrics_of(question.expr)}
    found = [f"{name} is exported and nobody looks at it" for name in sorted(exported - used - waived.keys())]
    return found + [f"the waiver of {name} is not needed" for name in sorted(waived.keys() & used)]
