"""Consumption on a real broker: effects once, order per key, poison parked alone, a bad deploy stopped."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4
from zlib import crc32

import asyncpg
import pytest
from prometheus_client import REGISTRY
from prometheus_client.openmetrics.exposition import generate_latest

from contracts.envelope import partition_key
from kit import outbox
from kit.consume import Consumer, Deletion, Poison, Received, Retry, Subscription, on, on_batch, on_deleted
from kit.dead_letters import DeadLetterLimits
from kit.handling import LANES, TOGETHER, Halted, Handling
from kit.postgres import Database, Transaction, role_dsn
from kit.testing import Bench, Toy, eventually
from runtime.logs import configure_logging

pytestmark = pytest.mark.real

Ledger = Callable[[], Awaitable[list[tuple[str, int]]]]
Start = Callable[..., Awaitable[Consumer]]
WRITE = "INSERT INTO ledger (tenant_id, entity, number) VALUES ($1, $2, $3)"


async def record(event: Toy, tx: Transaction) -> None:
    await tx.execute(WRITE, tx.tenant, event.entity, event.number)


async def record_all(received: Sequence[Received[Toy]], tx: Transaction) -> None:
    for item in received:
        await record(item.event, tx)


@pytest.fixture
async def start(database: Database, bench: Bench) -> AsyncIterator[Start]:
    running: list[Consumer] = []

    async def begin(*subscriptions: Subscription, **options: Any) -> Consumer:
        consumer = Consumer(
            group=options.pop("group", f"g-{uuid4()}"),
            database=database,
            kafka_bootstrap=bench.bootstrap,
            subscriptions=subscriptions,
            registry=bench.registry,
            **options,
        )
        await consumer.start()
        running.append(consumer)
        return consumer

    yield begin
    for consumer in running:
        await consumer.stop()


async def letters(database: Database) -> list[Any]:
    async with database.system() as tx:
        return await tx.fetch('SELECT * FROM dead_letter ORDER BY topic, partition, "offset"')


async def test_a_group_that_is_new_reads_what_was_there_before_it(bench: Bench, start: Start, ledger: Ledger) -> None:
    await bench.send("a", 1)
    await start(on(bench.event, record))

    async def arrived() -> bool:
        return await ledger() == [("a", 1)]

    await eventually(arrived)


@pytest.mark.parametrize("together", [False, True])
async def test_a_redelivered_event_has_effect_once(bench: Bench, start: Start, ledger: Ledger, together: bool) -> None:
    for _ in range(3):
        await bench.send("a", 1, event_id="same")
    await bench.send("a", 2)
    consumer = await start(on_batch(bench.event, record_all) if together else on(bench.event, record))
    await eventually(lambda: consumer.status().get("handled") == 2)
    for _ in range(2):
        await bench.send("a", 1, event_id="same")
    await eventually(lambda: consumer.status().get("duplicate") == 4)
    assert await ledger() == [("a", 1), ("a", 2)]


async def test_each_key_keeps_its_order_while_keys_run_side_by_side(bench: Bench, start: Start, ledger: Ledger) -> None:
    async def uneven(event: Toy, tx: Transaction) -> None:
        await asyncio.sleep(0.02 if event.number == 0 else 0)
        await record(event, tx)

    for number in range(10):
        for entity in "abcdef":
            await bench.send(entity, number)
    consumer = await start(on(bench.event, uneven))
    await eventually(lambda: consumer.status().get("handled") == 60)
    for entity in "abcdef":
        assert [n for e, n in await ledger() if e == entity] == list(range(10))


@pytest.mark.parametrize("together", [False, True])
async def test_only_the_guilty_record_is_parked_and_its_key_waits_behind_it(
    bench: Bench, start: Start, ledger: Ledger, database: Database, together: bool
) -> None:
    async def picky(event: Toy, tx: Transaction) -> None:
        if event.number == 13:
            raise Poison("unlucky", "call +91 98470 00123 cannot be handled")
        await record(event, tx)

    async def picky_all(received: Sequence[Received[Toy]], tx: Transaction) -> None:
        for item in received:
            await picky(item.event, tx)

    for entity, number in (("a", 1), ("b", 13), ("b", 14), ("a", 2)):
        await bench.send(entity, number)
    consumer = await start(on_batch(bench.event, picky_all) if together else on(bench.event, picky))
    await eventually(lambda: consumer.status().get("parked_behind") == 1)
    await bench.send("b", 15)
    await bench.send("a", 3)
    await eventually(lambda: consumer.status().get("parked_behind") == 2)
    await eventually(lambda: consumer.status().get("handled") == 3)
    assert sorted(await ledger()) == [("a", 1), ("a", 2), ("a", 3)]
    kept = await letters(database)
    assert [(row["reason"], row["parked_behind"]) for row in kept] == [
        ("unlucky", False),
        ("parked_behind", True),
        ("parked_behind", True),
    ]
    assert kept[0]["value"] == b'{"entity":"b","number":13}'
    assert "00123" not in kept[0]["message"]


def in_one_lane(bench: Bench, count: int) -> list[str]:
    """Names of entities whose records share transactions."""
    lane = crc32(partition_key(bench.tenant, "a").encode()) % LANES
    names = (f"e{number}" for number in itertools.count())
    return list(islice((n for n in names if crc32(partition_key(bench.tenant, n).encode()) % LANES == lane), count))


def batch_of(bench: Bench, *contents: tuple[str, int | bytes]) -> list[Any]:
    """Records as a broker hands them over together, in this order."""
    return [
        SimpleNamespace(
            topic=bench.topic, partition=0, offset=offset, timestamp=0, headers=bench.headers(entity),
            key=partition_key(bench.tenant, entity).encode(),
            value=number if isinstance(number, bytes)
            else bench.event(entity=entity, number=number).model_dump_json().encode(),
        )
        for offset, (entity, number) in enumerate(contents)
    ]  # fmt: skip


async def test_a_key_that_is_parked_early_in_a_long_batch_holds_back_what_is_late_in_it(
    bench: Bench, ledger: Ledger, database: Database
) -> None:
    async def picky(event: Toy, tx: Transaction) -> None:
        if event.number == 13:
            raise Poison("unlucky", "it cannot be handled")
        await record(event, tx)

    others = in_one_lane(bench, 3 * TOGETHER)
    batch = batch_of(bench, ("a", 13), *((other, 1) for other in others), ("a", 14), ("a", 15))
    handling = Handling(
        database=database, consumer="long", subscriptions=[on(bench.event, picky)], registry=bench.registry
    )

    await handling.handle(batch)

    assert sorted(await ledger()) == sorted((other, 1) for other in others)
    kept = await letters(database)
    assert [(row["offset"], row["reason"]) for row in kept] == [
        (0, "unlucky"), (len(batch) - 2, "parked_behind"), (len(batch) - 1, "parked_behind"),
    ]  # fmt: skip


@pytest.mark.parametrize("together", [False, True])
async def test_events_that_share_a_transaction_are_each_measured_with_their_own_trace(
    bench: Bench, ledger: Ledger, database: Database, together: bool
) -> None:
    batch = batch_of(bench, *((name, 1) for name in in_one_lane(bench, 3)))
    traces = [f"{number:032x}" for number in (7, 8, 9)]
    # So long ago that each is counted in a bucket of its own; the last is not recorded, so nobody would find it.
    for each, age, trace, recorded in zip(batch, (2, 20, 200), traces, ("01", "01", "00"), strict=True):
        time = (datetime.now(UTC) - timedelta(seconds=age)).isoformat().encode()
        each.headers = [(n, time if n == "ce_time" else v) for n, v in each.headers]
        each.headers.append(("traceparent", f"00-{trace}-00f067aa0ba902b7-{recorded}".encode()))
    consumer = f"marked-{together}"
    subscription = on_batch(bench.event, record_all) if together else on(bench.event, record)
    handling = Handling(database=database, consumer=consumer, subscriptions=[subscription], registry=bench.registry)

    await handling.handle(batch)

    assert len(await ledger()) == 3
    lines = [line for line in generate_latest(REGISTRY).decode().splitlines() if f'consumer="{consumer}"' in line]
    assert [line.split('"')[-2] for line in lines if " # {trace_id=" in line] == traces[:2]


@pytest.mark.parametrize("together", [False, True])
async def test_what_is_older_than_an_unreadable_record_takes_effect_and_what_is_younger_waits(
    bench: Bench, ledger: Ledger, database: Database, together: bool
) -> None:
    batch = batch_of(bench, ("a", 1), ("a", 2), ("a", b"{not json"), ("a", 4), ("b", 5))
    subscription = on_batch(bench.event, record_all) if together else on(bench.event, record)
    handling = Handling(database=database, consumer="late", subscriptions=[subscription], registry=bench.registry)

    await handling.handle(batch)

    assert sorted(await ledger()) == [("a", 1), ("a", 2), ("b", 5)]
    async with database.system() as tx:
        kept = await tx.fetch('SELECT "offset", reason FROM dead_letter ORDER BY seq')
    assert [(row["offset"], row["reason"]) for row in kept] == [(2, "contract_violation"), (3, "parked_behind")]


async def test_a_topic_of_nothing_but_unreadable_records_stops_the_consumer_and_keeps_what_came_before(
    bench: Bench, ledger: Ledger, database: Database
) -> None:
    limits = DeadLetterLimits(consecutive=5)
    batch = batch_of(bench, ("a", 1), *((f"e{number}", b"\xff") for number in range(10)))
    handling = Handling(
        database=database, consumer="wrong", subscriptions=[on(bench.event, record)], registry=bench.registry,
        limits=limits,
    )  # fmt: skip

    with pytest.raises(Halted, match="5 records in a row"):
        await handling.handle(batch)

    assert await ledger() == [("a", 1)]
    assert [row["offset"] for row in await letters(database)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("reason", "options"),
    [
        ("contract_violation", {"value": b"{not json"}),
        ("contract_violation", {"value": b'{"entity": "b"}'}),
        ("contract_violation", {"value": b"\xff\xfe"}),
        ("malformed_envelope", {"headers": [("ce_id", b"1")]}),
        ("malformed_envelope", {"headers": [("ce_id", b"\xff\xff")]}),
        ("malformed_envelope", {"headers": [("anything", None)]}),
    ],
)
async def test_what_cannot_be_read_is_parked_and_blocks_nobody(
    bench: Bench, start: Start, ledger: Ledger, database: Database, reason: str, options: dict[str, Any]
) -> None:
    await bench.send("b", 1, **options)
    await bench.send("a", 1)
    consumer = await start(on_batch(bench.event, record_all))
    await eventually(lambda: consumer.status().get("parked") == 1)
    await eventually(lambda: consumer.status().get("handled") == 1)
    assert await ledger() == [("a", 1)]
    assert [row["reason"] for row in await letters(database)] == [reason]


async def test_an_unknown_type_is_ignored_and_an_unknown_major_is_parked(
    bench: Bench, start: Start, database: Database
) -> None:
    await bench.send("a", 1, headers=bench.headers("a", ce_type="something.else.v1"))
    await bench.send("b", 1, headers=bench.headers("b", ce_type=f"{bench.topic}.v2"))
    consumer = await start(on(bench.event, record))
    await eventually(lambda: consumer.status().get("ignored") == 1)
    await eventually(lambda: consumer.status().get("parked") == 1)
    assert [row["reason"] for row in await letters(database)] == ["unknown_major"]


async def test_a_record_without_a_value_deletes_in_its_place_among_updates(
    bench: Bench, start: Start, ledger: Ledger
) -> None:
    async def forget(deletion: Deletion, tx: Transaction) -> None:
        await tx.execute("DELETE FROM ledger WHERE entity = $1", deletion.entity_id)

    await bench.send("a", 1)
    await bench.send("a", 2, value=None)
    await bench.send("a", 3)
    consumer = await start(on_batch(bench.event, record_all), on_deleted(bench.event, forget))
    await eventually(lambda: consumer.status().get("handled") == 3)
    assert await ledger() == [("a", 3)]


async def test_retry_delays_and_a_bug_is_tried_again_before_it_is_parked(
    bench: Bench, start: Start, ledger: Ledger, database: Database
) -> None:
    tries: dict[str, int] = {}

    async def flaky(event: Toy, tx: Transaction) -> None:
        tries[event.entity] = tries.get(event.entity, 0) + 1
        if event.entity == "later" and tries["later"] < 3:
            raise Retry("not yet", after=0.01)
        if event.entity == "buggy":
            raise KeyError("missing")
        await record(event, tx)

    await bench.send("later", 1)
    await bench.send("buggy", 1)
    consumer = await start(on(bench.event, flaky))
    await eventually(lambda: consumer.status().get("parked") == 1)
    await eventually(lambda: consumer.status().get("handled") == 1)
    assert await ledger() == [("later", 1)]
    # Once more if they had arrived together, and were tried in one transaction first.
    assert tries in ({"later": 3, "buggy": 4}, {"later": 3, "buggy": 5})
    kept = await letters(database)
    assert (kept[0]["reason"], kept[0]["attempts"], len(kept[0]["stack_hash"])) == ("unclassified", 4, 16)


async def test_what_postgres_says_of_a_row_is_in_no_letter_and_in_no_log(
    bench: Bench, start: Start, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = await asyncpg.connect(role_dsn(database._app_dsn, "front_desk_owner", "test"))
    await owner.execute("ALTER TABLE ledger ADD CONSTRAINT positive CHECK (number > 0)")
    await owner.close()
    configure_logging("test", "INFO")
    await bench.send("Thekkeparambil", -1)
    await start(on(bench.event, record))

    async def parked() -> bool:
        return bool(await letters(database))

    await eventually(parked)
    (letter,) = await letters(database)
    assert letter["message"] == "CheckViolationError 23514: constraint positive, table ledger"
    logged = capsys.readouterr().err
    assert "handler_failed" in logged
    assert "Thekkeparambil" not in logged


async def test_a_handler_that_fails_on_everything_stops_the_consumer_and_loses_nothing(
    bench: Bench, start: Start, ledger: Ledger, database: Database
) -> None:
    async def broken(event: Toy, tx: Transaction) -> None:
        raise Poison("bad_deploy")

    for number in range(30):
        await bench.send(f"e{number}", number)
    group = f"g-{uuid4()}"
    limits = DeadLetterLimits(consecutive=5)
    consumer = await start(on(bench.event, broken), group=group, limits=limits)
    await eventually(lambda: consumer.status()["halted"])
    assert "in a row" in str(consumer.ready())
    assert "trunkline dlq" in str(consumer.ready())
    stopped_at = {row["event_id"] for row in await letters(database)}
    assert len(stopped_at) == 5
    await consumer.stop()
    assert await bench.committed(group) < 30, "a batch with unhandled records must not be committed"

    mended = await start(on(bench.event, record), group=group)
    await eventually(lambda: mended.status().get("handled") == 25)
    parked = {f"e{number}" for number in range(30)} - {entity for entity, _ in await ledger()}
    assert len(await ledger()) == 25, "the five parked ones wait, all others were handled once"

    async def all_committed() -> bool:
        return await bench.committed(group) == 30

    await eventually(all_committed)
    await bench.send(min(parked), 99)
    await eventually(lambda: mended.status().get("parked_behind", 0) >= 1)
    assert {row["event_id"] for row in await letters(database) if not row["parked_behind"]} == stopped_at
    assert len(parked) == 5
    assert mended.ready() is None
    assert mended.status()["halted"] is None


async def test_a_lost_database_pauses_and_parks_nothing(
    bench: Bench, start: Start, ledger: Ledger, database: Database
) -> None:
    failures = 2

    async def unlucky(event: Toy, tx: Transaction) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise asyncpg.ConnectionDoesNotExistError("connection was closed")
        await record(event, tx)

    for number in range(5):
        await bench.send("a", number)
    consumer = await start(on(bench.event, unlucky))
    await eventually(lambda: consumer.status().get("handled") == 5)
    assert await ledger() == [("a", n) for n in range(5)]
    assert await letters(database) == []


async def test_what_a_handler_emits_carries_its_cause(bench: Bench, start: Start, database: Database) -> None:
    async def reply(event: Toy, tx: Transaction) -> None:
        await outbox.append(tx, bench.event(entity=f"reply to {event.entity}", number=event.number))

    async def emits(event: Toy, tx: Transaction) -> list[str]:
        return [f"reply to {event.entity}"]

    await bench.send("a", 1, event_id="the-cause")
    consumer = await start(on(bench.event, reply, emits=emits))
    await eventually(lambda: consumer.status().get("handled") == 1)
    async with database.system() as tx:
        row = await tx.fetchrow("SELECT causationid, correlationid FROM outbox")
    assert row is not None
    assert (row["causationid"], row["correlationid"]) == ("the-cause", "the-cause")


async def test_events_that_wait_share_transactions_and_each_is_told_with_its_own_cause(
    bench: Bench, start: Start, database: Database
) -> None:
    transactions: set[int] = set()

    async def reply(event: Toy, tx: Transaction) -> None:
        await outbox.append(tx, bench.event(entity=f"reply to {event.entity}", number=event.number))
        transactions.add(await tx.fetchval("SELECT pg_current_xact_id()::text::bigint"))

    async def emits(event: Toy, tx: Transaction) -> list[str]:
        return [f"reply to {event.entity}"]

    for number in range(120):
        await bench.send(f"e{number % 40}", number, event_id=f"cause-{number}")
    consumer = await start(on(bench.event, reply, emits=emits))
    await eventually(lambda: consumer.status().get("handled") == 120)
    assert len(transactions) < 40
    async with database.system() as tx:
        rows = await tx.fetch("SELECT causationid, payload::json ->> 'number' AS number FROM outbox ORDER BY xid, seq")
    assert {(row["causationid"], row["number"]) for row in rows} == {(f"cause-{n}", str(n)) for n in range(120)}
    for entity in range(40):
        told = [int(row["number"]) for row in rows if int(row["number"]) % 40 == entity]
        assert told == sorted(told)


async def test_one_that_fails_takes_nothing_of_its_transaction_with_it(
    bench: Bench, start: Start, ledger: Ledger, database: Database
) -> None:
    """Those of one transaction are handled again one by one; the guilty one is parked alone."""

    async def picky(event: Toy, tx: Transaction) -> None:
        await record(event, tx)
        if event.number % 10 == 3:
            raise Poison("unlucky")

    for number in range(60):
        await bench.send(f"e{number}", number)
    consumer = await start(on(bench.event, picky))
    await eventually(lambda: consumer.status().get("handled") == 54)
    await eventually(lambda: consumer.status().get("parked") == 6)
    assert sorted(number for _, number in await ledger()) == [n for n in range(60) if n % 10 != 3]
    assert {(row["reason"], row["parked_behind"]) for row in await letters(database)} == {("unlucky", False)}


async def test_a_consumer_is_ready_with_an_assignment_and_says_what_it_lacks(
    bench: Bench, start: Start, tenant: UUID
) -> None:
    consumer = await start(on(bench.event, record))
    await eventually(lambda: consumer.ready() is None)
    await consumer.stop()
    assert consumer.ready() == f"{consumer.name} holds no partitions"
