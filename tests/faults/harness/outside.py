"""What the outside world sees: every record on every topic, by a consumer of the harness's own, and every mail."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition
from tests.faults.harness.ledger import Ledger

from contracts.envelope import Envelope, MalformedEnvelope
from contracts.topics import TOPICS

__all__ = ["Seen", "Tail", "read_record"]


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
    digest: str
    epoch: int = 0
    """Grows when the topics begin anew."""


WANTED = ("vendor_call_id", "state", "account_id", "message_id", "revision", "notification_id", "recipient", "call_id")


def effect_of(topic: str, data: dict[str, Any]) -> tuple[str, int]:
    """The entity and its version that a record tells of."""
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
        entity, version = effect_of(topic, data)
        fields = {name: data[name] for name in WANTED if name in data}
        if topic == "call.inbound" and data["destinations"]:
            fields["answer"] = data["destinations"][0]["number"]
    except (MalformedEnvelope, ValueError, KeyError, TypeError):
        entity, version = "", 0
    return Seen(
        topic=topic, partition=message.partition(), offset=message.offset(), at=time.time(),
        key=key, event_id=event_id, tenant=tenant, effect=f"{entity} v{version}" if entity else "", entity=entity,
        version=version, fields=fields, digest=hashlib.sha256(value or b"").hexdigest(), epoch=epoch,
    )  # fmt: skip


class Tail(threading.Thread):
    """Reads all topics from their beginning, without a group, past the proxies. Survives the broker's absence."""

    def __init__(self, bootstrap: str, ledger: Ledger, topics: Iterable[str] = TOPICS) -> None:
        super().__init__(name="tail", daemon=True)
        self._servers = bootstrap
        self._ledger = ledger
        self._topics = {name: TOPICS[name].partitions for name in topics}
        self._stopping = threading.Event()
        self._anew = threading.Event()
        self.seen: list[Seen] = []
        self.epoch = 0

    def begin_anew(self) -> None:
        """The broker's data is gone: read from the beginning once more."""
        self.epoch += 1
        self._anew.set()

    def stop(self) -> None:
        self._stopping.set()
        self.join(15)

    def run(self) -> None:
        while not self._stopping.is_set():
            self._anew.clear()
            consumer = self._consumer()
            try:
                while not self._stopping.is_set() and not self._anew.is_set():
                    for message in consumer.consume(500, 0.2):
                        if message.error() is None:
                            self._keep(read_record(message, self.epoch))
            except KafkaException:
                continue
            finally:
                consumer.close()

    def _consumer(self) -> Consumer:
        consumer = Consumer(
            {"bootstrap.servers": self._servers, "group.id": "outside", "enable.auto.commit": False,
             "auto.offset.reset": "earliest", "log_level": 0, "reconnect.backoff.max.ms": 1000}
        )  # fmt: skip
        consumer.assign(
            [TopicPartition(name, number, OFFSET_BEGINNING) for name, count in self._topics.items()
             for number in range(count)]
        )  # fmt: skip
        return consumer

    def _keep(self, seen: Seen) -> None:
        self.seen.append(seen)
        self._ledger.note("seen", topic=seen.topic, p=seen.partition, o=seen.offset, id=seen.event_id,
                          effect=seen.effect, key=seen.key, epoch=seen.epoch)  # fmt: skip
