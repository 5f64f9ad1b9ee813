"""Pages of the documentation that are made from the code: ``python -m trunkline.documentation`` writes them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from kit.metrics import Metric, declared

__all__ = ["metrics_in", "metrics_page"]

SOURCES = ("libs/*/src", "services/*/src", "cli/src")

_HEAD = """# Metrics

Made from the code by `python -m trunkline.documentation`; do not edit it. Every service serves its own at `/metrics`
on its HTTP port. Labels are closed lists (services, topics, rules, outcomes), never a person's data and never a tenant,
except in `trunkline_tenant*`, which carry tenants' opaque ids and come from the tenants exporter, for operators alone.
The unit `1` is a count. Those of `trunkline` are the lag exporter's and the tenants exporter's, which
`trunkline up --observe` starts.
"""


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
    """Every metric that the checkout declares, by package and name: the modules that declare any are loaded."""
    for source in sorted(folder for pattern in SOURCES for folder in root.glob(pattern)):
        for path in sorted(source.rglob("*.py")):
            if "kit.metrics" in (text := path.read_text(encoding="utf-8")) or "observe.figures" in text:
                importlib.import_module(".".join(path.relative_to(source).with_suffix("").parts))
    return declared()


def main() -> None:
    root = Path.cwd()
    if not (root / "docs").is_dir():
        sys.exit("run this in the root of the checkout")
    (root / "docs" / "metrics.md").write_text(metrics_page(root), encoding="utf-8")
    sys.stderr.write("wrote docs/metrics.md\n")


if __name__ == "__main__":
    main()
