"""How far a consumer has come in each partition: what it missed, and whether it still moves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter
from typing import Any

from aiokafka import TopicPartition

from kit.telemetry import METRICS, get_logger

__all__ = ["Progress", "offsets_of"]

log = get_logger(__name__)

PROBE_SECONDS = 15.0
ASK_SECONDS = 5.0
_partition = attrgetter("topic", "partition")


def offsets_of(records: Iterable[Any]) -> dict[TopicPartition, range]:
    """From where to where a polled batch goes in each partition. What is polled of one is together, in its order."""
    offsets: dict[TopicPartition, range] = {}
    for partition, run in groupby(records, _partition):
        each = list(run)
        offsets[TopicPartition(*partition)] = range(each[0].offset, each[-1].offset + 1)
    return offsets


class Progress:
    """Watches one consumer, by offsets alone.

    A committed offset that Kafka's retention has passed is answered by the client with a jump to the earliest record,
    without a word: here the gap is counted and logged. A client that hangs (its poll loop ended, a position that it
    never finds again) is told from an idle one: Kafka says that records wait, and nothing moves.
    """

    def __init__(self, group: str) -> None:
        self._group = group
        self._next: dict[TopicPartition, int] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._busy_since: float | None = None
        self._moved_at = time.monotonic()
        self._waiting = 0
        self._looking: asyncio.Task[None] | None = None

    def assigned(self, consumer: Any, partitions: set[TopicPartition]) -> None:
        """New partitions: look in the background where they go on. A rebalance does not wait for it."""
        self.close()
        self._next = {}
        self.moved()
        self._looking = asyncio.create_task(self._look(consumer, partitions), name=f"gaps {self._group}")

    def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()

    async def received(self, consumer: Any, offsets: dict[TopicPartition, range]) -> None:
        """A batch of these offsets is about to be handled. Counts what is missing before it."""
        self._busy_since = time.monotonic()
        if self._looking is not None:
            await asyncio.wait([self._looking], timeout=3 * ASK_SECONDS)
        # Compaction and transactions leave holes as well; only Kafka's earliest offset tells them from a loss.
        await self._count_gaps(consumer, {p for p, at in offsets.items() if at.start > self._next.get(p, at.start)})

    def finished(self) -> None:
        """The batch has been handled or has failed; either way the consumer moves."""
        self._busy_since = None
        self.moved()

    def busy_seconds(self) -> float:
        """For how long the batch in hand has been there, from its arrival to its commit; 0 between two."""
        return time.monotonic() - self._busy_since if self._busy_since is not None else 0.0

    def committed(self, offsets: dict[TopicPartition, int]) -> None:
        self._next.update(offsets)

    def moved(self) -> None:
        self._moved_at, self._waiting = time.monotonic(), 0

    def stuck_seconds(self) -> float:
        """For how long records have waited while nothing moved; 0 when none wait or Kafka does not answer."""
        return time.monotonic() - self._moved_at if self._waiting and self._busy_since is None else 0.0

    def waiting(self) -> int:
        """How many records waited when nothing moved last."""
        return self._waiting

    async def watch(self, consumer: Any) -> None:
        """Compare with Kafka now and then, for ever."""
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            try:
                async with asyncio.timeout(2 * ASK_SECONDS):
                    await self._probe(consumer)
            except Exception as error:
                # Kafka does not answer, or the partitions go: nothing to hold against the consumer. The client lets
                # others than its own errors out as well, and nothing may end the watch.
                log.info("progress_not_asked", consumer=self._group, error=type(error).__name__)
                self.moved()

    async def _probe(self, consumer: Any) -> None:
        partitions = consumer.assignment()
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions) if partitions else {}
        positions = {partition: await self._position(consumer, partition) for partition in partitions}
        waiting = sum(max(0, ends[partition] - position) for partition, position in positions.items())
        if self._busy_since is not None or not waiting or positions != self._positions:
            self.moved()
        else:
            self._waiting = waiting
        self._positions = positions

    async def _position(self, consumer: Any, partition: TopicPartition) -> int:
        try:
            async with asyncio.timeout(ASK_SECONDS / 10):
                position: int = await consumer.position(partition)
                return position
        except TimeoutError:
            # The client does not know where it is: it waits for an answer, or hangs.
            return self._next.get(partition, 0)

    async def _look(self, consumer: Any, partitions: set[TopicPartition]) -> None:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                for partition in partitions:
                    offset = await consumer.committed(partition)
                    if offset is not None:
                        self._next.setdefault(partition, offset)
        except Exception as error:
            log.info("gaps_not_looked_for", consumer=self._group, error=type(error).__name__)
        await self._count_gaps(consumer, set(self._next))

    async def _count_gaps(self, consumer: Any, partitions: set[TopicPartition]) -> None:
        if not partitions:
            return
        try:
            async with asyncio.timeout(ASK_SECONDS):
                earliest: dict[TopicPartition, int] = await consumer.beginning_offsets(partitions)
        except Exception as error:
            log.info("gaps_not_looked_for", consumer=self._group, error=type(error).__name__)
            return
        for partition, offset in earliest.items():
            expected = self._next[partition]
            if offset > expected:
                METRICS.missed.labels(self._group, partition.topic).inc(offset - expected)
                log.error(
                    "records_missed",
                    consumer=self._group,
                    topic=partition.topic,
                    partition=partition.partition,
                    first=expected,
                    count=offset - expected,
                    action="the topic's retention deleted them unread: have their owner send them again (replay plan)",
                )
                self._next[partition] = offset
