"""From commit to handled: how old an event is when its effect is committed, at a steady 500 a second.

The limit beside it is the same path without our plumbing: send to Kafka and read it back, with acks=all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.relay import make_topic
from bench.results import Addresses, Result, percentile, percentiles
from contracts.event import Event
from contracts.registry import Registry
from kit import outbox
from kit.consume import Consumer, Received, on_batch
from kit.postgres import Database, Transaction
from kit.testing import fresh_database
from runtime.relay import Relay

RATE = 500
SECONDS = 8
WARM_UP_SECONDS = 2


class _Tick(Event):
    type: ClassVar[str] = "bench.tick.v1"

    entity: str

    def entity_id(self) -> str:
        return self.entity


def run(addresses: Addresses) -> list[Result]:
    return asyncio.run(_run(addresses))


async def _run(addresses: Addresses) -> list[Result]:
    topic, bare = [await asyncio.to_thread(make_topic, addresses.kafka_bootstrap) for _ in range(2)]
    raw = await _raw(addresses, bare)
    async with fresh_database(addresses.postgres_dsn, service="front-desk", package="kit") as database:
        ages = await _ours(addresses, topic, database)
    p50, p95, p99 = percentiles(ages)
    limit = percentile(raw, 0.99)
    return [
        Result(
            name="event_age", value=p99, unit="ms p99", limit_name="ms p99, bare Kafka", limit=limit, ratio=limit / p99,
            p50_ms=p50, p95_ms=p95, p99_ms=p99, note=f"{len(ages)} events at {RATE}/s, outbox to effect",
        )
    ]  # fmt: skip


def _watch(consumer: Consumer, ages: list[float], since: datetime) -> None:
    """Note each event's age where the consumer itself does: after the commit of its effect."""
    handling: Any = consumer.handling
    count = handling._handled

    def handled(works: Sequence[Any]) -> None:
        count(works)
        now = datetime.now(UTC)
        times = [work.envelope.time for work in works]
        ages.extend((now - time).total_seconds() * 1000 for time in times if time > since)

    handling._handled = handled


async def _ours(addresses: Addresses, topic: str, database: Database) -> list[float]:
    tick = type("Tick", (_Tick,), {"type": f"{topic}.v1", "__module__": __name__, "__annotations__": {}})
    ages: list[float] = []

    async def handle(received: Sequence[Received[Any]], tx: Transaction) -> None:
        return None

    relay = Relay(database=database, kafka_bootstrap=addresses.kafka_bootstrap, service="front-desk")
    consumer = Consumer(
        group=f"bench-{uuid4()}",
        database=database,
        registry=Registry([tick]),
        kafka_bootstrap=addresses.kafka_bootstrap,
        subscriptions=[on_batch(tick, handle)],
    )
    _watch(consumer, ages, datetime.now(UTC) + timedelta(seconds=WARM_UP_SECONDS))
    await relay.start()
    await consumer.start()
    tenant = uuid4()

    async def emit(number: int) -> None:
        entity = f"e{number % 200}"
        async with database.transaction(tenant, emits=[entity]) as tx:
            await outbox.append(tx, tick(entity=entity))

    await _at_rate(emit)
    await asyncio.sleep(2)
    await consumer.stop()
    await relay.stop()
    return ages


async def _at_rate(send: Any) -> None:
    """Open loop: each event has its intended time, and a slow one does not delay the next."""
    begun, tasks = time.perf_counter(), set()
    for number in range(RATE * SECONDS):
        wait = begun + number / RATE - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(send(number))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)


async def _raw(addresses: Addresses, topic: str) -> list[float]:
    producer = AIOKafkaProducer(bootstrap_servers=addresses.kafka_bootstrap, acks="all", enable_idempotence=True)
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=addresses.kafka_bootstrap, auto_offset_reset="latest")
    await producer.start()
    await consumer.start()
    ages: list[float] = []
    begun = time.time()

    async def read() -> None:
        async for record in consumer:
            at = float(record.value)
            if at > begun + WARM_UP_SECONDS:
                ages.append((time.time() - at) * 1000)

    async def send(number: int) -> None:
        await producer.send(topic, str(time.time()).encode(), key=f"e{number % 200}".encode())

    reading = asyncio.create_task(read())
    await asyncio.sleep(1)
    await _at_rate(send)
    await asyncio.sleep(0.5)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await consumer.stop()
    await producer.stop()
    return ages
