"""How Postgres finds the rows of a chunk when it knows nothing yet of what the archive holds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from vault_importer.store import Q

pytestmark = pytest.mark.real

GROW = """
INSERT INTO vault_importer.message (tenant_id, id, chat_id, from_me, key_id, sent_at, kind, raw_kind, text, revoked,
    wording_rank, import_id)
SELECT $1, gen_random_uuid(), $1, true, n::text, now(), 'text', 0, 'Rate today please', false, 0, $1
FROM generate_series(1, 40000) n
"""


@pytest.fixture
async def grown(vault: Any, postgres_dsn: str) -> Any:
    """An archive as in its first minutes: grown, and not analysed yet."""
    async with vault.database.system() as tx:
        name = await tx.fetchval("SELECT current_database()")
    owner = await asyncpg.connect(postgres_dsn.rsplit("/", 1)[0] + f"/{name}")
    try:
        await owner.execute("ALTER TABLE vault_importer.message SET (autovacuum_enabled = off)")
        await owner.execute(GROW, vault.tenant)
    finally:
        await owner.close()
    return vault


async def test_no_chunk_goes_through_the_whole_archive_for_each_row(grown: Any) -> None:
    async with grown.database.transaction(grown.tenant) as tx:
        await tx.execute(f"{Q.prepare_staging};\n{Q.probe_by_index}")
        plan = await tx.fetch(f"EXPLAIN {Q.change_messages}", tx.tenant, uuid4(), datetime.now(UTC))
    # Otherwise the rows of a tenant, taken for a handful, are held and gone through again and again.
    assert [row[0].strip() for row in plan if "Index Cond" not in row[0] and "tenant_id = " in row[0]] == []
    assert "Materialize" not in str(plan)


async def test_keys_are_looked_up_without_going_through_the_archive(grown: Any) -> None:
    keys = [uuid4() for _ in range(600)]
    async with grown.database.transaction(grown.tenant) as tx:
        await tx.execute(Q.probe_by_index)
        plan = await tx.fetch(f"EXPLAIN (ANALYZE, TIMING OFF) {Q.known_keys}", tx.tenant, keys, keys)
    assert [row[0].strip() for row in plan if "Rows Removed" in row[0]] == []
