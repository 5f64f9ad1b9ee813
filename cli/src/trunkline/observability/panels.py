"""The words that dashboards are written in: a few panels, each with title, description and unit, over Grafana's SDK."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import common, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as grafana
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as prometheus_models

from trunkline.observability.jobs import SERVICE_JOBS

__all__ = ["Board", "Panel", "Query", "Row", "Variable", "as_json", "figure", "graph", "listing"]

DATASOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH = 24
HEIGHT = 8
RESTARTS = f'time() - process_start_time_seconds{{job=~"{SERVICE_JOBS}"}} < 30'

Panel = timeseries.Panel | stat.Panel | table.Panel


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression and how its series are named."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of a dashboard: the values of ``label`` on ``metric``."""

    name: str
    metric: str
    label: str
    description: str

    @property
    def query(self) -> str:
        return f"label_values({self.metric}, {self.label})"


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """A dashboard. ``uid`` is its address and never changes."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = ()


def graph(
    title: str,
    unit: str,
    description: str,
    *queries: Query,
    limit: float | None = None,
    width: int = 12,
    stacked: bool = False,
) -> timeseries.Panel:
    """Lines over time. ``limit`` draws the line that must not be crossed."""
    legend = common.VizLegendOptions().display_mode(common_models.LegendDisplayMode.LIST).show_legend(True)
    panel = (
        timeseries.Panel().title(title).unit(unit).description(description).datasource(DATASOURCE).min(0)
        .height(HEIGHT).span(width).fill_opacity(20 if stacked else 8).line_width(1)
        .show_points(common_models.VisibilityMode.NEVER)
        .legend(legend.placement(common_models.LegendPlacement.BOTTOM).calcs(["lastNotNull", "max"]))
        .tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
    )  # fmt: skip
    if stacked:
        panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL).group("A"))
    if limit is not None:
        panel.thresholds(_thresholds(("green", None), ("red", limit)))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(common_models.GraphThresholdsStyleMode.DASHED))
    for place, query in enumerate(queries):
        target = _target(query, place).range()
        # Only buckets carry exemplars: the dots that lead from a measurement to its trace.
        panel.with_target(target.exemplar(True) if "_bucket" in query.expr else target)
    return panel


def figure(
    title: str,
    unit: str,
    description: str,
    expr: str,
    *,
    bad_above: float | None = None,
    bad_below: float | None = None,
    legend: str = "",
    width: int = 4,
) -> stat.Panel:
    """One number as it is now, red beyond its limit."""
    steps: list[tuple[str, float | None]] = [("blue", None)]
    if bad_above is not None:
        steps = [("green", None), ("red", bad_above)]
    elif bad_below is not None:
        steps = [("red", None), ("green", bad_below)]
    return (
        stat.Panel().title(title).unit(unit).description(description).datasource(DATASOURCE)
        .height(4).span(width).thresholds(_thresholds(*steps))
        .graph_mode(common_models.BigValueGraphMode.AREA).color_mode(common_models.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
        .with_target(_target(Query(expr, legend), 0).range())
    )  # fmt: skip


def listing(
    title: str, unit: str, description: str, expr: str, *, width: int = 12, height: int = HEIGHT
) -> table.Panel:
    """The series of one query as rows of a table, the value last."""
    hide = models.DataTransformerConfig(
        id_val="organize",
        options={"excludeByName": {"Time": True, "__name__": True, "job": True, "instance": True, "server": True}},
    )
    target = _target(Query(expr), 0).instant().format(prometheus_models.PromQueryFormat.TABLE)
    return (
        table.Panel().title(title).unit(unit).description(description).datasource(DATASOURCE)
        .height(height).span(width).with_target(target).with_transformation(hide)
    )  # fmt: skip


def _target(query: Query, place: int) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).ref_id("ABCDEFGHIJ"[place]).datasource(DATASOURCE)
    return target.legend_format(query.legend) if query.legend else target


def _thresholds(*steps: tuple[str, float | None]) -> grafana.ThresholdsConfig:
    levels = [models.Threshold(color=color, value=value) for color, value in steps]
    return grafana.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(levels)


def as_json(board: Board) -> str:
    """The dashboard as Grafana imports it; the same text for the same board."""
    made: dict[str, Any] = json.loads(json.dumps(_build(board).build(), cls=JSONEncoder))
    for number, panel in enumerate(made["panels"], start=1):
        panel["id"] = number
        if panel["type"] != "row":
            # The SDK leaves out a bottom step without a value, and Grafana then has no colour below the first limit.
            for step in panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", []):
                step.setdefault("value", None)
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def _build(board: Board) -> grafana.Dashboard:
    built = (
        grafana.Dashboard(board.title).uid(board.uid).description(board.description).tags(["trunkline"])
        .readonly().refresh("30s").time("now-1h", "now").timezone("browser").version(1)
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(grafana.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .link(grafana.DashboardLink("Trunkline").type(models.DashboardLinkType.DASHBOARDS)
              .tags(["trunkline"]).as_dropdown(True).keep_time(True).include_vars(False))
        .annotation(_annotation("Alerts", "red", 'ALERTS{alertstate="firing", severity="page"}'))
        .annotation(_annotation("Restarts", "orange", RESTARTS))
    )  # fmt: skip
    for variable in board.variables:
        built.with_variable(_variable(variable))
    for row in board.rows:
        built.with_row(grafana.Row(row.title))
        for panel in row.panels:
            built.with_panel(panel)
    return built


def _annotation(name: str, color: str, expr: str) -> grafana.AnnotationQuery:
    return grafana.AnnotationQuery().name(name).datasource(DATASOURCE).enable(True).icon_color(color).expr(expr)


def _variable(variable: Variable) -> grafana.QueryVariable:
    return (
        grafana.QueryVariable(variable.name).description(variable.description).datasource(DATASOURCE)
        .query({"qryType": 1, "query": variable.query, "refId": variable.name})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True).include_all(True).all_value(".*")
        .current(models.VariableOption(selected=True, text="All", value="$__all"))
    )  # fmt: skip
