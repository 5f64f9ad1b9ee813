"""Which files are made from this package, what is in them, and whether those on disk are current."""

from __future__ import annotations

from pathlib import Path

from trunkline.observability.alerts import GROUPS, all_alerts
from trunkline.observability.dashboards import DASHBOARDS
from trunkline.observability.panels import as_json
from trunkline.observability.rules import AS_WRITTEN, RUNBOOKS, Scale, duration, render

__all__ = ["files", "rules_files", "stale", "write"]

BOARDS = Path("deploy/grafana/dashboards")
RULES = Path("deploy/prometheus/rules")
INDEX = Path(RUNBOOKS) / "README.md"
_HEAD = """# Alerts

Made by `trunkline dashboards generate`; do not edit it. A *page* is meant to wake somebody, a *ticket* waits for the
morning, *none* is for machines. Prometheus only evaluates them, and `trunkline doctor` shows what fires: who is told is
an Alertmanager's business, for which `deploy/prometheus/prometheus.yml` has a block to uncomment. Behind each: what it
means, what it does to people, where to look, what to do, when it is done.

| alert | severity | after | what to do |
|---|---|---|---|
"""


def rules_files(scale: Scale = AS_WRITTEN) -> dict[str, str]:
    """The rules files by name, with their windows scaled."""
    return {f"{group.name}.yml": render(group, scale) for group in GROUPS}


def files() -> dict[Path, str]:
    """Every generated file by its path in the checkout."""
    boards = {BOARDS / f"{board.uid.removeprefix('trunkline-')}.json": as_json(board) for board in DASHBOARDS}
    return boards | {RULES / name: text for name, text in rules_files().items()} | {INDEX: _index()}


def _index() -> str:
    """The page that leads from an alert's name to what to do."""
    rows = []
    for alert in sorted(all_alerts(), key=lambda each: each.name):
        after = duration(alert.wait) if alert.wait else "at once"
        rows.append(f"| {alert.name} | {alert.severity} | {after} | [{alert.runbook}]({alert.runbook}.md) |\n")
    return _HEAD + "".join(rows)


def stale(root: Path) -> list[str]:
    """What on disk differs from what would be generated, a sentence each."""
    wanted = files()
    found = [f"{path} is not current" if (root / path).exists() else f"{path} is missing"
             for path, text in wanted.items()
             if not (root / path).exists() or (root / path).read_text(encoding="utf-8") != text]  # fmt: skip
    return found + [f"{path} is made from nothing any more" for path in _leftovers(root, wanted)]


def write(root: Path) -> list[Path]:
    """Write what is not current and remove what is left over; return what changed."""
    wanted, changed = files(), []
    for path, text in wanted.items():
        if not (root / path).exists() or (root / path).read_text(encoding="utf-8") != text:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
            changed.append(path)
    for path in _leftovers(root, wanted):
        (root / path).unlink()
        changed.append(path)
    return changed


def _leftovers(root: Path, wanted: dict[Path, str]) -> list[Path]:
    there = [path.relative_to(root) for folder, ending in ((BOARDS, "json"), (RULES, "yml"))
             for path in sorted((root / folder).glob(f"*.{ending}"))]  # fmt: skip
    return [path for path in there if path not in wanted]
