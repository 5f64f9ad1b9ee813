"""What operators do about calls that we place, and that it is kept who did it and why."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from typer.testing import CliRunner

from telephony_router import outbound_store
from telephony_router.commands import app
from telephony_router.seal import Seal
from telephony_router.vendor_api import opened_access
from telephony_router.vendors import VENDORS

pytestmark = pytest.mark.real
KEY = "A" * 43 + "="


@pytest.fixture
async def run(bureau: Any, postgres_dsn: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    async with bureau.database.system() as tx:
        name = await tx.fetchval("SELECT current_database()")
    parts = urlsplit(postgres_dsn)
    for key, value in {
        "DEMO": "true",
        "POSTGRES_DSN": urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], path=f"/{name}")),
        "REDIS_URL": redis_url,
        "TELEPHONY_ROUTER_APP_PASSWORD": "test",
        "TELEPHONY_ROUTER_SYSTEM_PASSWORD": "test",
        "TELEPHONY_ROUTER_SECRET_KEY": KEY,
    }.items():
        monkeypatch.setenv(f"TRUNKLINE_{key}", value)

    async def invoke(*arguments: str, stdin: str = "") -> Any:
        return await asyncio.to_thread(CliRunner().invoke, app, [str(each) for each in arguments], input=stdin)

    return invoke


async def audited(bureau: Any) -> list[tuple[str, str]]:
    async with bureau.database.transaction(bureau.tenant) as tx:
        rows = await tx.fetch("SELECT actor, action, reason FROM outbound_audit ORDER BY at")
    assert all(row["actor"] for row in rows)
    return [(row["action"], row["reason"]) for row in rows]


async def test_an_account_is_set_up_to_dial_with_its_secrets_sealed(bureau: Any, run: Any) -> None:
    account = bureau.accounts["exotel"]
    hooks = "https://calls.example.com/v1/hooks/exotel/the-secret-of-exotel"
    arguments = ["dialling", "set", "--tenant", bureau.tenant, "--account", account, "--secret-file", "-"]
    options = ["--option", "account_sid=tiles2", "--option", "caller_id=+914842000100"]
    secrets = "api_key=the-key\napi_token=the=token\n"
    for wrong in (hooks.replace("secret-of", "guess-of"), hooks.replace("hooks/exotel", "hooks/twilio"), "https://x/"):
        refused = await run(*arguments, *options, stdin=f"{secrets}webhooks={wrong}\n")
        assert refused.exit_code == 1
        assert "not this account's address" in refused.stderr
    assert "caller_id" in (await run(*arguments, "--option", "account_sid=x", stdin=secrets)).stderr
    done = await run(*arguments, *options, stdin=f"{secrets}webhooks={hooks}\n")
    assert done.exit_code == 0, done.stderr
    async with bureau.database.transaction(bureau.tenant) as tx:
        stored = await outbound_store.find_dialling(tx, account)
    assert b"the-key" not in stored.sealed
    _, access = opened_access(Seal(KEY), stored)
    assert (access.base, access.secrets["api_token"]) == ("https://api.exotel.com", "the=token")
    assert access.options["account_sid"] == "tiles2"


async def test_the_vendors_that_dial_and_those_that_do_not_are_listed(run: Any) -> None:
    told = json.loads((await run("dialling", "vendors", "--json")).stdout)
    assert told["can"].keys() | told["cannot"].keys() == VENDORS.keys()
    assert "webhooks" in told["can"]["twilio"]["secrets"]
    assert "kamailio cannot dial: " in (await run("dialling", "vendors")).stdout


async def test_a_breaker_is_closed_by_hand_with_a_reason_that_is_kept(bureau: Any, run: Any) -> None:
    bureau.fake.mode = "500"
    account = bureau.accounts["generic"]
    assert (await run("breaker", "reset", "--account", account, "--reason", "x")).exit_code == 1
    async with bureau.replica(at_once=1) as replica:
        for _ in range(5):
            await bureau.orders()
        await bureau.submits(replica)
        (listed,) = json.loads((await run("breaker", "list", "--json")).stdout)
        assert (listed["state"], listed["account_id"]) == ("open", str(account))
        assert "open" in (await run("breaker", "list")).stdout
        assert (await run("breaker", "reset", "--account", account, "--reason", " ")).exit_code == 1
        assert (await run("breaker", "reset", "--account", account, "--reason", "vendor mended")).exit_code == 0
        bureau.fake.mode = "ok"
        call_id = await bureau.orders()
        await bureau.submits(replica)
    assert (await bureau.outbound(call_id))["state"] == "submitted"
    assert await audited(bureau) == [("breaker reset", "vendor mended")]


@pytest.mark.parametrize("state", ["submitted", "refused"])
async def test_an_operator_says_what_became_of_a_call_and_nothing_is_dialled(bureau: Any, run: Any, state: str) -> None:
    bureau.fake.mode = "reset"
    call_id = await bureau.orders()
    resolve = [
        "outbound",
        "resolve",
        "--tenant",
        bureau.tenant,
        "--call",
        call_id,
        "--state",
        state,
        "--reason",
        "asked",
    ]
    assert (await run(*resolve)).exit_code == 1, "its outcome is not unknown yet"
    async with bureau.replica() as replica:
        await bureau.submits(replica)
        await bureau.ages(30)
        (stuck,) = json.loads((await run("stuck", "--json")).stdout)
        assert (stuck["id"], stuck["state"], stuck["direction"]) == (str(call_id), "submission_unknown", "outbound")
        assert "submission_unknown" in (await run("stuck", "--tenant", bureau.tenant)).stdout
        assert (await run(*resolve)).exit_code == 0
        assert json.loads((await run("stuck", "--json")).stdout) == []
        await bureau.submits(replica)
    assert (await bureau.outbound(call_id))["state"] == state
    assert len(bureau.fake.dials) == 1
    assert await audited(bureau) == [(f"resolved as {state}", "asked")]


async def test_a_secret_file_that_is_not_there_is_named(bureau: Any, run: Any, tmp_path: Path) -> None:
    done = await run("dialling", "set", "--tenant", bureau.tenant, "--account", bureau.accounts["generic"],
                     "--secret-file", tmp_path / "none")  # fmt: skip
    assert done.exit_code == 1
    assert "cannot be read" in done.stderr
