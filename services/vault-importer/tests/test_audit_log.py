from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from kit.postgres import Database, role_dsn
from vault_importer.audit_store import append_audit
from vault_importer.verify_audit import verify_audit

pytestmark = pytest.mark.real

NOW = datetime(2026, 1, 5, 10, 0, 0, 123456, tzinfo=UTC)


async def _write(vault: Any, count: int) -> None:
    for _ in range(count):
        async with vault.database.transaction(vault.tenant) as tx:
            await append_audit(tx, "import.completed", at=NOW, details={"messages": {"new": 4}, "app": "2.25"})


async def _as_superuser(vault: Any, postgres_dsn: str, *statements: str) -> None:
    """What only somebody who owns the whole server could do: with the guards switched off."""
    async with vault.database.transaction(vault.tenant) as tx:
        name = await tx.fetchval("SELECT current_database()")
    connection = await asyncpg.connect(postgres_dsn.rsplit("/", 1)[0] + f"/{name}")
    try:
        await connection.execute("SET session_replication_role = replica")
        for statement in statements:
            await connection.execute(statement.replace("audit_log", "vault_importer.audit_log"))
    finally:
        await connection.close()


async def test_an_untouched_log_is_good_and_its_head_can_be_noted(vault: Any) -> None:
    await _write(vault, 3)
    verdict = await verify_audit(vault.database, vault.tenant)
    assert (verdict.records, verdict.broken) == (3, None)
    await _write(vault, 2)
    later = await verify_audit(vault.database, vault.tenant, expected_head=(verdict.records, verdict.head))
    assert (later.records, later.broken) == (5, None)


@pytest.mark.parametrize(
    ("harm", "sequence", "word"),
    [
        ('UPDATE audit_log SET details = \'{"messages": {"new": 3}}\' WHERE sequence = 2', 2, "changed"),
        ("UPDATE audit_log SET at = at + interval '1 second' WHERE sequence = 3", 3, "changed"),
        ("DELETE FROM audit_log WHERE sequence = 2", 2, "missing"),
        ("DELETE FROM audit_log WHERE sequence = 1", 1, "missing"),
        ("UPDATE audit_log SET hash = sha256('x') WHERE sequence = 2", 2, "changed"),
        ("UPDATE audit_log SET previous_hash = sha256('x') WHERE sequence = 2", 2, "continue"),
    ],
)
async def test_the_first_record_that_was_tampered_with_is_named(
    vault: Any, postgres_dsn: str, harm: str, sequence: int, word: str
) -> None:
    await _write(vault, 4)
    await _as_superuser(vault, postgres_dsn, harm)
    broken = (await verify_audit(vault.database, vault.tenant)).broken
    assert broken is not None
    assert broken.sequence == sequence
    assert word in broken.reason


async def test_a_cut_tail_is_noticed_by_whoever_noted_the_head(vault: Any, postgres_dsn: str) -> None:
    await _write(vault, 4)
    noted = await verify_audit(vault.database, vault.tenant)
    await _as_superuser(vault, postgres_dsn, "DELETE FROM audit_log WHERE sequence > 2")
    verdict = await verify_audit(vault.database, vault.tenant, expected_head=(noted.records, noted.head))
    assert verdict.broken is not None
    assert "had 4 records" in verdict.broken.reason


@pytest.mark.parametrize("table", ["audit_log", "message_revision"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET tenant_id = tenant_id", "DELETE FROM {}", "TRUNCATE {}"])
@pytest.mark.parametrize("role", ["app", "owner", "postgres"])
async def test_nobody_may_change_or_remove_a_record(
    vault: Any, postgres_dsn: str, table: str, statement: str, role: str
) -> None:
    await _write(vault, 1)
    async with vault.database.transaction(vault.tenant) as tx:
        name = await tx.fetchval("SELECT current_database()")
    dsn = postgres_dsn.rsplit("/", 1)[0] + f"/{name}"
    if role != "postgres":
        dsn = role_dsn(dsn, f"vault_importer_{role}", "test")
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SELECT set_config('app.tenant', $1, false)", str(vault.tenant))
        before = await connection.fetchval("SELECT count(*) FROM vault_importer.audit_log")
        refused = False
        try:
            await connection.execute(statement.format(f"vault_importer.{table}"))
        except asyncpg.InsufficientPrivilegeError:
            refused = True
        # Row security hides every row from the owner, so only a statement that touches none may pass.
        assert refused or role == "owner" or table == "message_revision"
        assert await connection.fetchval("SELECT count(*) FROM vault_importer.audit_log") == before
    finally:
        await connection.close()
    assert (await verify_audit(vault.database, vault.tenant)).records == 1


async def test_writers_at_the_same_time_make_one_chain(vault: Any) -> None:
    await asyncio.gather(*(_write(vault, 3) for _ in range(6)))
    verdict = await verify_audit(vault.database, vault.tenant)
    assert (verdict.records, verdict.broken) == (18, None)


async def test_each_tenant_has_a_chain_of_its_own(vault: Any) -> None:
    database: Database = vault.database
    await _write(vault, 2)
    other = uuid4()
    async with database.transaction(other) as tx:
        record = await append_audit(tx, "account.stored", at=NOW)
    assert record.sequence == 1
    assert (await verify_audit(database, other)).records == 1
