"""A migrated database of the notifier, a mail server that can misbehave, and things to send."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import pytest
from aiosmtpd.smtp import SMTP

from kit.postgres import Database
from kit.testing import MakeDatabase
from notifier import store
from notifier.channels.base import Entering, Message, OutcomeUnknown, Receipt, Refused, TryLater
from notifier.pulse import Recipient, RedRule

SERVICE = "notifier"
NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)
"""09:30 in Kochi."""
DAY = date(2026, 3, 2)


class _Server(SMTP):
    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802
        behaviour = self.event_handler.behaviour
        if behaviour == "drop_at_data":
            self.transport.abort()
            return
        if behaviour == "refuse_data":
            await self.push("554 5.7.1 no message for anyone@example.com today")
            return
        await super().smtp_DATA(arg)


@dataclass
class MailServer:
    """An SMTP server on a port of its own. ``behaviour`` says how it fails, ``mails`` is what it has taken."""

    behaviour: str = "accept"
    host: str = "127.0.0.1"
    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    connections: int = 0
    at_rcpt: int = 0
    _server: Any = None

    async def start(self) -> None:
        def make() -> SMTP:
            self.connections += 1
            return _Server(self, hostname="test", decode_data=False, loop=asyncio.get_running_loop())

        self._server = await asyncio.get_running_loop().create_server(make, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def handle_RCPT(self, _: Any, __: Any, envelope: Any, address: str, ___: Any) -> str:  # noqa: N802
        if self.behaviour == "refuse_rcpt":
            return f"550 5.1.1 <{address}> is unknown here"
        if self.behaviour == "put_off_rcpt":
            return "451 4.7.1 greylisted, come again"
        self.at_rcpt += 1
        if self.behaviour == "silent_at_rcpt":
            await asyncio.sleep(5)
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_MAIL(self, _: Any, __: Any, envelope: Any, address: str, ___: Any) -> str:  # noqa: N802
        if self.behaviour == "put_off_mail":
            return "421 4.3.2 shutting down"
        if self.behaviour == "refuse_mail":
            return "553 5.1.8 no such sender"
        envelope.mail_from = address
        return "250 2.1.0 ok"

    async def handle_DATA(self, server: Any, _: Any, envelope: Any) -> str:  # noqa: N802
        if self.behaviour == "put_off_message":
            return "452 4.3.1 disk full"
        if self.behaviour == "refuse_message":
            return "554 5.6.0 looks like spam"
        if self.behaviour == "nonsense_after_data":
            return "999 what"
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))  # type: ignore[arg-type]
        self.recipients += envelope.rcpt_tos
        if self.behaviour == "drop_after_data":
            server.transport.abort()
        if self.behaviour == "silent_after_data":
            await asyncio.sleep(5)
        return "250 2.0.0 taken as 4711"


@pytest.fixture
async def mail_server() -> AsyncIterator[MailServer]:
    server = MailServer()
    await server.start()
    yield server
    await server.stop()


class FakeChannel:
    """A channel in memory that obeys the same contract, with the same behaviours."""

    name = "email"

    def __init__(self) -> None:
        self.behaviour = "accept"
        self.taken: list[tuple[Message, str]] = []
        self.gate: asyncio.Event | None = None
        """When set, an attempt waits here once the message has left."""

    async def send(self, message: Message, to: str, *, entering: Entering) -> Receipt:
        if "@" not in to or "\n" in to:
            raise Refused("not an address")
        if self.behaviour in ("down", "put_off_rcpt", "put_off_mail"):
            raise TryLater("not now", code=None if self.behaviour == "down" else 451)
        if self.behaviour in ("refuse_rcpt", "refuse_mail"):
            raise Refused("never", code=550)
        await entering()
        if self.behaviour == "drop_at_data":
            raise TryLater("lost before")
        if self.behaviour in ("refuse_data", "refuse_message"):
            raise Refused("never", code=554)
        if self.behaviour == "put_off_message":
            raise TryLater("not now", code=452)
        if self.behaviour == "nonsense_after_data":
            raise OutcomeUnknown("nonsense")
        self.taken.append((message, to))
        if self.gate is not None:
            await self.gate.wait()
        if self.behaviour in ("drop_after_data", "silent_after_data"):
            raise OutcomeUnknown("lost after")
        if self.behaviour == "breaks":
            raise RuntimeError("a bug")
        return Receipt(code=250)


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    return await make_database(service=SERVICE, package="notifier")


AddRecipient = Callable[..., Awaitable[None]]


@pytest.fixture
def add_recipient(database: Database) -> AddRecipient:
    async def add(tenant: UUID, *, known_since: datetime = NOW - timedelta(days=30), **fields: Any) -> None:
        row = {
            "version": 1,
            "name": "Kochi Traders",
            "timezone": "Asia/Kolkata",
            "active": True,
            "owner_name": "Reception",
            "owner_email": "owner@kochi.example",
            "pulse_at": "09:00",
            **fields,
        }
        async with database.transaction(tenant) as tx:
            await store.put_recipient(tx, row)
            await tx.execute("UPDATE recipient SET known_since = $1", known_since)

    return add


def a_recipient(**fields: Any) -> Recipient:
    values = {
        "tenant": UUID(int=1),
        "name": "Kochi Traders",
        "timezone": "Asia/Kolkata",
        "owner_name": "Reception",
        "owner_email": "owner@kochi.example",
        "pulse_at": "09:00",
        "known_since": NOW - timedelta(days=30),
        **fields,
    }
    return Recipient(**values)


def a_red_rule(**fields: Any) -> RedRule:
    values = {
        "rule": "capsule_fact_value_conflict",
        "title": "Two values for what has only one",
        "learning": "Ask the customer which value is right.",
        "severity": "warning",
        "evidence_summary": "subject customer:42, fact key gstin",
        "evidence_total": 2,
        "local_day": DAY,
        **fields,
    }
    return RedRule(**values)
