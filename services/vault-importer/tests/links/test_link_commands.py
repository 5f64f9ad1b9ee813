"""``trunkline vault links`` as an operator runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from contracts.directory import CustomerV1
from vault_importer import store
from vault_importer.consumers import on_customer
from vault_importer.formats.base import Alias

pytestmark = pytest.mark.real
RUN = [sys.executable, "-c", "from vault_importer.commands import app; app()", "links"]
AT = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.fixture
async def run(archive: Any, postgres_dsn: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    name = (await archive.vault.rows("SELECT current_database() AS name"))[0]["name"]
    env = {
        "PATH": os.environ["PATH"],
        "TRUNKLINE_POSTGRES_DSN": postgres_dsn.rsplit("/", 1)[0] + f"/{name}",
        "TRUNKLINE_DEMO": "true",
        "TRUNKLINE_VAULT_IMPORTER_APP_PASSWORD": "test",
        "TRUNKLINE_VAULT_IMPORTER_SYSTEM_PASSWORD": "test",
    }

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [*RUN, *map(str, arguments), "--tenant", str(archive.vault.tenant)]
        return subprocess.run(command, env=env, capture_output=True, check=False, encoding="utf-8")

    return run


async def test_an_operator_sees_which_identity_has_which_number_and_why(
    archive: Any, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    empty = run("identities")
    assert (empty.returncode, empty.stdout) == (0, "")
    assert "No hidden identity" in empty.stderr
    person, account = "919847000010@s.whatsapp.net", archive.vault.account.id
    async with archive.vault.database.transaction(archive.vault.tenant) as tx:
        for lid, jid, source in (("7000@lid", person, "vcard"), ("7000@lid", person, "jid_map"),
                                 ("7001@lid", "919847000011@s.whatsapp.net", "chat")):  # fmt: skip
            pair = Alias(lid=lid, jid=jid, source=source)
            await store.add_aliases(tx, [pair], {}, account_id=account, import_id=uuid4(), at=AT)
    assert run("identities", "--of", "+919847000010").stdout.splitlines() == [
        f"7000@lid  {person}  jid_map  100  since 2026-02-01",
        f"7000@lid  {person}  vcard  40  since 2026-02-01",
    ]
    assert len(run("identities").stdout.splitlines()) == 3
    [told] = json.loads(run("identities", "--of", "7001@lid", "--json").stdout)
    assert (told["source"], told["confidence"]) == ("chat", 90)


async def test_an_operator_settles_what_is_ambiguous(
    archive: Any, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    for id_ in ("k1", "k2"):
        event = CustomerV1(customer_id=id_, version=1, name=f"Shop {id_}", numbers=("+919847000010",))
        async with archive.vault.database.transaction(archive.vault.tenant) as tx:
            await on_customer(event, tx)
    await archive.say("hello", sent_at=AT)
    assert run("run").returncode == 0
    listed = run("list").stdout
    assert "ambiguous  +919847000010" in listed
    assert "customer:k2  Shop k2  by number +919847000010" in listed
    [link] = json.loads(run("list", "--json").stdout)
    contact, by = link["contact_id"], ("--by", "owner")
    assert run("decide", contact, *by, "--accept", "customer:k2", "--why", "asked").stdout.strip() == (
        "linked to customer:k2"
    )
    assert run("list").stdout == ""
    shown = json.loads(run("show", contact).stdout)
    assert shown["link"]["party_id"] == "k2"
    assert {"owner", "autolink"} == {each["decided_by"] for each in shown["history"]}
    [chat] = await archive.vault.rows("SELECT id FROM chat")
    assert run("role", chat["id"], "vendor", *by).stdout.strip() == "vendor: decided by owner"
    assert run("role", chat["id"], "rules", *by).stdout.strip() == "client: linked to a customer"
    assert run("decide", contact, *by, "--none").stdout.strip() == "none"
    assert run("decide", contact, *by, "--again").stdout.strip() == "ambiguous"
    for wrong, sentence in (
        (("decide", contact, *by), "Give one of --accept"),
        (("decide", contact, *by, "--accept", "k2"), "customer:ID"),
        (("decide", contact, *by, "--accept", "lead:l9"), "There is no lead:l9"),
        (("decide", chat["id"], *by, "--none"), "no such contact"),
    ):
        done = run(*wrong)
        assert (done.returncode, "Traceback" in done.stderr) == (1, False)
        assert sentence in done.stderr
