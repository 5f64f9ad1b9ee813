"""What an operator types to work dead letters off, with services that answer and some that do not."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
import uvicorn
from typer.testing import CliRunner, Result

from contracts.envelope import Envelope
from kit.dead_letters import DeadLetters, Failure
from kit.postgres import Database
from kit.testing import MakeDatabase
from recovery.dead_letters.api import dead_letters_app
from trunkline.dlq.commands import app

pytestmark = pytest.mark.real

WHOM = "+919847000010"
TENANT = UUID(int=5)


@dataclass
class Stack:
    """front-desk's letters behind HTTP. Every other service's name leads there as well, so that none is silent."""

    database: Database
    urls: list[str]
    offset: int = field(default=0)

    async def dlq(self, *arguments: str, code: int = 0, urls: list[str] | None = None) -> Result:
        given = [part for url in urls or self.urls for part in ("--url", url)]
        done: Result = await asyncio.to_thread(CliRunner().invoke, app, [*arguments, *given])
        assert done.exit_code == code, (done.output, done.exception)
        return done

    async def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads((await self.dlq(*arguments, "--json", code=code)).stdout)

    async def park(
        self, entity: str = f"contact:{WHOM}", value: bytes | None = b'{"number": "one"}', **more: str
    ) -> str:
        self.offset += 1
        envelope = Envelope(
            id=str(uuid4()), type="fact.extracted.v1", source="/tests", time=datetime.now(UTC), tenant=TENANT,
            subject=entity, partitionkey=f"{TENANT}:{entity}",
        )  # fmt: skip
        record = SimpleNamespace(
            topic="fact.extracted", partition=0, offset=self.offset, timestamp=0, value=value,
            key=f"{TENANT}:{entity}".encode(), headers=list(envelope.to_headers()),
        )  # fmt: skip
        failure = Failure(more.get("reason", "bad_shape"), more.get("message", "the shape is wrong"), 4, "5ac0ffee")
        await DeadLetters(self.database, "front-desk", "1.2").park(record, envelope, failure)
        async with self.database.system() as tx:
            return str(await tx.fetchval('SELECT id FROM dead_letter WHERE "offset" = $1', self.offset))

    async def column(self, name: str) -> list[Any]:
        async with self.database.system() as tx:
            return [row[0] for row in await tx.fetch(f"SELECT {name} FROM dead_letter ORDER BY seq")]


@pytest.fixture
async def stack(make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stack]:
    database = await make_database(service="front-desk", package="kit")
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(dead_letters_app(database, admin_token="a-token"), log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listening]))
    names = ("telephony-router", "vault-importer", "brain-distiller", "anomaly-engine", "notifier")
    monkeypatch.setenv("TRUNKLINE_ADMIN_TOKEN", "a-token")
    monkeypatch.setenv("COLUMNS", "80")
    here = f"front-desk=http://127.0.0.1:{listening.getsockname()[1]}"
    same = here.partition("=")[2]
    yield Stack(database, [here, *(f"{name}={same}" for name in names)])
    server.should_exit = True
    await serving


def silent(stack: Stack) -> list[str]:
    """Only front-desk answers, and it is asked last."""
    return [*(f"{url.partition('=')[0]}=http://127.0.0.1:9" for url in stack.urls[1:]), stack.urls[0]]


async def test_one_silent_service_keeps_no_other_from_being_worked(stack: Stack) -> None:
    await stack.park()
    told = await stack.dlq("retry", "--tenant", str(TENANT), code=1, urls=silent(stack))
    assert "1 letter will be tried again" in told.output
    assert "notifier does not answer" in told.output
    assert await stack.column("state") == ["retry"]
    told = await stack.dlq("drop", "--tenant", str(TENANT), "--why", "x", "--yes", code=1, urls=silent(stack))
    assert "1 letter dropped" in told.output
    assert await stack.column("state") == ["dropped"]
    told = await stack.dlq("list", "--consumer", "nobody", code=1, urls=silent(stack))
    assert "Those that answer have no dead letters." in told.output


async def test_a_letter_that_a_silent_service_may_have_is_not_called_gone(stack: Stack) -> None:
    told = await stack.dlq("show", str(uuid4()), code=1, urls=silent(stack))
    assert "does not answer" in told.output
    told = await stack.dlq("show", str(uuid4()), code=2)
    assert "there is no such letter" in told.output


async def test_what_is_shown_names_nobody_until_it_is_revealed(stack: Stack) -> None:
    letter = await stack.park()
    for arguments in (["list"], ["list", "--tenant", str(TENANT)], ["show", letter], ["list", "--json"]):
        assert WHOM not in (await stack.dlq(*arguments)).output
    shown = (await stack.dlq("show", letter)).output
    for kept in ("bad_shape: the shape is wrong", "5ac0ffee", "1.2", "fact.extracted/0@1", "ce_subject: …"):
        assert kept in shown
    revealed = (await stack.dlq("show", letter, "--reveal")).output
    assert f"ce_subject: contact:{WHOM}" in revealed
    assert "reveal by" in (await stack.dlq("show", letter)).output
    await stack.dlq("retry", "--key-of", letter, "--why", "mended")
    assert await stack.column("state") == ["retry"]


async def test_no_text_is_taken_for_markup_or_for_control(stack: Stack) -> None:
    hostile = "[/tmp/x] [bold]\x1b]0;title\x07 \x9b2J"
    letter = await stack.park("[/red]", b'{"a": "\x1b[2J [/]"}', reason="[/reason]", message=hostile)
    await stack.dlq("edit", letter, "--original", "--why", "see [/tmp/x]", code=2)
    for arguments in (
        ["list"], ["list", "--tenant", str(TENANT)], ["show", letter, "--reveal"],
        ["retry", letter, "--why", "see [/tmp/x]"], ["show", letter],
        ["drop", letter, "--why", "see [/tmp/x]", "--yes"], ["show", letter], ["restore", letter, "--why", "[/b]"],
        ["plan", "drop", "--service", "front-desk", "--consumer", "front-desk", "--why", "see [/tmp/x]"], ["status"],
    ):  # fmt: skip
        told = (await stack.dlq(*arguments)).output
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", told), arguments
    assert "see [/tmp/x]" in (await stack.dlq("status")).output
    assert "[/tmp/x] [bold]\\x1b]0;title" in (await stack.dlq("list")).output


async def test_a_second_edit_begins_from_the_first_and_the_original_comes_back(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    letter = await stack.park()
    for number in ("one", "two"):
        monkeypatch.setenv("EDITOR", f'sed -i \'s/"number"/"{number}": 1, "number"/\'')
        await stack.dlq("edit", letter, "--why", "a field more", "--yes")
    (edited,) = await stack.column("edited_value")
    assert json.loads(edited) == {"one": 1, "two": 1, "number": "one"}
    monkeypatch.setenv("EDITOR", "true")
    assert "Nothing was changed" in (await stack.dlq("edit", letter, "--why", "x", "--yes", code=2)).output
    file = tmp_path / "original.json"
    file.write_text('{"number": "one"}')
    told = (await stack.dlq("edit", letter, "--value-file", str(file), "--why", "it was right", "--yes")).output
    assert "That is the original" in told
    assert await stack.column("edited_value") == [None]
    file.write_text("{broken")
    told = (await stack.dlq("edit", letter, "--value-file", str(file), "--why", "to see", "--yes")).output
    assert "not JSON: it will fail again" in told
    await stack.dlq("edit", letter, "--original", "--why", "no good", "--yes")
    assert await stack.column("edited_value") == [None]
    assert await stack.column("value") == [b'{"number": "one"}']


@pytest.mark.parametrize(
    ("value", "editor", "file", "said"),
    [
        (b"\xff\xfe", "true", None, "not text, an editor would break it"),
        (None, "true", None, "there is nothing to edit"),
        (b"{}", "no-such-editor", None, "cannot be started"),
        (b"{}", "false", None, "the editor ended with 1"),
        (b"{}", "'", None, "which is no command"),
        (b"{}", "truncate -s 0", None, "an empty value is not stored"),
        (b"{}", "true", "missing.json", "cannot be read: No such file"),
    ],
)
async def test_an_edit_that_cannot_be_is_refused_in_a_sentence(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, value: bytes | None, editor: str, file: str | None, said: str
) -> None:
    letter = await stack.park(value=value)
    monkeypatch.setenv("EDITOR", editor)
    more = ["--value-file", file] if file else []
    told = (await stack.dlq("edit", letter, "--why", "mended", "--yes", *more, code=2)).output
    assert said in " ".join(told.split())
    assert await stack.column("edited_value") == [None]


async def test_a_bulk_action_is_told_with_who_did_what(stack: Stack) -> None:
    for number in range(3):
        await stack.park(f"e{number}")
    chosen = ("--service", "front-desk", "--consumer", "front-desk")
    job = await stack.json("plan", "retry", *chosen, "--rate", "0.05", "--why", "mended")
    applied = await stack.json("apply", job["id"], "--service", "front-desk", "--hash", job["plan_hash"])
    assert applied["state"] == "running"
    told = await stack.dlq("cancel", job["id"], "--service", "front-desk", "--why", "wrong group")
    assert "cancelled after 0 of 3 letters" in told.output
    status = (await stack.dlq("status", "--service", "front-desk")).output
    assert "0.05 a second: cancelled" in status
    assert "0 of 3 letters asked for: 0 took effect, 0 failed again" in status
    assert re.search(r"plan by \S+: mended\n.*apply by \S+: mended\n.*cancel by \S+: wrong group\n", status)


async def test_what_is_not_chosen_is_not_done(stack: Stack) -> None:
    letter = await stack.park()
    assert "say which letters" in (await stack.dlq("retry", code=2)).output
    assert "not both" in (await stack.dlq("retry", letter, "--tenant", str(TENANT), code=2)).output
    assert "No such letters wait" in (await stack.dlq("retry", "--group", "0123456789ab")).output
    assert await stack.column("state") == ["waiting"]
    told = (
        await stack.dlq("retry", "--group", "x", code=1, urls=[*silent(stack)[:-1], "front-desk=http://127.0.0.1:9"])
    ).output
    assert told.count("does not answer") == 6


async def test_a_wrong_token_is_said_and_not_taken_for_an_empty_list(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stack.park()
    monkeypatch.setenv("TRUNKLINE_ADMIN_TOKEN", "another")
    told = (await stack.dlq("list", code=1)).output
    assert "does not take the admin token" in told
    assert "everything was handled" not in told
