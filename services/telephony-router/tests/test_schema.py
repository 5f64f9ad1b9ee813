"""The migrated schema and what the queries do on a real Postgres."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from kit.postgres import Database
from telephony_router.outbound_store import Q as OUTBOUND
from telephony_router.store import Q

pytestmark = pytest.mark.real
MakeDatabase = Callable[..., Awaitable[Database]]
ROOT = Path(__file__).parents[1]
TABLES = """
SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity AS forced,
       EXISTS (SELECT FROM pg_attribute a
               WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND a.attnotnull) AS tenant
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'telephony_router' AND c.relkind = 'r' AND c.relname = ANY($1)
"""


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    return await make_database(service="telephony-router", package="telephony_router")


def own_tables() -> list[str]:
    files = sorted((ROOT / "src/telephony_router/migrations").glob("*.sql"))
    return re.findall(r"^CREATE TABLE (\w+)", "\n".join(path.read_text() for path in files), flags=re.MULTILINE)


async def test_every_table_has_a_tenant_and_forced_row_level_security(database: Database) -> None:
    async with database.system() as tx:
        rows = await tx.fetch(TABLES, own_tables())
    assert {row["relname"] for row in rows} == set(own_tables())
    assert all(row["forced"] and row["tenant"] for row in rows)


async def test_every_named_query_is_valid_sql(database: Database) -> None:
    async with database.transaction(uuid4()) as tx:
        for name, sql in (*Q, *OUTBOUND):
            try:
                await tx._connection.prepare(sql)
            except asyncpg.InsufficientPrivilegeError:
                pytest.fail(f"{name} may not be prepared")


async def test_one_tenant_sees_nothing_of_another(database: Database) -> None:
    mine, theirs = uuid4(), uuid4()
    async with database.transaction(theirs) as tx:
        await tx.execute(Q.add_account, theirs, uuid4(), "generic", "theirs", b"hash", [], [], "{}")
        await tx.execute(Q.put_tenant, theirs, 1, "Asia/Kolkata", True)
        await tx.execute(Q.note_changes, theirs, ["tenant"], [""])
    async with database.transaction(mine) as tx:
        for table in own_tables():
            assert await tx.fetchval(f"SELECT count(*) FROM {table}") == 0, table
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with database.transaction(mine) as tx:
            await tx.execute(Q.put_tenant, theirs, 2, "Asia/Kolkata", True)


@pytest.mark.parametrize("table", ["call", "call_status", "routing_decision"])
async def test_the_system_role_cannot_read_calls(database: Database, table: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with database.system() as tx:
            await tx.fetch(f"SELECT * FROM {table}")


def described(text: str) -> dict[str, list[str]]:
    """Tables and their columns, from CREATE TABLE statements."""
    tables: dict[str, list[str]] = {}
    for name, body in re.findall(r"^CREATE TABLE (\w+) \((.*?)^\);", text, flags=re.MULTILINE | re.DOTALL):
        tables[name] = sorted(line.strip().rstrip(",") for line in body.splitlines() if line.strip())
    return tables


async def test_the_schema_file_is_what_the_migrations_made(database: Database) -> None:
    wanted = described((ROOT / "schema.sql").read_text())
    assert set(wanted) == set(own_tables())
    async with database.transaction(UUID(int=0)) as tx:
        for table, lines in wanted.items():
            columns: list[Any] = await tx.fetch(
                "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped",
                table,
            )
            named = {line.split()[0] for line in lines if not line.startswith(("PRIMARY", "FOREIGN", "UNIQUE"))}
            assert named == {row["attname"] for row in columns}, table
