"""Consumer groups, asked of the broker: who reads what, how far each has committed, and how far behind it is."""

from __future__ import annotations

from collections import defaultdict

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from contracts.topics import TOPICS
from trunkline.stack.layout import SERVICES, Service

__all__ = ["Groups", "owner_of"]

ANSWER_SECONDS = 10


def owner_of(group: str) -> Service:
    """The service that runs a group: groups begin with its name."""
    return next(service for service in SERVICES if group.startswith(service.name))


class Groups:
    """Discovered while everything is well, so that a group that is gone later is still missed."""

    def __init__(self, bootstrap: str) -> None:
        # One client for the whole run: one that is let go of while an answer is outstanding takes the process with it.
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        self.topics: dict[str, tuple[str, ...]] = {}

    def discover(self) -> None:
        listed = self._admin.list_consumer_groups().result(ANSWER_SECONDS).valid
        names = [each.group_id for each in listed if any(each.group_id.startswith(s.name) for s in SERVICES)]
        for name, future in self._admin.describe_consumer_groups(names).items():
            members = future.result(ANSWER_SECONDS).members
            read = {each.topic for member in members for each in member.assignment.topic_partitions}
            self.topics[name] = tuple(sorted(read))

    def readers(self, topic: str) -> list[str]:
        return [group for group, topics in self.topics.items() if topic in topics]

    def committed(self, group: str) -> dict[tuple[str, int], int]:
        """The offset behind the last record that the group has done with, by topic and partition."""
        partitions = [TopicPartition(name, n) for name in self.topics[group] for n in range(TOPICS[name].partitions)]
        asked = self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, partitions)])
        found = asked[group].result(ANSWER_SECONDS).topic_partitions
        return {(each.topic, each.partition): max(each.offset, 0) for each in found}

    def lag(self) -> dict[str, int]:
        """How many records each group is behind."""
        begins, ends = self._ends(OffsetSpec.earliest()), self._ends(OffsetSpec.latest())
        behind: dict[str, int] = defaultdict(int)
        for group in self.topics:
            committed = self.committed(group)
            for place, offset in committed.items():
                behind[group] += max(0, ends[place] - max(offset, begins[place]))
        return dict(behind)

    def _ends(self, which: OffsetSpec) -> dict[tuple[str, int], int]:
        asked = {TopicPartition(t.name, n): which for t in TOPICS.values() for n in range(t.partitions)}
        found = self._admin.list_offsets(asked)
        return {(each.topic, each.partition): f.result(ANSWER_SECONDS).offset for each, f in found.items()}
