"""Every schema: the readable page is what the migrations make, tables are fenced, nobody sees a neighbour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncpg
import pytest

from kit.migrations import migrate, provision
from kit.postgres import Database, role_dsn, schema_of
from kit.testing import PASSWORDS, MakeDatabase
from trunkline.stack.layout import SERVICES, Service

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
EACH = pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
OF_THE_CLUSTER = {
    "cluster_epoch", "dead_letter_job", "dead_letter_job_audit", "relay_position", "replay", "replay_audit",
    "replay_position", "replay_promotion", "schema_migration",
}  # fmt: skip
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


async def owner(database: Database, service: Service) -> Any:
    return await asyncpg.connect(role_dsn(database._app_dsn, f"{service.package}_owner", PASSWORDS["owner"]))


@EACH
async def test_the_readable_schema_is_the_migrated_one(make_database: MakeDatabase, service: Service) -> None:
    migrated = await owner(await make_database(service=service.name, package=service.package), service)
    written = await owner(await make_database(service=service.name, package="kit"), service)
    await written.execute((ROOT / "services" / service.name / "schema.sql").read_text(encoding="utf-8"))
    assert await written.fetch(CATALOG) == await migrated.fetch(CATALOG)
    await migrated.close()
    await written.close()


@EACH
async def test_every_table_has_a_tenant_and_forced_row_level_security(
    make_database: MakeDatabase, service: Service
) -> None:
    connection = await owner(await make_database(service=service.name, package=service.package), service)
    rows = await connection.fetch(
        "SELECT relname, relrowsecurity AND relforcerowsecurity AS fenced, EXISTS (SELECT FROM pg_attribute "
        "WHERE attrelid = c.oid AND attname = 'tenant_id' AND attnotnull) AS owned FROM pg_class c "
        "WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition"
    )
    await connection.close()
    assert {row["relname"] for row in rows if not (row["fenced"] and row["owned"])} == OF_THE_CLUSTER


async def test_no_role_of_a_service_reads_a_neighbours_tables(make_database: MakeDatabase, postgres_dsn: str) -> None:
    first, second = SERVICES[0], SERVICES[1]
    database = await make_database(service=first.name, package=first.package)
    name = database._app_dsn.rpartition("/")[2]
    admin = postgres_dsn.rpartition("/")[0] + f"/{name}"
    await provision(admin, service=second.name, passwords=PASSWORDS)
    await migrate(
        role_dsn(admin, f"{schema_of(second.name)}_owner", PASSWORDS["owner"]),
        service=second.name,
        package=second.package,
    )
    for role in ("app", "system", "ro", "owner"):
        stranger = await asyncpg.connect(role_dsn(admin, f"{second.package}_{role}", PASSWORDS[role]))
        for table in ("outbox", "inbox", "dead_letter", "staff"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await stranger.fetch(f"SELECT * FROM {first.package}.{table}")
        await stranger.close()
