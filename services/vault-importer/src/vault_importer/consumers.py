"""Kafka in: the table of what this service listens to."""

from __future__ import annotations

from contracts.directory import TenantV1
from contracts.erasure import ErasureReceiptV1
from kit.consume import Deletion, Subscription, on, on_deleted
from kit.postgres import Transaction
from vault_importer import store
from vault_importer.erasure.receipts import on_receipt

__all__ = ["SUBSCRIPTIONS"]


async def on_tenant(event: TenantV1, tx: Transaction) -> None:
    await store.put_tenant_profile(tx, version=event.version, name=event.name, timezone=event.timezone)


async def on_tenant_deleted(_: Deletion, tx: Transaction) -> None:
    await store.forget_tenant_profile(tx)


SUBSCRIPTIONS: tuple[Subscription, ...] = (
    on(TenantV1, on_tenant),
    on_deleted(TenantV1, on_tenant_deleted),
    on(ErasureReceiptV1, on_receipt),
)
