"""Outbox, relay and consumption on real servers: nothing lost, nothing twice, order per key."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest
from contracts.directory import StaffV1
from contracts.facts import Evidence, FactExtractedV1
from kit import outbox
from kit.consume import Consumer, Poison, Received, on, on_batch
from kit.postgres import Database, KeyNotHeld, Transaction
from kit.relay import Relay
from kit.testing import MakeDatabase, eventually

pytestmark = pytest.mark.real


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    return await make_database(service="front-desk", package="kit")


async def test_an_event_needs_its_key_held(database: Database, tenant: UUID) -> None:
    async with database.transaction(tenant) as tx:
        with pytest.raises(KeyNotHeld):
            await outbox.append(tx, StaffV1(staff_id="s1", version=1, name="A"))


async def test_events_reach_a_handler_once(
    database: Database, tenant: UUID, kafka_bootstrap: str, topics: None
) -> None:
    seen: list[str] = []

    async def handler(event: StaffV1, tx: Transaction) -> None:
        if tx.tenant == tenant:
            seen.append(event.staff_id)

    relay = Relay(database=database, kafka_bootstrap=kafka_bootstrap, service="front-desk")
    consumer = Consumer(
        service="front-desk",
        group=f"g-{uuid4()}",
        database=database,
        kafka_bootstrap=kafka_bootstrap,
        subscriptions=[on(StaffV1, handler)],
    )
    await relay.start()
    await consumer.start()
    ids = [f"s{i}" for i in range(20)]
    async with database.transaction(tenant, emits=ids) as tx:
        for i in ids:
            await outbox.append(tx, StaffV1(staff_id=i, version=1, name="A"))
    await eventually(lambda: len(seen) == 20, within=20)
    await consumer.stop()
    await relay.stop()
    assert sorted(seen) == sorted(ids)
