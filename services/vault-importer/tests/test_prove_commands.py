"""Keys, checkpoints, witnesses and verification as an operator runs them: processes with an environment."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kit.testing import eventually

pytestmark = pytest.mark.real

EDIT = "UPDATE message SET text_data = 'Something else' WHERE _id = 750"
RUN = [sys.executable, "-c", "from vault_importer.commands import app; app()"]


class Operator:
    """Runs commands in one environment, which tests add to."""

    def __init__(self, dsn: str) -> None:
        self.env = {
            "PATH": os.environ["PATH"],
            "TRUNKLINE_POSTGRES_DSN": dsn,
            "TRUNKLINE_DEMO": "true",
            "TRUNKLINE_VAULT_IMPORTER_APP_PASSWORD": "test",
            "TRUNKLINE_VAULT_IMPORTER_SYSTEM_PASSWORD": "test",
        }

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*RUN, *map(str, arguments)], env=self.env, capture_output=True, check=False, encoding="utf-8"
        )

    def told(self, *arguments: object) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture
async def operator(vault: Any, postgres_dsn: str, tmp_path: Path) -> Operator:
    name = (await vault.rows("SELECT current_database() AS name"))[0]["name"]
    return Operator(postgres_dsn.rsplit("/", 1)[0] + f"/{name}")


def _start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


@pytest.fixture
def started(operator: Operator) -> Iterator[Any]:
    """Starts a witness as a process of its own."""
    processes: list[subprocess.Popen[bytes]] = []

    async def start(*arguments: object) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [*RUN, "witness", *map(str, arguments), "--port", str(port)]
        # Without the vault's environment: it runs on another host.
        environment = {"PATH": os.environ["PATH"]}
        processes.append(_start(command, environment))
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            try:
                return httpx.get(url).status_code == 404
            except httpx.HTTPError:
                return False

        await eventually(answers)
        return url

    yield start
    for process in processes:
        process.kill()
        process.wait()


def test_a_key_is_made_once_and_for_its_owner_alone(operator: Operator, tmp_path: Path) -> None:
    path = tmp_path / "vault.key"
    public = operator.told("signing-key", "--name", "vault.example.in", "--out", path)
    assert public.startswith("vault.example.in+")
    assert path.stat().st_mode & 0o777 == 0o600
    kept = path.read_text(encoding="utf-8")
    again = operator.run("signing-key", "--name", "vault.example.in", "--out", path)
    assert (again.returncode, path.read_text(encoding="utf-8")) == (1, kept)
    assert "never overwritten" in again.stderr
    assert operator.run("signing-key", "--name", "a b", "--out", tmp_path / "b").returncode == 1


async def test_verify_looks_at_what_the_signer_remembers(
    operator: Operator, vault: Any, stores: Any, tmp_path: Path, superuser: Any
) -> None:
    operator.told("signing-key", "--name", "vault.example.in", "--out", tmp_path / "vault.key")
    operator.env["TRUNKLINE_VAULT_IMPORTER_SIGNING_KEY_FILE"] = str(tmp_path / "vault.key")
    operator.env["TRUNKLINE_VAULT_IMPORTER_SIGNING_MEMORY_DIR"] = str(tmp_path / "signed")
    operator.told("import", stores.plain(), "--account", vault.account.id)
    assert (tmp_path / "signed" / f"{vault.tenant}.note").read_text().startswith(f"vault.example.in/{vault.tenant}\n")
    assert operator.run("verify", "--tenant", vault.tenant).returncode == 0
    # Nothing in the database says any more that anything was signed, nor that there was more.
    await superuser("DELETE FROM ledger_checkpoint", "DELETE FROM ledger_batch WHERE kind = 'import'")
    found = operator.run("verify", "--tenant", vault.tenant)
    assert found.returncode == 1
    assert "[tail] The noted checkpoint" in found.stderr


async def test_an_import_is_signed_witnessed_and_verified(  # long: the fixtures of one story
    operator: Operator, vault: Any, stores: Any, tmp_path: Path, started: Any, superuser: Any
) -> None:
    operator.told("signing-key", "--name", "vault.example.in", "--out", tmp_path / "vault.key")
    witness = operator.told("signing-key", "--name", "witness.example.org", "--out", tmp_path / "witness.key")
    operator.env["TRUNKLINE_VAULT_IMPORTER_SIGNING_KEY_FILE"] = str(tmp_path / "vault.key")
    log = operator.told("public-key", "--tenant", vault.tenant)
    assert log.startswith(f"vault.example.in/{vault.tenant}+")
    url = await started("--state", tmp_path / "witness", "--key-file", tmp_path / "witness.key", "--log", log)
    operator.env["TRUNKLINE_VAULT_IMPORTER_WITNESSES"] = f"{witness}@{url}"

    plain = stores.plain()
    operator.told("import", plain, "--account", vault.account.id)
    signed = await vault.rows("SELECT sequence, size FROM ledger_checkpoint")
    assert [each["sequence"] for each in signed] == [1]
    assert len(await vault.rows("SELECT * FROM ledger_cosignature")) == 1
    again = json.loads(operator.told("checkpoint", "--tenant", vault.tenant, "--json"))
    assert (again["new"], again["size"], again["witnesses"]) == (False, signed[0]["size"], {})
    (tmp_path / "noted").write_text(again["note"], encoding="utf-8")

    verdict = json.loads(
        operator.told("verify", "--tenant", vault.tenant, "--noted", tmp_path / "noted", "--ask-witnesses", "--json")
    )
    assert verdict["ok"] is True
    assert verdict["ledger"] == {
        "leaves": signed[0]["size"], "shredded": 0, "checkpoints": 1, "signed_leaves": signed[0]["size"],
        "keys": [log], "first_fault": None,
    }  # fmt: skip

    await superuser("UPDATE message SET text = 'Never said' WHERE key_id = 'GROUPMSG99999'")
    harmed = operator.run("verify", "--tenant", vault.tenant)
    assert harmed.returncode == 1
    assert "[commitment]" in harmed.stderr
    assert "Never said" not in harmed.stderr


async def test_a_key_is_rotated_with_its_witness_and_the_old_one_refused(
    operator: Operator, vault: Any, stores: Any, tmp_path: Path, started: Any
) -> None:
    for name in ("old", "new"):
        operator.told("signing-key", "--name", "vault.example.in", "--out", tmp_path / f"{name}.key")
    witness = operator.told("signing-key", "--name", "witness.example.org", "--out", tmp_path / "witness.key")
    operator.env["TRUNKLINE_VAULT_IMPORTER_SIGNING_KEY_FILE"] = str(tmp_path / "old.key")
    old = operator.told("public-key", "--tenant", vault.tenant)
    url = await started("--state", tmp_path / "witness", "--key-file", tmp_path / "witness.key", "--log", old)
    operator.env["TRUNKLINE_VAULT_IMPORTER_WITNESSES"] = f"{witness}@{url}"
    operator.told("import", stores.plain(), "--account", vault.account.id)

    done = json.loads(operator.told("rotate-key", "--new-key-file", tmp_path / "new.key", "--json"))
    assert (list(done["rotated"]), done["nothing_to_do"]) == ([str(vault.tenant)], [])
    assert operator.told("rotate-key", "--new-key-file", tmp_path / "new.key").startswith("0 logs")
    assert len(await vault.rows("SELECT * FROM ledger_cosignature")) == 2
    stale = operator.run("checkpoint", "--tenant", vault.tenant)
    assert (stale.returncode, "went over to another key" in stale.stderr) == (1, True)

    operator.env["TRUNKLINE_VAULT_IMPORTER_SIGNING_KEY_FILE"] = str(tmp_path / "new.key")
    new = operator.told("public-key", "--tenant", vault.tenant)
    operator.told("import", stores.plain(EDIT, name="2.db"), "--account", vault.account.id)
    verdict = json.loads(operator.told("verify", "--tenant", vault.tenant, "--ask-witnesses", "--key", old, "--json"))
    assert (verdict["ok"], verdict["ledger"]["checkpoints"], verdict["ledger"]["keys"]) == (True, 3, [old, new])
    assert len(await vault.rows("SELECT * FROM ledger_cosignature")) == 3
    other = operator.run("rotate-key", "--new-key-file", tmp_path / "witness.key")
    assert (other.returncode, "keeps its name" in other.stderr) == (1, True)


async def test_whoever_has_the_public_key_verifies_without_the_private_one(
    operator: Operator, vault: Any, stores: Any, tmp_path: Path
) -> None:
    operator.told("signing-key", "--name", "vault.example.in", "--out", tmp_path / "vault.key")
    operator.env["TRUNKLINE_VAULT_IMPORTER_SIGNING_KEY_FILE"] = str(tmp_path / "vault.key")
    log = operator.told("public-key", "--tenant", vault.tenant)
    operator.told("import", stores.plain(), "--account", vault.account.id)
    del operator.env["TRUNKLINE_VAULT_IMPORTER_SIGNING_KEY_FILE"]
    blind = operator.run("verify", "--tenant", vault.tenant)
    assert (blind.returncode, "[signature]" in blind.stderr) == (1, True)
    assert operator.run("verify", "--tenant", vault.tenant, "--key", log).returncode == 0
    unsigned = operator.run("checkpoint", "--tenant", vault.tenant)
    assert (unsigned.returncode, "signing-key" in unsigned.stderr) == (1, True)


async def test_evidence_is_written_once_and_checked_by_what_is_in_it(
    operator: Operator, vault: Any, stores: Any, tmp_path: Path
) -> None:
    operator.told("signing-key", "--name", "vault.example.in", "--out", tmp_path / "vault.key")
    operator.env["TRUNKLINE_VAULT_IMPORTER_SIGNING_KEY_FILE"] = str(tmp_path / "vault.key")
    log = operator.told("public-key", "--tenant", vault.tenant)
    source = stores.plain()
    operator.told("import", source, "--account", vault.account.id)
    chat = (await vault.rows("SELECT id FROM chat WHERE kind = 'group'"))[0]["id"]
    bundle = tmp_path / "evidence.zip"
    asked = ("evidence", "--tenant", vault.tenant, "--chat", chat, "--out", bundle, "--json")
    made = json.loads(operator.told(*asked))
    assert (made["wordings"], made["sha256"]) == (2, hashlib.sha256(bundle.read_bytes()).hexdigest())
    with zipfile.ZipFile(bundle) as archive:
        archive.extract("verify_evidence.py", tmp_path)
    command = [sys.executable, "-I", "-S", tmp_path / "verify_evidence.py", bundle, "--key", log, "--source", source]
    checked = subprocess.run(command, capture_output=True, check=False, encoding="utf-8")  # noqa: ASYNC221
    assert (checked.returncode, checked.stdout[:4]) == (0, "GOOD")
    again = operator.run(*asked)
    assert (again.returncode, "never overwritten" in again.stderr) == (1, True)
    nothing = operator.run("evidence", "--tenant", vault.tenant, "--out", tmp_path / "other.zip")
    assert (nothing.returncode, "--customer" in nothing.stderr) == (1, True)
    nobody = ("--customer", "+91 98470 00099", "--out", tmp_path / "other.zip")
    refused = operator.run("evidence", "--tenant", vault.tenant, *nobody)
    assert (refused.returncode, "No message" in refused.stderr) == (1, True)
    assert not os.path.exists(tmp_path / "other.zip")  # noqa: ASYNC240, PTH110


async def test_a_witness_that_is_away_fails_no_import(
    operator: Operator, vault: Any, stores: Any, tmp_path: Path
) -> None:
    operator.told("signing-key", "--name", "vault.example.in", "--out", tmp_path / "vault.key")
    witness = operator.told("signing-key", "--name", "witness.example.org", "--out", tmp_path / "witness.key")
    operator.env["TRUNKLINE_VAULT_IMPORTER_SIGNING_KEY_FILE"] = str(tmp_path / "vault.key")
    operator.env["TRUNKLINE_VAULT_IMPORTER_WITNESSES"] = f"{witness}@http://127.0.0.1:9"
    operator.told("import", stores.plain(), "--account", vault.account.id)
    late = operator.run("checkpoint", "--tenant", vault.tenant)
    assert (late.returncode, "cannot be reached" in late.stderr) == (1, True)
    assert operator.run("verify", "--tenant", vault.tenant).returncode == 0


async def test_evidence_says_which_witness_did_not_sign_it(
    operator: Operator, vault: Any, stores: Any, tmp_path: Path, started: Any
) -> None:
    operator.told("signing-key", "--name", "vault.example.in", "--out", tmp_path / "vault.key")
    away = operator.told("signing-key", "--name", "away.example.org", "--out", tmp_path / "away.key")
    there = operator.told("signing-key", "--name", "there.example.org", "--out", tmp_path / "there.key")
    operator.env["TRUNKLINE_VAULT_IMPORTER_SIGNING_KEY_FILE"] = str(tmp_path / "vault.key")
    log = operator.told("public-key", "--tenant", vault.tenant)
    operator.told("import", stores.plain(), "--account", vault.account.id)
    url = await started("--state", tmp_path / "there", "--key-file", tmp_path / "there.key", "--log", log)
    operator.env["TRUNKLINE_VAULT_IMPORTER_WITNESSES"] = f"{away}@http://127.0.0.1:9,{there}@{url}"
    chat = (await vault.rows("SELECT id FROM chat WHERE kind = 'group'"))[0]["id"]
    bundle = tmp_path / "evidence.zip"
    made = operator.run("evidence", "--tenant", vault.tenant, "--chat", chat, "--out", bundle, "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["witnesses"]["there.example.org"] is None
    assert "cannot be reached" in json.loads(made.stdout)["witnesses"]["away.example.org"]
    assert "away.example.org: It cannot be reached" in made.stderr
    with zipfile.ZipFile(bundle) as archive:
        [signed] = json.loads(archive.read("keys.json"))["witnesses"]
    assert signed.startswith("there.example.org+")


async def test_witnesses_that_are_asked_and_tell_nothing_fail_the_verification(
    operator: Operator, vault: Any, stores: Any, tmp_path: Path, started: Any
) -> None:
    operator.told("signing-key", "--name", "vault.example.in", "--out", tmp_path / "vault.key")
    first = operator.told("signing-key", "--name", "first.example.org", "--out", tmp_path / "first.key")
    operator.env["TRUNKLINE_VAULT_IMPORTER_SIGNING_KEY_FILE"] = str(tmp_path / "vault.key")
    log = operator.told("public-key", "--tenant", vault.tenant)
    operator.told("import", stores.plain(), "--account", vault.account.id)
    asked = ("verify", "--tenant", vault.tenant, "--ask-witnesses", "--json")
    nobody = operator.run(*asked)
    assert (nobody.returncode, "No witness is set" in nobody.stderr) == (1, True)

    url = await started("--state", tmp_path / "first", "--key-file", tmp_path / "first.key", "--log", log)
    operator.env["TRUNKLINE_VAULT_IMPORTER_WITNESSES"] = f"{first}@{url}"
    unknown = operator.run(*asked)
    assert (unknown.returncode, "first.example.org: It has signed nothing of this log" in unknown.stderr) == (1, True)
    # The archive was looked at all the same.
    verdict = json.loads(unknown.stdout)
    assert (verdict["ok"], verdict["ledger"]["first_fault"]) == (False, None)
    assert verdict["witnesses"] == {"first.example.org": "It has signed nothing of this log."}

    operator.told("checkpoint", "--tenant", vault.tenant)
    heard = json.loads(operator.told(*asked))
    assert (heard["ok"], heard["witnesses"]) == (True, {"first.example.org": None})
    second = operator.told("signing-key", "--name", "second.example.org", "--out", tmp_path / "second.key")
    operator.env["TRUNKLINE_VAULT_IMPORTER_WITNESSES"] = f"{second}@http://127.0.0.1:9,{first}@{url}"
    away = operator.run(*asked)
    assert (away.returncode, "second.example.org: It cannot be reached" in away.stderr) == (1, True)
    assert json.loads(away.stdout)["witnesses"]["first.example.org"] is None
    del operator.env["TRUNKLINE_VAULT_IMPORTER_SIGNING_KEY_FILE"]
    blind = operator.run(*asked)
    assert (blind.returncode, "--key" in blind.stderr) == (1, True)


def test_a_setting_that_is_no_key_is_named_and_not_shown(operator: Operator, vault: Any) -> None:
    operator.env["TRUNKLINE_VAULT_IMPORTER_SIGNING_KEY"] = "PRIVATE+KEY+hush"
    refused = operator.run("verify", "--tenant", vault.tenant)
    assert refused.returncode == 1
    assert "TRUNKLINE_VAULT_IMPORTER_SIGNING_KEY" in refused.stderr
    assert "hush" not in refused.stderr


def test_an_authority_without_its_roots_is_not_trusted(operator: Operator, vault: Any, tmp_path: Path) -> None:
    operator.told("signing-key", "--name", "vault.example.in", "--out", tmp_path / "vault.key")
    operator.env["TRUNKLINE_VAULT_IMPORTER_SIGNING_KEY_FILE"] = str(tmp_path / "vault.key")
    operator.env["TRUNKLINE_VAULT_IMPORTER_TSA_URL"] = "http://127.0.0.1:9"
    for command in ("checkpoint", "verify"):
        refused = operator.run(command, "--tenant", vault.tenant)
        assert (refused.returncode, "TSA_CA_FILE" in refused.stderr) == (1, True)
