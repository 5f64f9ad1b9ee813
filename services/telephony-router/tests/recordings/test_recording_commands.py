"""``trunkline recordings`` on a real Postgres: what operators see, and what is written down of what they do."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner

from kit.postgres import Database
from telephony_router import store
from telephony_router.recording_commands import app
from telephony_router.seal import Seal

KEY = base64.b64encode(bytes(32)).decode()


def run(*arguments: object) -> Any:
    """Commands run an event loop of their own, so not in the test's."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(CliRunner().invoke, app, [str(each) for each in arguments]).result()


@pytest.mark.parametrize(
    "host", ["", "localhost", "*", "*.com", "https://a.example.com", "a.example.com/x", "a b.example.com"]
)
def test_a_host_is_a_name_and_not_everything(host: str) -> None:
    result = run("access", uuid4(), "--tenant", uuid4(), "--host", host)
    assert (result.exit_code, "is not the name of a host" in result.stderr) == (1, True)


def test_what_is_retried_is_named_or_all() -> None:
    for chosen in ((), (uuid4(), "--all")):
        assert "or say --all" in run("retry", "--tenant", uuid4(), *chosen).stderr


@pytest.mark.real
async def test_operators_see_retry_and_give_access_and_it_is_written_down(
    make_database: Callable[..., Awaitable[Database]],
    postgres_dsn: str,
    tenant: UUID,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database = await make_database(service="telephony-router", package="telephony_router")
    account, recording, call = uuid4(), uuid4(), uuid4()
    async with database.transaction(tenant) as tx:
        name = await tx.fetchval("SELECT current_database()")
        await store.add_account(tx, account_id=account, vendor="generic", label="", secret="s", sealed_tokens=[])
        await tx.execute(
            "INSERT INTO recording_fetch (tenant_id, id, call_id, recording_key, account_id, vendor, state, reason) "
            "VALUES ($1, $2, $3, 'k', $4, 'generic', 'failed', 'http_403')",
            tenant, recording, call, account,
        )  # fmt: skip
    parts = urlsplit(postgres_dsn)
    dsn = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], path=f"/{name}"))
    own = {"APP_PASSWORD": "test", "SYSTEM_PASSWORD": "test", "SECRET_KEY": KEY}
    given = {"DEMO": "true", "POSTGRES_DSN": dsn, **{f"TELEPHONY_ROUTER_{key}": value for key, value in own.items()}}
    for key, value in given.items():
        monkeypatch.setenv(f"TRUNKLINE_{key}", value)

    (tmp_path / "credential").write_text("key:secret\n")
    credential = ("--credential-file", tmp_path / "credential")
    kept = run("access", account, "--tenant", tenant, "--host", "*.example.com", *credential, "--json")
    assert json.loads(kept.stdout) == {"hosts": ["*.example.com"], "has_credential": True, "agent_channel": None}
    (tmp_path / "key").write_text("application:-----BEGIN PRIVATE KEY-----\nnothing\n")
    refused = run("access", account, "--tenant", tenant, "--credential-file", tmp_path / "key")
    assert (refused.exit_code, "the private key is not PEM" in refused.stderr) == (1, True)
    kept = run("access", account, "--tenant", tenant, "--agent-channel", 1, "--json")
    assert json.loads(kept.stdout) == {"hosts": ["*.example.com"], "has_credential": True, "agent_channel": 1}
    assert run("access", account, "--tenant", uuid4(), "--agent-channel", 1).exit_code == 1
    async with database.transaction(tenant) as tx:
        sealed = await tx.fetchval("SELECT sealed_credential FROM recording_access")
    assert b"secret" not in sealed
    assert Seal(KEY).open(account, sealed) == "key:secret"

    [listed] = json.loads(run("list", "--tenant", tenant, "--state", "failed", "--json").stdout)
    assert (listed["id"], listed["reason"]) == (str(recording), "http_403")
    assert "http_403" in run("list", "--tenant", tenant).stdout
    assert json.loads(run("list", "--tenant", uuid4(), "--json").stdout) == []
    assert json.loads(run("show", recording, "--tenant", tenant, "--json").stdout)["state"] == "failed"
    assert run("show", recording, "--tenant", uuid4()).exit_code == 1
    assert run("retry", "--tenant", uuid4(), recording).stdout == "0 will be fetched again\n"
    assert run("retry", "--tenant", tenant, "--all").stdout == "1 will be fetched again\n"
    assert json.loads(run("list", "--tenant", tenant, "--json").stdout)[0]["state"] == "pending"
    async with database.transaction(tenant) as tx:
        rows = await tx.fetch("SELECT action, recording_id FROM recording_audit ORDER BY at, id")
    assert [(row["action"], row["recording_id"]) for row in rows] == [
        ("access", None), ("access", None), ("show", recording), ("retry", recording)
    ]  # fmt: skip
