"""A Kafka that is not what it was gets nothing until an operator says so, and then everything that it lacks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from confluent_kafka.admin import AdminClient

import runtime.relay
from contracts.envelope import Envelope
from kit import outbox
from kit.postgres import Database
from kit.telemetry import METRICS
from kit.testing import Bench, MakeDatabase, eventually, make_topic
from recovery.rewind import rewind
from runtime.backlog import Backlog
from runtime.publisher import Publisher
from runtime.relay import Relay

from .reading import read_all

pytestmark = pytest.mark.real

SERVICE = "front-desk"
KEYS = 20
# A relay of another process that takes its time, so that it can be killed in the middle.
SCRIPT = """
import asyncio, sys, time
from kit.postgres import Database
from runtime.publisher import Publisher
from runtime.relay import Relay
send = Publisher.send
def slowly(publisher, rows, *, settle):
    time.sleep(0.01)
    return send(publisher, rows, settle=settle)
async def main():
    Publisher.send = slowly
    dsn, bootstrap = sys.argv[1:]
    database = Database(service="front-desk", dsn=dsn, app_password="test", system_password="test")
    await Relay(database=database, kafka_bootstrap=bootstrap, service="front-desk", batch=20).start()
    await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    return await make_database(service=SERVICE, package="kit")


@pytest.fixture
async def relay(database: Database, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Relay]:
    """Looks at Kafka and at its own position often; not started."""
    monkeypatch.setattr(runtime.relay, "LOOK_SECONDS", 0.1)
    relay = Relay(database=database, kafka_bootstrap=bench.bootstrap, service=SERVICE, batch=100)
    yield relay
    await relay.stop()


async def append(database: Database, bench: Bench, numbers: range) -> datetime:
    """Append events of many keys, 500 a transaction; return a time before the last of these transactions."""
    for begin in range(numbers.start, numbers.stop, 500):
        chunk = range(begin, min(begin + 500, numbers.stop))
        entities = sorted({f"e{n % KEYS}" for n in chunk})
        async with database.transaction(bench.tenant, emits=entities) as tx:
            since: datetime = await tx.fetchval("SELECT now()")
            await outbox.append_many(tx, [bench.event(entity=f"e{n % KEYS}", number=n) for n in chunk])
    return since


async def drained(database: Database) -> bool:
    async with database.system() as tx:
        return bool(await tx.fetchval("SELECT unpublished = 0 FROM outbox_backlog($1)", SERVICE))


def first_sight(records: list[Any]) -> dict[bytes, list[int]]:
    """Per key the numbers in the order in which a consumer with an inbox would take them."""
    seen: set[str] = set()
    order: dict[bytes, list[int]] = defaultdict(list)
    for record in records:
        event_id = Envelope.from_headers(record.headers).id
        if event_id not in seen:
            seen.add(event_id)
            order[record.key].append(json.loads(record.value)["number"])
    return order


def assert_complete_and_in_order(records: list[Any], count: int) -> None:
    order = first_sight(records)
    assert sum(len(numbers) for numbers in order.values()) == count
    assert all(numbers == sorted(numbers) for numbers in order.values())


async def test_a_leader_that_is_rewound_publishes_again_with_the_same_ids(
    database: Database, bench: Bench, relay: Relay
) -> None:
    await relay.start()
    await append(database, bench, range(500))
    since = await append(database, bench, range(500, 600))
    await eventually(lambda: drained(database))

    assert await rewind(database, since=since) == 100
    records = await read_all(bench, 700)
    ids = [Envelope.from_headers(record.headers).id for record in records]
    again = [json.loads(record.value)["number"] for record in records]
    assert len(set(ids)) == 600
    assert sorted(n for n in set(again) if again.count(n) == 2) == list(range(500, 600))

    assert await rewind(database, since=None) == 600
    assert len(await read_all(bench, 1300)) == 1300
    assert relay.status()["last_error"] is None


async def test_what_keeps_the_past_of_an_erased_person_out_is_forgotten_on_its_day(
    database: Database, bench: Bench, relay: Relay
) -> None:
    async with database.transaction(bench.tenant) as tx:
        await tx.execute(
            "INSERT INTO erased_lately (tenant_id, value, effective_at, forget_at) "
            "VALUES ($1, 'then', now(), now() - interval '1 second'), ($1, 'not yet', now(), now() + interval '1 day')",
            bench.tenant,
        )
    await relay.start()

    async def left() -> list[str]:
        async with database.system() as tx:
            return [row["value"] for row in await tx.fetch("SELECT value FROM erased_lately")]

    async def forgotten() -> bool:
        return await left() == ["not yet"]

    await eventually(forgotten)


async def test_into_another_kafka_nothing_is_published_until_told(
    database: Database, bench: Bench, relay: Relay
) -> None:
    await relay.start()
    await append(database, bench, range(50))
    await eventually(lambda: drained(database))
    await relay.stop()
    async with database.system() as tx:
        await tx.execute("UPDATE relay_position SET kafka_cluster = 'the one before'")
    await append(database, bench, range(50, 60))

    await relay.start()
    await eventually(lambda: relay.status()["halted"])
    await asyncio.sleep(0.5)
    assert METRICS.relay_halted.labels(SERVICE)._value.get() == 1
    assert len(await read_all(bench, 50)) == 50

    await rewind(database, since=None)
    records = await read_all(bench, 110)
    assert len(records) == 110
    assert_complete_and_in_order(records, 60)
    assert METRICS.relay_halted.labels(SERVICE)._value.get() == 0


async def test_a_kafka_that_lost_records_gets_them_again_before_what_is_newer(
    database: Database, bench: Bench, relay: Relay
) -> None:
    await relay.start()
    await append(database, bench, range(200))
    await eventually(lambda: drained(database))

    async def remembered() -> bool:
        async with database.system() as tx:
            ends = json.loads(await tx.fetchval("SELECT kafka_ends::text FROM relay_position"))
        return sum(ends.values()) == 200

    await eventually(remembered)
    await relay.stop()
    await append(database, bench, range(200, 220))
    admin = AdminClient({"bootstrap.servers": bench.bootstrap, "log_level": 0})
    admin.delete_topics([bench.topic])[bench.topic].result(15)
    await eventually(lambda: bench.topic not in admin.list_topics(timeout=5).topics)
    make_topic(bench.bootstrap, bench.topic)

    await relay.start()
    await eventually(lambda: relay.status()["halted"] == "Kafka lost records")
    assert await read_all(bench, 0) == []
    await rewind(database, since=None)
    assert_complete_and_in_order(await read_all(bench, 220), 220)


async def test_what_is_lost_of_one_partition_is_not_made_up_by_another_nor_younger_than_the_last_look(
    database: Database, bench: Bench, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime.relay, "LOOK_SECONDS", 3600)
    await relay.start()
    await append(database, bench, range(200))
    await eventually(lambda: drained(database))
    await relay.stop()

    # What Kafka acknowledged is known without asking it again.
    async with database.system() as tx:
        ends = json.loads(await tx.fetchval("SELECT kafka_ends::text FROM relay_position"))
    assert sum(ends.values()) == 200
    place, end = next((place, end) for place, end in ends.items() if end > 1)
    other = next(name for name in ends if name != place)

    async def halted(ends: dict[str, int]) -> str:
        async with database.system() as tx:
            await tx.execute("SELECT begin_relay($1, kafka_cluster, $2::jsonb) FROM relay_position",
                             SERVICE, json.dumps(ends))  # fmt: skip
            return str(await tx.fetchval("SELECT halted FROM relay_position"))

    assert await halted({**ends, place: end - 1, other: ends[other] + 1000}) == "Kafka lost records"
    assert await halted(ends) == ""


async def test_after_a_lost_connection_kafka_is_looked_at_before_anything_is_sent(
    database: Database, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, lost = Publisher.kafka, False
    monkeypatch.setattr(runtime.relay, "LOOK_SECONDS", 3600)
    # What answers after the loss is another one.
    monkeypatch.setattr(Publisher, "kafka", lambda self, topics: ("another", "{}") if lost else seen(self, topics))
    others = {inode for inode, _ in connections_to(bench.bootstrap)}
    relay = Relay(database=database, kafka_bootstrap=bench.bootstrap, service=SERVICE, batch=100)
    await relay.start()
    await append(database, bench, range(100))
    await eventually(lambda: drained(database))

    lost = True
    for inode, connection in connections_to(bench.bootstrap):
        if inode not in others:
            connection.shutdown(socket.SHUT_RDWR)
    await append(database, bench, range(100, 120))

    await eventually(lambda: relay.status()["halted"] == "this is another Kafka cluster")
    await relay.stop()
    assert len(await read_all(bench, 100)) == 100


def connections_to(bootstrap: str) -> Iterator[tuple[int, socket.socket]]:
    """This process's connections to a server, each with its number in the kernel."""
    port = int(bootstrap.rpartition(":")[2])
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError), socket.socket(fileno=os.dup(int(link.name))) as connection:
            if connection.family == socket.AF_INET and connection.getpeername()[1] == port:
                yield os.fstat(connection.fileno()).st_ino, connection


async def test_killed_in_the_middle_of_publishing_again_nothing_is_missing_or_out_of_order(
    database: Database, bench: Bench, relay: Relay
) -> None:
    count = 10_000
    await append(database, bench, range(count))
    await relay.start()
    await eventually(lambda: drained(database))
    await relay.stop()
    ends = {record.partition: record.offset for record in await read_all(bench, count)}
    assert await rewind(database, since=None) == count

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT, database._system_dsn, bench.bootstrap, stdout=asyncio.subprocess.DEVNULL
    )

    async def in_the_middle() -> bool:
        async with database.system() as tx:
            left = await tx.fetchval("SELECT unpublished FROM outbox_backlog($1)", SERVICE)
        return bool(left < count)

    await eventually(in_the_middle, every=0.005)
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    assert not await drained(database), "it was killed too late to show anything"

    await relay.start()
    await eventually(lambda: drained(database))
    records = await read_all(bench, 2 * count)
    assert_complete_and_in_order([record for record in records if record.offset > ends[record.partition]], count)


async def test_whoever_holds_the_relay_back_is_named(database: Database, tenant: UUID, bench: Bench) -> None:
    await append(database, bench, range(3))
    backlog = Backlog(database)
    held = METRICS.relay_held_back.labels(SERVICE)._value
    holder = METRICS.relay_held_back_by.labels(SERVICE)._value
    async with database.transaction(tenant) as tx:
        pid = await tx.fetchval("SELECT pg_backend_pid() FROM pg_current_xact_id()")

        async def named() -> bool:
            await backlog.measure()
            return (holder.get(), held.get() > 0) == (pid, True)

        # Until then somebody else's on this server may be the oldest.
        await eventually(named)
        assert METRICS.outbox_unpublished.labels(SERVICE)._value.get() == 3
        assert METRICS.outbox_age.labels(SERVICE)._value.get() > 0

    async def free() -> bool:
        await backlog.measure()
        return bool(holder.get() != pid)

    await eventually(free)
