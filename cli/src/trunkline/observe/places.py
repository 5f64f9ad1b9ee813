"""Where in Kafka events lie: partition and offset, found by their ids."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from aiokafka.partitioner import murmur2
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from trunkline.observe.lag import Place
from trunkline.observe.rows import Event

__all__ = ["places_of"]

TIMEOUT_SECONDS, PATIENCE_SECONDS = 15.0, 5.0
#: Clocks of the database and of who publishes may differ.
BEFORE = timedelta(seconds=10)


def places_of(bootstrap: str, events: Sequence[Event]) -> dict[str, Place]:
    """The first place of each event by its id; without those that are not published, or that retention took.

    Reads each topic's partition of the key from shortly before the event was appended on, so it costs what has been
    published there since.
    """
    if not events:
        return {}
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "trunkline-trace",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
    try:
        return _search(consumer, _starts(consumer, events), {event.id for event in events})
    finally:
        consumer.close()


def _starts(consumer: Consumer, events: Sequence[Event]) -> list[TopicPartition]:
    """Where to begin in each partition that holds some of the events."""
    since: dict[tuple[str, int], int] = {}
    counts: dict[str, int] = {}
    for event in events:
        if event.topic not in counts:
            known = _patiently(partial(consumer.list_topics, event.topic, timeout=5))
            counts[event.topic] = len(known.topics[event.topic].partitions)
        if counts[event.topic]:
            place = (event.topic, _partition(event.key, counts[event.topic]))
            at = int((event.created_at - BEFORE).timestamp() * 1000)
            since[place] = min(at, since.get(place, at))
    asked = [TopicPartition(topic, partition, at) for (topic, partition), at in since.items()]
    return _patiently(partial(consumer.offsets_for_times, asked, timeout=5)) if asked else []


def _patiently(ask: Callable[[], Any]) -> Any:
    """A cluster that has just begun, or has lost a broker, may not know for a moment who leads a partition."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return ask()
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _partition(key: str, count: int) -> int:
    """As the relay's producer chooses it, which is as the Java clients do."""
    return int(murmur2(key.encode()) & 0x7FFFFFFF) % count


def _search(consumer: Consumer, starts: list[TopicPartition], wanted: set[str]) -> dict[str, Place]:
    found: dict[str, Place] = {}
    ended: dict[str, set[int]] = defaultdict(set)
    consumer.assign(starts)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while wanted - found.keys() and sum(map(len, ended.values())) < len(starts) and time.monotonic() < deadline:
        message = consumer.poll(0.5)
        if message is None:
            continue
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        if topic is None or partition is None or offset is None:
            continue
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                ended[topic].add(partition)
            continue
        headers = dict(message.headers() or [])
        event_id = headers.get("ce_id", b"")
        name = event_id.decode("latin-1") if isinstance(event_id, bytes) else str(event_id)
        if name in wanted and "ce_replayid" not in headers:
            found.setdefault(name, (topic, partition, offset))
    return found
