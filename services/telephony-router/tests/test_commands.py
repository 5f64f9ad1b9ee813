"""The command line, and every event we consume through the handlers that consume it."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import asyncpg
import pytest
from typer.testing import CliRunner

from contracts.registry import REGISTRY
from kit.consume import Deletion
from kit.postgres import Database
from telephony_router import store
from telephony_router.commands import app
from telephony_router.consumers import SUBSCRIPTIONS
from telephony_router.peers import networks
from telephony_router.seal import Seal, hash_of_secret
from telephony_router.vendors import VENDORS

MakeDatabase = Callable[..., Awaitable[Database]]
KEY = base64.b64encode(bytes(32)).decode()
EXAMPLES = Path(__file__).parents[3] / "libs/contracts/examples"
CONSUMED = [
    path for each in SUBSCRIPTIONS if each.kind == "each" for path in sorted((EXAMPLES / each.topic).glob("**/*.json"))
]
run = CliRunner().invoke


def test_help_needs_no_settings() -> None:
    assert run(app, ["--help"]).exit_code == 0
    assert run(app, ["account", "add", "--help"]).exit_code == 0


def test_an_unknown_vendor_is_refused_by_naming_those_there_are() -> None:
    result = run(app, ["account", "add", "--tenant", str(uuid4()), "--vendor", "nobody", "--label", "x"])
    assert result.exit_code == 1
    assert "generic, twilio" in result.stderr


def test_a_vendor_that_signs_needs_its_token() -> None:
    result = run(app, ["account", "add", "--tenant", str(uuid4()), "--vendor", "twilio", "--label", "x"])
    assert result.exit_code == 1
    assert "--auth-token-file" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--allow-source", "103.21.77.1/24"), "--allow-source"),
        (("--option", "nonsense=1"), "has no option nonsense; there are: "),
        (("--option", "record=yes"), "record is true or false"),
    ],
)
def test_sources_and_options_are_checked_before_anything_is_added(arguments: tuple[str, ...], said: str) -> None:
    result = run(app, ["account", "add", "--tenant", str(uuid4()), "--vendor", "generic", "--label", "x", *arguments])
    assert result.exit_code == 1
    assert said in result.stderr


def test_vendors_are_listed_with_their_hooks_and_options() -> None:
    told = json.loads(run(app, ["vendors", "--json"]).stdout)
    assert set(told) == set(VENDORS)
    assert told["twilio"]["hooks"]["voice"] == "ring"
    assert "record" in run(app, ["vendors"]).stdout


def test_a_missing_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRUNKLINE_TELEPHONY_ROUTER_SECRET_KEY", raising=False)
    result = run(app, ["rebuild-view"])
    assert result.exit_code == 1
    assert "TRUNKLINE_TELEPHONY_ROUTER_SECRET_KEY" in result.stderr


def test_there_are_examples_of_everything_we_consume() -> None:
    assert {path.relative_to(EXAMPLES).parts[0] for path in CONSUMED} == {each.topic for each in SUBSCRIPTIONS}


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    return await make_database(service="telephony-router", package="telephony_router")


@pytest.fixture
async def dsn(database: Database, postgres_dsn: str) -> str:
    async with database.system() as tx:
        name = await tx.fetchval("SELECT current_database()")
    parts = urlsplit(postgres_dsn)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], path=f"/{name}"))


@pytest.fixture
def environment(dsn: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "DEMO": "true",
        "POSTGRES_DSN": dsn,
        "REDIS_URL": redis_url,
        "TELEPHONY_ROUTER_APP_PASSWORD": "test",
        "TELEPHONY_ROUTER_SYSTEM_PASSWORD": "test",
        "TELEPHONY_ROUTER_SECRET_KEY": KEY,
    }.items():
        monkeypatch.setenv(f"TRUNKLINE_{name}", value)


def in_a_thread(*arguments: str, text: str | None = None) -> Any:
    """Commands run an event loop of their own, so not in the test's."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run, app, list(arguments), text).result()


@pytest.mark.real
@pytest.mark.usefixtures("environment")
async def test_an_account_is_added_with_its_secret_hashed_and_token_sealed(database: Database, tenant: UUID) -> None:
    arguments = ("account", "add", "--tenant", str(tenant), "--vendor", "twilio", "--label", "main")
    more = ("--allow-source", "203.0.113.0/24", "--option", "record=true")
    result = in_a_thread(*arguments, *more, "--auth-token-file", "-", "--json", text="auth-token\n")
    assert result.exit_code == 0, result.stderr
    added = json.loads(result.stdout)
    secret = added["hook_base_path"].rpartition("/")[2]
    assert added["hook_base_path"] == f"/v1/hooks/twilio/{secret}"
    async with database.system() as tx:
        stored = await store.find_account(tx, hash_of_secret(secret))
    assert stored is not None
    opened = stored.opened(Seal(KEY))
    assert opened.auth_tokens == ("auth-token",)
    assert (opened.allow_sources, opened.options) == (networks(["203.0.113.0/24"]), {"record": "true"})
    assert b"auth-token" not in b"".join(stored.sealed_tokens)
    (listed,) = json.loads(in_a_thread("account", "list", "--tenant", str(tenant), "--json").stdout)
    assert (listed["id"], listed["vendor"], listed["tokens"]) == (added["account_id"], "twilio", 1)
    assert (listed["allow_sources"], listed["options"]) == (["203.0.113.0/24"], {"record": "true"})
    assert json.loads(in_a_thread("account", "list", "--tenant", str(uuid4()), "--json").stdout) == []


@pytest.mark.real
@pytest.mark.usefixtures("environment")
async def test_what_if_and_rebuilding_are_commands(tenant: UUID) -> None:
    arguments = ("simulate", "--tenant", str(tenant), "--did", "+914842000100", "--from", "anonymous")
    assert "Nobody was rung" in in_a_thread(*arguments).stdout
    assert json.loads(in_a_thread(*arguments, "--json").stdout)["decision"]["rule"] == "nobody"
    assert json.loads(in_a_thread("rebuild-view", "--json").stdout) == {"entries": 0}


@pytest.mark.real
@pytest.mark.usefixtures("environment")
async def test_what_is_parked_is_listed_retried_and_dropped_by_commands(database: Database, tenant: UUID) -> None:
    async with database.system() as tx:
        for number in range(3):
            await tx.execute(
                "INSERT INTO intake (tenant_id, identity, kind, account_id, call_id, received_at, signal, body, parked)"
                " VALUES ($1, $2, 'status', $1, $1, now(), '{}', '', 'a word nobody knows')",
                tenant,
                str(number),
            )
    listed = json.loads(in_a_thread("parked", "list", "--json").stdout)
    assert [(row["vendor"], row["parked"]) for row in listed] == [("unknown", "a word nobody knows")] * 3
    assert in_a_thread("parked", "list").stdout.count("a word nobody knows") == 3
    assert in_a_thread("parked", "retry").exit_code == 1
    assert in_a_thread("parked", "retry", str(listed[0]["seq"])).stdout == "1 will be processed again\n"
    assert in_a_thread("parked", "drop", "--all").stdout == "2 dropped\n"
    assert in_a_thread("parked", "list").stdout == ""


@pytest.mark.real
@pytest.mark.usefixtures("environment")
async def test_what_vendors_send_that_we_do_not_know_is_shown(database: Database, tenant: UUID) -> None:
    now = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
    async with database.transaction(tenant) as tx:
        await store.put_rows(tx, "put_drift", [("exotel", "Mood", "unknown", "status", "Aaaa", 3, now, now)])
    (shown,) = json.loads(in_a_thread("drift", "--tenant", str(tenant), "--json").stdout)
    assert (shown["field"], shown["seen"], shown["sample"]) == ("Mood", 3, "Aaaa")
    said = in_a_thread("drift", "--tenant", str(tenant)).stdout
    assert "exotel/status: Mood is new, 3 time(s) since 2026-03-04 06:30; first: Aaaa" in said


@pytest.mark.usefixtures("environment")
@pytest.mark.real
async def test_a_database_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tenant: UUID) -> None:
    monkeypatch.setenv("TRUNKLINE_POSTGRES_DSN", "postgresql://127.0.0.1:1/none")
    result = in_a_thread("account", "list", "--tenant", str(tenant))
    assert result.exit_code == 1
    assert "trunkline status" in result.stderr


@pytest.mark.real
@pytest.mark.parametrize("path", CONSUMED, ids=lambda path: str(path.relative_to(EXAMPLES)))
async def test_every_example_is_handled_and_twice_is_once(database: Database, tenant: UUID, path: Path) -> None:
    example = load(path)
    type_ = example["headers"]["ce_type"]
    topic = type_.rpartition(".v")[0]
    handlers = {each.kind: each for each in SUBSCRIPTIONS if each.topic == topic}
    states = []
    for _ in range(2):
        async with database.transaction(tenant) as tx:
            if example["value"] is None:
                deletion = Deletion(topic=topic, tenant=tenant, entity_id=example["headers"]["ce_subject"])
                await handlers["deleted"].handler(deletion, tx)
            else:
                event = REGISTRY.decode(type_, json.dumps(example["value"]).encode())
                if (emits := handlers["each"].emits) is not None:
                    await tx.hold(*await emits(event, tx))
                await handlers["each"].handler(event, tx)
        async with database.system() as tx:
            states.append(await everything(tx))
    assert states[0] == states[1]
    assert any(states[0]) == (example["value"] is not None)


def load(path: Path) -> dict[str, Any]:
    example: dict[str, Any] = json.loads(path.read_text())
    return example


async def everything(tx: Any) -> list[list[asyncpg.Record]]:
    tables = ("dir_tenant", "dir_staff", "dir_customer", "dir_customer_number", "dir_did", "did_claim", "dir_routing")
    # Until when somebody is kept out moves with the clock.
    whom = await tx.fetch("SELECT tenant_id, value FROM erased_lately ORDER BY value")
    return [*[await tx.fetch(f"SELECT * FROM {table}") for table in tables], whom]
