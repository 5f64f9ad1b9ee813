"""Pages of the documentation that are made from the code: ``python -m trunkline.documentation`` writes them.

The metrics are read from the syntax of the sources, not by importing them, so that the page does not depend on
which services happen to be installed.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Metric", "metrics_in", "metrics_page"]

KINDS = {
    "Counter": "counter", "CounterMetricFamily": "counter", "Gauge": "gauge", "GaugeMetricFamily": "gauge",
    "Histogram": "histogram", "Summary": "summary",
}  # fmt: skip
#: By the last word of a name, as Prometheus' conventions have it; what has none of these is a count of things.
UNITS = {"timestamp_seconds": "seconds of the epoch", "seconds": "seconds", "bytes": "bytes", "ratio": "0 to 1"}
SOURCES = ("libs/*/src", "services/*/src", "cli/src")

_HEAD = """# Metrics

Made from the code by `python -m trunkline.documentation`; do not edit it. Every service serves its own at `/metrics`
on its HTTP port. Labels are closed lists (services, topics, rules, outcomes), never a person's data and never a tenant,
except in `trunkline_tenant*`, which carry tenants' opaque ids and come from the tenants exporter, for operators alone.
The unit `1` is a count. Those of `trunkline` are the lag exporter's and the tenants exporter's, which
`trunkline up --observe` starts.
"""


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Metric:
    package: str
    name: str
    """As it is exposed: a counter's name ends in ``_total``."""
    kind: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def unit(self) -> str:
        plain = self.name.removesuffix("_total")
        return next((unit for ending, unit in UNITS.items() if plain.endswith(f"_{ending}")), "1")


def metrics_page(root: Path) -> str:
    """The whole of ``docs/metrics.md``."""
    lines = [_HEAD]
    package = ""
    for metric in metrics_in(root):
        if metric.package != package:
            package = metric.package
            lines += [f"\n## {package}\n", "| metric | kind | unit | labels | meaning |", "|---|---|---|---|---|"]
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {metric.meaning} |")
    return "\n".join(lines) + "\n"


def metrics_in(root: Path) -> list[Metric]:
    """Every metric that the sources declare, by package and name."""
    files = sorted(path for folder in SOURCES for source in root.glob(folder) for path in source.rglob("*.py"))
    return sorted(metric for path in files for metric in _declared(path))


def _declared(path: Path) -> Iterator[Metric]:
    package = path.parts[path.parts.index("src") + 1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or len(node.args) < 2:
            continue
        function = node.func
        kind = KINDS.get(function.id if isinstance(function, ast.Name) else getattr(function, "attr", ""))
        if kind is None:
            continue
        name, meaning = (_text(argument) for argument in node.args[:2])
        if name.startswith("trunkline_"):
            shown = f"{name.removesuffix('_total')}_total" if kind == "counter" else name
            yield Metric(package=package, name=shown, kind=kind, labels=_labels(node), meaning=meaning.rstrip("."))


def _labels(call: ast.Call) -> tuple[str, ...]:
    named = [k.value for k in call.keywords if k.arg in ("labelnames", "labels")]
    given = [call.args[2]] if len(call.args) > 2 else named
    return tuple(_text(each) for each in getattr(given[0], "elts", [])) if given else ()


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def main() -> None:
    root = Path.cwd()
    if not (root / "docs").is_dir():
        sys.exit("run this in the root of the checkout")
    (root / "docs" / "metrics.md").write_text(metrics_page(root), encoding="utf-8")
    sys.stderr.write("wrote docs/metrics.md\n")


if __name__ == "__main__":
    main()
