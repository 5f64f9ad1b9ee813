"""``schema.sql`` is what the migrations make, and every table is a tenant's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncpg
import pytest

from kit.postgres import Database, role_dsn
from kit.testing import MakeDatabase

pytestmark = pytest.mark.real

SCHEMA = Path(__file__).parent.parent / "schema.sql"

COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
WHERE table_schema = 'brain_distiller' ORDER BY table_name, column_name
"""
CONSTRAINTS = """
SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'brain_distiller'::regnamespace ORDER BY 1, 2
"""
INDEXES = "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'brain_distiller' ORDER BY 1, 2"
POLICIES = """
SELECT tablename, policyname, roles::text, cmd, qual FROM pg_policies
WHERE schemaname = 'brain_distiller' ORDER BY 1, 2
"""
GRANTS = """
SELECT table_name, grantee, privilege_type FROM information_schema.role_table_grants
WHERE table_schema = 'brain_distiller' AND grantee LIKE 'brain_distiller_%' ORDER BY 1, 2, 3
"""


async def described(database: Database, *, apply: str = "") -> list[Any]:
    owner = await asyncpg.connect(role_dsn(database._app_dsn, "brain_distiller_owner", "test"))
    try:
        if apply:
            await owner.execute(apply)
        queries = (COLUMNS, CONSTRAINTS, INDEXES, POLICIES, GRANTS)
        return [tuple(row) for query in queries for row in await owner.fetch(query)]
    finally:
        await owner.close()


async def test_the_readable_schema_is_what_the_migrations_make(make_database: MakeDatabase) -> None:
    migrated = await make_database(service="brain-distiller", package="brain_distiller")
    bare = await make_database(service="brain-distiller", package="kit")
    assert await described(migrated) == await described(bare, apply=SCHEMA.read_text(encoding="utf-8"))


async def test_every_table_is_under_forced_row_level_security(database: Database) -> None:
    owner = await asyncpg.connect(role_dsn(database._app_dsn, "brain_distiller_owner", "test"))
    rows = await owner.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'brain_distiller'::regnamespace AND relkind = 'r' "
        "AND relname IN ('customer', 'customer_number', 'source', 'fact', 'fact_version', 'evidence') "
        "AND relrowsecurity AND relforcerowsecurity"
    )
    await owner.close()
    assert len(rows) == 6
