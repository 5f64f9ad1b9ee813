"""The service's tables are complete: panels, pages, kinds, subscriptions, settings, routes, queries."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

import pytest

from contracts.registry import REGISTRY
from contracts.topics import TOPICS
from front_desk import panels
from front_desk.bodies import CustomerBody, DidBody, LeadBody, LeaveBody, StaffBody, TenantBody
from front_desk.consumers import BULK, LIVE
from front_desk.kinds import KINDS, Stored
from front_desk.pages import PAGES, TILES, pages_of
from front_desk.panels import PANELS
from front_desk.routing_bodies import RoutingBody
from front_desk.settings import Settings
from kit.postgres import load_queries

SERVICE = Path(__file__).parents[1]


def test_every_topic_that_names_us_is_consumed_and_no_other() -> None:
    consumed = {subscription.topic for subscription in (*LIVE, *BULK)}
    assert consumed == {topic.name for topic in TOPICS.values() if "front-desk" in topic.consumers}


def test_every_topic_that_we_produce_has_a_kind() -> None:
    produced = {topic.name for topic in TOPICS.values() if "front-desk" in topic.producers}
    produced.discard("erasure.receipt")  # an answer, not an entity
    assert {kind.event.topic() for kind in KINDS.values()} == produced
    assert all(REGISTRY.get(kind.event.type) is kind.event for kind in KINDS.values())


def test_every_panel_is_in_the_table_with_a_card_and_queries() -> None:
    folder = Path(str(files(panels)))
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "base"}
    assert modules == set(PANELS), "a file in panels/ and a line in panels/__init__.py belong together"
    queries = dict(load_queries("front_desk"))
    for name, panel in PANELS.items():
        assert panel.name == name
        assert panel.page in PAGES
        assert files("front_desk").joinpath("templates", "cards", f"{name}.html").is_file()
        assert {f"recent_{name}", f"changed_{name}"} <= queries.keys()


def test_every_page_but_the_overview_shows_something_and_everybody_has_an_overview() -> None:
    assert all(page.panels for page in PAGES.values() if page.name not in ("today", "letters", "routing"))
    assert all("today" in [page.name for page in pages_of(role)] for role in ("owner", "desk", "ops", "admin"))
    queries = dict(load_queries("front_desk"))
    assert all(f" AS {tile.name}" in queries["board_counts"] and tile.page in PAGES for tile in TILES)


def test_every_query_is_described_and_used() -> None:
    sources = "".join(path.read_text() for path in (SERVICE / "src").rglob("*.py"))
    generated = {f"{verb}_{name}" for name in PANELS for verb in ("recent", "changed")}
    generated |= {f"{verb}_{name}" for name in KINDS for verb in ("keep", "remove")}
    for name, sql in load_queries("front_desk"):
        assert sql.startswith("-- "), f"{name} has no description"
        assert f"Q.{name}" in sources or name in generated, f"{name} is used by nobody"


def test_every_setting_is_in_the_readme() -> None:
    readme = (SERVICE / "README.md").read_text()
    for field in Settings.model_fields:
        assert Settings.env_name(field) in readme, f"README.md does not mention {Settings.env_name(field)}"


def test_demo_logins_are_shown_in_a_demo_only() -> None:
    logins = "owner@malabar.example:demo words, desk@malabar.example:x"
    shown = Settings(demo=True, demo_logins=logins)
    assert shown.shown_logins() == [("owner@malabar.example", "demo words"), ("desk@malabar.example", "x")]
    assert not shown.cookies_are_secure()
    real = Settings(demo_logins=logins)
    assert real.shown_logins() == []
    assert real.cookies_are_secure()


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_what_is_stored_makes_the_event(kind: object) -> None:
    examples = {
        "tenant": {"slug": "m", "name": "M", "timezone": "Asia/Kolkata", "active": True},
        "staff": {"name": "A", "numbers": ["+919847000011"], "working_hours": [], "leave": []},
        "customer": {"name": "K", "owner": "desk", "owner_staff_id": "s1", "gstin": None},
        "lead": {"name": "L"},
        "did": {"label": "Shop", "default_staff_ids": ["s1"], "default_staff": ["desk"]},
        "routing": {"ring_seconds": 25},
    }
    each = KINDS[kind.name]  # type: ignore[attr-defined]
    id_ = "default" if each.name == "routing" else "x"
    event = each.event_of(Stored(ref="r", id=id_, version=3, deleted=False, body=examples[each.name]))
    assert json.loads(event.model_dump_json())["version"] == 3
    assert event.entity_id() == id_


@pytest.mark.parametrize("body", [TenantBody, StaffBody, CustomerBody, LeadBody, DidBody, RoutingBody, LeaveBody])
def test_the_examples_in_the_openapi_document_are_valid(body: type) -> None:
    [example] = body.model_config["json_schema_extra"]["examples"]  # type: ignore[attr-defined]
    parsed = body.model_validate(example)  # type: ignore[attr-defined]
    reference = {"DidBody": ["+914842000001"], "StaffBody": ["a"], "CustomerBody": ["a"], "LeadBody": ["a"]}
    assert parsed.entity(*reference.get(body.__name__, [])) is not None


def test_templates_hold_no_script_or_style() -> None:
    for path in (SERVICE / "src/front_desk/templates").rglob("*.html"):
        text = path.read_text()
        assert not re.search(r"\son\w+=|style=|<style|javascript:|autoescape false", text), path.name
        safe = re.findall(r"\|\s*safe", text)
        assert len(safe) == (1 if path.name == "section.html" else 0), path.name
