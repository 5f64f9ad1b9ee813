"""An erasure as an operator runs it: every step a process, every refusal a sentence that says what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any
from uuid import UUID

import pytest

from vault_importer.erasure.case import SuppressionKey

from .conftest import KEY, NUMBER, Forgetting

pytestmark = pytest.mark.real

RUN = [sys.executable, "-c", "from vault_importer.commands import app; app()"]
# 32 bytes in order, of which the fixture's key is made.
SEALING_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


class Operator:
    def __init__(self, dsn: str, tenant: Any) -> None:
        self.tenant = str(tenant)
        self.env = {
            "PATH": os.environ["PATH"],
            "TRUNKLINE_POSTGRES_DSN": dsn,
            "TRUNKLINE_DEMO": "true",
            "TRUNKLINE_VAULT_IMPORTER_APP_PASSWORD": "test",
            "TRUNKLINE_VAULT_IMPORTER_SYSTEM_PASSWORD": "test",
            "TRUNKLINE_VAULT_IMPORTER_KEY_ENCRYPTION_KEY": SEALING_KEY,
        }

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [*RUN, *map(str, arguments), "--tenant", self.tenant]
        return subprocess.run(command, env=self.env, capture_output=True, check=False, encoding="utf-8")

    def told(self, *arguments: object) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *arguments: object) -> str:
        done = self.run(*arguments)
        assert done.returncode == 1, done.stdout
        assert "Traceback" not in done.stderr
        return done.stderr


@pytest.fixture
async def operator(forgetting: Forgetting, postgres_dsn: str) -> Operator:
    name = (await forgetting.vault.rows("SELECT current_database() AS name"))[0]["name"]
    assert SuppressionKey.of(bytes(range(32))) == KEY
    return Operator(postgres_dsn.rsplit("/", 1)[0] + f"/{name}", forgetting.vault.tenant)


async def test_a_person_is_forgotten_step_by_step(operator: Operator, forgetting: Forgetting) -> None:
    asked = json.loads(operator.told("erasure", "ask", "--by", "desk", "--number", "+91 98470 00010", "--json"))
    request = asked["id"]
    assert (asked["state"], asked["addresses"]) == ("asked", 1)
    assert "9847000010" not in json.dumps(asked)
    assert "two different people" in operator.refused("erasure", "plan", request)
    assert "1 more to approve" in operator.told("erasure", "approve", request, "--by", "owner")
    assert "another person" in operator.refused("erasure", "approve", request, "--by", "owner")
    assert "erasure plan" in operator.told("erasure", "approve", request, "--by", "partner")
    planned = operator.told("erasure", "plan", request)
    assert "would erase, conversation: 4" in planned
    assert "would keep, messages of others that name the number: 1" in planned
    assert "read it again" in operator.refused("erasure", "apply", request, "--by", "owner", "--plan", "x")
    plan = json.loads(operator.told("erasure", "show", request, "--json"))["plan_hash"]
    assert f"--plan {plan}" in planned
    applied = operator.told("erasure", "apply", request, "--by", "owner", "--plan", plan)
    assert "erased, message: 10" in applied
    assert "notifier has not answered yet" in operator.told("erasure", "show", request)
    assert "no certificate yet" in operator.refused("erasure", "certificate", request)
    case = await forgetting.case(UUID(request))
    await forgetting.answer(case)
    await forgetting.carry_out(case.id)
    assert operator.told("erasure", "certificate", request).startswith("Certificate of erasure\n")
    kept = forgetting.folder / "certificate.txt"
    operator.told("erasure", "certificate", request, "--out", kept)
    assert kept.read_text(encoding="utf-8").startswith("Certificate of erasure\n")
    assert f"{request}  done" in operator.told("erasure", "list")
    assert NUMBER not in operator.told("erasure", "list", "--json")


async def test_a_hold_is_placed_and_released(operator: Operator) -> None:
    assert "Nothing is held" in operator.told("hold", "list")
    hold = operator.told("hold", "place", "--by", "owner", "--reason", "Claim 7", "--number", NUMBER).strip()
    assert f"{hold}  {NUMBER}" in operator.told("hold", "list")
    assert "cannot be read" in operator.refused("hold", "place", "--by", "owner", "--reason", "x", "--number", "seven")
    operator.told("hold", "release", hold, "--by", "owner", "--why", "settled")
    assert "released before" in operator.refused("hold", "release", hold, "--by", "owner", "--why", "again")
    assert "released 20" in operator.told("hold", "list")


async def test_what_is_asked_wrongly_is_said(operator: Operator) -> None:
    assert "Say who it is" in operator.refused("erasure", "ask", "--by", "desk")
    assert "Say who you are" in operator.refused("erasure", "ask", "--by", " ", "--number", NUMBER)
    assert "your own accounts" in operator.refused("erasure", "ask", "--by", "desk", "--number", "+919847000001")
    missing = "00000000-0000-0000-0000-000000000001"
    assert "no such request" in operator.refused("erasure", "approve", missing, "--by", "owner")
    assert "no such request" in operator.refused("erasure", "show", missing)
    assert "Nobody has asked" in operator.told("erasure", "list")
    assert "kept out" in operator.refused("erasure", "let-in", "--by", "owner", "--number", NUMBER)


async def test_reach_and_policy(operator: Operator) -> None:
    told = operator.told("erasure", "reach", "--number", NUMBER)
    assert "addresses: 1, messages: 8, conversations: 2" in told
    assert (
        operator.told("erasure", "policy", "after_one_year", "--by", "owner") == "Plans from now on: after_one_year.\n"
    )
