"""What ``make bench`` prints is judged by the targets of ``docs/benchmarks.md``, and the README quotes that page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bench.results import TARGETS, Result

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")


def result(name: str, value: float, **figures: float) -> Result:
    return Result(name=name, value=value, unit="events/s", **figures)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "met"),
    [
        (result("relay", 40_000, ratio=0.7), True),
        (result("relay", 90_000, ratio=0.69), False),
        (result("relay", 39_999, ratio=0.9), False),
        (result("relay", 90_000), False),
        (result("consume_single", 5_000), True),
        (result("consume_batch", 24_999), False),
        (result("event_age", 50, p99_ms=50), True),
        (result("event_age", 50.1, p99_ms=50.1), False),
        (result("import", 33_425, rss_mb=300), True),
        (result("import", 90_000, rss_mb=301), False),
        (result("import", 33_424, rss_mb=200), False),
        (result("import", 90_000), False),
        (result("nightly", 3), True),
        (result("nightly", 3.1), False),
        (result("consume_single_bare", 1), None),
    ],
)
def test_a_result_says_whether_it_meets_its_target(found: Result, met: bool | None) -> None:
    assert found.met is met
    row = found.row()
    assert row["met"] is met
    assert (row["target"] is None) is (met is None)
    assert {"name", "value", "unit", "limit_name", "limit", "ratio", "p50_ms", "p99_ms", "rss_mb", "at"} <= row.keys()


def test_the_page_names_the_targets_that_are_judged_by() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| `")
    ]
    written = {row[0].strip("`"): row[3] for row in rows if len(row) == 4 and re.search(r"[≥≤]", row[3])}
    assert written == {name: str(target) for name, target in TARGETS.items()}


def test_every_figure_of_the_readme_is_on_the_page() -> None:
    measured = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Measured")[2].partition("\n##")[0]
    rows = [line.split("|")[2:] for line in measured.splitlines() if line.startswith("|")]
    figures = {figure for cells in rows for figure in re.findall(r"(?<![\w.])\d[\d,.]*", " ".join(cells))}
    assert len(figures) > 10
    assert [
        figure for figure in sorted(figures) if not re.search(rf"(?<![\d.,]){re.escape(figure)}(?![\d])", PAGE)
    ] == []
