"""Behind the lint: what the role, the read-only transaction, the time-out and the cap hold back on their own."""

from __future__ import annotations

from uuid import UUID, uuid4

import asyncpg
import pytest

from anomaly_engine.findings import EVIDENCE_ROWS, State
from anomaly_engine.store import RuleReader
from kit.postgres import Database

from .conftest import AS_OF, AddTenant, a_rule

pytestmark = pytest.mark.real

ALL_CALLS = "SELECT call_id FROM call WHERE began_at < :as_of ORDER BY call_id"
TIME = "$1::timestamptz IS NOT NULL"


async def test_rows_are_capped_and_all_are_counted(reader: RuleReader, add_tenant: AddTenant, tenant: UUID) -> None:
    await add_tenant(tenant, calls=33)
    found = await reader.evaluate(tenant, a_rule(ALL_CALLS), AS_OF)
    assert (found.total, len(found.rows), found.state) == (33, EVIDENCE_ROWS, State.FIRING)
    assert [row["call_id"] for row in found.rows] == [f"c{number:03}" for number in range(EVIDENCE_ROWS)]


async def test_no_rows_are_ok(reader: RuleReader, add_tenant: AddTenant, tenant: UUID) -> None:
    await add_tenant(tenant)
    found = await reader.evaluate(tenant, a_rule(ALL_CALLS), AS_OF)
    assert (found.state, found.total, found.rows) == (State.OK, 0, ())


async def test_another_tenants_rows_are_not_seen(reader: RuleReader, add_tenant: AddTenant, tenant: UUID) -> None:
    await add_tenant(uuid4(), calls=5)
    await add_tenant(tenant, calls=2)
    assert (await reader.evaluate(tenant, a_rule(ALL_CALLS), AS_OF)).total == 2


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        (f"SELECT pg_sleep(30) AS call_id WHERE {TIME}", "took longer than it may"),
        (f"SELECT repeat('x', 10) AS call_id FROM generate_series(1, 100000000) WHERE {TIME}", "took longer"),
        (f"WITH d AS (DELETE FROM call WHERE {TIME} RETURNING call_id) SELECT call_id FROM d", "the query failed"),
        (f"SELECT nextval('outbox_seq_seq') AS call_id WHERE {TIME}", "the query failed"),
        (f"SELECT pg_read_file('/etc/passwd') AS call_id WHERE {TIME}", "(42501)"),
        (f"SELECT rolpassword AS call_id FROM pg_authid WHERE {TIME}", "(42501)"),
        (f"SELECT password AS call_id FROM pg_user_mapping WHERE {TIME}", "the query failed"),
        (f"SELECT payload AS call_id FROM outbox WHERE {TIME}", None),
        (f"SELECT reason AS call_id FROM dead_letter WHERE {TIME}", None),
        (f"SELECT id AS call_id FROM call WHERE {TIME}", "UndefinedColumn (42703)"),
        (f"SELECT 1/0 AS call_id WHERE {TIME}", "DivisionByZero (22012)"),
        (f"SELECT 1 AS call_id WHERE {TIME}; SELECT 2", "(42601)"),
        (f"SELECT 1 AS call_id WHERE {TIME}) q; DELETE FROM call --", "(42601)"),
    ],
)
async def test_what_gets_past_the_lint_is_held_back_and_never_green(
    reader: RuleReader, add_tenant: AddTenant, tenant: UUID, sql: str, says: str | None
) -> None:
    await add_tenant(tenant, calls=2)
    found = await reader.evaluate(tenant, a_rule(sql, checked=False), AS_OF)
    if says is None:
        assert found.total == 0
    else:
        assert found.state is State.ERROR
        assert says in str(found.error)
    assert (await reader.evaluate(tenant, a_rule(ALL_CALLS), AS_OF)).total == 2


async def test_what_postgres_lets_a_read_only_transaction_do_is_undone(
    reader: RuleReader, add_tenant: AddTenant, tenant: UUID, database: Database
) -> None:
    await add_tenant(tenant)
    made = a_rule(f"SELECT lo_create(0) AS call_id WHERE {TIME}", checked=False)
    assert (await reader.evaluate(tenant, made, AS_OF)).total == 1
    locked = a_rule(f"SELECT pg_advisory_lock(7) IS NULL AS call_id WHERE {TIME}", checked=False)
    await reader.evaluate(tenant, locked, AS_OF)
    async with database.system() as tx:
        assert await tx.fetchval("SELECT count(*) FROM pg_largeobject_metadata") == 0
        assert await tx.fetchval("SELECT pg_try_advisory_xact_lock(7)")


async def test_an_error_never_quotes_a_row(reader: RuleReader, add_tenant: AddTenant, tenant: UUID) -> None:
    await add_tenant(tenant, calls=1)
    found = await reader.evaluate(
        tenant, a_rule("SELECT CAST(call_id AS int) AS call_id FROM call WHERE began_at < :as_of"), AS_OF
    )
    assert found.error == "the query failed: InvalidTextRepresentation (22P02)"


async def test_a_server_that_cannot_be_asked_is_no_state_of_a_rule(database: object, tenant: UUID) -> None:
    dsn = database._app_dsn  # type: ignore[attr-defined]
    reader = RuleReader(service="anomaly-engine", dsn=dsn, ro_password="wrong", timeout_seconds=1)
    # A trusting test server takes any password; then the name of the database is the one thing left to be wrong.
    nowhere = RuleReader(service="anomaly-engine", dsn=dsn + "x", ro_password="test", timeout_seconds=1)
    with pytest.raises((asyncpg.PostgresError, OSError)):
        await nowhere.evaluate(tenant, a_rule(ALL_CALLS), AS_OF)
    await nowhere.stop()
    await reader.stop()
