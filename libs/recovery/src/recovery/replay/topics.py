"""Kafka as a source: where a time, an offset or an event is, what a range holds, and its records in order.

Read by plain consumers without a group: nothing here moves anybody's offsets but :func:`rewind_group`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata

from contracts.envelope import Envelope, MalformedEnvelope
from recovery.replay.plan import Filters, Plan, Refused, Replayable, Span

__all__ = ["Bound", "Census", "LogReader", "members_of", "rewind", "wanted"]

Bound = datetime | str | Mapping[tuple[str, int], int]
"""A time; the id of an event; or offsets by (topic, partition)."""

READ_MS = 500
IDLE_ROUNDS = 20


@dataclass(slots=True)
class Census:
    """What a range holds, counted by reading it once."""

    records: int = 0
    size: int = 0
    by_type: Counter[str] = field(default_factory=Counter)
    tenants: set[str] = field(default_factory=set)
    keys: set[bytes] = field(default_factory=set)
    unreadable: int = 0

    def add(self, record: Any) -> None:
        self.records += 1
        self.size += len(record.value or b"") + len(record.key or b"")
        self.keys.add(record.key or b"")
        try:
            envelope = Envelope.from_headers(record.headers)
        except MalformedEnvelope:
            self.unreadable += 1
            return
        self.by_type[envelope.type] += 1
        self.tenants.add(str(envelope.tenant))


class LogReader:
    """Reads ranges of topics. Use as an async context manager."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._consumer: Any = None
        self._admin: Any = None

    async def __aenter__(self) -> LogReader:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_bytes=32 * 1024 * 1024,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )
        self._admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        await self._consumer.start()
        await self._admin.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()
        await self._admin.close()

    async def cluster(self) -> str:
        return str((await self._admin.describe_cluster()).get("cluster_id", ""))

    async def partitions(self, topics: Iterable[str]) -> list[TopicPartition]:
        found = []
        for described in await self._admin.describe_topics(sorted(topics)):
            if described["error_code"]:
                raise Refused(f"Kafka has no topic {described['topic']}")
            found += [TopicPartition(described["topic"], each["partition"]) for each in described["partitions"]]
        return sorted(found)

    async def oldest(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        found: dict[TopicPartition, int] = await self._consumer.beginning_offsets(partitions)
        return found

    async def newest(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        found: dict[TopicPartition, int] = await self._consumer.end_offsets(partitions)
        return found

    async def offsets_of(self, partitions: Sequence[TopicPartition], bound: Bound) -> dict[TopicPartition, int]:
        """For each partition the first offset at or after the bound; its end when there is none."""
        newest = await self.newest(partitions)
        if isinstance(bound, datetime):
            at = await self._consumer.offsets_for_times(dict.fromkeys(partitions, int(bound.timestamp() * 1000)))
            return {p: at[p].offset if at.get(p) else newest[p] for p in partitions}
        if isinstance(bound, str):
            # An event is in one partition; the others start at the time at which it was written.
            record = await self._find(partitions, bound)
            found = await self._consumer.offsets_for_times(dict.fromkeys(partitions, record.timestamp))
            own = TopicPartition(record.topic, record.partition)
            return {p: record.offset if p == own else found[p].offset if found.get(p) else newest[p]
                    for p in partitions}  # fmt: skip
        return {p: bound.get((p.topic, p.partition), newest[p]) for p in partitions}

    async def _find(self, partitions: Sequence[TopicPartition], event_id: str) -> Any:
        oldest, newest = await self.oldest(partitions), await self.newest(partitions)
        spans = [Span(topic=p.topic, partition=p.partition, start=oldest[p], end=newest[p], oldest=oldest[p])
                 for p in partitions]  # fmt: skip
        async for records in self.read(spans):
            for record in records:
                if any(name == "ce_id" and value == event_id.encode() for name, value in record.headers):
                    return record
        raise Refused(f"no record has the event id {event_id}; it may be older than the topic remembers")

    async def time_at(self, partition: TopicPartition, offset: int) -> datetime | None:
        """When the first record at or after an offset was written; nothing when there is none."""
        end = (await self.newest([partition]))[partition]
        span = Span(topic=partition.topic, partition=partition.partition, start=offset, end=end, oldest=offset)
        async for records in self.read([span], chunk=1):
            return datetime.fromtimestamp(records[0].timestamp / 1000, UTC)
        return None

    async def read(
        self, spans: Iterable[Span], *, at: Mapping[tuple[str, int], int] | None = None, chunk: int = 1000
    ) -> AsyncIterator[list[Any]]:
        """The records of the spans in chunks, each partition in its order, from ``at`` where that is further."""
        left = {TopicPartition(s.topic, s.partition): s.end for s in spans if s.records}
        start = {TopicPartition(s.topic, s.partition): s.start for s in spans}
        for place, offset in (at or {}).items():
            start[TopicPartition(*place)] = max(offset, start.get(TopicPartition(*place), 0))
        left = {p: end for p, end in left.items() if start[p] < end}
        self._consumer.assign(list(left))
        for partition in left:
            self._consumer.seek(partition, start[partition])
        idle = 0
        while left:
            polled = await self._consumer.getmany(*left, timeout_ms=READ_MS, max_records=chunk)
            records = [r for p, batch in polled.items() for r in batch if r.offset < left[p]]
            if records:
                idle = 0
                yield records
            else:
                idle += 1
                if idle > IDLE_ROUNDS:
                    raise OSError(f"Kafka gave nothing for {idle * READ_MS / 1000:.0f} s")
            for partition in list(left):
                # The position also passes what compaction or a transaction left out.
                if await self._consumer.position(partition) >= left[partition]:
                    del left[partition]
                    self._consumer.pause(partition)

    async def census(self, spans: Sequence[Span], filters: Filters, *, every_hop: bool = False) -> Census:
        """Count what would be handled."""
        census = Census()
        async for records in self.read(spans):
            for record in records:
                if wanted(record, filters, every_hop=every_hop):
                    census.add(record)
        return census

    async def groups(self) -> list[str]:
        """All consumer groups that Kafka knows."""
        return sorted(name for name, _ in await self._admin.list_consumer_groups())

    async def committed(self, group: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """How far a group is; partitions it never committed are left out."""
        found = await self._admin.list_consumer_group_offsets(group, partitions=list(partitions))
        return {p: o.offset for p, o in found.items() if o.offset >= 0}


def wanted(record: Any, filters: Filters, *, every_hop: bool = False) -> bool:
    """Whether a record passes the filters. One that cannot be read does, unless it is asked for by what it says.

    What replays emitted passes only when one of them is asked for, or with ``every_hop``.
    """
    headers = {name: value for name, value in record.headers if name.startswith("ce_") and value}
    own_hop = headers.get("ce_replayid", b"").decode("utf-8", "replace") == filters.replay
    if not (own_hop or every_hop or filters.replayed):
        return False
    for name, allowed in (("ce_tenant", filters.tenants), ("ce_type", filters.types), ("ce_id", filters.event_ids)):
        if allowed and headers.get(name, b"").decode("utf-8", "replace") not in allowed:
            return False
    key = (record.key or b"").decode("utf-8", "backslashreplace")
    if filters.keys and key not in filters.keys and key.partition(":")[2] not in filters.keys:
        return False
    return filters.sample >= 1 or _share(key) < filters.sample


def _share(key: str) -> float:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big") / 2**32


async def members_of(bootstrap: str, group: str) -> int:
    """How many processes are in a consumer group now."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        for response in await admin.describe_consumer_groups([group]):
            for described in response.groups:
                return len(described[5])
    finally:
        await admin.close()
    return 0


@asynccontextmanager
async def _group_member(bootstrap: str, group: str) -> AsyncIterator[Any]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def rewind(replayable: Replayable, plan: Plan) -> None:
    """Move the live group back to where the plan's ranges begin. What had effect before is known to its inbox."""
    offsets = {TopicPartition(span.topic, span.partition): span.start for span in plan.spans}
    await rewind_group(replayable.kafka_bootstrap, plan.consumer, offsets)


async def rewind_group(bootstrap: str, group: str, offsets: Mapping[TopicPartition, int]) -> None:
    """Move a stopped group's offsets. Raises :class:`Refused` while it has members (KIP-122)."""
    if members := await members_of(bootstrap, group):
        raise Refused(f"{group} has {members} members; stop the service first")
    async with _group_member(bootstrap, group) as consumer:
        consumer.assign(list(offsets))
        await consumer.commit({p: OffsetAndMetadata(offset, "") for p, offset in offsets.items()})
