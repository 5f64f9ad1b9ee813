"""``trunkline notify`` as a person or a script runs it, also beside a running service."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner

from kit.postgres import Database
from notifier.commands import app

from .conftest import AddRecipient, MailServer

pytestmark = pytest.mark.real


class ServerInAThread:
    """The commands run an event loop of their own, so the mail server has one too."""

    def __init__(self) -> None:
        self.mail = MailServer()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.mail.start(), self._loop).result(5)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.mail.stop(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def mail() -> Iterator[MailServer]:
    server = ServerInAThread()
    server.start()
    yield server.mail
    server.stop()


@pytest.fixture
def environment(database: Database, mail: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_DEMO", "true")
    monkeypatch.setenv("TRUNKLINE_POSTGRES_DSN", database._app_dsn)
    for name, value in {
        "APP_PASSWORD": "test",
        "SYSTEM_PASSWORD": "test",
        "SMTP_HOST": mail.host,
        "SMTP_PORT": str(mail.port),
        "SMTP_TIMEOUT_SECONDS": "2",
    }.items():
        monkeypatch.setenv(f"TRUNKLINE_NOTIFIER_{name}", value)


@pytest.fixture
async def known(database: Database, add_recipient: AddRecipient, tenant: UUID) -> str:
    await add_recipient(tenant, known_since=datetime.now(UTC) - timedelta(days=3))
    await database.close()
    return str(tenant)


def invoke(*arguments: str) -> tuple[int, Any]:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    return result.exit_code, json.loads(result.stdout) if result.stdout else result.stderr


@pytest.mark.usefixtures("environment")
def test_a_pulse_is_sent_once_however_often_it_is_asked_for(known: str, mail: MailServer) -> None:
    first, second = (invoke("pulse", "--tenant", known) for _ in range(2))
    assert first == second
    code, said = first
    assert (code, said["state"], said["attempts"]) == (0, "sent", 1)
    assert [str(each["Subject"]) for each in mail.mails] == [said["subject_line"]]


@pytest.mark.usefixtures("environment")
def test_a_dry_run_sends_nothing(known: str, mail: MailServer) -> None:
    code, said = invoke("pulse", "--tenant", known, "--dry-run")
    assert (code, said["red"]) == (0, 0)
    assert "nothing red" in said["text"]
    assert mail.connections == 0
    assert invoke("sends", "--tenant", known) == (0, [])


@pytest.mark.usefixtures("environment")
def test_a_pulse_that_cannot_be_sent_says_why_and_goes_out_later(known: str, mail: MailServer) -> None:
    mail.behaviour = "put_off_rcpt"
    code, said = invoke("pulse", "--tenant", known)
    assert (code, said["state"]) == (1, "pending")
    assert "greylisted" in said["reason"]
    mail.behaviour = "accept"
    code, said = invoke("pulse", "--tenant", known)
    assert (code, said["state"], said["attempts"]) == (0, "sent", 2)


@pytest.mark.usefixtures("environment")
def test_what_nobody_knows_is_listed_and_resolved(known: str, mail: MailServer) -> None:
    mail.behaviour = "drop_after_data"
    code, said = invoke("pulse", "--tenant", known)
    assert (code, said["state"]) == (1, "unknown")
    mail.behaviour = "accept"
    assert invoke("pulse", "--tenant", known)[1]["state"] == "unknown"
    [listed] = invoke("sends")[1]
    assert (listed["send_id"], listed["state"]) == (said["notification_id"], "unknown")
    send_id = said["notification_id"]
    assert invoke("resolve", send_id, "--reason", "x")[0] == 1
    code, said = invoke("resolve", send_id, "--sent", "--reason", "the owner has it")
    assert (code, said["state"]) == (0, "sent")
    assert len(mail.mails) == 1


@pytest.mark.usefixtures("environment")
def test_an_unknown_tenant_is_a_sentence() -> None:
    code, said = invoke("pulse", "--tenant", str(uuid4()))
    assert code == 1
    assert "No tenant has this id here" in said


@pytest.mark.usefixtures("environment")
def test_nothing_is_sent_while_sending_is_held_back(
    known: str, mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUNKLINE_NOTIFIER_SENDING_ENABLED", "false")
    code, said = invoke("pulse", "--tenant", known)
    assert (code, mail.connections) == (1, 0)
    assert "held back" in said
