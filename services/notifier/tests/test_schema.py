"""``schema.sql`` is what the migrations make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncpg
import pytest

from kit.postgres import Database, role_dsn
from kit.testing import MakeDatabase

pytestmark = pytest.mark.real

CATALOG = """
SELECT 'column', table_name, column_name, data_type || coalesce(column_default, '') || is_nullable
FROM information_schema.columns WHERE table_schema = current_schema()
UNION ALL SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()
UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = current_schema()::regnamespace
UNION ALL SELECT 'policy', tablename, policyname, roles::text || coalesce(qual, '') FROM pg_policies
WHERE schemaname = current_schema()
UNION ALL SELECT 'grant', table_name, grantee, string_agg(privilege_type, ',' ORDER BY privilege_type)
FROM information_schema.role_table_grants WHERE table_schema = current_schema() GROUP BY table_name, grantee
ORDER BY 1, 2, 3, 4
"""


async def owner(database: Database) -> Any:
    return await asyncpg.connect(role_dsn(database._app_dsn, "notifier_owner", "test"))


async def test_the_readable_schema_is_the_migrated_one(make_database: MakeDatabase) -> None:
    migrated = await owner(await make_database(service="notifier", package="notifier"))
    written = await owner(await make_database(service="notifier", package="kit"))
    await written.execute((Path(__file__).parents[1] / "schema.sql").read_text(encoding="utf-8"))
    assert await written.fetch(CATALOG) == await migrated.fetch(CATALOG)
    await migrated.close()
    await written.close()


async def test_every_table_is_forced_under_row_level_security(make_database: MakeDatabase) -> None:
    connection = await owner(await make_database(service="notifier", package="notifier"))
    bare = await connection.fetch(
        "SELECT table_name FROM information_schema.columns JOIN pg_class ON relname = table_name "
        "WHERE table_schema = current_schema() AND column_name = 'tenant_id' AND relkind = 'r' "
        "AND NOT relispartition AND NOT (relrowsecurity AND relforcerowsecurity)"
    )
    assert bare == []
    await connection.close()
