"""The use case: keep our copy of whose a number is, as the directory publishes it."""

from __future__ import annotations

from brain_distiller import store
from contracts.directory import CustomerV1
from kit.postgres import Transaction

__all__ = ["follow_customer", "forget_customer"]


async def follow_customer(customer: CustomerV1, tx: Transaction) -> None:
    """Keep the customer's numbers unless a newer version is known.

    Facts that already stand under one of these numbers stay there: see the README on how they move.
    """
    await store.save_customer(tx, customer.customer_id, customer.version, customer.numbers)


async def forget_customer(customer_id: str, tx: Transaction) -> None:
    await store.delete_customer(tx, customer_id)
