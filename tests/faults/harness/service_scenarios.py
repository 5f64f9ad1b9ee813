"""Scenarios of single services, for mistakes that only they can make. Real Postgres, a real SMTP exchange."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import asyncpg
from aiosmtpd.smtp import SMTP
from tests.faults.harness import checks
from tests.faults.harness.checks import Violation

from kit.testing import fresh_database
from notifier import store
from notifier.channels.email import EmailChannel, SmtpOptions
from notifier.deliver import Deliverer
from notifier.enqueue import enqueue_pulse
from notifier.sends import RetryPolicy
from telephony_router.budget import Budget
from telephony_router.journal import Journal
from telephony_router.record import DATABASE_FAILURES, PostgresIntakes, Recorder
from telephony_router.store import Intake
from vault_importer.manage_accounts import add_account

__all__ = ["SERVICE_SCENARIOS"]

SENDER = "Pulse <pulse@trunkline.example>"
ServiceScenario = Callable[[str], Awaitable[list[Violation]]]


@asynccontextmanager
async def _database(admin_dsn: str, service: str) -> Any:
    """A fresh database of a service, and a superuser's look into it."""
    async with fresh_database(admin_dsn, service=service, package=service.replace("-", "_")) as database:
        name = database._app_dsn.rpartition("/")[2]
        admin = await asyncpg.connect(f"{admin_dsn.rpartition('/')[0]}/{name}")
        try:
            yield database, admin
        finally:
            await admin.close()


class _HangsUpOnce:
    """Takes every message, and hangs up before it says so, the first time."""

    def __init__(self) -> None:
        self.mails: Counter[str] = Counter()

    async def handle_DATA(self, server: Any, _: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's hook
        first = not self.mails
        self.mails[envelope.rcpt_tos[0]] += 1
        if first:
            server.transport.abort()
        return "250 2.0.0 taken"


async def a_mail_server_that_hangs_up(admin_dsn: str) -> list[Violation]:
    """It took the mail and never said so: nobody knows, so nobody may send it again."""
    handler, loop = _HangsUpOnce(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(handler, hostname="test", loop=loop), "127.0.0.1", 0)
    async with server, _database(admin_dsn, "notifier") as (database, _):
        tenant = uuid4()
        options = SmtpOptions(host="127.0.0.1", port=server.sockets[0].getsockname()[1], sender=SENDER, tls="none",
                              timeout_seconds=5)  # fmt: skip
        instantly = RetryPolicy(first=timedelta(milliseconds=1), longest=timedelta(milliseconds=1))
        deliverer = Deliverer(
            database=database, channels={"email": EmailChannel(options)}, sender=SENDER, retry=instantly
        )
        async with database.transaction(tenant) as tx:
            await store.put_recipient(
                tx,
                {"version": 1, "name": "N", "timezone": "Asia/Kolkata", "active": True, "owner_name": "The owner",
                 "owner_email": "owner@kochi.example", "pulse_at": "09:00"},
            )  # fmt: skip
        send = await enqueue_pulse(database, tenant, now=datetime.now(UTC))
        for _ in range(3):
            await deliverer.deliver(tenant, send.id, at_once=True)
    return checks.effects_once({f"mail to {to}": count for to, count in handler.mails.items()})


async def an_audit_log_that_grows(admin_dsn: str) -> list[Violation]:
    """Several audited changes; the chain is recomputed from the rows."""
    async with _database(admin_dsn, "vault-importer") as (database, admin):
        tenant = uuid4()
        for name in ("first", "second", "third"):
            await add_account(
                database, tenant_id=tenant, name=name, number=None, backup_key=None, sealing_key=None,
                now=datetime.now(UTC),
            )  # fmt: skip
        return checks.audit_chain(await admin.fetch("SELECT * FROM vault_importer.audit_log"))


async def rings_that_are_answered(admin_dsn: str) -> list[Violation]:
    """Who was answered is on record, in Postgres or in the journal."""
    rows = [
        Intake(
            tenant=uuid4(), identity=f"ring:c{number}", kind="ring", account_id=uuid4(), call_id=uuid4(),
            received_at=datetime.now(UTC), signal="{}", answer="first", body=b"{}",
        )
        for number in range(5)
    ]  # fmt: skip
    with TemporaryDirectory() as folder:
        async with _database(admin_dsn, "telephony-router") as (database, admin):
            intakes, journal = PostgresIntakes(database), Journal(Path(folder), max_bytes=10**6)
            recorder = Recorder(intakes, Budget(5.0, failures=DATABASE_FAILURES), journal)
            acknowledged = [row.identity for row in rows if await recorder.record(row)]
            await recorder.close()
            await intakes.close()
            await journal.close()
            stored = await admin.fetch("SELECT identity FROM telephony_router.intake")
    return checks.all_done(
        {identity: {"recorded"} for identity in acknowledged}, {row["identity"]: "recorded" for row in stored}
    )


SERVICE_SCENARIOS: dict[str, ServiceScenario] = {
    scenario.__name__: scenario
    for scenario in (a_mail_server_that_hangs_up, an_audit_log_that_grows, rings_that_are_answered)
}
