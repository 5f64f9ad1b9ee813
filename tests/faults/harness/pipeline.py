"""The smallest pipeline that has every guarantee: one table, one topic, a relay, a consumer; real Kafka and Postgres.

Scenarios run on it, once as it is and once with a deliberate bug; what they return is judged by the same checks as a
run of the whole stack.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID, uuid4

import asyncpg
from confluent_kafka import OFFSET_BEGINNING, Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from tests.faults.harness.outside import Seen, read_record

from contracts.envelope import Envelope, partition_key
from contracts.event import Event
from contracts.registry import Registry
from kit import consume, outbox
from kit.ids import uuid7
from kit.postgres import Database, Transaction, role_dsn
from kit.testing import PASSWORDS, eventually, fresh_database
from runtime.relay import Relay

__all__ = ["Pipeline", "Step", "pipeline"]

SERVICE, PARTITIONS = "front-desk", 4
PATIENCE = 20.0
TABLES = """
CREATE TABLE effect (tenant_id uuid NOT NULL, entity text NOT NULL, number integer NOT NULL,
                     seq bigint GENERATED ALWAYS AS IDENTITY);
CREATE TABLE counter (tenant_id uuid NOT NULL, entity text NOT NULL, number integer NOT NULL,
                      PRIMARY KEY (tenant_id, entity));
SELECT protect('effect'), protect('counter');
"""


class Step(Event):
    """An entity came to its next number."""

    type: ClassVar[str] = ""

    entity: str
    number: int

    def entity_id(self) -> str:
        return self.entity


Handler = Callable[[Any, Transaction], Awaitable[None]]


async def note_effect(event: Any, tx: Transaction) -> None:
    """The handler of every scenario that does not bring its own: one row per event."""
    await tx.execute(
        "INSERT INTO effect (tenant_id, entity, number) VALUES ($1, $2, $3)", tx.tenant, event.entity, event.number
    )


class Looking:
    """Counts how often a relay has looked at its outbox."""

    def __init__(self, relay: Relay) -> None:
        self._looks = 0
        self._looked = asyncio.Condition()
        publish: Callable[..., Awaitable[Any]] = relay._publish_waiting

        async def counted(*args: Any) -> Any:
            found = await publish(*args)
            async with self._looked:
                self._looks += 1
                self._looked.notify_all()
            return found

        # Bound to this relay: bugs are put into the class and into the query, and stay in effect.
        relay._publish_waiting = counted  # type: ignore[method-assign]

    async def looks(self, count: int) -> None:
        """Wait until it has looked so often from now on. The first of them may have begun before."""
        async with asyncio.timeout(PATIENCE), self._looked:
            goal = self._looks + count
            await self._looked.wait_for(lambda: self._looks >= goal)


@dataclass
class Pipeline:
    """What a scenario works on. ``admin_dsn`` is a superuser's, of this pipeline's own database."""

    database: Database
    admin_dsn: str
    bootstrap: str
    topic: str
    event: type[Step]
    tenant: UUID = field(default_factory=uuid4)
    other: UUID = field(default_factory=uuid4)
    group: str = field(default_factory=lambda: f"power-{secrets.token_hex(4)}")
    grace: float = 20.0
    """How long a scenario waits for what a bug may keep from ever coming: shorter when there is one."""
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    def key(self, entity: str) -> str:
        return partition_key(self.tenant, entity)

    async def relay(self) -> Relay:
        relay = Relay(database=self.database, kafka_bootstrap=self.bootstrap, service=SERVICE)
        await relay.start()
        self._stack.push_async_callback(relay.stop)
        return relay

    async def leading_relay(self) -> Looking:
        """A relay that leads, and tells when it looks."""
        relay = await self.relay()
        looking = Looking(relay)

        async def leads() -> bool:
            return bool(relay.status()["leader"])

        if not await self.until(leads):
            raise TimeoutError("no relay took the lead")
        return looking

    async def published(self) -> bool:
        """Whether the relay has published everything, and stored that it has."""
        async with self.database.system() as tx:
            return bool(await tx.fetchval("SELECT unpublished = 0 FROM outbox_backlog($1)", SERVICE))

    async def waiting_for_a_key(self) -> int:
        """How many transactions wait for the lock of a key that another one holds."""
        admin = await asyncpg.connect(self.admin_dsn)
        try:
            return int(
                await admin.fetchval(
                    "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database "
                    "WHERE d.datname = current_database() AND locktype = 'advisory' AND NOT granted"
                )
            )
        finally:
            await admin.close()

    async def consumer(self, handler: Handler = note_effect, **options: Any) -> consume.Consumer:
        subscription = consume.on(self.event, handler, **options)
        consumer = consume.Consumer(
            database=self.database, kafka_bootstrap=self.bootstrap, subscriptions=[subscription], group=self.group,
            registry=Registry([self.event]),
        )  # fmt: skip
        await consumer.start()
        self._stack.push_async_callback(consumer.stop)
        return consumer

    async def append(self, tx: Transaction, entity: str, number: int) -> str:
        return await outbox.append(tx, self.event(entity=entity, number=number))

    def send(self, entity: str, number: int, *, event_id: str = "", value: bytes = b"", replayid: str = "") -> Seen:
        """Put one record on the topic, as a producer that is not ours could; return it as it lies there."""
        return self._produce(self._producer(), entity, number, event_id=event_id, value=value, replayid=replayid)

    def send_all(self, records: Sequence[tuple[str, int]]) -> list[Seen]:
        """Put records on the topic, one after the other."""
        producer = self._producer()
        return [self._produce(producer, entity, number) for entity, number in records]

    def _producer(self) -> Producer:
        return Producer(
            {"bootstrap.servers": self.bootstrap, "log_level": 0, "partitioner": "murmur2_random", "linger.ms": 0}
        )

    def _produce(
        self, producer: Producer, entity: str, number: int, *, event_id: str = "", value: bytes = b"",
        replayid: str = "",
    ) -> Seen:  # fmt: skip
        envelope = Envelope(
            id=event_id or str(uuid7()), type=self.event.type, source="/outside", time=datetime.now(UTC),
            tenant=self.tenant, subject=entity, partitionkey=self.key(entity), replayid=replayid,
        )  # fmt: skip
        value = value or self.event(entity=entity, number=number).model_dump_json().encode()
        taken: list[Any] = []
        producer.produce(self.topic, key=self.key(entity), value=value, headers=list(envelope.to_headers()),
                         on_delivery=lambda error, record: taken.append(record))  # fmt: skip
        if producer.flush(15) or not taken:
            raise TimeoutError("Kafka took nothing")
        return Seen(
            topic=self.topic, partition=taken[0].partition(), offset=taken[0].offset(), at=0.0, key=self.key(entity),
            event_id=envelope.id, tenant=str(self.tenant), effect=f"{entity} {number}", entity=entity, version=number,
            fields={"value": value},
        )  # fmt: skip

    def seen(self, at_least: int, *, within: float = PATIENCE) -> list[Seen]:
        """Everything on the topic; waits for ``at_least`` records, but not for ever."""
        reader = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "outside", "enable.auto.commit": False,
                           "log_level": 0, "enable.partition.eof": True})  # fmt: skip
        reader.assign([TopicPartition(self.topic, number, OFFSET_BEGINNING) for number in range(PARTITIONS)])
        found: list[Seen] = []
        ended: set[int] = set()
        deadline = time.monotonic() + within
        try:
            while len(ended) < PARTITIONS or len(found) < at_least:
                message = reader.poll(0.2)
                if message is not None and message.error() is None:
                    found.append(read_record(message))
                    ended.discard(message.partition())
                elif message is not None:
                    ended.add(message.partition())
                if time.monotonic() > deadline:
                    break
        finally:
            reader.close()
        return found

    async def effects(self) -> list[tuple[str, int]]:
        """What handlers did, in the order in which they did it."""
        async with self.database.transaction(self.tenant) as tx:
            return [(r["entity"], r["number"]) for r in await tx.fetch("SELECT * FROM effect ORDER BY seq")]

    async def until(self, condition: Callable[[], Awaitable[bool]], *, within: float = PATIENCE) -> bool:
        """Whether it came true in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await eventually(condition, within=within * 2)
                return True
        return False

    async def until_effects(self, count: int, *, within: float = PATIENCE) -> bool:
        async def enough() -> bool:
            return len(await self.effects()) >= count

        return await self.until(enough, within=within)

    async def committed(self) -> dict[int, int]:
        """The group's committed offset in each partition, as the broker knows it."""
        partitions = [TopicPartition(self.topic, number) for number in range(PARTITIONS)]
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(self.group, partitions)])
        found = await asyncio.to_thread(asked[self.group].result, 10)
        return {each.partition: max(each.offset, 0) for each in found.topic_partitions}

    async def until_committed(self, records: list[Seen], *, within: float = PATIENCE) -> bool:
        async def passed() -> bool:
            offsets = await self.committed()
            return all(offsets.get(record.partition, 0) > record.offset for record in records)

        return await self.until(passed, within=within)

    async def outcomes(self) -> set[tuple[str, str]]:
        """(consumer, event) of everything that was handled or parked."""
        async with self.database.system() as tx:
            rows = await tx.fetch(
                "SELECT consumer, event_id FROM inbox UNION SELECT consumer, event_id FROM dead_letter"
            )
        return {(row["consumer"], row["event_id"]) for row in rows}

    async def letters(self) -> list[Any]:
        async with self.database.system() as tx:
            return await tx.fetch("SELECT * FROM dead_letter")

    async def cut_connections_of_handlers(self) -> None:
        """What a server that goes away does to a transaction: its connection is gone."""
        admin = await asyncpg.connect(self.admin_dsn)
        try:
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND usename = 'front_desk_app'"
            )
        finally:
            await admin.close()


@asynccontextmanager
async def pipeline(admin_dsn: str, bootstrap: str) -> AsyncIterator[Pipeline]:
    """A pipeline with a database, a topic and a group of its own; everything that it started is stopped."""
    topic = f"power.{secrets.token_hex(5)}"
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    await asyncio.to_thread(admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result, 15)
    event = type("StepV1", (Step,), {"type": f"{topic}.v1", "__module__": __name__, "__annotations__": {}})
    async with fresh_database(admin_dsn, service=SERVICE, package="kit") as database:
        owner = await asyncpg.connect(role_dsn(database._app_dsn, "front_desk_owner", PASSWORDS["owner"]))
        await owner.execute(TABLES)
        await owner.close()
        own = f"{admin_dsn.rpartition('/')[0]}/{database._app_dsn.rpartition('/')[2]}"
        made = Pipeline(database, own, bootstrap, topic, event)
        async with made._stack:
            yield made
    admin.delete_topics([topic])
