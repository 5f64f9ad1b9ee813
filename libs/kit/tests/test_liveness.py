"""Liveness by progress: what hangs is told from what waits, for its database or for an operator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer

from kit import broker, consume, membership, progress
from kit.consume import Consumer, Poison, Subscription, on, on_batch
from kit.dead_letters import DeadLetterLimits
from kit.handling import LANES
from kit.postgres import Database, Transaction
from kit.testing import Bench, Toy, eventually

pytestmark = pytest.mark.real

Start = Callable[..., Awaitable[Consumer]]


@pytest.fixture
async def start(database: Database, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Consumers for which two seconds count as minutes, and which do not wait at their end for what hangs."""
    monkeypatch.setattr(consume, "STUCK_SECONDS", 2.0)
    monkeypatch.setattr(consume, "STALLED_SECONDS", 2.0)
    monkeypatch.setattr(progress, "PROBE_SECONDS", 0.1)
    monkeypatch.setattr(membership, "DRAIN_SECONDS", 0.5)
    running: list[Consumer] = []

    async def begin(*subscriptions: Subscription, **options: Any) -> Consumer:
        consumer = Consumer(
            group=f"g-{uuid4()}",
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


async def test_a_handler_that_hangs_is_reported_until_it_goes_on(bench: Bench, start: Start) -> None:
    leave = asyncio.Event()

    async def hang(event: Toy, tx: Transaction) -> None:
        await leave.wait()

    await bench.send("a", 1)
    consumer = await start(on(bench.event, hang))
    await eventually(lambda: "worked on one batch" in str(consumer.alive()))
    leave.set()
    await eventually(lambda: consumer.status().get("handled") == 1)
    assert consumer.alive() is None


@pytest.mark.parametrize("together", [False, True])
async def test_a_database_that_is_away_is_waited_for_and_asked_by_few(
    bench: Bench, start: Start, together: bool
) -> None:
    away, asked = True, 0

    async def lost(event: Any, tx: Transaction) -> None:
        nonlocal asked
        if away:
            asked += 1
            await asyncio.sleep(0.1)
            raise asyncpg.ConnectionDoesNotExistError("connection was closed")

    for number in range(40):
        await bench.send(f"e{number}", number)
    consumer = await start(on_batch(bench.event, lost) if together else on(bench.event, lost))
    await eventually(lambda: consumer.status()["paused"])
    assert asked <= 2 * LANES, "every key waited for the lost database by itself"
    for _ in range(20):
        assert consumer.alive() is None
        assert "waits" in str(consumer.ready())
        await asyncio.sleep(0.2)
    away = False
    await eventually(lambda: consumer.status().get("handled") == 40)
    await eventually(lambda: consumer.ready() is None)


async def test_a_handler_that_hangs_after_the_database_came_back_is_reported(bench: Bench, start: Start) -> None:
    tries = 0
    leave = asyncio.Event()

    async def lost_then_stuck(event: Toy, tx: Transaction) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise asyncpg.ConnectionDoesNotExistError("connection was closed")
        await leave.wait()

    await bench.send("a", 1)
    consumer = await start(on(bench.event, lost_then_stuck))
    await eventually(lambda: "worked on one batch" in str(consumer.alive()))
    leave.set()


async def test_a_poll_loop_that_hangs_is_reported(bench: Bench, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ignore(event: Toy, tx: Transaction) -> None:
        return None

    async def hang(*_: Any, **__: Any) -> Any:
        await asyncio.sleep(3600)

    consumer = await start(on(bench.event, ignore))
    await eventually(lambda: consumer.ready() is None)
    await asyncio.sleep(1)
    assert consumer.alive() is None, "an idle consumer is alive"
    monkeypatch.setattr(AIOKafkaConsumer, "getmany", hang)
    await asyncio.sleep(0.5)  # the poll that is under way may still bring something
    await bench.send("a", 1)
    await eventually(lambda: "1 records wait" in str(consumer.alive()))


async def test_a_client_that_fetches_no_more_is_reported_at_once(bench: Bench, start: Start) -> None:
    async def ignore(event: Toy, tx: Transaction) -> None:
        return None

    consumer = await start(on(bench.event, ignore))
    await eventually(lambda: consumer.ready() is None)
    assert consumer._source is not None
    consumer._source._subscriber.consumer._fetcher._fetch_task.cancel()
    await eventually(lambda: "stopped polling" in str(consumer.alive()))


async def test_a_commit_that_hangs_costs_no_event(bench: Bench, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client looks for a lost coordinator for ever; the batch is not held for as long."""
    monkeypatch.setattr(broker, "COMMIT_SECONDS", 0.3)
    commit, hung = AIOKafkaConsumer.commit, asyncio.Event()

    async def hang_once(self: AIOKafkaConsumer, *arguments: Any) -> None:
        if not hung.is_set():
            hung.set()
            await asyncio.sleep(3600)
        await commit(self, *arguments)

    async def ignore(event: Toy, tx: Transaction) -> None:
        return None

    monkeypatch.setattr(AIOKafkaConsumer, "commit", hang_once)
    await bench.send("a", 1)
    consumer = await start(on(bench.event, ignore))
    await asyncio.wait_for(hung.wait(), 60)
    await bench.send("b", 1)
    await eventually(lambda: consumer.status().get("handled") == 2)
    assert consumer.alive() is None


async def test_a_batch_that_is_neither_handled_nor_committed_is_reported(
    bench: Bench, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ignore(event: Toy, tx: Transaction) -> None:
        return None

    async def hang(*_: Any) -> None:
        await asyncio.sleep(3600)

    monkeypatch.setattr(AIOKafkaConsumer, "commit", hang)
    await bench.send("a", 1)
    consumer = await start(on(bench.event, ignore))
    await eventually(lambda: "held one batch" in str(consumer.alive()))


async def test_the_watch_outlives_errors_that_are_not_kafkas(
    bench: Bench, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_offsets, failed = AIOKafkaConsumer.end_offsets, 0

    async def fail_at_first(self: AIOKafkaConsumer, partitions: Any) -> Any:
        nonlocal failed
        failed += 1
        if failed <= 3:
            raise KeyError(("1", "default"))
        return await end_offsets(self, partitions)

    async def hang(*_: Any, **__: Any) -> Any:
        await asyncio.sleep(3600)

    async def ignore(event: Toy, tx: Transaction) -> None:
        return None

    monkeypatch.setattr(AIOKafkaConsumer, "end_offsets", fail_at_first)
    consumer = await start(on(bench.event, ignore))
    await eventually(lambda: consumer.ready() is None)
    monkeypatch.setattr(AIOKafkaConsumer, "getmany", hang)
    await asyncio.sleep(0.5)
    await bench.send("a", 1)
    await eventually(lambda: "1 records wait" in str(consumer.alive()))


async def test_a_consumer_that_stopped_at_its_limits_is_alive_and_says_what_to_do(bench: Bench, start: Start) -> None:
    """A restart would park as many again, and again."""

    async def broken(event: Toy, tx: Transaction) -> None:
        raise Poison("bad_deploy")

    for number in range(10):
        await bench.send(f"e{number}", number)
    consumer = await start(on(bench.event, broken), limits=DeadLetterLimits(consecutive=3))
    await eventually(lambda: consumer.status()["halted"])
    for _ in range(20):
        assert consumer.alive() is None
        await asyncio.sleep(0.2)
    assert "trunkline dlq" in str(consumer.ready())
    assert "restart" in str(consumer.ready())
