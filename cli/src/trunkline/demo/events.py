"""Listens to the topics from now on, so that a story can show which events followed what was done."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from contracts.envelope import Envelope, MalformedEnvelope
from contracts.topics import TOPICS

__all__ = ["Seen", "Tail"]

_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Seen:
    envelope: Envelope
    data: dict[str, Any]
    published: datetime
    """When the relay handed it to Kafka."""

    @property
    def topic(self) -> str:
        return self.envelope.type.rpartition(".v")[0]


class Tail:
    """Every record published after this was made. Reads without a consumer group, so it disturbs nobody."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "tail", "enable.auto.commit": False, "log_level": 0}
        )
        self.seen: list[Seen] = []
        places = [TopicPartition(name, number) for name in TOPICS for number in range(TOPICS[name].partitions)]
        # The ends are asked for now; OFFSET_END would mean the end when the first fetch happens.
        admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        asked = admin.list_offsets(dict.fromkeys(places, _LATEST), request_timeout=10)
        ends = {place: future.result(10).offset for place, future in asked.items()}
        self._consumer.assign([TopicPartition(place.topic, place.partition, end) for place, end in ends.items()])

    def close(self) -> None:
        self._consumer.close()

    def poll(self, seconds: float = 0.05) -> None:
        for message in self._consumer.consume(500, seconds):
            value, headers = message.value(), cast("list[tuple[str, bytes]]", message.headers() or [])
            if message.error() is not None or value is None:
                continue
            try:
                envelope = Envelope.from_headers(headers)
            except MalformedEnvelope:
                continue
            published = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
            self.seen.append(Seen(envelope, json.loads(value), published))

    def wait(self, topic: str, matches: Callable[[dict[str, Any]], bool], within: float = 20.0) -> Seen:
        """The first event of a topic that matches; :class:`TimeoutError` when none comes in time."""
        deadline = time.monotonic() + within
        looked = 0
        while True:
            for seen in self.seen[looked:]:
                if seen.topic == topic and matches(seen.data):
                    return seen
            looked = len(self.seen)
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {topic} event of the expected kind within {within:.0f} s")
            self.poll()

    def of_call(self, call_id: str) -> list[Seen]:
        """What was published about one call, in the order of its key."""
        return [seen for seen in self.seen if seen.data.get("call_id") == call_id]
