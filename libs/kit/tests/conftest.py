"""A toy event on a topic of its own per test, a database with kit's plumbing and one tenant table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from kit.postgres import Database, role_dsn
from kit.testing import MakeDatabase

SERVICE = "front-desk"


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    """Kit's plumbing and one protected table, ``ledger``, in an otherwise empty schema."""
    database = await make_database(service=SERVICE, package="kit")
    owner = await asyncpg.connect(role_dsn(database._app_dsn, "front_desk_owner", "test"))
    await owner.execute(
        "CREATE TABLE ledger (tenant_id uuid NOT NULL, entity text NOT NULL, number integer NOT NULL, "
        "seq bigint GENERATED ALWAYS AS IDENTITY); SELECT protect('ledger')"
    )
    await owner.close()
    return database


@pytest.fixture
def ledger(database: Database, tenant: UUID) -> Callable[[], Any]:
    """What handlers have written, in the order of writing: (entity, number)."""

    async def read() -> list[tuple[str, int]]:
        async with database.transaction(tenant) as tx:
            return [(r["entity"], r["number"]) for r in await tx.fetch("SELECT * FROM ledger ORDER BY seq")]

    return read
