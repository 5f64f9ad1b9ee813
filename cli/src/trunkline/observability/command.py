"""``trunkline dashboards``: make dashboards and alert rules from their Python, and check that they are current."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from trunkline.observability import generate as generated
from trunkline.observability import lint
from trunkline.observability.alerts import GROUPS, all_alerts
from trunkline.observability.rules import Scale, duration
from trunkline.stack.kafka import checkout

__all__ = ["app"]

app = typer.Typer(help="Dashboards and alert rules: make them, check them, list them.", no_args_is_help=True)
err = Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output.")]


@app.command()
def generate() -> None:
    """Write deploy/grafana/dashboards and deploy/prometheus/rules anew."""
    for path in generated.write(checkout()):
        err.print(f"wrote {path}", highlight=False)
    _stop_on(_wrong())


@app.command()
def check() -> None:
    """Say what is stale or against the rules of the house; exit with 1 when there is anything."""
    root = checkout()
    _stop_on([*generated.stale(root), *_wrong(), *_promtool(root)])
    err.print(
        f"{len(generated.files())} files are current, {len(list(all_alerts()))} alerts are sound.", highlight=False
    )


@app.command("list")
def list_alerts(as_json: AsJson = False) -> None:
    """Every alert: when it fires, whom it wakes, and where it says what to do."""
    if as_json:
        rows = [{"name": a.name, "severity": a.severity, "for_seconds": a.wait, "runbook": _page(a.runbook)}
                for a in all_alerts()]  # fmt: skip
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    table = Table(box=SIMPLE_HEAD)
    for column in ("alert", "severity", "after", "what to do"):
        table.add_column(column, no_wrap=True)
    for alert in all_alerts():
        table.add_row(
            alert.name, alert.severity, duration(alert.wait) if alert.wait else "at once", _page(alert.runbook)
        )
    Console().print(table)


@app.command()
def rules(
    out: Annotated[Path, typer.Option(help="The folder to write the rules files into.")],
    scale: Annotated[float, typer.Option(min=1, help="Divide every window by this, for a drill that cannot wait.")] = 1,
    floor: Annotated[float, typer.Option(min=1, help="No window becomes shorter than so many seconds.")] = 15,
) -> None:
    """Render the alert rules with their windows scaled down, to see them fire in a drill."""
    out.mkdir(parents=True, exist_ok=True)
    for name, text in generated.rules_files(Scale(by=scale, floor=floor, least=floor)).items():
        (out / name).write_text(text, encoding="utf-8")
    err.print(f"wrote {len(GROUPS)} files to {out}", highlight=False)


def _page(runbook: str) -> str:
    return f"docs/runbooks/alerts/{runbook}.md"


def _wrong() -> list[str]:
    boards = [json.loads(text) for path, text in generated.files().items() if path.suffix == ".json"]
    found = [why for board in boards for why in lint.in_dashboard(board)]
    pages = checkout() / "docs" / "runbooks" / "alerts"
    missing = [f"{a.name}: {_page(a.runbook)} does not exist" for a in all_alerts()
               if not (pages / f"{a.runbook}.md").is_file()]  # fmt: skip
    return found + lint.in_rules(GROUPS) + missing


def _promtool(root: Path) -> list[str]:
    """The unit tests of the rules, when Debian's package ``prometheus`` is there to run them."""
    if shutil.which("promtool") is None:
        why = "promtool is not installed, so the rules' unit tests were left out"
        err.print(f"{why}: deploy/native/bootstrap --observe", highlight=False)
        return []
    tests = sorted((root / "deploy" / "prometheus" / "tests").glob("*.yml"))
    done = subprocess.run(["promtool", "test", "rules", *map(str, tests)], capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else [done.stdout + done.stderr]


def _stop_on(found: list[str]) -> None:
    if not found:
        return
    for sentence in found:
        err.print(sentence, highlight=False, markup=False)
    err.print("\nmend it by: trunkline dashboards generate   # then read the difference", highlight=False)
    raise typer.Exit(1)
