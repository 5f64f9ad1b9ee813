"""Nobody gets round row-level security through the pools that services use."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import asyncpg
import pytest

from kit.postgres import Database, role_dsn

pytestmark = pytest.mark.real

WRITE = "INSERT INTO ledger (tenant_id, entity, number) VALUES ($1, $2, $3)"


async def seed(database: Database, *tenants: UUID) -> None:
    for tenant in tenants:
        async with database.transaction(tenant) as tx:
            await tx.execute(WRITE, tenant, f"of {tenant}", 1)


async def test_a_tenant_sees_its_own_rows_only(database: Database) -> None:
    mine, other = uuid4(), uuid4()
    await seed(database, mine, other)
    async with database.transaction(mine) as tx:
        rows = await tx.fetch("SELECT tenant_id FROM ledger")
        changed = await tx.execute("UPDATE ledger SET number = 9")
        gone = await tx.execute("DELETE FROM ledger WHERE tenant_id = $1", other)
    assert [row["tenant_id"] for row in rows] == [mine]
    assert (changed, gone) == ("UPDATE 1", "DELETE 0")


async def test_writing_for_another_tenant_is_refused(database: Database) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with database.transaction(uuid4()) as tx:
            await tx.execute(WRITE, uuid4(), "smuggled", 1)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        mine = uuid4()
        async with database.transaction(mine) as tx:
            await tx.execute(WRITE, mine, "moved away", 1)
            await tx.execute("UPDATE ledger SET tenant_id = $1", uuid4())


async def test_an_unset_tenant_is_an_error_and_not_an_empty_answer(database: Database) -> None:
    await seed(database, uuid4())
    connection = await asyncpg.connect(database._app_dsn)
    with pytest.raises(asyncpg.PostgresError):
        await connection.fetch("SELECT * FROM ledger")
    async with connection.transaction():
        await connection.execute("SELECT set_config('app.tenant', $1, true)", str(uuid4()))
    with pytest.raises(asyncpg.PostgresError):
        await connection.fetch("SELECT * FROM ledger")
    await connection.close()


@pytest.mark.parametrize(
    "attack",
    [
        "SET row_security = off; SELECT count(*) FROM ledger",
        "ALTER TABLE ledger DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE ledger NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY tenant ON ledger",
        "CREATE POLICY all_of_it ON ledger USING (true)",
        "SET ROLE front_desk_owner",
        "SET ROLE front_desk_system",
        "SET SESSION AUTHORIZATION postgres",
        "ALTER ROLE front_desk_app BYPASSRLS",
        "TRUNCATE ledger",
        "CREATE TABLE public.copy AS SELECT 1",
        "CREATE FUNCTION leak() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
        "SELECT maintain_outbox('0 days')",
        "SELECT payload FROM outbox",
        "DELETE FROM inbox",
        "UPDATE relay_position SET seq = 0",
    ],
)
async def test_the_app_role_cannot_lift_the_fence(database: Database, attack: str) -> None:
    other = uuid4()
    await seed(database, other)
    connection = await asyncpg.connect(database._app_dsn)
    async with connection.transaction():
        await connection.execute("SELECT set_config('app.tenant', $1, false)", str(uuid4()))
    with pytest.raises(asyncpg.PostgresError):
        await connection.execute(attack)
    await connection.close()


async def test_no_role_of_a_service_is_above_the_fence(database: Database) -> None:
    async with database.system() as tx:
        rows = await tx.fetch(
            "SELECT rolname FROM pg_roles WHERE rolname LIKE 'front\\_desk\\_%' AND (rolsuper OR rolbypassrls "
            "OR rolcreaterole OR rolcreatedb OR rolreplication)"
        )
    assert rows == []


async def test_even_the_owner_reads_nothing_past_the_policies(database: Database) -> None:
    await seed(database, uuid4())
    owner = await asyncpg.connect(role_dsn(database._app_dsn, "front_desk_owner", "test"))
    assert await owner.fetchval("SELECT count(*) FROM ledger") == 0
    await owner.close()


async def test_the_system_role_is_let_into_plumbing_only(database: Database) -> None:
    await seed(database, uuid4())
    async with database.system() as tx:
        assert await tx.fetchval("SELECT count(*) FROM outbox") == 0
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with database.system() as tx:
            await tx.fetch("SELECT * FROM ledger")


async def test_tenants_interleaved_over_one_pool_never_mix(database: Database) -> None:
    """Rollbacks, cancellations and prepared statements between them, over fewer connections than tenants."""
    tenants = [uuid4() for _ in range(8)]
    await seed(database, *tenants)
    seen: list[tuple[UUID, UUID]] = []

    async def probe(tenant: UUID, turn: int) -> None:
        try:
            async with asyncio.timeout(0.0005 if turn % 7 == 0 else 30):
                async with database.transaction(tenant) as tx:
                    seen.extend((tenant, row["tenant_id"]) for row in await tx.fetch("SELECT tenant_id FROM ledger"))
                    if turn % 5 == 0:
                        raise ZeroDivisionError
        except (ZeroDivisionError, TimeoutError):
            pass

    await asyncio.gather(*(probe(tenant, turn) for turn in range(60) for tenant in tenants))
    assert len(seen) > 300
    assert [pair for pair in seen if pair[0] != pair[1]] == []


async def test_every_table_of_the_plumbing_is_fenced(database: Database) -> None:
    """But for those that speak of the cluster and of operators' work, and hold nothing of any tenant."""
    async with database.system() as tx:
        open_tables = await tx.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'front_desk'::regnamespace AND relkind IN ('r', 'p') "
            "AND NOT relispartition AND NOT (relrowsecurity AND relforcerowsecurity) ORDER BY relname"
        )
    assert [row["relname"] for row in open_tables] == [
        "cluster_epoch", "dead_letter_job", "dead_letter_job_audit", "relay_position", "replay", "replay_audit",
        "replay_position", "replay_promotion", "schema_migration",
    ]  # fmt: skip


async def test_rules_and_dashboards_read_no_events_and_no_dead_letters(database: Database) -> None:
    connection = await asyncpg.connect(role_dsn(database._app_dsn, "front_desk_ro", "test"))
    await connection.execute("SELECT set_config('app.tenant', $1, false)", str(uuid4()))
    assert await connection.fetch("SELECT * FROM ledger") == []
    for table in ("outbox", "inbox", "dead_letter", "parked_key"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch(f"SELECT * FROM {table}")
    await connection.close()
