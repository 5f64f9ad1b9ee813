"""A metric is declared with its unit, once, and the list of all says where."""

from __future__ import annotations

import pytest

from kit import metrics


@pytest.fixture(autouse=True)
def a_list_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_declared", {})


def test_what_is_declared_is_listed_as_it_is_exposed_also_with_keywords() -> None:
    metrics.declare(kind="counter", name="trunkline_made", unit="1", meaning="Things made", labels=["kind"])
    metrics.declare("gauge", "trunkline_made_at_timestamp_seconds", "seconds of the epoch", "When it was made", ())
    assert [(m.name, m.kind, m.unit, m.labels) for m in metrics.declared()] == [
        ("trunkline_made_at_timestamp_seconds", "gauge", "seconds of the epoch", ()),
        ("trunkline_made_total", "counter", "1", ("kind",)),
    ]


@pytest.mark.parametrize(
    ("name", "unit", "meaning"),
    [
        ("trunkline_made_seconds", "1", "Its name says seconds"),
        ("trunkline_made_timestamp_seconds", "seconds", "It is a moment"),
        ("trunkline_made_bytes", "seconds", "Its name says bytes"),
        ("made", "1", "Not one of ours"),
        ("trunkline_made", "1", ""),
    ],
)
def test_a_name_that_says_another_unit_or_no_meaning_is_refused(name: str, unit: metrics.Unit, meaning: str) -> None:
    with pytest.raises(ValueError, match="not as metrics are declared"):
        metrics.declare("gauge", name, unit, meaning, ())


def test_a_name_is_given_once() -> None:
    metrics.declare("gauge", "trunkline_made", "1", "Things made", ())
    with pytest.raises(ValueError, match="declared twice"):
        metrics.declare("gauge", "trunkline_made", "1", "Something else", ())
