"""State and events commit together, and leave in commit order per key: what loses that, and that ours does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer

from contracts.envelope import Envelope
from kit import outbox
from kit.postgres import Database, KeyNotHeld, role_dsn
from kit.testing import Bench, eventually
from runtime.relay import _FETCH, Relay

from .conftest import SERVICE

pytestmark = pytest.mark.real

RAW_INSERT = (
    "INSERT INTO outbox (epoch, tenant_id, id, aggregatetype, aggregateid, type, payload, subject, occurred_at) "
    "VALUES (1, $1, gen_random_uuid(), 't', 'k', 't.v1', $2, 's', now())"
)


@pytest.fixture
async def relay(database: Database, bench: Bench) -> AsyncIterator[Relay]:
    relay = Relay(database=database, kafka_bootstrap=bench.bootstrap, service=SERVICE, batch=100)
    await relay.start()
    yield relay
    await relay.stop()


async def published(bench: Bench, count: int) -> list[Any]:
    """The first ``count`` records of the topic, in the order of each partition."""
    consumer = AIOKafkaConsumer(bench.topic, bootstrap_servers=bench.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    records: list[Any] = []
    try:
        async with asyncio.timeout(60):
            while len(records) < count:
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    records.extend(batch)
    finally:
        await consumer.stop()
    return records


async def raw(database: Database, tenant: UUID) -> Any:
    """A connection with an open transaction of the app role, to stop in the middle of."""
    connection = await asyncpg.connect(database._app_dsn)
    await connection.execute("BEGIN")
    await connection.execute("SELECT set_config('app.tenant', $1, true)", str(tenant))
    return connection


async def relay_reads(database: Database, position: tuple[int, int, int] = (0, 0, 0)) -> list[Any]:
    async with database.system() as tx:
        return await tx.fetch(_FETCH, *position, 100)


async def naive_reads(database: Database, last: int) -> list[Any]:
    async with database.system() as tx:
        return await tx.fetch("SELECT seq, payload FROM outbox WHERE seq > $1 ORDER BY seq", last)


async def test_a_query_by_sequence_loses_an_event_and_ours_does_not(database: Database, tenant: UUID) -> None:
    slow, fast = await raw(database, tenant), await raw(database, tenant)
    await slow.execute(RAW_INSERT, tenant, "1")
    await fast.execute(RAW_INSERT, tenant, "2")
    await fast.execute("COMMIT")

    naive = await naive_reads(database, 0)
    ours = await relay_reads(database)
    await slow.execute("COMMIT")
    naive += await naive_reads(database, naive[-1]["seq"])
    position = (ours[-1]["epoch"], ours[-1]["xid"], ours[-1]["seq"]) if ours else (0, 0, 0)
    ours += await relay_reads(database, position)

    assert [row["payload"] for row in naive] == ["2"], "the sequence skipped the slow transaction's event for good"
    assert [row["payload"] for row in ours] == ["1", "2"]
    await slow.close()
    await fast.close()


async def test_without_the_keys_lock_the_order_of_a_key_is_lost(database: Database, tenant: UUID) -> None:
    """Transaction ids come at the first write, row locks later: the order of ids is not the order of commits."""
    async with database.transaction(tenant) as tx:
        await tx.execute("INSERT INTO ledger (tenant_id, entity, number) VALUES ($1, 'k', 0)", tenant)
    early, late = await raw(database, tenant), await raw(database, tenant)
    await early.execute("INSERT INTO ledger (tenant_id, entity, number) VALUES ($1, 'unrelated', 0)", tenant)
    for connection, version in ((late, "1"), (early, "2")):
        await connection.execute("UPDATE ledger SET number = number + 1 WHERE entity = 'k'")
        await connection.execute(RAW_INSERT, tenant, version)
        await connection.execute("COMMIT")
        await connection.close()
    assert [row["payload"] for row in await relay_reads(database)] == ["2", "1"], "version 2 left before version 1"


async def test_with_the_keys_lock_the_order_of_a_key_holds(database: Database, tenant: UUID, bench: Bench) -> None:
    async def step(first: asyncio.Event, then: asyncio.Event) -> None:
        await first.wait()
        async with database.transaction(tenant, emits=["k"]) as tx:
            then.set()
            await tx.execute("INSERT INTO ledger (tenant_id, entity, number) VALUES ($1, 'k', 0)", tenant)
            number = await tx.fetchval("SELECT count(*) FROM ledger WHERE entity = 'k'")
            await asyncio.sleep(0.05)
            await outbox.append(tx, bench.event(entity="k", number=number))

    signals = [asyncio.Event() for _ in range(9)]
    signals[0].set()
    await asyncio.gather(*(step(signals[i], signals[i + 1]) for i in range(8)))
    numbers = [json.loads(row["payload"])["number"] for row in await relay_reads(database)]
    assert numbers == list(range(1, 9))


async def test_an_event_whose_key_is_not_held_is_refused(database: Database, tenant: UUID, bench: Bench) -> None:
    with pytest.raises(KeyNotHeld):
        async with database.transaction(tenant, emits=["other"]) as tx:
            await outbox.append(tx, bench.event(entity="k", number=1))


async def test_encoded_events_are_those_of_their_class(database: Database, tenant: UUID, bench: Bench) -> None:
    events = [bench.event(entity=f"k{number % 3}", number=number) for number in range(7)]
    encoded = [(event.entity_id(), event.model_dump_json()) for event in events]
    async with database.transaction(tenant, emits=["k0", "k1", "k2"]) as tx:
        await outbox.append_many(tx, events)
        await outbox.append_encoded(tx, type(events[0]), encoded[:4])
        await outbox.append_encoded(tx, type(events[0]), encoded[4:])
    async with database.system() as tx:
        rows = await tx.fetch("SELECT * FROM outbox WHERE tenant_id = $1 ORDER BY epoch, xid, seq", tenant)
    own = ("id", "seq", "occurred_at")
    told = [{name: value for name, value in row.items() if name not in own} for row in rows]
    assert told[:7] == told[7:]
    assert len({row["id"] for row in rows}) == 14
    assert {row["id"].version for row in rows} == {7}


async def test_encoded_events_need_their_keys_too(database: Database, tenant: UUID, bench: Bench) -> None:
    event = bench.event(entity="k", number=1)
    with pytest.raises(KeyNotHeld):
        async with database.transaction(tenant, emits=["other"]) as tx:
            await outbox.append_encoded(tx, type(event), [("other", "{}"), ("k", event.model_dump_json())])


async def test_keys_cannot_be_held_after_the_first_write(database: Database, tenant: UUID) -> None:
    with pytest.raises(KeyNotHeld):
        async with database.transaction(tenant) as tx:
            await tx.execute("INSERT INTO ledger (tenant_id, entity, number) VALUES ($1, 'k', 0)", tenant)
            await tx.hold("k")


async def test_many_keys_held_crosswise_do_not_deadlock(database: Database, tenant: UUID) -> None:
    async def both(keys: list[str]) -> None:
        for _ in range(20):
            async with database.transaction(tenant, emits=keys) as tx:
                await tx.execute("INSERT INTO ledger (tenant_id, entity, number) VALUES ($1, 'k', 0)", tenant)

    keys = [f"k{i}" for i in range(10)]
    await asyncio.gather(both(keys), both(keys[::-1]), both(keys[5:] + keys[:5]))


async def test_a_rollback_takes_the_event_with_it(database: Database, tenant: UUID, bench: Bench) -> None:
    with pytest.raises(ZeroDivisionError):
        async with database.transaction(tenant, emits=["k"]) as tx:
            await outbox.append(tx, bench.event(entity="k", number=1))
            raise ZeroDivisionError
    assert await relay_reads(database) == []


async def test_the_relay_publishes_with_the_envelope_and_the_trace(
    database: Database, tenant: UUID, bench: Bench, relay: Relay
) -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    from kit.telemetry import get_tracer

    trace.set_tracer_provider(TracerProvider())
    with get_tracer("test").start_as_current_span("request") as span:
        async with database.transaction(tenant, emits=["k", "gone"]) as tx:
            event_id = await outbox.append(tx, bench.event(entity="k", number=7))
            await outbox.append_deletion(tx, bench.event, "gone")
    records = {record.key: record for record in await published(bench, 2)}
    record = records[f"{tenant}:k".encode()]
    envelope = Envelope.from_headers(record.headers)
    assert json.loads(record.value) == {"entity": "k", "number": 7}
    assert (envelope.id, envelope.tenant, envelope.subject) == (event_id, tenant, "k")
    assert envelope.correlationid == event_id
    assert format(span.get_span_context().trace_id, "032x") in envelope.traceparent
    assert records[f"{tenant}:gone".encode()].value is None


async def test_a_key_goes_to_the_partition_that_other_clients_choose(
    database: Database, tenant: UUID, bench: Bench, relay: Relay
) -> None:
    entities = [f"e{i}" for i in range(16)]
    async with database.transaction(tenant, emits=entities) as tx:
        await outbox.append_many(tx, [bench.event(entity=e, number=0) for e in entities])
    ours = {record.key: record.partition for record in await published(bench, 16)}
    for entity in entities:
        await bench.send(entity, 1)
    theirs = {record.key: record.partition for record in await published(bench, 32)}
    assert ours == theirs
    assert len(set(ours.values())) > 1


async def test_two_relays_have_one_leader_and_the_other_takes_over(
    database: Database, tenant: UUID, bench: Bench, relay: Relay
) -> None:
    second = Relay(database=database, kafka_bootstrap=bench.bootstrap, service=SERVICE)
    await eventually(lambda: relay.status()["leader"])
    await second.start()
    await asyncio.sleep(0.2)
    assert not second.status()["leader"]
    await relay.stop()
    await eventually(lambda: second.status()["leader"])
    async with database.transaction(tenant, emits=["k"]) as tx:
        await outbox.append(tx, bench.event(entity="k", number=1))
    assert len(await published(bench, 1)) == 1
    await second.stop()


async def test_a_relay_that_dies_before_storing_its_position_repeats_with_the_same_ids(
    database: Database, tenant: UUID, bench: Bench
) -> None:
    relay = Relay(database=database, kafka_bootstrap=bench.bootstrap, service=SERVICE)
    await relay.start()
    async with database.transaction(tenant, emits=["k"]) as tx:
        await outbox.append(tx, bench.event(entity="k", number=1))
    await published(bench, 1)
    await relay.stop()
    async with database.system() as tx:
        await tx.execute("UPDATE relay_position SET epoch = 0, xid = '0', seq = 0")
    await relay.start()
    first, second = await published(bench, 2)
    await relay.stop()
    assert Envelope.from_headers(first.headers).id == Envelope.from_headers(second.headers).id


async def test_a_restored_cluster_starts_a_new_epoch(database: Database, tenant: UUID, bench: Bench) -> None:
    """A dump restored elsewhere brings the old position, ahead of every transaction id of the new cluster."""
    owner = await asyncpg.connect(role_dsn(database._app_dsn, f"{SERVICE.replace('-', '_')}_owner", "test"))
    await owner.execute("UPDATE cluster_epoch SET system_identifier = 42")
    await owner.close()
    async with database.system() as tx:
        await tx.execute(
            "INSERT INTO relay_position (relay, epoch, xid, seq) VALUES ($1, 1, '99999999999', 99999999)", SERVICE
        )
    await database.close()  # a restored cluster has no connections from before
    relay = Relay(database=database, kafka_bootstrap=bench.bootstrap, service=SERVICE)
    async with database.transaction(tenant, emits=["k"]) as tx:
        await outbox.append(tx, bench.event(entity="k", number=1))
        assert tx.epoch == 2
    await relay.start()
    assert len(await published(bench, 1)) == 1
    await relay.stop()


async def test_the_outbox_is_partitioned_by_day_and_drops_what_is_published(
    database: Database, tenant: UUID, bench: Bench
) -> None:
    owner = await asyncpg.connect(role_dsn(database._app_dsn, "front_desk_owner", "test"))
    await owner.execute(
        "CREATE TABLE outbox_20200101 PARTITION OF outbox FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')"
    )
    await owner.close()
    async with database.system() as tx:
        await tx.execute(
            "INSERT INTO outbox (epoch, tenant_id, id, aggregatetype, aggregateid, type, payload, subject, "
            "occurred_at, created_at) SELECT 1, $1, gen_random_uuid(), $2, 'a', $2 || '.v1', '{}', 'a', at, at "
            "FROM (VALUES ('2020-01-01 12:00+00'::timestamptz)) AS old (at)",
            tenant, bench.topic,
        )  # fmt: skip

    async def partitions() -> set[str]:
        async with database.system() as tx:
            await tx.execute("SELECT maintain_outbox('9 days')")
            rows = await tx.fetch(
                "SELECT inhrelid::regclass::text AS p FROM pg_inherits WHERE inhparent = 'outbox'::regclass"
            )
        return {row["p"] for row in rows}

    names = await partitions()
    assert len(names) >= 9
    assert "outbox_20200101" in names  # nothing was ever published
    relay = Relay(database=database, kafka_bootstrap=bench.bootstrap, service=SERVICE)
    await relay.start()
    await eventually(lambda: relay.status()["published"] == 1)
    await relay.stop()
    assert "outbox_20200101" not in await partitions()


async def test_the_inbox_forgets_what_nobody_delivers_any_more(database: Database, tenant: UUID, bench: Bench) -> None:
    async with database.transaction(tenant) as tx:
        await tx.execute(
            "INSERT INTO inbox (consumer, tenant_id, event_id, seen_at) VALUES "
            "('c', $1, 'old', now() - interval '10 days'), ('c', $1, 'recent', now() - interval '8 days')",
            tenant,
        )
    relay = Relay(database=database, kafka_bootstrap=bench.bootstrap, service=SERVICE)
    await relay.start()

    async def left() -> bool:
        async with database.transaction(tenant) as tx:
            return [row["event_id"] for row in await tx.fetch("SELECT event_id FROM inbox")] == ["recent"]

    await eventually(left)
    await relay.stop()
