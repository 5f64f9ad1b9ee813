"""The story of the demo as a journey, scene by scene, and told a second time."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from tests.conftest import Stack

from trunkline.demo.events import Tail
from trunkline.demo.story import Story
from trunkline.demo.tell import Teller
from trunkline.demo.world import World, command, prepare

pytestmark = [pytest.mark.real, pytest.mark.slow]


def tell_it(stack: Stack, world: World, folder: Path) -> str:
    page = io.StringIO()
    tail = Tail(stack.layout.kafka_bootstrap)
    try:
        Story(world, Teller(Console(file=page, width=120)), tail, folder).run()
    finally:
        tail.close()
    return page.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("story")


@pytest.fixture(scope="module")
def first(stack: Stack, folder: Path) -> tuple[World, str]:
    world = prepare(stack.addresses, folder / "state.json")
    return world, tell_it(stack, world, folder)


def test_the_story_holds(first: tuple[World, str]) -> None:
    told = first[1]
    for fact in (
        "ring Accounts (owner)",
        "ring Reception (last_agent)",
        "Reception: on_leave (would have been last_agent)",
        "never routed to itself",
        "ring Reception (did_default)",
        "<Dial> to 1 number(s)",
        "a forged signature is refused with 403",
        "completed after 60 s, 3 state event(s)",
        "20,000 messages",
        "both conflicting",
        "capsule_fact_value_conflict fired once",
        "all have erased and answered",
        "the archive still proves itself, and the certificate names nobody",
    ):
        assert fact in told, fact


def test_told_again_it_holds_and_imports_and_mails_nothing_twice(
    stack: Stack, folder: Path, first: tuple[World, str]
) -> None:
    world = prepare(stack.addresses, folder / "state.json")
    assert world.runs == 2
    assert world.kochi.tenant_id == first[0].kochi.tenant_id
    told = tell_it(stack, world, folder)
    assert "archived: nothing new" in told
    mails = stack.mails_to("owner@kochi.example")
    assert len(mails) == 1


def test_the_archive_verifies_and_holds_each_message_once(stack: Stack, first: tuple[World, str]) -> None:
    kochi = first[0].kochi
    rows = stack.query(
        "SELECT count(*) AS n FROM vault_importer.message WHERE tenant_id = $1::text::uuid", kochi.tenant_id
    )
    assert rows[0]["n"] == 20_000
    verdict = command(stack.addresses, "vault", "verify", "--tenant", kochi.tenant_id)
    assert verdict["ok"] is True
    # The stack has a key of its own: what was imported is signed, each message's leaf with it.
    assert verdict["ledger"]["signed_leaves"] > 20_000


def test_one_tenant_sees_nothing_of_the_other_in_any_service(stack: Stack, first: tuple[World, str]) -> None:
    from tests.conftest import Tenant

    world = first[0]
    mumbai = Tenant(
        world.mumbai.tenant_id, "mumbai", world.mumbai.did, "", "", world.mumbai.directory(stack.addresses), ""
    )
    assert stack.admin("brain-distiller", "/v1/facts", mumbai)["facts"] == []
    assert stack.admin("anomaly-engine", "/v1/anomalies", mumbai)["anomalies"] == []
    assert stack.admin("vault-importer", "/v1/imports", mumbai)["imports"] == []
    assert [c["external_ref"] for c in mumbai.directory.get("/v1/customers")["items"]] == []
