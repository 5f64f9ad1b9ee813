"""The documentation says what is: pages made from the code are current, links lead somewhere, nothing is left out."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from configuration import ServiceSettings
from contracts import archive, catalogue
from contracts.registry import REGISTRY
from contracts.topics import TOPICS
from trunkline import documentation

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SERVICES = sorted(path.name for path in (ROOT / "services").iterdir() if (path / "pyproject.toml").is_file())
HOWTO = ("add-a-vendor", "add-a-rule", "add-a-channel", "change-an-event", "consume-events")
HOWTO_LINES = 70
DECISION_LINES = 70
GUARANTEES = [f"G{number}" for number in range(1, 14)]
STATES = ("proven", "partly", "not yet")
FOLDERS_OF_OTHERS = {".venv", ".run", ".git", "node_modules", "fixtures"}

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
PROOF = re.compile(r"([\w./-]+\.py)::(\w+)")


def pages() -> list[Path]:
    found = [path for path in ROOT.rglob("*.md") if not FOLDERS_OF_OTHERS & set(path.relative_to(ROOT).parts)]
    return sorted(found)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def nothing(found: list[str]) -> None:
    assert not found, "\n" + "\n".join(found)


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+\s+(.*)$", FENCED.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_leads_somewhere() -> None:
    dead = []
    for page in pages():
        for target in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            there = (page.parent / file).resolve() if file else page
            if not there.exists():
                dead.append(f"{relative(page)}: {target} does not exist")
            elif anchor and there.suffix == ".md" and anchor not in anchors(there):
                dead.append(f"{relative(page)}: {target} has no such heading")
    nothing(dead)


def test_the_events_page_is_current() -> None:
    page = catalogue.page(REGISTRY, TOPICS, archive.read(archive.root()))
    assert (DOCS / "events.md").read_text(encoding="utf-8") == page, "run `trunkline contracts generate`"


def test_the_metrics_page_is_current() -> None:
    page = documentation.metrics_page(ROOT)
    assert (DOCS / "metrics.md").read_text(encoding="utf-8") == page, "run `python -m trunkline.documentation`"


def test_every_metric_says_what_it_measures_and_is_declared_once() -> None:
    metrics = documentation.metrics_in(ROOT)
    names = [metric.name for metric in metrics]

    nothing([f"{metric.package}: {metric.name} has no help text" for metric in metrics if not metric.meaning])
    nothing([f"{name} is declared twice" for name in sorted(set(names)) if names.count(name) > 1])


def test_a_metric_is_declared_in_one_way_only() -> None:
    """What is declared past kit's list is missing on the page, and nobody asks whether it is looked at."""
    makers = {"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum", "CounterMetricFamily", "GaugeMetricFamily"}
    files = [path for folder in documentation.SOURCES for source in ROOT.glob(folder) for path in source.rglob("*.py")]
    found = []
    for path in files:
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "prometheus_client" in text else ():
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("prometheus_client"):
                found += [(str(path.relative_to(ROOT)), each.name) for each in node.names if each.name in makers]
    assert {path for path, _ in found} == {"libs/kit/src/kit/metrics.py", "cli/src/trunkline/observe/figures.py"}, found


def test_no_metric_is_labelled_with_whom_it_is_about() -> None:
    personal = {"tenant", "tenant_id", "caller", "number", "phone", "email", "recipient", "customer", "staff", "name"}
    # The tenants exporter's own, by opaque ids and for operators alone: docs/decisions/0007.
    metrics = [m for m in documentation.metrics_in(ROOT) if not m.name.startswith("trunkline_tenant_")]
    nothing([f"{m.name}: {label}" for m in metrics for label in m.labels if label in personal])


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_is_in_its_services_readme(service: str) -> None:
    settings = importlib.import_module(f"{service.replace('-', '_')}.settings").Settings
    assert settings.service == service
    readme = (ROOT / "services" / service / "README.md").read_text(encoding="utf-8")
    own = [field for field in settings.model_fields if field not in ServiceSettings.model_fields]
    missing = [
        f"services/{service}/README.md does not tell {settings.env_name(field)}"
        for field in own
        if not {f"`{settings.env_name(field)}`", f"`{field.upper()}`"} & set(re.findall(r"`[^`\n]+`", readme))
    ]
    nothing(missing)


@pytest.mark.parametrize("service", SERVICES)
def test_a_readme_names_every_topic_of_its_service(service: str) -> None:
    readme = (ROOT / "services" / service / "README.md").read_text(encoding="utf-8")
    # `directory.*` may stand for all of them.
    told = set(re.findall(r"`([a-z]+\.[a-z*]+)`", readme))
    missing = [
        f"services/{service}/README.md does not tell {topic.name}"
        for topic in TOPICS.values()
        if service in {*topic.producers, *topic.consumers}
        and not {topic.name, f"{topic.name.partition('.')[0]}.*"} & told
    ]
    nothing(missing)


def guarantees() -> dict[str, str]:
    """The rows of the table of guarantees by their number."""
    text = (DOCS / "guarantees.md").read_text(encoding="utf-8")
    return {match[1]: match[0] for match in re.finditer(r"^\|\s*\*{0,2}(G\d+)\*{0,2}\s*\|.*$", text, re.MULTILINE)}


def test_every_guarantee_has_its_row_and_its_state() -> None:
    rows = guarantees()
    assert list(rows) == GUARANTEES
    nothing(
        [f"{name} is none of: {', '.join(STATES)}" for name, row in rows.items() if not any(s in row for s in STATES)]
    )


def test_every_proof_of_a_guarantee_exists() -> None:
    missing = []
    for name, row in guarantees().items():
        proofs = PROOF.findall(row)
        if not proofs and "not yet" not in row:
            missing.append(f"{name} names no test as path::name")
        for file, test in proofs:
            path = ROOT / file
            known = (
                {node.name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if hasattr(node, "name")}
                if path.is_file()
                else set()
            )
            if test not in known:
                missing.append(f"{name}: {file}::{test} does not exist")
    nothing(missing)


@pytest.mark.parametrize("name", HOWTO)
def test_a_howto_fits_on_a_page_and_ends_with_the_command_that_proves_it(name: str) -> None:
    lines = (DOCS / "howto" / f"{name}.md").read_text(encoding="utf-8").rstrip().splitlines()
    assert len(lines) <= HOWTO_LINES
    assert lines[-1] == "```"


def test_what_a_howto_names_exists() -> None:
    """Paths in backticks that begin with a folder of ours; what stands in angle brackets is the reader's to fill."""
    missing = []
    for page in (DOCS / "howto").glob("*.md"):
        for path in re.findall(
            r"`((?:libs|services|cli|docs|tests|deploy)/[^`\s]*)`", page.read_text(encoding="utf-8")
        ):
            if "<" not in path and not (ROOT / path).exists():
                missing.append(f"{relative(page)}: {path} does not exist")
    nothing(missing)


def decisions() -> list[Path]:
    return sorted((DOCS / "decisions").glob("[0-9]*.md"))


def test_decisions_are_numbered_and_listed() -> None:
    index = (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")
    numbers = [path.name[:4] for path in decisions()]
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]
    nothing(
        [f"docs/decisions/README.md does not list {path.name}" for path in decisions() if f"({path.name})" not in index]
    )


@pytest.mark.parametrize("path", decisions(), ids=lambda path: path.stem)
def test_a_decision_says_context_decision_consequences_and_alternatives(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert lines[0].startswith(f"# {path.name[:4]}. ")
    assert re.search(r"^(Accepted|Superseded by \[)", text, re.MULTILINE)
    assert [line for line in lines if line.startswith("## ")] == [
        "## Context",
        "## Decision",
        "## Consequences",
        "## Alternatives",
    ]
    assert len(lines) <= DECISION_LINES
