"""The relay: a full outbox to Kafka, beside a bare producer that sends the very same records from memory.

Both use librdkafka, idempotent with acks=all. Before its clock starts, the bare producer's values, keys and headers are
read and built, and it has asked Kafka for the topic; the relay has asked Kafka as well. It then reads the records from
Postgres (``synchronous_commit=on`` for whatever appends them) and stores its position.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import statistics
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import uvloop
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from bench.results import Addresses, Result, own_rss_mb
from kit.postgres import Database
from kit.testing import eventually, fresh_database
from runtime.garbage import collect_seldom
from runtime.publisher import COLUMNS, Publisher
from runtime.relay import Relay

EVENTS = int(os.environ.get("TRUNKLINE_BENCH_EVENTS", "200000"))
ROUNDS = 5
PARTITIONS = 6
VALUE_BYTES = 520
SERVICE = "front-desk"
TOPICS = "bench."

FILL = """
INSERT INTO outbox (epoch, id, tenant_id, aggregatetype, aggregateid, type, payload, subject, occurred_at,
                    correlationid, traceparent, created_at)
SELECT 1, gen_random_uuid(), $1::uuid, $2, $1::text || ':e' || i % 1000, $2 || '.v1', repeat('x', $3), 'e' || i % 1000,
       now(), gen_random_uuid()::text, '00-' || md5(i::text) || '-' || left(md5(i::text), 16) || '-01', $5
FROM generate_series(1, $4) AS i
"""


def run(addresses: Addresses) -> Sequence[Result]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(addresses))


async def _run(addresses: Addresses) -> list[Result]:
    topic = await asyncio.to_thread(make_topic, addresses.kafka_bootstrap)
    async with fresh_database(addresses.postgres_dsn, service=SERVICE, package="kit") as database:
        owner = await as_superuser(addresses.postgres_dsn, database)
        await fill(owner, topic, EVENTS)
        records = await _records(owner)
        # As a started service does; what is measured against is no garbage of the relay's either.
        collect_seldom()
        # What was filled in is on the disk: the rounds do not share it with that.
        await owner.execute("CHECKPOINT")
        ours, bare, spent = [], [], []
        for _ in range(ROUNDS):
            bare.append(await asyncio.to_thread(_produce, addresses.kafka_bootstrap, topic, records))
            before = time.process_time()
            ours.append(await drain(addresses, owner, database))
            spent.append(time.process_time() - before)
        await owner.close()
    rate, limit = statistics.median(ours), statistics.median(bare)
    return [
        Result(
            name="relay", value=rate, unit="events/s", limit_name="bare producer, same records", limit=limit,
            ratio=rate / limit, rss_mb=own_rss_mb(),
            note=f"{EVENTS:,} events of {VALUE_BYTES} bytes, median of {ROUNDS}, synchronous_commit=on; "
            f"{min(spent) / EVENTS * 1e6:.0f} µs CPU an event",
        )
    ]  # fmt: skip


def make_topic(bootstrap: str) -> str:
    topic = f"{TOPICS}{secrets.token_hex(4)}"
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(15)
    return topic


def forget_topics(bootstrap: str) -> None:
    """Delete what was made here, by this run or one that was killed: some hundred megabytes each."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    made = [name for name in admin.list_topics(timeout=10).topics if name.startswith(TOPICS)]
    for deleted in admin.delete_topics(made).values() if made else ():
        deleted.result(15)


async def as_superuser(dsn: str, database: Database) -> asyncpg.Connection[asyncpg.Record]:
    """A connection that may fill tables past row-level security, in the service's schema."""
    async with database.system() as tx:
        name = await tx.fetchval("SELECT current_database()")
        if await tx.fetchval("SELECT current_setting('synchronous_commit')") != "on":
            raise RuntimeError("these servers do not commit durably")
    target = urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))
    connection = await asyncpg.connect(target, server_settings={"search_path": "front_desk"})
    await connection.execute("SELECT maintain_outbox('9 days')")
    return connection


async def fill(owner: asyncpg.Connection[asyncpg.Record], topic: str, events: int, at: Any = None) -> None:
    """Put events into the outbox, 5,000 a transaction."""
    at = at or await owner.fetchval("SELECT now()")
    for begin in range(0, events, 5_000):
        await owner.execute(FILL, uuid4(), topic, VALUE_BYTES, min(5_000, events - begin), at)
    await owner.execute("ANALYZE outbox")


async def drain(
    addresses: Addresses, owner: asyncpg.Connection[asyncpg.Record], database: Database, after: int = 0
) -> float:
    """Events a second from the moment that a relay leads, and has looked at Kafka, until its position is stored behind
    the last one."""
    last = await owner.fetchval("SELECT seq FROM outbox ORDER BY epoch DESC, xid DESC, seq DESC LIMIT 1")
    await owner.execute("DELETE FROM relay_position")
    if after:
        place = await owner.fetchrow("SELECT epoch, xid::text AS xid, seq FROM outbox WHERE seq = $1", after)
        if place is None:
            raise RuntimeError("what was to be published already is not there")
        await owner.execute(
            "INSERT INTO relay_position (relay, epoch, xid, seq) VALUES ($1, $2, $3::text::xid8, $4)", SERVICE, *place
        )
    relay = Relay(database=database, kafka_bootstrap=addresses.kafka_bootstrap, service=SERVICE)
    await relay.start()
    await eventually(lambda: relay.status()["generation"] is not None, every=0.001)
    began = time.perf_counter()

    async def done() -> bool:
        return bool(await owner.fetchval("SELECT seq FROM relay_position") == last)

    await eventually(done, within=120, every=0.01)
    seconds = time.perf_counter() - began
    published = relay.status()["published"]
    await relay.stop()
    if published != await owner.fetchval("SELECT count(*) FROM outbox WHERE seq > $1", after):
        raise RuntimeError("the relay did not publish each event once")
    return int(str(published)) / seconds


async def _records(owner: asyncpg.Connection[asyncpg.Record]) -> list[tuple[bytes, bytes, list[Any]]]:
    """What the relay is going to send, in its order, as bytes."""
    publisher = Publisher(bootstrap="127.0.0.1:1", service=SERVICE)
    rows = await owner.fetch(f"SELECT {COLUMNS} FROM outbox o ORDER BY epoch, xid, seq")  # noqa: S608
    records = []
    for row in rows:
        headers = [(name, value.encode()) for name, value in publisher.headers(row).items()]
        records.append((row[3].encode(), row[1].encode(), headers))
    return records


def _produce(bootstrap: str, topic: str, records: Sequence[tuple[bytes, bytes, list[Any]]]) -> float:
    failed: list[str] = []

    def delivered(error: Any, _: Any) -> None:
        if error is not None:
            failed.append(error.name())

    producer = Producer(
        {
            "bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all", "linger.ms": 2,
            "partitioner": "murmur2_random", "delivery.report.only.error": True, "log_level": 0,
        }
    )  # fmt: skip
    producer.list_topics(topic, timeout=10)
    began = time.perf_counter()
    for number, (key, value, headers) in enumerate(records):
        while number % 1_000 == 0 and len(producer) > 50_000:
            producer.poll(0.05)
        producer.produce(topic, value, key, headers=headers, on_delivery=delivered)
    left = producer.flush(60)
    seconds = time.perf_counter() - began
    if left or failed:
        raise RuntimeError("the bare producer lost records")
    return len(records) / seconds
