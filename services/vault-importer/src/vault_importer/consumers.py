"""Kafka in: the table of what this service listens to."""

from __future__ import annotations

from contracts.directory import CustomerV1, LeadV1, StaffV1, TenantV1
from contracts.erasure import ErasureReceiptV1
from kit.consume import Deletion, Subscription, on, on_deleted
from kit.postgres import Transaction
from vault_importer import store
from vault_importer.erasure.receipts import on_receipt
from vault_importer.links import store as links
from vault_importer.links.decide import Party

__all__ = ["SUBSCRIPTIONS"]


async def on_tenant(event: TenantV1, tx: Transaction) -> None:
    await store.put_tenant_profile(tx, version=event.version, name=event.name, timezone=event.timezone)


async def on_tenant_deleted(_: Deletion, tx: Transaction) -> None:
    await store.forget_tenant_profile(tx)


async def on_customer(event: CustomerV1, tx: Transaction) -> None:
    await links.put_party(
        tx, Party(kind="customer", id=event.customer_id), version=event.version, name=event.name,
        numbers=event.numbers, emails=event.emails, gstin=event.gstin,
    )  # fmt: skip


async def on_customer_deleted(deletion: Deletion, tx: Transaction) -> None:
    await links.delete_party(tx, Party(kind="customer", id=deletion.entity_id))


async def on_lead(event: LeadV1, tx: Transaction) -> None:
    await links.put_party(
        tx, Party(kind="lead", id=event.lead_id), version=event.version, name=event.name,
        numbers=event.numbers, emails=event.emails, gstin=None,
    )  # fmt: skip


async def on_lead_deleted(deletion: Deletion, tx: Transaction) -> None:
    await links.delete_party(tx, Party(kind="lead", id=deletion.entity_id))


async def on_staff(event: StaffV1, tx: Transaction) -> None:
    await links.put_staff(tx, event.staff_id, version=event.version, name=event.name, numbers=event.numbers)


async def on_staff_deleted(deletion: Deletion, tx: Transaction) -> None:
    await links.delete_staff(tx, deletion.entity_id)


SUBSCRIPTIONS: tuple[Subscription, ...] = (
    on(TenantV1, on_tenant),
    on_deleted(TenantV1, on_tenant_deleted),
    on(CustomerV1, on_customer),
    on_deleted(CustomerV1, on_customer_deleted),
    on(LeadV1, on_lead),
    on_deleted(LeadV1, on_lead_deleted),
    on(StaffV1, on_staff),
    on_deleted(StaffV1, on_staff_deleted),
    on(ErasureReceiptV1, on_receipt),
)
