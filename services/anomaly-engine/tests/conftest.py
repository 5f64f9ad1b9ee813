"""A migrated database of the engine, a reader on it, and tenants whose rules can be evaluated."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest

from anomaly_engine import store
from anomaly_engine.findings import Tenant
from anomaly_engine.rules import Rule, parse_rule
from anomaly_engine.store import RuleReader
from kit.postgres import Database
from kit.testing import MakeDatabase

AS_OF = datetime(2026, 3, 2, 10, tzinfo=UTC)
SERVICE = "anomaly-engine"


def a_rule(sql: str, *, name: str = "a_rule", requires: str = "call", checked: bool = True) -> Rule:
    """A rule that asks ``sql``; unchecked ones get past the lint, to see what the fences behind it do."""
    from dataclasses import replace

    front = {
        "id": name,
        "title": "A title",
        "description": "A description.",
        "learning": "A learning.",
        "severity": "warning",
        "version": "1",
        "requires": f"[{requires}]",
        "key": "[call_id]",
    }
    text = "\n".join(f"-- {key}: {value}" for key, value in front.items())
    if checked:
        return parse_rule(name, f"{text}\n{sql}")
    return replace(parse_rule(name, f"{text}\nSELECT call_id FROM call WHERE began_at < :as_of"), sql=sql)


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    return await make_database(service=SERVICE, package="anomaly_engine")


@pytest.fixture
async def reader(database: Database) -> AsyncIterator[RuleReader]:
    reader = RuleReader(service=SERVICE, dsn=database._app_dsn, ro_password="test", timeout_seconds=0.3)
    yield reader
    await reader.stop()


AddTenant = Callable[..., Awaitable[Tenant]]


@pytest.fixture
def add_tenant(database: Database) -> AddTenant:
    async def add(id_: UUID, *, timezone: str = "Asia/Kolkata", active: bool = True, calls: int = 0) -> Tenant:
        row = {"version": 1, "name": "Kochi Traders", "timezone": timezone, "active": active}
        async with database.transaction(id_) as tx:
            await store.put_tenants(tx, [row])
            for number in range(calls):
                await store.add_rows(
                    tx,
                    "call",
                    [{"call_id": f"c{number:03}", "began_at": "2026-03-02T09:00Z", "state_at": "2026-03-02T09:00Z"}],
                )
        return Tenant(id=id_, name=row["name"], timezone=timezone)

    return add
