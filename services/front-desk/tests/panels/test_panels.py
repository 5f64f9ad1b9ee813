"""One behaviour suite for every panel of the console."""

from __future__ import annotations

import inspect
from importlib.resources import files
from pathlib import Path

import pytest

from front_desk import panels
from front_desk.pages import PAGES
from front_desk.panels import PANELS
from front_desk.panels.base import Panel
from kit.postgres import load_queries

EACH = pytest.mark.parametrize("panel", PANELS.values(), ids=list(PANELS))


def test_every_file_of_the_menu_is_in_its_table() -> None:
    there = {path.stem for path in Path(inspect.getfile(panels)).parent.glob("*.py")} - {"__init__", "base"}
    assert there == set(PANELS), "add the panel to PANELS in panels/__init__.py"


@EACH
def test_a_panel_has_its_queries_and_its_template(panel: Panel) -> None:
    queries = dict(load_queries("front_desk"))
    assert {f"recent_{panel.name}", f"changed_{panel.name}"} <= queries.keys()
    assert files("front_desk").joinpath(f"templates/cards/{panel.name}.html").is_file()


@EACH
def test_a_panel_says_what_will_appear_while_it_is_empty(panel: Panel) -> None:
    assert panel.empty.endswith(".")
    assert len(panel.empty) > 40


@EACH
def test_a_panel_is_on_a_page_that_some_role_may_see(panel: Panel) -> None:
    assert panel.page in PAGES


@EACH
def test_the_filters_of_a_panel_are_told_apart(panel: Panel) -> None:
    values = [facet.value for facet in panel.facets]
    assert len(set(values)) == len(values)
    assert all(facet.label for facet in panel.facets)
