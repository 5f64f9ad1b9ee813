"""Consumer groups, asked of the broker: who reads what, how far each has committed, and how far behind it is."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from contracts.topics import TOPICS
from trunkline.stack.layout import SERVICES, Service

__all__ = ["Groups", "owner_of"]

ANSWER_SECONDS = 10


def owner_of(group: str) -> Service:
    """The service that runs a group: groups begin with its name."""
    return next(service for service in SERVICES if group.startswith(service.name))


class Groups:
    """Discovered while everything is well, so that a group that is gone later is still missed.

    Afterwards offsets are asked for as a consumer does who never joins: the client's admin calls can abort the whole
    process when a broker dies while they are under way.
    """

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._clients: dict[str, Consumer] = {}
        self._given_up: list[Consumer] = []
        self._lock = threading.Lock()
        self.topics: dict[str, tuple[str, ...]] = {}

    def discover(self, within: float = 60.0) -> None:
        """Wait until every consumer of every topic, as the table of topics has them, has partitions of it: a group
        that is just rebalancing has none, and would never be looked at."""
        deadline = time.monotonic() + within
        while True:
            self._ask()
            missing = self.missing()
            if not missing:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"nobody reads {', '.join(missing)} (after {within:.0f} s)")
            time.sleep(0.5)

    def missing(self) -> list[str]:
        """What a topic's declared consumers do not read, and what is read by others."""
        declared = {(topic.name, consumer) for topic in TOPICS.values() for consumer in topic.consumers}
        found = {(topic, owner_of(group).name) for group, topics in self.topics.items() for topic in topics}
        return sorted(f"{topic} for {consumer}" for topic, consumer in declared ^ found)

    def _ask(self) -> None:
        admin = AdminClient({"bootstrap.servers": self._bootstrap, "log_level": 0})
        listed = admin.list_consumer_groups().result(ANSWER_SECONDS).valid
        names = [each.group_id for each in listed if any(each.group_id.startswith(s.name) for s in SERVICES)]
        for name, future in admin.describe_consumer_groups(names).items() if names else ():
            members = future.result(ANSWER_SECONDS).members
            read = {each.topic for member in members for each in member.assignment.topic_partitions}
            self.topics[name] = tuple(sorted(read))

    def readers(self, topic: str) -> list[str]:
        return [group for group, topics in self.topics.items() if topic in topics]

    def committed(self, group: str) -> dict[tuple[str, int], int]:
        """The offset behind the last record that the group has done with, by topic and partition."""
        partitions = [TopicPartition(name, n) for name in self.topics[group] for n in range(TOPICS[name].partitions)]
        with self._asking(group) as client:
            found = client.committed(partitions, timeout=ANSWER_SECONDS)
        return {(each.topic, each.partition): max(each.offset, 0) for each in found}

    def everywhere(self) -> dict[tuple[str, str, int], int]:
        """What every group has committed, by group, topic and partition."""
        return {(group, *at): offset for group in self.topics for at, offset in self.committed(group).items()}

    def bounds(self) -> dict[tuple[str, int], tuple[int, int]]:
        """The first and the next offset of every partition."""
        with self._asking("outside") as client:
            return {
                (topic.name, n): client.get_watermark_offsets(TopicPartition(topic.name, n), timeout=ANSWER_SECONDS)
                for topic in TOPICS.values()
                for n in range(topic.partitions)
            }

    def lag(self) -> dict[str, int]:
        """How many records each group is behind."""
        bounds = self.bounds()
        behind: dict[str, int] = {}
        for group in self.topics:
            committed = self.committed(group)
            behind[group] = sum(max(0, bounds[at][1] - max(offset, bounds[at][0])) for at, offset in committed.items())
        return behind

    def close(self) -> None:
        for client in (*self._clients.values(), *self._given_up):
            client.close()

    @contextlib.contextmanager
    def _asking(self, group: str) -> Iterator[Any]:
        """The client of a group. One that had no answer is not asked again: it may know of a Kafka that is lost, and
        never find the way into the next one."""
        client = self._client(group)
        try:
            yield client
        except KafkaException:
            with self._lock:
                if self._clients.get(group) is client:
                    # Closed in the end: another thread may still be asking it.
                    self._given_up.append(self._clients.pop(group))
            raise

    def _client(self, group: str) -> Any:
        with self._lock:
            if group not in self._clients:
                self._clients[group] = Consumer(
                    {"bootstrap.servers": self._bootstrap, "group.id": group, "enable.auto.commit": False,
                     "log_level": 0, "reconnect.backoff.max.ms": 1000}
                )  # fmt: skip
            return self._clients[group]
