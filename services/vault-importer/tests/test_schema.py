"""``schema.sql`` is what a reader believes; the migrations are what a database has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from kit.migrations import migrations_of
from kit.postgres import Database

SCHEMA = Path(__file__).parents[1] / "schema.sql"

COLUMNS = """
SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || ' ' || coalesce(column_default, '')
FROM information_schema.columns WHERE table_schema = $1 ORDER BY 1
"""
INDEXES = "SELECT replace(indexdef, $1 || '.', '') FROM pg_indexes WHERE schemaname = $1 ORDER BY 1"
TRIGGERS = """
SELECT replace(pg_get_triggerdef(t.oid), $1 || '.', '') FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = $1::regnamespace AND NOT t.tgisinternal ORDER BY 1
"""
CONSTRAINTS = """
SELECT c.conrelid::regclass::text || ' ' || c.conname || ' ' || pg_get_constraintdef(c.oid)
FROM pg_constraint c WHERE c.connamespace = $1::regnamespace ORDER BY 1
"""


@pytest.mark.real
async def test_the_schema_that_is_read_is_the_schema_that_is_migrated_to(
    make_database: Callable[..., Awaitable[Database]], postgres_dsn: str
) -> None:
    import asyncpg

    database = await make_database(service="vault-importer", package="vault_importer")
    async with database.system() as tx:
        name = await tx.fetchval("SELECT current_database()")
    connection = await asyncpg.connect(postgres_dsn.rsplit("/", 1)[0] + f"/{name}")
    try:
        migrated = await _describe(connection)
        await connection.execute("DROP SCHEMA vault_importer CASCADE; CREATE SCHEMA vault_importer")
        await connection.execute("SET search_path = vault_importer")
        await connection.execute(_plumbing())
        await connection.execute(SCHEMA.read_text(encoding="utf-8"))
        await connection.execute("RESET search_path")
        assert await _describe(connection) == migrated
    finally:
        await connection.close()


def _plumbing() -> str:
    return "".join(each.sql for each in migrations_of("kit"))


async def _describe(connection: object) -> list[list[str]]:
    # The migrations' own record is not part of what they make.
    return [
        [row[0] for row in await connection.fetch(query, "vault_importer") if "schema_migration" not in row[0]]  # type: ignore[attr-defined]
        for query in (COLUMNS, INDEXES, TRIGGERS, CONSTRAINTS)
    ]
