"""Reading from a broker how far its consumer groups are, with the rights of an observer: nothing is ever committed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import OFFSET_INVALID, Consumer, ConsumerGroupTopicPartitions, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from contracts.topics import TOPICS
from trunkline.observe.lag import Bounds, Lag, Partition, Place, expected_groups, lag_of

__all__ = ["LagReader", "Snapshot"]

TIMEOUT_SECONDS = 10.0
_EARLIEST, _LATEST = (OffsetSpec.earliest(), OffsetSpec.latest())  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one look at the broker gave."""

    bounds: Mapping[Partition, Bounds]
    lags: tuple[Lag, ...]
    members: Mapping[str, int]
    written_at: Mapping[Place, float | None]
    """When the records that groups read next were written, in seconds of the epoch.

    Nothing for what has been compacted away; a record that could not be read is not among them.
    """


@dataclass(frozen=True, slots=True)
class _Group:
    members: int
    committed: dict[Partition, int]
    assigned: set[str] = field(default_factory=set)
    """Topics that its members hold partitions of."""

    @property
    def topics(self) -> set[str]:
        return {topic for topic, _ in self.committed} | self.assigned


class LagReader:
    """Looks at every consumer group of a broker. Blocking; used from one thread.

    Besides the groups that the broker knows, every reader that the contracts declare is looked at: one that has
    never run is behind by all there is.
    """

    def __init__(self, bootstrap: str, *, readers: Mapping[str, Iterable[str]] | None = None) -> None:
        self._bootstrap = bootstrap
        self._readers = readers if readers is not None else {t.name: t.consumers for t in TOPICS.values()}
        self._written_at: dict[Place, float | None] = {}
        self._connect()

    def _connect(self) -> None:
        shared: dict[str, Any] = {"bootstrap.servers": self._bootstrap, "log_level": 0, "socket.timeout.ms": 5000}
        self._admin = AdminClient(shared)
        # It is never subscribed and never commits, so the group that a consumer must name never comes to exist.
        self._consumer = Consumer(
            {
                **shared,
                "group.id": "trunkline-lag-exporter",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                # Only the first record of each partition is wanted.
                "fetch.message.max.bytes": 4096,
                "queued.max.messages.kbytes": 1024,
                "auto.offset.reset": "error",
            }
        )

    def close(self) -> None:
        self._consumer.close()

    def read(self) -> Snapshot:
        """One look. Raises what the client raises when the broker does not answer."""
        try:
            return self._look()
        except Exception:
            # A client whose broker was restarted under a question may wait for its coordinator for ever.
            with suppress(Exception):
                self._consumer.close()
            self._connect()
            raise

    def _look(self) -> Snapshot:
        partitions = self._partitions()
        groups = self._groups()
        bounds = self._bounds(partitions)
        known = {group: found.topics for group, found in groups.items()}
        for service, topic in expected_groups(self._readers, known):
            groups.setdefault(service, _Group(0, {})).assigned.add(topic)
        lags = tuple(
            lag_of(name, place, bounds[place], group.committed.get(place))
            for name, group in sorted(groups.items())
            for place in sorted(bounds)
            if place[0] in group.topics
        )
        self._learn({lag.next for lag in lags if lag.records})
        members = {name: group.members for name, group in groups.items()}
        return Snapshot(bounds=bounds, lags=lags, members=members, written_at=dict(self._written_at))

    def _partitions(self) -> list[Partition]:
        topics = self._admin.list_topics(timeout=TIMEOUT_SECONDS).topics
        return [
            (name, partition)
            for name, topic in topics.items()
            if not name.startswith("__") and topic.error is None
            for partition in topic.partitions
        ]

    def _groups(self) -> dict[str, _Group]:
        listed = self._admin.list_consumer_groups(request_timeout=TIMEOUT_SECONDS).result(TIMEOUT_SECONDS)
        names = [group.group_id for group in listed.valid]
        if not names:
            return {}
        described = self._admin.describe_consumer_groups(names, request_timeout=TIMEOUT_SECONDS)
        asked = {
            name: self._admin.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(name)], request_timeout=TIMEOUT_SECONDS
            )[name]
            for name in names
        }
        return {name: _group(described[name], asked[name]) for name in names}

    def _bounds(self, partitions: list[Partition]) -> dict[Partition, Bounds]:
        start, end = (self._offsets(partitions, spec) for spec in (_EARLIEST, _LATEST))
        # A topic that was deleted in between has neither.
        return {place: Bounds(start[place], end[place]) for place in partitions if place in start and place in end}

    def _offsets(self, partitions: list[Partition], spec: Any) -> dict[Partition, int]:
        wanted = {TopicPartition(topic, partition): spec for topic, partition in partitions}
        if not wanted:
            return {}
        found: dict[Partition, int] = {}
        for place, future in self._admin.list_offsets(wanted, request_timeout=TIMEOUT_SECONDS).items():
            try:
                found[place.topic, place.partition] = future.result(TIMEOUT_SECONDS).offset
            except Exception as error:
                if not _is_gone(error):
                    raise
        return found

    def _learn(self, wanted: set[Place]) -> None:
        """Read when these records were written, each once; forget those that nobody waits at any more."""
        self._written_at = {place: at for place, at in self._written_at.items() if place in wanted}
        unknown = wanted - self._written_at.keys()
        # Groups may wait at different places of one partition; a consumer is at one place at a time.
        while unknown:
            one_each = {place[:2]: place for place in sorted(unknown)}
            self._read_at(one_each)
            unknown -= set(one_each.values())

    def _read_at(self, places: Mapping[Partition, Place]) -> None:
        waiting = dict(places)
        self._consumer.assign([TopicPartition(*place) for place in waiting.values()])
        deadline = time.monotonic() + TIMEOUT_SECONDS
        try:
            while waiting and time.monotonic() < deadline:
                message = self._consumer.poll(0.5)
                if message is None:
                    continue
                topic, partition = message.topic(), message.partition()
                place = None if topic is None or partition is None else waiting.pop((topic, partition), None)
                if place is None:
                    continue
                error = message.error()
                if error is None:
                    written = _seconds(message.timestamp())
                    if written is not None:
                        self._written_at[place] = written
                elif error.code() == KafkaError._PARTITION_EOF:
                    # The end without a record: all that was behind this place has been compacted away.
                    self._written_at[place] = None
                # Any other error says nothing of the record: it is read again at the next look.
                self._consumer.pause([TopicPartition(*place[:2])])
        finally:
            # A partition that is assigned again would still be paused.
            self._consumer.resume([TopicPartition(*partition) for partition in places])
            self._consumer.unassign()


def _group(described: Any, asked: Any) -> _Group:
    description = described.result(TIMEOUT_SECONDS)
    committed = {
        (place.topic, place.partition): place.offset
        for place in asked.result(TIMEOUT_SECONDS).topic_partitions
        if place.offset >= 0 and place.offset != OFFSET_INVALID
    }
    assigned = {
        place.topic
        for member in description.members
        if member.assignment is not None
        for place in member.assignment.topic_partitions
    }
    return _Group(len(description.members), committed, assigned)


def _seconds(timestamp: tuple[int, int]) -> float | None:
    kind, milliseconds = timestamp
    return milliseconds / 1000 if kind else None


def _is_gone(error: Exception) -> bool:
    cause = error.args[0] if error.args else None
    return isinstance(cause, KafkaError) and cause.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
