"""Kafka in: everything this service consumes, on one screen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from brain_distiller import metrics
from brain_distiller.distil_messages import distil_messages, subjects_touched
from brain_distiller.follow_directory import follow_customer, forget_customer
from brain_distiller.forget_person import SERVICE, forget, subjects_to_hold
from contracts.directory import CustomerV1
from contracts.vault import MessageImportedV1
from kit.consume import Deletion, Received, Subscription, on_batch, on_deleted
from kit.postgres import Transaction
from recovery.erasure import erased, erasing

__all__ = ["DIRECTORY", "MESSAGES"]

Messages = Sequence[Received[MessageImportedV1]]


async def subjects(received: Messages, tx: Transaction) -> Iterable[str]:
    return await subjects_touched([each.event for each in received], tx)


async def on_messages(received: Messages, tx: Transaction) -> None:
    with metrics.DISTIL_SECONDS.time():
        changes = await distil_messages([each.event for each in received], tx)
    for version in changes:
        metrics.FACTS.labels(version.fact.key, version.fact.state).inc()


async def on_customers(received: Sequence[Received[CustomerV1]], tx: Transaction) -> None:
    for each in received:
        # A version from before the person was forgotten; its topic's deletion may come after it.
        if not await erased(tx, {each.event.customer_id: each.envelope.time}):
            await follow_customer(each.event, tx)


async def on_customer_deleted(deletion: Deletion, tx: Transaction) -> None:
    await forget_customer(deletion.entity_id, tx)


#: The directory has a lane of its own, so that a customer, or whoever wants to be forgotten, does not wait behind an
#: import of 20,000 messages.
DIRECTORY: list[Subscription] = [
    on_batch(CustomerV1, on_customers),
    on_deleted(CustomerV1, on_customer_deleted),
    erasing(SERVICE, forget, emits=subjects_to_hold),
]

MESSAGES: list[Subscription] = [on_batch(MessageImportedV1, on_messages, emits=subjects)]
