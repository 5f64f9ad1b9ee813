"""Who is in a group: identities that outlive a restart, two processes under one identity, places that are lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.group import LeaveGroupRequest

from kit import membership
from kit.broker import BatchSource
from kit.consume import Consumer, on
from kit.postgres import Database, Transaction
from kit.telemetry import METRICS
from kit.testing import Bench, Toy, eventually

pytestmark = pytest.mark.real

Start = Callable[..., Awaitable[BatchSource]]
PARTITIONS = 4


async def nothing(records: Sequence[Any]) -> None:
    return None


@pytest.fixture
async def start(bench: Bench) -> AsyncIterator[Start]:
    running: list[BatchSource] = []

    async def begin(group: str, instance_id: str | None, handle: Any = nothing) -> BatchSource:
        source = BatchSource(
            bootstrap=bench.bootstrap, group=group, topics=[bench.topic], handle=handle, instance_id=instance_id
        )
        await source.start()
        running.append(source)
        return source

    yield begin
    for source in running:
        await source.stop()


async def pair(start: Start, group: str, *identities: str | None) -> tuple[BatchSource, BatchSource]:
    """Two members that share the partitions."""
    one = await start(group, identities[0])
    other = await start(group, identities[1])
    await eventually(lambda: len(one.assignment()) == len(other.assignment()) == PARTITIONS // 2)
    return one, other


def rebalances(group: str) -> float:
    return float(METRICS.rebalances.labels(group)._value.get())


async def settled(group: str, seconds: float = 1.5) -> float:
    """How often partitions were given out, once nobody was given any for so long. They are there before it counts."""
    count, since = rebalances(group), time.monotonic()
    while time.monotonic() < since + seconds:
        await asyncio.sleep(0.05)
        if rebalances(group) != count:
            count, since = rebalances(group), time.monotonic()
    return count


async def members(bench: Bench, group: str) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bench.bootstrap)
    await admin.start()
    try:
        responses = await admin.describe_consumer_groups([group])
        return [member[0] for response in responses for found in response.groups for member in found[5]]
    finally:
        await admin.close()


async def test_a_restart_of_a_static_member_moves_no_partition(bench: Bench, start: Start) -> None:
    group = f"g-{uuid4()}"
    one, other = await pair(start, group, "replica-0", "replica-1")
    before = await settled(group)
    held, others = one.assignment(), other.assignment()
    await one.stop()
    assert await settled(group) == before
    assert len(await members(bench, group)) == 2, "a static member that shuts down must not leave the group"
    again = await start(group, "replica-0")
    await eventually(lambda: again.assignment() == held)
    # It could only join once the other, made to give its partitions back, had joined as well.
    assert await settled(group) == before + 1, "the other member was given partitions anew"
    assert other.assignment() == others


async def test_a_member_without_an_identity_leaves_when_it_stops(bench: Bench, start: Start) -> None:
    group = f"g-{uuid4()}"
    one, other = await pair(start, group, None, None)
    await one.stop()
    await eventually(lambda: len(other.assignment()) == PARTITIONS)
    assert len(await members(bench, group)) == 1


async def test_of_two_processes_with_one_identity_the_first_stays_out_and_says_why(bench: Bench, start: Start) -> None:
    group = f"g-{uuid4()}"
    handled: dict[str, int] = {"first": 0, "second": 0}

    def counting(name: str) -> Any:
        async def handle(records: Sequence[Any]) -> None:
            handled[name] += len(records)

        return handle

    first = await start(group, "replica-0", counting("first"))
    await eventually(lambda: len(first.assignment()) == PARTITIONS)
    second = await start(group, "replica-0", counting("second"))
    await eventually(lambda: first.fenced)
    assert "replica-0" in str(first.fenced)
    assert "TRUNKLINE_INSTANCE_ID" in str(first.fenced)
    assert first.assignment() == set()

    before, already = await settled(group), handled["first"]
    for number in range(8):
        await bench.send(f"e{number}", number)
    await eventually(lambda: handled["second"] >= 8)
    # The second would hear of it with its next heartbeat, after three seconds at most.
    assert await settled(group, 4.0) == before, "the two throw each other out"
    assert handled["first"] == already
    assert second.fenced is None
    await asyncio.wait_for(first.stop(), 60)
    await eventually(lambda: len(second.assignment()) == PARTITIONS)


async def test_a_static_member_that_lost_its_place_to_nobody_joins_again(bench: Bench, start: Start) -> None:
    """Its session ended, or Kafka lost what it knew of the group."""
    group = f"g-{uuid4()}"
    seen: list[Any] = []

    async def handle(records: Sequence[Any]) -> None:
        seen.extend(records)

    source = await start(group, "replica-0", handle)
    await eventually(lambda: len(source.assignment()) == PARTITIONS)
    before = await settled(group)
    coordinator = source._subscriber.consumer._coordinator  # type: ignore[union-attr]
    await coordinator._send_req(LeaveGroupRequest(group, coordinator.member_id))
    await eventually(lambda: rebalances(group) > before)
    await bench.send("a", 1)
    await eventually(lambda: len(seen) == 1)
    assert source.fenced is None


async def test_a_consumer_that_is_fenced_is_not_ready_and_not_restarted(bench: Bench, database: Database) -> None:
    """Restarted, it would throw the other one out in turn."""

    async def ignore(event: Toy, tx: Transaction) -> None:
        return None

    group = f"g-{uuid4()}"
    one, other = (
        Consumer(
            group=group,
            database=database,
            kafka_bootstrap=bench.bootstrap,
            subscriptions=[on(bench.event, ignore)],
            registry=bench.registry,
            instance_id="0",
        )
        for _ in range(2)
    )
    try:
        await one.start()
        await eventually(lambda: one.ready() is None)
        await other.start()
        await eventually(lambda: "TRUNKLINE_INSTANCE_ID" in str(one.ready()))
        await eventually(lambda: other.ready() is None)
        assert one.alive() is None
        assert one.status()["fenced"]
    finally:
        await one.stop()
        await other.stop()


async def test_a_batch_that_outlives_its_assignment_commits_nothing(
    bench: Bench, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Joined again, its member may commit again; but the log under the same name may be another Kafka's by then."""
    monkeypatch.setattr(membership, "DRAIN_SECONDS", 0.2)
    group, given, go_on = f"g-{uuid4()}", asyncio.Event(), asyncio.Event()

    async def held_up(records: Sequence[Any]) -> None:
        given.set()
        await go_on.wait()

    for number in range(12):
        await bench.send(f"e{number}", number)
    one = await start(group, None, held_up)
    await asyncio.wait_for(given.wait(), 60)
    other = await start(group, None, held_up)
    await eventually(lambda: len(one.assignment()) == len(other.assignment()) == PARTITIONS // 2)
    await other.stop()
    await eventually(lambda: len(one.assignment()) == PARTITIONS)
    failures = METRICS.commit_failures.labels(group)._value
    assert failures.get() == 0
    assert await bench.committed(group) == 0

    go_on.set()
    await eventually(lambda: failures.get() == 1)

    async def all_done() -> bool:
        return await bench.committed(group) == 12

    # Nothing was skipped: the same records came again to whoever has them now.
    await eventually(all_done)
