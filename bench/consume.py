"""Consuming with the inbox and a one-row effect: event by event, and in sets.

Beside each stands the same SQL without Kafka, decoding or spans, on the same number of connections, and a bare aiokafka
loop that reads the same records and looks at nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID, uuid4

import asyncpg
import uvloop
from aiokafka import AIOKafkaConsumer

from bench.relay import SERVICE, as_superuser, make_topic
from bench.results import Addresses, Result, own_rss_mb
from contracts.event import Event
from contracts.registry import Registry
from kit.broker import MAX_RECORDS
from kit.consume import Consumer, Received, on, on_batch
from kit.delivery import Subscription, claim_many
from kit.handling import LANES, TOGETHER
from kit.ids import uuid7
from kit.postgres import Database, Transaction
from kit.testing import eventually, fresh_database
from runtime.garbage import collect_seldom
from runtime.publisher import Publisher

SINGLE, BATCH = 10_000, 100_000
KEYS = 1_000
TIME = "2026-01-01T00:00:00.000000Z"
ROUNDS = 3
TABLE = """
CREATE TABLE ledger (tenant_id uuid NOT NULL, entity text NOT NULL, number integer NOT NULL,
                     seq bigint GENERATED ALWAYS AS IDENTITY);
SELECT protect('ledger')
"""
EFFECT = "INSERT INTO ledger (tenant_id, entity, number) VALUES ($1, $2, $3)"
EFFECTS = """
INSERT INTO ledger (tenant_id, entity, number) SELECT $1, e.* FROM unnest($2::text[], $3::integer[]) AS e
"""


class _Note(Event):
    type: ClassVar[str] = "bench.note.v1"

    entity: str
    number: int
    text: str

    def entity_id(self) -> str:
        return self.entity


@dataclass
class Ground:
    """What is measured on: a database with one protected table, a topic full of one tenant's events."""

    addresses: Addresses
    database: Database
    owner: asyncpg.Connection[asyncpg.Record]
    topic: str
    event: type[_Note]
    tenant: UUID

    async def forget(self) -> None:
        await self.owner.execute("TRUNCATE ledger, inbox, outbox")
        await self.owner.execute("CHECKPOINT")

    async def effects(self) -> int:
        return int(await self.owner.fetchval("SELECT count(*) FROM ledger"))


@dataclass(frozen=True)
class _Envelope:
    """As much of an envelope as the inbox looks at."""

    id: str
    replayid: str = ""


def run_single(addresses: Addresses) -> Sequence[Result]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_single(addresses))


def run_batch(addresses: Addresses) -> Sequence[Result]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_batch(addresses))


async def _single(addresses: Addresses) -> list[Result]:
    async with ground(addresses, SINGLE) as it:
        rates, limits, bare, spent = [], [], [], []
        for _ in range(ROUNDS):
            limits.append(await sql_single(it))
            bare.append(await _bare(it, SINGLE))
            before = time.process_time()
            rates.append(await consume(it, single(it), SINGLE))
            spent.append(time.process_time() - before)
    note = f"{SINGLE:,} events, a handler's call and an inbox row each, up to {TOGETHER} in a transaction, "
    note += f"{LANES} connections, best of {ROUNDS}"
    note += f"; {min(spent) / SINGLE * 1e6:.0f} µs CPU an event"
    return [
        _result("consume_single", rates, limits, "the same SQL without Kafka", note),
        _result("consume_single_bare", rates, bare, "bare aiokafka getmany", note),
    ]


async def _batch(addresses: Addresses) -> list[Result]:
    async with ground(addresses, BATCH) as it:
        rates, limits, bare, spent = [], [], [], []
        for _ in range(ROUNDS):
            limits.append(await sql_batch(it))
            bare.append(await _bare(it, BATCH))
            before = time.process_time()
            rates.append(await consume(it, sets(it), BATCH))
            spent.append(time.process_time() - before)
    note = f"{BATCH:,} events of one tenant, up to {MAX_RECORDS} a transaction, best of {ROUNDS}"
    note += f"; {min(spent) / BATCH * 1e6:.0f} µs CPU an event"
    return [
        _result("consume_batch", rates, limits, "the same SQL without Kafka", note),
        _result("consume_batch_bare", rates, bare, "bare aiokafka getmany", note),
    ]


def _result(name: str, rates: list[float], limits: list[float], limit_name: str, note: str) -> Result:
    rate, limit = max(rates), max(limits)
    return Result(name=name, value=rate, unit="events/s", limit_name=limit_name, limit=limit, ratio=rate / limit,
                  rss_mb=own_rss_mb(), note=note)  # fmt: skip


@asynccontextmanager
async def ground(addresses: Addresses, events: int) -> AsyncIterator[Ground]:
    topic = await asyncio.to_thread(make_topic, addresses.kafka_bootstrap)
    event = type("Note", (_Note,), {"type": f"{topic}.v1", "__module__": __name__, "__annotations__": {}})
    async with fresh_database(addresses.postgres_dsn, service=SERVICE, package="kit") as database:
        superuser = await as_superuser(addresses.postgres_dsn, database)
        await superuser.execute("SET ROLE front_desk_owner")
        await superuser.execute(TABLE)
        await superuser.execute("RESET ROLE")
        it = Ground(addresses, database, superuser, topic, event, uuid4())
        await asyncio.to_thread(_fill_topic, it, events)
        collect_seldom()  # as a started service does
        yield it
        await superuser.close()


def _fill_topic(it: Ground, events: int) -> None:
    publisher = Publisher(bootstrap=it.addresses.kafka_bootstrap, service=SERVICE)
    for begin in range(0, events, 2_000):
        rows = []
        for number in range(begin, min(begin + 2_000, events)):
            entity, event_id = f"e{number % KEYS}", str(uuid7())
            value = it.event(entity=entity, number=number, text="x" * 450).model_dump_json()
            rows.append(
                (it.topic, value, it.event.type, f"{it.tenant}:{entity}", event_id, TIME, event_id, "", "",
                 f"00-{number + 1:032x}-{number + 1:016x}-01", 1, 1, number + 1)
            )  # fmt: skip
        publisher.send(rows, settle=True)
    publisher.close()


def single(it: Ground) -> Subscription:
    async def handle(event: Any, tx: Transaction) -> None:
        await tx.execute(EFFECT, tx.tenant, event.entity, event.number)

    return on(it.event, handle)


def sets(it: Ground) -> Subscription:
    async def handle(received: Sequence[Received[Any]], tx: Transaction) -> None:
        await tx.execute(EFFECTS, tx.tenant, [r.event.entity for r in received], [r.event.number for r in received])

    return on_batch(it.event, handle)


async def consume(it: Ground, subscription: Subscription, events: int) -> float:
    """Events a second, from the moment that the group has its partitions until the last effect is committed."""
    await it.forget()
    consumer = Consumer(
        group=f"bench-{uuid4()}", database=it.database, registry=Registry([it.event]),
        kafka_bootstrap=it.addresses.kafka_bootstrap, subscriptions=[subscription],
    )  # fmt: skip
    await consumer.start()
    await eventually(lambda: consumer.status()["partitions"], within=30, every=0.001)
    began, before = time.perf_counter(), int(str(consumer.status().get("handled", 0)))
    await eventually(lambda: int(str(consumer.status().get("handled", 0))) >= events, within=180, every=0.005)
    seconds = time.perf_counter() - began
    await consumer.stop()
    if await it.effects() != events:
        raise RuntimeError("not every event took effect once")
    return (events - before) / seconds


async def sql_single(it: Ground) -> float:
    """The statements of the events, by as many connections and in transactions as large as the consumer's."""
    groups = iter([range(begin, min(begin + TOGETHER, SINGLE)) for begin in range(0, SINGLE, TOGETHER)])

    async def work() -> None:
        for numbers in groups:
            async with it.database.transaction(it.tenant) as tx:
                await claim_many(tx, "bench", [_Envelope(str(uuid7())) for _ in numbers])  # type: ignore[misc]
                for number in numbers:
                    await tx.execute(EFFECT, tx.tenant, f"e{number % KEYS}", number)

    return await _timed(it, work, SINGLE)


async def sql_batch(it: Ground) -> float:
    batches = iter([range(begin, min(begin + MAX_RECORDS, BATCH)) for begin in range(0, BATCH, MAX_RECORDS)])

    async def work() -> None:
        for numbers in batches:
            async with it.database.transaction(it.tenant) as tx:
                await claim_many(tx, "bench", [_Envelope(str(uuid7())) for _ in numbers])  # type: ignore[misc]
                await tx.execute(EFFECTS, tx.tenant, [f"e{n % KEYS}" for n in numbers], list(numbers))

    return await _timed(it, work, BATCH, connections=1)


async def _timed(it: Ground, work: Callable[[], Any], events: int, connections: int = LANES) -> float:
    await it.forget()
    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(connections)))
    return events / (time.perf_counter() - began)


async def _bare(it: Ground, events: int) -> float:
    consumer = AIOKafkaConsumer(
        it.topic, bootstrap_servers=it.addresses.kafka_bootstrap, group_id=f"bare-{uuid4()}",
        auto_offset_reset="earliest", enable_auto_commit=False,
    )  # fmt: skip
    await consumer.start()
    await eventually(consumer.assignment, within=30, every=0.001)
    began, seen = time.perf_counter(), 0
    while seen < events:
        found = await consumer.getmany(timeout_ms=1000, max_records=MAX_RECORDS)
        seen += sum(map(len, found.values()))
        if found:
            await consumer.commit()
    seconds = time.perf_counter() - began
    await consumer.stop()
    return events / seconds
