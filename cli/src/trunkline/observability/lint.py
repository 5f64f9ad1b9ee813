"""What every dashboard and every alert must have, checked on what is generated, as Grafana and Prometheus read it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from trunkline.observability import promql
from trunkline.observability.rules import Alert, Group, Recording

__all__ = ["in_dashboard", "in_rules", "queries_of"]

COLUMNS = 24
RATE = re.compile(r"\b(rate|increase|irate|delta|changes)\s*\(")
WINDOW = re.compile(r"\[([^\]]+)\]")
WINDOWS = ("$__rate_interval", "$__range")
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def queries_of(dashboard: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Every PromQL expression of a dashboard, after where it stands and before its legend: panels and annotations."""
    for panel in _panels(dashboard):
        for target in panel.get("targets", []):
            yield (
                f"{dashboard['uid']} / {panel['title']} / {target['refId']}",
                target["expr"],
                target.get("legendFormat", ""),
            )
    for annotation in dashboard["annotations"].get("list", []):
        yield f"{dashboard['uid']} / annotation {annotation['name']}", annotation["expr"], ""


def _panels(dashboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def in_dashboard(dashboard: Mapping[str, Any]) -> list[str]:
    """What is wrong with a dashboard, a sentence each."""
    found = []
    if not dashboard.get("uid", "").startswith("trunkline-"):
        found.append("its uid does not begin with trunkline-")
    if not dashboard.get("description"):
        found.append("it has no description")
    first: dict[str, Any] = next(iter(dashboard["templating"]["list"]), {})
    if (first.get("name"), first.get("type"), first.get("query")) != ("datasource", "datasource", "prometheus"):
        found.append("its first variable is not the data source")
    ids = [panel["id"] for panel in dashboard["panels"]]
    if len(set(ids)) != len(ids):
        found.append("panels share an id")
    found += [f"{panel['title'] or '(no title)'}: {why}" for panel in _panels(dashboard) for why in _in_panel(panel)]
    found += _in_rows(dashboard)
    found += [f"annotation {each['name']}: another data source than the one chosen"
              for each in dashboard["annotations"].get("list", []) if each.get("datasource") != DATASOURCE]  # fmt: skip
    return [f"{dashboard.get('uid')}: {each}" for each in found]


def _in_panel(panel: Mapping[str, Any]) -> Iterator[str]:
    if not panel.get("title"):
        yield "it has no title"
    if len(panel.get("description", "")) < 20 or panel.get("description") == panel.get("title"):
        yield "its description does not say what is shown and what is bad"
    if not panel["fieldConfig"]["defaults"].get("unit"):
        yield "it has no unit"
    if panel.get("datasource") != DATASOURCE:
        yield "it does not use the data source that is chosen"
    targets = panel.get("targets", [])
    if not targets:
        yield "it asks nothing"
    if len({target["refId"] for target in targets}) != len(targets):
        yield "its queries share a letter"
    place = panel["gridPos"]
    if place["x"] + place["w"] > COLUMNS:
        yield "it leaves the grid"
    for target in targets:
        yield from _in_query(target, panel["type"])
        if panel["type"] == "timeseries" and "_bucket" in target["expr"] and not target.get("exemplar"):
            yield f"query {target['refId']} reads a histogram and asks for no exemplars"


def _in_query(target: Mapping[str, Any], kind: str) -> Iterator[str]:
    expr = target["expr"]
    if target.get("datasource") != DATASOURCE:
        yield f"query {target['refId']} does not use the data source that is chosen"
    for window in WINDOW.findall(expr):
        if window not in WINDOWS:
            yield f"query {target['refId']} looks over [{window}]; use [$__rate_interval] or [$__range]"
    if len(RATE.findall(expr)) > len(WINDOW.findall(expr)):
        yield f"query {target['refId']} has a rate without a window"
    for selector in promql.selectors(expr):
        name = selector.partition("{")[0]
        # A table may show what has come together since a process started, and says so.
        if name.endswith("_total") and kind != "table" and not re.search(rf"(rate|increase)\(\s*{name}\b", expr):
            yield f"query {target['refId']} shows the counter {name} itself; show its rate"
    if kind == "timeseries" and not target.get("legendFormat"):
        yield f"query {target['refId']} names its series by nothing; give a legend"


def _in_rows(dashboard: Mapping[str, Any]) -> Iterator[str]:
    titles: set[str] = set()
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        if cells & taken:
            yield f"{panel['title']}: it lies over another panel"
        taken |= cells
        if panel["type"] == "row":
            titles = set()
        elif panel["title"] in titles:
            yield f"{panel['title']}: its row has two of this title"
        titles.add(panel["title"])


def in_rules(groups: tuple[Group, ...]) -> list[str]:
    """What is wrong with the rules, a sentence each."""
    rules = [rule for group in groups for rule in group.rules]
    names = [rule.name for rule in rules]
    found = [f"{name} is there twice" for name in sorted(set(names)) if names.count(name) > 1]
    recorded = {rule.name for rule in rules if isinstance(rule, Recording)}
    for rule in rules:
        unknown = {name for name in promql.metrics_of(rule.expr) if ":" in name} - recorded
        found += [f"{rule.name} reads {name}, which no rule records" for name in sorted(unknown)]
        if isinstance(rule, Alert):
            found += [f"{rule.name}: {why}" for why in _in_alert(rule)]
    return found


def _in_alert(alert: Alert) -> Iterator[str]:
    if not re.fullmatch(r"([A-Z][a-z]+)+", alert.name):
        yield "its name is not in CamelCase"
    if len(alert.summary) < 30:
        yield "its summary does not say what is wrong"
    literal = [window for window in WINDOW.findall(alert.expr) if not window.startswith("$")]
    if literal:
        yield f"it looks over [{literal[0]}], which a test cannot scale; name the window"
    unused = [name for name in alert.windows if f"${name}" not in alert.expr and f"${{{name}_" not in alert.expr]
    if unused:
        yield f"it does not use its window {unused[0]}"
