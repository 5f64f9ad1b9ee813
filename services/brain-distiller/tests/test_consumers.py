from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

import contracts
from brain_distiller.consumers import DIRECTORY, MESSAGES
from contracts.directory import CustomerV1
from contracts.envelope import Envelope, partition_key
from contracts.event import Event
from contracts.facts import FactExtractedV1
from contracts.registry import REGISTRY
from contracts.topics import TOPICS
from contracts.vault import MessageImportedV1
from kit.consume import Consumer, Deletion, Received
from kit.ids import uuid7
from kit.postgres import Database
from kit.testing import eventually
from runtime.relay import Relay

KOCHI, MUMBAI = "32AABCU9603R1ZW", "27AAPFU0939F1ZV"
PEER = "+919847000001"
EXAMPLES = Path(contracts.__file__).parents[2] / "examples"


def test_the_table_of_topics_agrees_with_what_is_consumed() -> None:
    consumed = {subscription.topic for subscription in (*DIRECTORY, *MESSAGES)}
    assert consumed == {topic.name for topic in TOPICS.values() if "brain-distiller" in topic.consumers}


@pytest.mark.real
@pytest.mark.parametrize(
    "subscription", [s for s in (*DIRECTORY, *MESSAGES) if s.kind != "deleted"], ids=lambda s: s.topic
)
async def test_every_example_of_the_contracts_is_handled_twice_with_one_effect(
    database: Database, tenant: UUID, subscription: Any
) -> None:
    paths = sorted((EXAMPLES / subscription.topic).rglob("*.json"))
    assert paths, f"libs/contracts/examples/{subscription.topic} holds no example"
    for path in paths:
        example = json.loads(path.read_text(encoding="utf-8"))
        outer = Envelope.from_headers([(name, text.encode()) for name, text in example["headers"].items()])
        if example["value"] is None:
            continue
        event = REGISTRY.decode(outer.type, json.dumps(example["value"]).encode())
        counts = []
        for _ in range(2):
            async with database.transaction(tenant) as tx:
                payload: Any = event
                if subscription.kind == "batch":
                    payload = [Received(event, outer)]
                if subscription.emits is not None:
                    await tx.hold(*await subscription.emits(payload, tx))
                await subscription.handler(payload, tx)
                counts.append([await tx.fetchval(f"SELECT count(*) FROM {t}") for t in ("fact_version", "customer")])
        assert counts[0] == counts[1]


def envelope(event: Event, tenant: UUID) -> Envelope:
    return Envelope(
        id=str(uuid7()),
        type=event.type,
        source="/test",
        time=datetime.now(UTC),
        tenant=tenant,
        subject=event.entity_id(),
        partitionkey=partition_key(tenant, event.entity_id()),
    )


async def publish(producer: AIOKafkaProducer, tenant: UUID, events: Sequence[Event], *, deletion: bool = False) -> None:
    for event in events:
        outer = envelope(event, tenant)
        value = None if deletion else event.model_dump_json().encode()
        await producer.send_and_wait(event.topic(), value, key=outer.partitionkey.encode(), headers=outer.to_headers())


@pytest.mark.real
async def test_messages_on_kafka_come_out_as_facts(
    database: Database,
    tenant: UUID,
    kafka_bootstrap: str,
    topics: None,
    brain: Any,
    a_message: Callable[..., MessageImportedV1],
) -> None:
    group = f"brain-test-{tenant}"
    lanes = [
        Consumer(
            group=f"{group}-{number}", database=database, kafka_bootstrap=kafka_bootstrap, subscriptions=subscriptions
        )
        for number, subscriptions in enumerate((DIRECTORY, MESSAGES))
    ]
    relay = Relay(database=database, kafka_bootstrap=kafka_bootstrap, service="brain-distiller")
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, acks="all", enable_idempotence=True)
    parts = [*lanes, relay, producer]
    for part in parts:
        await part.start()
    try:
        customer = CustomerV1(customer_id="c-1", version=1, name="A customer", numbers=(PEER,))
        await publish(producer, tenant, [customer])
        await eventually(lambda: counted(brain, "customer", 1))
        await publish(producer, tenant, [a_message(KOCHI), a_message(MUMBAI, message_id="m-2", minute=1)])
        facts = await published(kafka_bootstrap, tenant, 4)
        assert {f.subject for f in facts} == {"customer:c-1"}
        assert [f.version for f in facts if f.value == KOCHI] == [1, 2]
        assert [f.state for f in facts if f.value == MUMBAI] == ["asserted", "conflicting"]
        await publish(producer, tenant, [customer], deletion=True)
        await eventually(lambda: counted(brain, "customer_number", 0))
    finally:
        for part in reversed(parts):
            await part.stop()


async def counted(brain: Any, table: str, expected: int) -> bool:
    return bool(await brain.count(table) == expected)


async def published(bootstrap: str, tenant: UUID, count: int) -> list[FactExtractedV1]:
    """The first facts of the tenant on Kafka; the topic is shared with other tests."""
    consumer = AIOKafkaConsumer("fact.extracted", bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    found: list[FactExtractedV1] = []

    async def enough() -> bool:
        for records in (await consumer.getmany(timeout_ms=200)).values():
            found.extend(
                FactExtractedV1.model_validate_json(record.value)
                for record in records
                if record.key.startswith(str(tenant).encode())
            )
        return len(found) >= count

    try:
        await eventually(enough)
    finally:
        await consumer.stop()
    return found


async def test_a_deletion_names_its_customer() -> None:
    (handler,) = (subscription.handler for subscription in DIRECTORY if subscription.kind == "deleted")
    forgotten: list[object] = []

    class Tx:
        async def execute(self, _: str, *arguments: object) -> None:
            forgotten.extend(arguments)

    await handler(Deletion("directory.customer", UUID(int=1), "c-1"), Tx())
    assert forgotten == ["c-1"]
