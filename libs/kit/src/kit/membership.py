"""A consumer's place in its group: no batch is cut in two by a rebalance, no two processes share an identity."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from kit.telemetry import METRICS, get_logger

__all__ = ["Membership"]

log = get_logger(__name__)

DRAIN_SECONDS = 20.0
NOBODY = ""


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]
    """What happens when partitions come and go.

    Before they go, the batch in flight finishes and commits. With an ``instance_id`` (static membership) Kafka gives
    the place of whoever held that identity to the process that joins last. The client's answer to losing it so is to
    join again, which would throw the other out, which would join again, for ever: two processes of one identity would
    both do nothing else. Here the one that lost its place stays out, and says so in :attr:`fenced`.
    """

    def __init__(
        self,
        *,
        bootstrap: str,
        group: str,
        instance_id: str | None,
        consumer: Callable[[], Any],
        assigned: Callable[[set[TopicPartition]], None],
    ) -> None:
        self._bootstrap = bootstrap
        self._group = group
        self._instance_id = instance_id
        self._consumer = consumer
        self._assigned = assigned
        self._joined = False
        self._settled = False
        self._committing: asyncio.Task[None] | None = None
        self.term = 0
        """Grows when partitions are given up and when they are received: what was polled in an earlier one is over."""
        self.idle = asyncio.Event()
        """Set while no batch is being handled."""
        self.idle.set()
        self.fenced: str | None = None
        """Why this process consumes nothing any more, and what to do about it."""

    def holds(self, term: int) -> bool:
        """Whether what was polled in a term still belongs to this member, and its offsets to the log they are of.

        A batch in hand while the member joins again is over: its records come again to whoever has them now. Its
        offsets may not even be of this log, since a Kafka that lost everything has a new one under the old names:
        committed there, they would stand before records that nobody has read.
        """
        return self._settled and term == self.term

    async def commit(self, term: int, offsets: dict[TopicPartition, int]) -> bool:
        """Commit what was polled in a term, unless it is over; whether it is committed. Raises the client's errors."""
        if not self.holds(term):
            return False
        self._committing = asyncio.ensure_future(self._consumer().commit(offsets))
        try:
            await self._committing
        except asyncio.CancelledError:
            if self.holds(term):
                raise  # it is we who are ended
            return False
        finally:
            self._committing = None
        return True

    def _end_term(self) -> None:
        self.term += 1
        if self._committing is not None:
            # The client repeats it until it finds a coordinator, which may be another Kafka's by then.
            self._committing.cancel()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        try:
            await asyncio.wait_for(self.idle.wait(), DRAIN_SECONDS)
        except TimeoutError:
            log.warning("rebalance_did_not_wait", consumer=self._group, seconds=DRAIN_SECONDS)
        self._settled = False
        self._end_term()
        if self._instance_id is None or not self._lost_its_place():
            return
        host = await self._holder()
        if host is None:
            return
        self.fenced = (
            f"another process (at {host}) has joined under this one's identity, {self._instance_id}; "
            "give every replica a TRUNKLINE_INSTANCE_ID of its own, then restart this one"
        )
        log.error("consumer_fenced", consumer=self._group, reason=self.fenced)
        METRICS.partitions.labels(self._group).set(0)
        # Ends the client's coordination, and its polling with it; any other error it would log and join all the same.
        raise asyncio.CancelledError

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        partitions = set(assigned)
        self._end_term()
        self._joined = self._settled = True
        METRICS.rebalances.labels(self._group).inc()
        METRICS.partitions.labels(self._group).set(len(partitions))
        self._assigned(partitions)

    def _lost_its_place(self) -> bool:
        """Whether Kafka knows this member no more: replaced, or gone for longer than its session."""
        return self._joined and self._consumer()._coordinator.member_id == NOBODY

    async def _holder(self) -> str | None:
        """From where somebody holds our identity by now; nobody does when our session ended or Kafka lost the group."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap, request_timeout_ms=5_000)
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await admin.start()
                found = await admin.describe_consumer_groups([self._group])
        except (KafkaError, TimeoutError) as error:
            log.warning("group_not_described", consumer=self._group, error=type(error).__name__)
            return None
        finally:
            await admin.close()
        for response in found:
            for group in response.groups:
                for member_id, _, host, *_ in group[5]:
                    # Kafka makes a static member's id of its identity and a UUID.
                    if member_id[:-37] == self._instance_id:
                        return str(host).lstrip("/")
        return None
