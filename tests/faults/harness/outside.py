"""What the outside world sees: every record on every topic, by a consumer of the harness's own, and every mail."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from tests.faults.harness.ledger import Ledger

from contracts.envelope import Envelope, MalformedEnvelope
from contracts.topics import TOPICS

__all__ = ["Seen", "Tail", "read_record"]

NOT_MADE_YET = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)


@dataclass(frozen=True, slots=True)
class Seen:
    """One record as it lies in a topic, with what identifies its effect."""

    topic: str
    partition: int
    offset: int
    at: float
    """When the harness saw it: producers' clocks are among what is tampered with."""
    key: str
    """As the envelope names it, whatever the record's own key is."""
    event_id: str
    tenant: str
    effect: str
    """What happens once: a state of a call, a revision of a message … Empty for a record of nobody's."""
    entity: str
    """Whose order it belongs to: the effect without its version."""
    version: int
    fields: dict[str, Any]
    epoch: int = 0
    """Grows when the topics begin anew."""


WANTED = ("vendor_call_id", "state", "account_id", "message_id", "revision", "notification_id", "recipient", "call_id",
          "sent_at", "key", "value")  # fmt: skip


def effect_of(topic: str, data: dict[str, Any], subject: str = "") -> tuple[str, int]:
    """The entity and its version that a record tells of. A deletion has none."""
    match topic:
        case "call.inbound":
            return f"ring {data['call_id']}", 1
        case "call.state":
            return f"call {data['call_id']}", int(data["version"])
        case "message.imported":
            return f"message {data['message_id']}", int(data["revision"])
        case "fact.extracted":
            return f"fact {data['fact_id']}", int(data["version"])
        case "notification.state":
            return f"notification {data['notification_id']}", int(data["version"])
        case "anomaly.fired":
            return f"anomaly {data['anomaly_id']}", 1
        case "vault.state":
            return f"import {data['import_id']} {data['state']}", 1
        case _ if topic.startswith("directory.") and data:
            return f"{topic} {subject}", int(data["version"])
        case _ if "entity" in data:
            return str(data["entity"]), int(data["number"])
    return "", 0


def read_record(message: Any, epoch: int = 0) -> Seen:
    """A record of the broker as the harness keeps it. Poison has no envelope and no effect."""
    value, headers = message.value(), cast("list[tuple[str, bytes]]", message.headers() or [])
    topic, key = message.topic(), (message.key() or b"").decode("utf-8", "backslashreplace")
    event_id, tenant, entity, version, fields = "", "", "", 0, {}
    try:
        envelope = Envelope.from_headers(headers)
        event_id, tenant, key = envelope.id, str(envelope.tenant), envelope.partitionkey
        data = json.loads(value) if value is not None else {}
        entity, version = effect_of(topic, data, f"{tenant}/{envelope.subject}")
        fields = {name: data[name] for name in WANTED if name in data}
        if topic == "call.inbound" and data["destinations"]:
            fields["answer"] = data["destinations"][0]["number"]
    except (MalformedEnvelope, ValueError, KeyError, TypeError):
        entity, version = "", 0
    return Seen(
        topic=topic, partition=message.partition(), offset=message.offset(), at=time.time(),
        key=key, event_id=event_id, tenant=tenant, effect=f"{entity} v{version}" if entity else "", entity=entity,
        version=version, fields=fields, epoch=epoch,
    )  # fmt: skip


class Tail(threading.Thread):
    """Reads all topics from their beginning, without a group, past the proxies. Survives the broker's absence.

    ``seen`` only grows, and a record is in it once: a reader that begins again goes on where the last one was.
    """

    def __init__(self, bootstrap: str, ledger: Ledger, topics: Iterable[str] = TOPICS) -> None:
        super().__init__(name="tail", daemon=True)
        self._servers = bootstrap
        self._ledger = ledger
        self._places = [(name, number) for name in topics for number in range(TOPICS[name].partitions)]
        self._stopping = threading.Event()
        self._anew = threading.Event()
        self._begun = threading.Event()
        self.next: dict[tuple[int, str, int], int] = {}
        self._first: dict[str, Seen] = {}
        self.seen: list[Seen] = []
        self.epoch = 0

    def begin_anew(self, within: float = 30.0) -> None:
        """The broker's data is gone, and it is not up again yet: whoever reads from now on reads another Kafka.

        Waits until the old reader, which could go on in the new one, is gone.
        """
        self.epoch += 1
        self._begun.clear()
        self._anew.set()
        if not self._begun.wait(within):
            self._ledger.note("harness_error", error="the tail still reads from a Kafka that is gone")

    def has_reached(self, bounds: Mapping[tuple[str, int], tuple[int, int]]) -> bool:
        """Whether everything before these ends was seen."""
        epoch = self.epoch
        return all(
            self.next.get((epoch, *place), 0) >= bounds[place][1] or bounds[place][0] == bounds[place][1]
            for place in self._places
        )

    def stop(self) -> None:
        self._stopping.set()
        self.join(15)

    def run(self) -> None:
        while not self._stopping.is_set():
            self._anew.clear()
            # A reader belongs to the Kafka that it began with.
            epoch = self.epoch
            try:
                consumer = self._consumer(epoch)
                self._begun.set()
                try:
                    self._read(consumer, epoch)
                finally:
                    consumer.close()
            except KafkaException:
                self._stopping.wait(0.5)
            except Exception as error:
                self._ledger.note("harness_error", error=f"the tail: {type(error).__name__}: {error}")
                self._stopping.wait(0.5)

    def _read(self, consumer: Consumer, epoch: int) -> None:
        while not self._stopping.is_set() and not self._anew.is_set():
            for message in consumer.consume(500, 0.2):
                error = message.error()
                if error is None:
                    self._keep(message, epoch)
                elif error.code() in NOT_MADE_YET:
                    raise KafkaException(error)

    def _consumer(self, epoch: int) -> Consumer:
        consumer = Consumer(
            {"bootstrap.servers": self._servers, "group.id": "outside", "enable.auto.commit": False,
             "auto.offset.reset": "earliest", "log_level": 0, "reconnect.backoff.max.ms": 1000}
        )  # fmt: skip
        consumer.assign(
            [TopicPartition(*place, self.next.get((epoch, *place), OFFSET_BEGINNING)) for place in self._places]
        )
        return consumer

    def _keep(self, message: Any, epoch: int) -> None:
        place = (epoch, message.topic(), message.partition())
        if message.offset() < self.next.get(place, 0):
            return
        seen = read_record(message, epoch)
        first = self._first.setdefault(seen.event_id, seen) if seen.event_id else seen
        if first is not seen and (first.effect, first.key, first.fields) == (seen.effect, seen.key, seen.fields):
            # All of an outbox may come several times: what is said again is kept once.
            seen = replace(
                seen, topic=first.topic, key=first.key, event_id=first.event_id, tenant=first.tenant,
                effect=first.effect, entity=first.entity, fields=first.fields,
            )  # fmt: skip
        self.seen.append(seen)
        self._ledger.note("seen", topic=seen.topic, p=seen.partition, o=seen.offset, id=seen.event_id,
                          effect=seen.effect, key=seen.key, epoch=seen.epoch)  # fmt: skip
        self.next[place] = seen.offset + 1
