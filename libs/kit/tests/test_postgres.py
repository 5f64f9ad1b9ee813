"""What a transaction leaves behind: nothing in the session, and nothing said to be stored that is not."""

from __future__ import annotations

import asyncio
from uuid import UUID

import asyncpg
import pytest

from kit.postgres import SERVER_AWAY, Database

pytestmark = pytest.mark.real

WRITE = "INSERT INTO ledger (tenant_id, entity, number) VALUES ($1, 'k', 1)"


async def test_a_commit_that_the_server_refuses_is_an_error(database: Database, tenant: UUID) -> None:
    """Whoever catches a database's error and goes on would otherwise lose what it wrote without a word."""
    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        async with database.transaction(tenant) as tx:
            await tx.execute(WRITE, tenant)
            with pytest.raises(asyncpg.UndefinedTableError):
                await tx.execute("SELECT * FROM nowhere")
    async with database.transaction(tenant) as tx:
        assert await tx.fetchval("SELECT count(*) FROM ledger") == 0


async def test_nothing_of_a_session_reaches_the_next_transaction(database: Database, tenant: UUID) -> None:
    pids, left = set(), set()
    for _ in range(2):
        async with database.transaction(tenant) as tx:
            pids.add(await tx.fetchval("SELECT pg_backend_pid()"))
            left.add(await tx.fetchval("SELECT current_setting('work_mem') || current_setting('search_path')"))
            await tx.execute("SELECT set_config('work_mem', '77MB', false), set_config('search_path', 'x', false)")
    assert (len(pids), len(left)) == (1, 1)


async def test_statements_are_planned_once_in_the_transaction_that_wants_it_only(
    database: Database, tenant: UUID
) -> None:
    modes = []
    for plan_once in (True, False):
        async with database.transaction(tenant, plan_once=plan_once) as tx:
            modes.append(await tx.fetchval("SELECT current_setting('plan_cache_mode')"))
    assert modes == ["force_generic_plan", "auto"]


async def test_a_transaction_begins_with_the_keys_it_emits_for_held(database: Database, tenant: UUID) -> None:
    async with database.transaction(tenant, emits=["b", "a"]) as tx:
        mine = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()"
        assert (await tx.fetchval(mine), len(tx.held)) == (2, 2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3), database.transaction(tenant, emits=["a"]):
                pytest.fail("two transactions held one key")
        async with database.transaction(tenant, emits=["c"]) as other:
            assert await other.fetchval(mine) == 1


async def test_a_tenant_is_never_text(database: Database) -> None:
    with pytest.raises(TypeError):
        async with database.transaction("x'; DROP TABLE ledger; --"):  # type: ignore[arg-type]
            pass


async def test_what_failed_leaves_no_open_transaction(database: Database, tenant: UUID) -> None:
    with pytest.raises(ZeroDivisionError):
        async with database.transaction(tenant) as tx:
            await tx.execute(WRITE, tenant)
            raise ZeroDivisionError
    async with database.system() as tx:
        query = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'front_desk_app' AND backend_xid IS NOT NULL"
        assert await tx.fetchval(query + " AND datname = current_database()") == 0
    async with database.transaction(tenant) as tx:
        assert await tx.fetchval("SELECT count(*) FROM ledger") == 0


@pytest.mark.parametrize("seconds", [0.0, 0.3])
async def test_a_connection_that_is_lost_inside_a_transaction_is_a_server_that_is_away(
    database: Database, tenant: UUID, seconds: float
) -> None:
    """So that it is tried again, and nobody takes it for a fault of what was handled."""
    with pytest.raises(SERVER_AWAY):
        async with database.transaction(tenant) as tx:
            await tx.execute(WRITE, tenant)
            async with database.transaction(tenant) as other:
                # As Postgres ends one that is idle for too long: the pool hears of it, or has not heard yet.
                await other.execute("SELECT pg_terminate_backend($1)", await tx.fetchval("SELECT pg_backend_pid()"))
            await asyncio.sleep(seconds)
    async with database.transaction(tenant) as tx:
        assert await tx.fetchval("SELECT count(*) FROM ledger") == 0
