"""A toy event on a topic of its own per test, a database with kit's plumbing and one tenant table."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from contracts.envelope import Envelope, partition_key
from contracts.event import Event
from contracts.registry import Registry
from kit.ids import uuid7
from kit.postgres import Database, role_dsn
from kit.testing import MakeDatabase

SERVICE = "front-desk"


class Toy(Event):
    type: ClassVar[str] = ""

    entity: str
    number: int

    def entity_id(self) -> str:
        return self.entity


def make_topic(bootstrap: str, name: str, partitions: int = 4) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result(15)


@dataclass
class Bench:
    """One topic with its event class, and a producer that can also send what our own code never would."""

    topic: str
    event: type[Toy]
    registry: Registry
    producer: AIOKafkaProducer
    bootstrap: str
    tenant: UUID

    def headers(self, entity: str, event_id: str | None = None, **changes: str) -> list[tuple[str, bytes]]:
        from datetime import UTC, datetime

        envelope = Envelope(
            id=event_id or str(uuid7()),
            type=self.event.type,
            source="/toy",
            time=datetime.now(UTC),
            tenant=self.tenant,
            subject=entity,
            partitionkey=partition_key(self.tenant, entity),
        )
        return [(n, changes.get(n, v.decode()).encode()) for n, v in envelope.to_headers()]

    async def send(self, entity: str, number: int, *, value: bytes | None = b"", **options: Any) -> None:
        headers = options.pop("headers", None) or self.headers(entity, **options)
        if value == b"":
            value = self.event(entity=entity, number=number).model_dump_json().encode()
        await self.producer.send_and_wait(
            self.topic, value, key=partition_key(self.tenant, entity).encode(), headers=headers
        )

    async def committed(self, group: str) -> int:
        """How many records the group has committed past, over all partitions."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, group_id=group, enable_auto_commit=False)
        await consumer.start()
        try:
            partitions = [TopicPartition(self.topic, p) for p in await self._partitions(consumer)]
            offsets = [await consumer.committed(p) for p in partitions]
            return sum(offset or 0 for offset in offsets)
        finally:
            await consumer.stop()

    async def _partitions(self, consumer: AIOKafkaConsumer) -> list[int]:
        await consumer._client.force_metadata_update()
        consumer.subscribe([self.topic])
        await consumer._client.set_topics([self.topic])
        return sorted(consumer.partitions_for_topic(self.topic) or [])


@pytest.fixture
async def bench(kafka_bootstrap: str, tenant: UUID) -> AsyncIterator[Bench]:
    name = f"toy.{secrets.token_hex(5)}"
    make_topic(kafka_bootstrap, name)
    event = type("ToyV1", (Toy,), {"type": f"{name}.v1", "__module__": __name__, "__annotations__": {}})
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    yield Bench(name, event, Registry([event]), producer, kafka_bootstrap, tenant)
    await producer.stop()


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
