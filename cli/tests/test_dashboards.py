"""Dashboards and rules as data: current, sound, and whatever is not is found."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry import trace

from kit.telemetry import exemplar
from trunkline.observability import generate, lint, promql
from trunkline.observability.alerts import GROUPS
from trunkline.observability.dashboards import DASHBOARDS
from trunkline.observability.panels import as_json
from trunkline.observability.rules import Alert, Group, Recording, Scale, duration, expression, render

ROOT = Path(__file__).parents[2]
#: A dashboard's address, in bookmarks and runbooks. Names are only ever added here.
UIDS = {
    "trunkline-brain", "trunkline-dead-letters", "trunkline-fleet", "trunkline-ingress", "trunkline-notifier",
    "trunkline-outbound",
    "trunkline-pipeline", "trunkline-postgres", "trunkline-redis", "trunkline-router", "trunkline-tenants",
    "trunkline-vault",
}  # fmt: skip

Board = dict[str, Any]


def boards() -> list[Board]:
    return [json.loads(as_json(board)) for board in DASHBOARDS]


def first_panel(board: Board, kind: str = "timeseries") -> dict[str, Any]:
    found: dict[str, Any] = next(panel for panel in board["panels"] if panel["type"] == kind)
    return found


def test_what_is_generated_is_what_is_committed() -> None:
    assert generate.stale(ROOT) == []


def test_an_edited_a_missing_and_a_left_over_file_are_stale(tmp_path: Path) -> None:
    generate.write(tmp_path)
    assert generate.stale(tmp_path) == []
    (tmp_path / "deploy/grafana/dashboards/fleet.json").write_text("{}")
    (tmp_path / "deploy/prometheus/rules/work.yml").unlink()
    (tmp_path / "deploy/grafana/dashboards/old.json").write_text("{}")

    assert generate.stale(tmp_path) == [
        "deploy/grafana/dashboards/fleet.json is not current",
        "deploy/prometheus/rules/work.yml is missing",
        "deploy/grafana/dashboards/old.json is made from nothing any more",
    ]
    assert len(generate.write(tmp_path)) == 3
    assert generate.stale(tmp_path) == []


def test_addresses_of_dashboards_never_change() -> None:
    assert {board.uid for board in DASHBOARDS} == UIDS


def test_every_dashboard_and_every_rule_is_sound() -> None:
    assert [why for board in boards() for why in lint.in_dashboard(board)] == []
    assert lint.in_rules(GROUPS) == []


def _without(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(panel: dict[str, Any]) -> None:
        for each in path[:-1]:
            panel = panel[each]
        panel.pop(path[-1])

    return change


def _expr(text: str) -> Callable[[dict[str, Any]], None]:
    def change(panel: dict[str, Any]) -> None:
        panel["targets"][0]["expr"] = text

    return change


def _placed(**at: int) -> Callable[[dict[str, Any]], None]:
    return lambda panel: panel["gridPos"].update(at)


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (_without("title"), "it has no title"),
        (_without("description"), "its description does not say"),
        (_without("fieldConfig", "defaults", "unit"), "it has no unit"),
        (_without("datasource"), "it does not use the data source"),
        (_without("targets"), "it asks nothing"),
        (lambda panel: panel["targets"][0].pop("datasource"), "query A does not use the data source"),
        (lambda panel: panel["targets"][0].pop("legendFormat"), "names its series by nothing"),
        (lambda panel: panel["targets"].append(panel["targets"][0]), "its queries share a letter"),
        (_expr("rate(up[5m])"), r"looks over \[5m\]"),
        (_expr("rate(up)"), "has a rate without a window"),
        (_expr("trunkline_webhooks_total"), "shows the counter trunkline_webhooks_total itself"),
        (_expr("rate(a_bucket[$__rate_interval])"), "asks for no exemplars"),
        (_placed(x=20), "it leaves the grid"),
        (_placed(x=0, y=0), "it lies over another panel"),
    ],
)  # fmt: skip
def test_a_panel_that_lacks_something_is_found(change: Callable[[dict[str, Any]], None], finding: str) -> None:
    board = boards()[0]
    panel = first_panel(board)
    panel.setdefault("title", "")
    change(panel)
    panel.setdefault("title", "")

    with pytest.raises(AssertionError, match=finding):
        assert not lint.in_dashboard(board), "\n".join(lint.in_dashboard(board))


def test_a_dashboard_without_its_data_source_or_with_shared_ids_is_found() -> None:
    board = copy.deepcopy(boards()[0])
    board["templating"]["list"].pop(0)
    board["panels"][1]["id"] = board["panels"][0]["id"]
    found = "\n".join(lint.in_dashboard(board))
    assert "its first variable is not the data source" in found
    assert "panels share an id" in found


def test_an_alert_that_cannot_be_scaled_or_reads_what_nobody_records_is_found() -> None:
    alert = Alert(
        name="Made", expr="increase(up[5m]) > slo:nothing:rate5m", wait=0, severity="page", runbook="made",
        summary="Something is wrong with something", windows={"age": 60},
    )  # fmt: skip
    found = "\n".join(lint.in_rules((Group("made", [alert, alert]),)))
    for why in ("is there twice", "slo:nothing:rate5m, which no rule records", "looks over [5m]", "its window age"):
        assert why in found


def test_windows_shrink_thresholds_and_logic_do_not() -> None:
    alert = Alert(
        name="Made", expr="increase(up[$window]) > 20 and age > ${age_seconds}", wait=300, severity="page",
        runbook="made", summary="Something is wrong with something", windows={"window": 3600, "age": 600},
    )  # fmt: skip
    assert expression(alert) == "increase(up[1h]) > 20 and age > 600"
    assert expression(alert, Scale(by=60, floor=30, least=20)) == "increase(up[1m]) > 20 and age > 20"
    assert "for: 5m" in render(Group("made", [alert]))
    assert "for: 5s" in render(Group("made", [alert]), Scale(60, 30))
    # No look wakes anybody alone: what holds for a moment holds for so long at least.
    assert "for: 12s" in render(Group("made", [alert]), Scale(60, 30, hold=12))


def test_a_recorded_name_keeps_its_window_when_windows_shrink() -> None:
    recording = Recording(name="slo:x:rate1h", expr="rate(up[$window])", windows={"window": 3600})
    assert "record: slo:x:rate1h" in render(Group("made", [recording]), Scale(60, 5))
    assert "rate(up[1m])" in render(Group("made", [recording]), Scale(60, 5))


@pytest.mark.parametrize(("seconds", "text"), [(1, "1s"), (90, "90s"), (300, "5m"), (7200, "2h"), (259200, "3d")])
def test_durations_are_written_in_whole_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("expr", "found"),
    [
        ("up", ["up"]),
        ('sum by (le, service) (rate(a_bucket{le="0.5", x!="{}"}[5m]))', ['a_bucket{le="0.5", x!="{}"}']),
        ("a / on (job) group_left (x) b > 1e3", ["a", "b"]),
        ("max by (g) (lag) > ${age_seconds} and lag offset $window", ["lag"]),
        ("histogram_quantile(0.99, sum by (le) (rate(a_bucket[$__rate_interval])))", ["a_bucket"]),
        ("slo:a:ratio1h > 0.144 and vector(1)", ["slo:a:ratio1h"]),
        ("topk(5, a) or 0 * b", ["a", "b"]),
    ],
)
def test_the_selectors_of_an_expression(expr: str, found: list[str]) -> None:
    assert promql.selectors(expr) == found


@pytest.mark.parametrize(
    ("expr", "found"),
    [
        ("up == 0", "up == bool 0"),
        ('a{code!="5..", x=~">"} > 1 and b <= 2', 'a{code!="5..", x=~">"} > bool 1 and b <= bool 2'),
        ("a > bool 1", "a > bool 1"),
    ],
)
def test_comparisons_become_values(expr: str, found: str) -> None:
    assert promql.always(expr) == found


def test_variables_are_put_in_as_grafana_does() -> None:
    values = {"__range": "1h", "tenant": ".*"}
    assert promql.substituted('a{t=~"$tenant"}[$__range] ${tenant:regex} $other', values) == 'a{t=~".*"}[1h] .* $other'


def test_exemplars_lead_from_a_panel_to_a_trace() -> None:
    asked = [target for board in boards() for panel in board["panels"] for target in panel.get("targets", [])
             if target.get("exemplar")]  # fmt: skip
    assert len(asked) > 10
    assert all("_bucket" in target["expr"] and target["range"] for target in asked)
    source = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())
    (leads_to,) = source["datasources"][0]["jsonData"]["exemplarTraceIdDestinations"]
    with trace.use_span(trace.NonRecordingSpan(trace.SpanContext(1, 1, False, trace.TraceFlags(1)))):
        mark = exemplar()
    assert mark is not None
    assert leads_to["name"] in mark
    # A single $ would be taken for a variable of the environment.
    assert leads_to["url"].endswith("$${__value.raw}")
