from __future__ import annotations

from typing import Any

import pytest

from contracts.directory import TenantV1
from kit.consume import Deletion
from vault_importer.consumers import SUBSCRIPTIONS, on_tenant, on_tenant_deleted

pytestmark = pytest.mark.real


async def _hear(vault: Any, version: int, name: str) -> None:
    async with vault.database.transaction(vault.tenant) as tx:
        await on_tenant(TenantV1(tenant_id=str(vault.tenant), version=version, name=name), tx)


async def test_only_a_newer_version_of_a_tenant_is_kept(vault: Any) -> None:
    for version, name in ((2, "Kochi"), (1, "Old"), (2, "Kochi"), (3, "Kochi Traders")):
        await _hear(vault, version, name)
    [row] = await vault.rows("SELECT version, name, timezone FROM tenant_profile")
    assert row == {"version": 3, "name": "Kochi Traders", "timezone": "Asia/Kolkata"}


async def test_a_deleted_tenant_is_forgotten(vault: Any) -> None:
    await _hear(vault, 1, "Kochi")
    async with vault.database.transaction(vault.tenant) as tx:
        deletion = Deletion(topic="directory.tenant", tenant=vault.tenant, entity_id=str(vault.tenant))
        await on_tenant_deleted(deletion, tx)
    assert await vault.rows("SELECT * FROM tenant_profile") == []


def test_the_table_of_subscriptions_is_what_the_readme_says() -> None:
    assert {(each.topic, each.kind) for each in SUBSCRIPTIONS} == {
        ("directory.tenant", "each"),
        ("directory.tenant", "deleted"),
        ("directory.customer", "each"),
        ("directory.customer", "deleted"),
        ("directory.lead", "each"),
        ("directory.lead", "deleted"),
        ("directory.staff", "each"),
        ("directory.staff", "deleted"),
        ("erasure.receipt", "each"),
    }
