"""Every topic, declared once: who writes it, who reads it, how it is keyed and how long it remembers.

The local stack, the documentation and the compatibility check are made from this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["TOPICS", "Topic"]

DAY_MS = 24 * 60 * 60 * 1000
MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Topic:
    name: str
    key: str
    """What the record key names after the tenant."""
    partitions: int
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    carries: str
    cleanup: Literal["delete", "compact"] = "delete"
    retention_ms: int = 7 * DAY_MS
    """How long a record may stay; ignored by compacted topics, which forget by tombstone."""
    retention_bytes: int = 256 * MIB
    """Bound for the whole topic, split over its partitions."""
    replay: Literal["safe", "suppress_effects", "forbidden"] = "safe"
    """What the strictest of its consumers makes of a replayed record; each handler decides for itself."""

    def config(self) -> dict[str, str]:
        """The topic's settings as Kafka names them."""
        if self.cleanup == "compact":
            return {
                "cleanup.policy": "compact",
                "min.cleanable.dirty.ratio": "0.1",
                "segment.ms": str(DAY_MS),
                "delete.retention.ms": str(7 * DAY_MS),
            }
        per_partition = self.retention_bytes // self.partitions
        return {
            "cleanup.policy": "delete",
            "retention.ms": str(self.retention_ms),
            "retention.bytes": str(per_partition),
            # A record leaves with its segment, so a segment is a small part of the bound.
            "segment.bytes": str(max(per_partition // 4, MIB)),
            # And one that is still written to does not leave at all: of a quiet topic it would be open for a week.
            "segment.ms": str(DAY_MS),
        }


def _directory(entity: str, key: str, carries: str, *readers: str) -> Topic:
    return Topic(
        name=f"directory.{entity}",
        key=key,
        partitions=6,
        producers=("front-desk",),
        consumers=readers,
        carries=carries,
        cleanup="compact",
    )


TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic(
            name="call.inbound",
            key="call",
            partitions=12,
            producers=("telephony-router",),
            consumers=("anomaly-engine", "front-desk"),
            carries="a ringing call, the destinations it was answered with, and every candidate's reason",
        ),
        Topic(
            name="call.state",
            key="call",
            partitions=12,
            producers=("telephony-router",),
            consumers=("anomaly-engine", "front-desk"),
            carries="a call's state and the one before it, agent, times, duration, cause",
        ),
        Topic(
            name="recording.stored",
            key="call",
            partitions=6,
            producers=("telephony-router",),
            consumers=("front-desk",),
            carries="a call's recording is in the store: hash, size, channels, duration, speakers told apart or not",
        ),
        Topic(
            name="message.imported",
            key="chat",
            partitions=12,
            producers=("vault-importer",),
            consumers=("brain-distiller", "front-desk"),
            carries="one archived message, or its newer revision",
            retention_bytes=1024 * MIB,
        ),
        Topic(
            name="vault.state",
            key="account",
            partitions=3,
            producers=("vault-importer",),
            consumers=("anomaly-engine", "front-desk"),
            carries="an import started, found nothing new, completed or failed, with counts",
        ),
        Topic(
            name="fact.extracted",
            key="subject",
            partitions=12,
            producers=("brain-distiller",),
            consumers=("anomaly-engine", "front-desk"),
            carries="a fact with its evidence, version and state",
        ),
        Topic(
            name="anomaly.fired",
            key="rule",
            partitions=3,
            producers=("anomaly-engine",),
            consumers=("notifier", "front-desk"),
            carries="a red rule with its evidence and learning",
            replay="forbidden",
        ),
        Topic(
            name="notification.state",
            key="notification",
            partitions=12,
            producers=("notifier",),
            consumers=("front-desk",),
            carries="what became of a notification",
        ),
        Topic(
            name="subject.erased",
            key="subject",
            partitions=3,
            producers=("vault-importer",),
            consumers=("telephony-router", "brain-distiller", "anomaly-engine", "notifier", "front-desk"),
            carries="a person whom every store has to forget, and the messages that are gone",
            retention_ms=30 * DAY_MS,
        ),
        Topic(
            name="erasure.receipt",
            key="subject",
            partitions=3,
            producers=("telephony-router", "brain-distiller", "anomaly-engine", "notifier", "front-desk"),
            consumers=("vault-importer",),
            carries="what one service erased of a person, what it keeps and until when",
            retention_ms=30 * DAY_MS,
        ),
        _directory(
            "tenant", "tenant", "a business", *("telephony-router", "vault-importer", "anomaly-engine", "notifier")
        ),
        _directory("staff", "staff", "a person who answers", "telephony-router", "vault-importer"),
        _directory(
            "customer",
            "customer",
            "a customer, their numbers and owner",
            *("telephony-router", "vault-importer", "brain-distiller"),
        ),
        _directory("lead", "lead", "somebody who may become a customer", "telephony-router", "vault-importer"),
        _directory("did", "did", "a number that rings here", "telephony-router"),
        _directory("routing", "routing", "how a tenant's calls are routed", "telephony-router"),
    )
}
