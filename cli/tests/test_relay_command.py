"""``trunkline relay`` on a real database."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from kit.testing import MakeDatabase
from trunkline import relay_command
from trunkline.relay_command import app

run = CliRunner()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rewind", "--since", "yesterday"], "neither a time"),
        (["rewind", "--since", "call.state/4@1200"], "takes a time"),
        (["rewind", "--since", "now", "back-office"], "there is no service back-office"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: list[str], says: str) -> None:
    result = run.invoke(app, arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in " ".join(result.stderr.split())


@pytest.mark.real
async def test_a_halted_relay_is_shown_and_let_go_on(make_database: MakeDatabase) -> None:
    database = await make_database(service="front-desk", package="kit")
    tenant = uuid4()
    async with database.transaction(tenant) as tx:
        await tx.execute(
            "INSERT INTO outbox (epoch, tenant_id, id, aggregatetype, aggregateid, type, subject, occurred_at) "
            "VALUES (1, $1, gen_random_uuid(), 't', 'k', 't.v1', 's', $2)",
            tenant,
            datetime.now(UTC),
        )
    async with database.system() as tx:
        await tx.execute("SELECT begin_relay('front-desk', 'old', '{}')")
        await tx.execute("UPDATE relay_position SET epoch = 9")
        await tx.execute("SELECT begin_relay('front-desk', 'new', '{}')")
    status = await relay_command._status(database)
    assert (status["halted"], status["unpublished"]) == ("this is another Kafka cluster", 0)

    assert await relay_command.rewind(database, since=None) == 1
    status = await relay_command._status(database)
    assert (status["halted"], status["unpublished"]) == ("", 1)
