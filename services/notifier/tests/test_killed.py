"""``kill -9`` in the middle of the exchange with a mail server: sent once or known to be unknown, never twice."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from kit.postgres import Database
from kit.testing import eventually
from notifier import store
from notifier.channels import EmailChannel
from notifier.channels.email import SmtpOptions
from notifier.deliver import Deliverer
from notifier.dispatch import Dispatcher
from notifier.sends import PULSE, SendState, send_id_of

from .conftest import AddRecipient, MailServer

pytestmark = pytest.mark.real

SENDER = "Trunkline <pulse@example.com>"
COMMAND = "from notifier.commands import app; app()"


async def started(database: Database, server: MailServer, tenant: UUID) -> asyncio.subprocess.Process:
    """A process of its own that sends the tenant's pulse."""
    settings = {
        "APP_PASSWORD": "test",
        "SYSTEM_PASSWORD": "test",
        "SMTP_HOST": server.host,
        "SMTP_PORT": str(server.port),
        "MAIL_FROM": SENDER,
    }
    environment = {
        **os.environ,
        **{f"TRUNKLINE_NOTIFIER_{name}": value for name, value in settings.items()},
        "TRUNKLINE_DEMO": "true",
        "TRUNKLINE_POSTGRES_DSN": database._app_dsn,
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", COMMAND, "pulse", "--tenant", str(tenant), env=environment
    )


@pytest.mark.parametrize(
    ("behaviour", "reached", "after", "mails"),
    [("silent_at_rcpt", "at_rcpt", SendState.SENT, 1), ("silent_after_data", "mails", SendState.UNKNOWN, 1)],
)
async def test_a_sender_that_is_killed(
    database: Database,
    add_recipient: AddRecipient,
    mail_server: MailServer,
    tenant: UUID,
    behaviour: str,
    reached: str,
    after: SendState,
    mails: int,
) -> None:
    await add_recipient(tenant, pulse_at="00:00", known_since=datetime.now(UTC) - timedelta(days=3))
    mail_server.behaviour = behaviour
    process = await started(database, mail_server, tenant)
    await eventually(lambda: getattr(mail_server, reached))
    process.kill()
    await process.wait()
    mail_server.behaviour = "accept"
    async with database.transaction(tenant) as tx:
        await tx.execute("UPDATE send SET leased_until = now() - interval '1 second' WHERE state = 'sending'")
        [entered] = await store.sends(tx, 10)
    assert entered["state"] == "sending"
    assert entered["send_id"] == send_id_of(tenant, PULSE, entered["local_day"], "email")
    channel = EmailChannel(SmtpOptions(host=mail_server.host, port=mail_server.port, sender=SENDER, timeout_seconds=2))
    deliverer = Deliverer(database=database, channels={"email": channel}, sender=SENDER)
    for _ in range(3):
        await Dispatcher(database=database, deliverer=deliverer, every_seconds=1).run_once()
    async with database.transaction(tenant) as tx:
        [left] = await store.sends(tx, 10)
    assert (left["state"], len(mail_server.mails)) == (after.value, mails)
