"""The delivery traps of the library and its defaults, each pinned on a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any
from uuid import uuid4

import pytest
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.conn import create_conn
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaConnectionError, KafkaError
from aiokafka.protocol.metadata import MetadataRequest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from faststream import AckPolicy

from kit import broker, membership, progress
from kit.broker import BatchSource
from kit.membership import Membership
from kit.telemetry import METRICS
from kit.testing import Bench, eventually

pytestmark = pytest.mark.real

Start = Callable[..., Awaitable[BatchSource]]


@pytest.fixture
async def start(bench: Bench) -> AsyncIterator[Start]:
    running: list[BatchSource] = []

    async def begin(handle: Callable[[Sequence[Any]], Awaitable[None]], group: str, **options: Any) -> BatchSource:
        topics = options.pop("topics", [bench.topic])
        source = BatchSource(bootstrap=bench.bootstrap, group=group, topics=topics, handle=handle, **options)
        await source.start()
        running.append(source)
        return source

    yield begin
    for source in running:
        await source.stop()


def test_nothing_is_acknowledged_before_it_was_handled() -> None:
    assert broker.ACK_POLICY is AckPolicy.NACK_ON_ERROR


async def test_a_batch_over_several_partitions_comes_back_whole_after_a_failure(bench: Bench, start: Start) -> None:
    """Committing "the position", or rewinding only the first partition, would lose the others' records."""
    for number in range(12):
        await bench.send(f"e{number}", number)
    seen: list[tuple[int, int]] = []
    failures = 2

    async def handle(records: Sequence[Any]) -> None:
        nonlocal failures
        if failures and len({record.partition for record in records}) > 1:
            failures -= 1
            raise RuntimeError("the outcome could not be stored")
        seen.extend((record.partition, record.offset) for record in records)

    group = f"g-{uuid4()}"
    await start(handle, group)
    await eventually(lambda: len(seen) == 12)
    assert len(set(seen)) == 12
    assert failures == 0

    async def committed() -> bool:
        return await bench.committed(group) == 12

    await eventually(committed)


async def test_a_partition_that_was_taken_away_does_not_keep_the_others_from_coming_back(
    bench: Bench, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch over two partitions fails, and one of them went to another process meanwhile: seeking back in it is
    refused. The library's own way stops there and never reads the other one's records again."""
    for number in range(12):
        await bench.send(f"e{number}", number)
    failed: set[tuple[int, int]] = set()
    seen: set[tuple[int, int]] = set()
    gone: set[int] = set()
    seek = AIOKafkaConsumer.seek

    def refusing(self: AIOKafkaConsumer, partition: TopicPartition, offset: int) -> None:
        if partition.partition in gone:
            raise IllegalStateError("not ours any more")
        seek(self, partition, offset)

    monkeypatch.setattr(AIOKafkaConsumer, "seek", refusing)

    async def handle(records: Sequence[Any]) -> None:
        if not gone and len({record.partition for record in records}) > 1:
            gone.add(records[0].partition)
            failed.update((r.partition, r.offset) for r in records if r.partition not in gone)
            raise RuntimeError("the outcome could not be stored")
        seen.update((record.partition, record.offset) for record in records)

    await start(handle, f"g-{uuid4()}")
    await eventually(lambda: failed)
    await eventually(lambda: failed <= seen)


async def test_nothing_is_committed_while_handling_fails(bench: Bench, start: Start) -> None:
    await bench.send("a", 1)
    attempts = 0

    async def handle(records: Sequence[Any]) -> None:
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(0.05)
        raise RuntimeError("no")

    group = f"g-{uuid4()}"
    await start(handle, group)
    await eventually(lambda: attempts >= 3)
    assert await bench.committed(group) == 0


async def test_a_header_that_is_not_text_reaches_the_handler(bench: Bench, start: Start) -> None:
    seen: list[Any] = []

    async def handle(records: Sequence[Any]) -> None:
        seen.extend(records)

    await bench.send("a", 1, headers=[("x", b"\xff\xfe"), ("y", None)])
    await start(handle, f"g-{uuid4()}")
    await eventually(lambda: len(seen) == 1)
    assert seen[0].headers == (("x", b"\xff\xfe"), ("y", None))


async def test_subscribing_to_a_missing_topic_is_an_error_and_creates_nothing(bench: Bench) -> None:
    missing = f"missing.{uuid4()}"

    async def handle(records: Sequence[Any]) -> None:
        return None

    source = BatchSource(bootstrap=bench.bootstrap, group=f"g-{uuid4()}", topics=[missing], handle=handle)
    with pytest.raises(KafkaError):
        await source.start()
    await source.stop()
    topics = AdminClient({"bootstrap.servers": bench.bootstrap, "log_level": 0}).list_topics(timeout=10).topics
    assert missing not in topics


async def test_who_lost_its_place_commits_nothing_to_a_kafka_that_knows_no_such_group(
    bench: Bench, start: Start
) -> None:
    """As of one that lost its data, which would take offsets of the old log: nobody would read what is before them."""

    async def handle(records: Sequence[Any]) -> None: ...

    source = await start(handle, f"g-{uuid4()}")
    consumer = source._subscriber.consumer
    await eventually(consumer.assignment)
    coordinator, partition = consumer._coordinator, next(iter(consumer.assignment()))
    coordinator.group_id = unheard_of = f"g-{uuid4()}"
    coordinator.generation, coordinator.member_id = -1, ""
    with pytest.raises(CommitFailedError):
        await consumer.commit({partition: 5})
    asker = AIOKafkaConsumer(bootstrap_servers=bench.bootstrap, group_id=unheard_of)
    await asker.start()
    asker.assign([partition])
    assert await asker.committed(partition) is None
    await asker.stop()


async def test_topics_that_kafka_did_not_know_for_a_moment_are_read_again_soon(bench: Bench, start: Start) -> None:
    """As of a Kafka that starts: a consumer that believes it holds no partitions, and is alive."""
    seen: list[Any] = []

    async def handle(records: Sequence[Any]) -> None:
        seen.extend(records)

    source = await start(handle, f"g-{uuid4()}")
    consumer = source._subscriber.consumer
    await eventually(consumer.assignment)
    held = len(consumer.assignment())
    kafka = AdminClient({"bootstrap.servers": bench.bootstrap, "log_level": 0})
    await asyncio.to_thread(kafka.delete_topics([bench.topic])[bench.topic].result, 15)
    await eventually(lambda: not consumer.assignment())
    await asyncio.to_thread(kafka.create_topics([NewTopic(bench.topic, held, 1)])[bench.topic].result, 15)
    await eventually(lambda: len(consumer.assignment()) == held, within=60)
    await bench.send("e1", 1)
    await eventually(lambda: len(seen) == 1)


async def test_a_rebalance_waits_for_the_batch_in_flight_and_its_commit(
    bench: Bench, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        await bench.send(f"e{number}", number)
    handled: list[tuple[int, int]] = []
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(records: Sequence[Any]) -> None:
        entered.set()
        await leave.wait()
        handled.extend((record.partition, record.offset) for record in records)

    async def quick(records: Sequence[Any]) -> None:
        handled.extend((record.partition, record.offset) for record in records)

    asked = asyncio.Event()
    give_back = Membership.on_partitions_revoked

    async def noting(self: Membership, revoked: Iterable[TopicPartition]) -> None:
        if revoked:
            asked.set()
        await give_back(self, revoked)

    monkeypatch.setattr(Membership, "on_partitions_revoked", noting)
    group = f"g-{uuid4()}"
    await start(slow, group, max_records=8)
    await asyncio.wait_for(entered.wait(), 60)
    joining = asyncio.create_task(start(quick, group))
    await asyncio.wait_for(asked.wait(), 60)
    await asyncio.sleep(0.5)  # time for the other to be given what must not be given yet
    leave.set()
    await joining
    await eventually(lambda: len(set(handled)) == 8)
    assert len(handled) == 8, "the second member was given records whose offsets were not committed yet"


async def test_a_batch_that_is_cut_off_by_a_shutdown_is_not_committed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library once acknowledged what it cancelled when its patience ended."""
    monkeypatch.setattr(membership, "DRAIN_SECONDS", 0.2)
    await bench.send("a", 1)
    entered = asyncio.Event()

    async def hang(records: Sequence[Any]) -> None:
        entered.set()
        await asyncio.sleep(60)

    group = f"g-{uuid4()}"
    source = BatchSource(bootstrap=bench.bootstrap, group=group, topics=[bench.topic], handle=hang)
    await source.start()
    await asyncio.wait_for(entered.wait(), 60)
    await source.stop()
    assert await bench.committed(group) == 0


async def test_a_commit_that_kafka_refuses_is_counted_and_the_records_come_again_elsewhere(
    bench: Bench, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.send("a", 1)
    handled: list[Any] = []

    async def handle(records: Sequence[Any]) -> None:
        handled.extend(records)

    async def refuse(_: Any) -> None:
        raise CommitFailedError("the partitions belong to another member by now")

    group = f"g-{uuid4()}"
    monkeypatch.setattr(AIOKafkaConsumer, "commit", lambda _, offsets=None: refuse(offsets))
    source = await start(handle, group)
    await eventually(lambda: handled)
    await eventually(lambda: METRICS.commit_failures.labels(group)._value.get() == 1)
    assert source.running()
    monkeypatch.undo()
    await source.stop()
    await start(handle, group)
    await eventually(lambda: len(handled) == 2)


def missed(group: str, bench: Bench) -> float:
    return float(METRICS.missed.labels(group, bench.topic)._value.get())


async def delete_before(bench: Bench, offset: int) -> None:
    """What retention does: of every partition keep the records from an offset on."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bench.bootstrap)
    await admin.start()
    try:
        places = [TopicPartition(bench.topic, partition) for partition in range(4)]
        await admin.delete_records({place: RecordsToDelete(before_offset=offset) for place in places})
    finally:
        await admin.close()


async def fill(bench: Bench, per_partition: int) -> None:
    for number in range(per_partition):
        for partition in range(4):
            await bench.producer.send_and_wait(bench.topic, str(number).encode(), partition=partition)


async def test_records_that_retention_deleted_unread_are_counted_and_the_rest_is_handled(
    bench: Bench, start: Start
) -> None:
    """The client is said to hang on an offset that is out of range, and is silent about it when it does not."""
    seen: list[int] = []

    async def handle(records: Sequence[Any]) -> None:
        seen.extend(int(record.value) for record in records)

    group = f"g-{uuid4()}"
    await fill(bench, 3)
    source = await start(handle, group)
    await eventually(lambda: len(seen) == 12)

    async def all_committed() -> bool:
        return await bench.committed(group) == 12

    await eventually(all_committed)
    await source.stop()
    seen.clear()
    await fill(bench, 7)
    await delete_before(bench, 8)
    await start(handle, group)
    await eventually(lambda: len(seen) == 8)
    assert sorted(seen) == [5] * 4 + [6] * 4
    assert missed(group, bench) == 4 * 5


@pytest.mark.parametrize(("earliest", "lost"), [(0, 0), (6, 5)])
async def test_a_hole_is_a_loss_only_when_kafka_begins_after_it(bench: Bench, earliest: int, lost: int) -> None:
    """Compaction leaves holes behind Kafka's earliest offset; a consumer that is late can be overtaken by retention."""
    group, place = f"g-{uuid4()}", TopicPartition(bench.topic, 0)
    watch = progress.Progress(group)
    watch.committed({place: 1})

    class Client:
        async def beginning_offsets(self, places: set[TopicPartition]) -> dict[TopicPartition, int]:
            return dict.fromkeys(places, earliest)

    for offset in (9, 10):
        await watch.received(Client(), {place: range(offset, offset + 1)})
    assert missed(group, bench) == lost


async def test_a_poll_loop_that_hangs_is_told_from_one_that_has_nothing_to_do(
    bench: Bench, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PROBE_SECONDS", 0.1)
    seen: list[Any] = []

    async def handle(records: Sequence[Any]) -> None:
        seen.extend(records)

    await bench.send("a", 1)
    source = await start(handle, f"g-{uuid4()}")
    await eventually(lambda: len(seen) == 1)
    await asyncio.sleep(1)
    assert source.progress.stuck_seconds() == 0, "an idle consumer is not stuck"

    async def hang(*_: Any, **__: Any) -> Any:
        await asyncio.sleep(3600)

    monkeypatch.setattr(AIOKafkaConsumer, "getmany", hang)
    await asyncio.sleep(0.5)  # the poll that is under way may still bring something
    await bench.send("a", 2)
    await eventually(lambda: source.progress.stuck_seconds() > 1)
    assert source.progress.waiting() == 1


async def test_a_consumer_that_kafka_does_not_answer_is_not_stuck(
    bench: Bench, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PROBE_SECONDS", 0.1)

    async def handle(records: Sequence[Any]) -> None:
        return None

    source = await start(handle, f"g-{uuid4()}")
    await eventually(source.assignment)
    asked = 0

    async def away(*_: Any) -> Any:
        nonlocal asked
        asked += 1
        raise KafkaConnectionError("no broker")

    monkeypatch.setattr(AIOKafkaConsumer, "end_offsets", away)
    await bench.send("a", 1)
    await eventually(lambda: asked >= 3)
    assert source.progress.stuck_seconds() == 0


async def test_a_connection_that_was_just_reset_is_lost_and_nothing_worse(bench: Bench) -> None:
    """On uvloop, as services run: an error that the client does not expect would end its fetcher."""

    async def write_to_a_reset_connection() -> None:
        host, _, port = bench.bootstrap.partition(":")
        connection = await create_conn(host, int(port), request_timeout_ms=5_000)
        connection._writer.transport.abort()
        await asyncio.sleep(0)  # the transport is closed by now, and the reader has not seen it yet
        with pytest.raises(KafkaConnectionError):
            await connection.send(MetadataRequest([]))
        assert not connection.connected()

    def on_uvloop() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(write_to_a_reset_connection())

    await asyncio.to_thread(on_uvloop)
