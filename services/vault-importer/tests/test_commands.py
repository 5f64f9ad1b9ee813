"""The commands as an operator runs them: processes with an environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kit.testing import eventually

pytestmark = pytest.mark.real

RUN = [sys.executable, "-c", "from vault_importer.commands import app; app()"]


class Operator:
    def __init__(self, dsn: str, folder: Path) -> None:
        self._env = {
            "PATH": os.environ["PATH"],
            "TRUNKLINE_POSTGRES_DSN": dsn,
            "TRUNKLINE_DEMO": "true",
            "TRUNKLINE_VAULT_IMPORTER_APP_PASSWORD": "test",
            "TRUNKLINE_VAULT_IMPORTER_SYSTEM_PASSWORD": "test",
            "TRUNKLINE_VAULT_IMPORTER_KEY_ENCRYPTION_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
            "TRUNKLINE_VAULT_IMPORTER_TEMPORARY_DIR": str(folder),
        }

    def set(self, name: str, value: object) -> None:
        self._env[f"TRUNKLINE_VAULT_IMPORTER_{name}"] = str(value)

    def start(self, *arguments: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*RUN, *map(str, arguments)], env=self._env, stderr=subprocess.DEVNULL)

    def run(self, *arguments: object, stdin: Path | None = None, fails: bool = False) -> Any:
        done = subprocess.run(
            [*RUN, *map(str, arguments), "--json"],
            env=self._env,
            input=stdin.read_bytes() if stdin else b"",
            capture_output=True,
            check=False,
        )
        assert (done.returncode != 0) is fails, done.stderr.decode()
        return json.loads(done.stdout)


@pytest.fixture
async def operator(vault: Any, postgres_dsn: str, tmp_path: Path) -> Operator:
    name = (await vault.rows("SELECT current_database() AS name"))[0]["name"]
    folder = tmp_path / "plain"
    folder.mkdir()
    return Operator(postgres_dsn.rsplit("/", 1)[0] + f"/{name}", folder)


async def test_a_sample_is_imported_recognised_and_verified(operator: Operator, vault: Any, tmp_path: Path) -> None:
    made = operator.run(
        "sample", "--out", tmp_path, "--messages", 300, "--conflict-number", "+919847000042", "--seed", 3
    )
    assert len(made["gstins"]) == 2
    account = operator.run(
        "account", "add", "--tenant", vault.tenant, "--name", "Mumbai", "--number", "098470 00002",
        "--key-file", "-", stdin=Path(made["key_file"]),
    )["account_id"]  # fmt: skip
    listed = {row["account_id"]: row for row in operator.run("account", "list")}
    assert (listed[account]["number"], listed[account]["has_key"]) == ("+919847000002", True)
    first = operator.run("import", made["backup"], "--account", account)
    assert (first["state"], first["messages_new"]) == ("completed", 300)
    again = operator.run("import", made["backup"], "--account", account)
    assert again["state"] == "unchanged"
    verdict = operator.run("verify", "--tenant", vault.tenant)
    assert (verdict["ok"], verdict["records"]) == (True, 6)
    assert operator.run("verify", "--tenant", vault.tenant, "--head", verdict["head"])["ok"]
    assert not operator.run("verify", "--tenant", vault.tenant, "--head", "6:" + "00" * 32, fails=True)["ok"]


async def test_a_backup_of_a_phones_own_key_is_imported(operator: Operator, vault: Any, tmp_path: Path) -> None:
    made = operator.run("sample", "--out", tmp_path, "--messages", 50, "--container", "crypt14")
    account = operator.run(
        "account", "add", "--tenant", vault.tenant, "--name", "Mumbai", "--key-file", made["key_file"]
    )["account_id"]
    imported = operator.run("import", made["backup"], "--account", account)
    assert (imported["state"], imported["messages_new"]) == ("completed", 50)


async def test_a_sample_brings_its_media(operator: Operator, vault: Any, tmp_path: Path) -> None:
    made = operator.run("sample", "--out", tmp_path, "--messages", 300, "--media")
    arguments = ("import", made["backup"], "--account", vault.account.id, "--key-file", made["key_file"])
    assert operator.start(*arguments, "--media", tmp_path).wait() != 0, "there is no folder to keep them in"
    operator.set("MEDIA_DIR", tmp_path / "kept")
    files = operator.run(*arguments, "--media", tmp_path)["manifest"]["media_files"]
    # Some were deleted from the phone; of those, some had come with another message as well.
    assert files["new"] + files["skipped"].get("missing", 0) == files["seen"] > 10
    assert files["new"] >= files["seen"] * 9 // 10
    assert files["seen"] == files["new"] + sum(files["skipped"].values())
    kept = [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    assert 0 < len(kept) < files["new"], "some pictures were sent twice"


async def test_a_refusal_says_why_and_fails(operator: Operator, vault: Any, stores: Any) -> None:
    path = stores.encrypted()
    path.write_bytes(path.read_bytes()[:-50])
    key = stores.folder / "backup.key"
    key.write_text(bytes(range(32)).hex(), encoding="ascii")
    refused = operator.run("import", path, "--account", vault.account.id, "--key-file", key, fails=True)
    assert (refused["state"], refused["reason"]) == ("failed", "not_authentic")
    assert "truncated" in refused["error"]


async def test_an_import_that_is_killed_is_continued_by_the_next_one(
    operator: Operator, vault: Any, tmp_path: Path
) -> None:
    made = operator.run("sample", "--out", tmp_path, "--messages", 20_000)
    arguments = ("import", made["backup"], "--account", vault.account.id, "--key-file", made["key_file"])
    process = operator.start(*arguments)

    async def some_are_there() -> bool:
        rows = await vault.rows("SELECT coalesce(sum(rows_done), 0) AS n FROM import_lane")
        return bool(rows[0]["n"]) or process.poll() is not None

    await eventually(some_are_there, every=0.01)
    process.kill()
    process.wait()
    result = operator.run(*arguments)
    if result["state"] == "completed":
        assert (result["messages_seen"], result["messages_new"]) == (20_000, 20_000)
    events = [json.loads(payload)["message_id"] for payload in await vault.events("message.imported")]
    assert len(events) == len(set(events)) == 20_000
    states = [json.loads(payload)["state"] for payload in await vault.events("vault.state")]
    assert states[:2] == ["started", "completed"]
