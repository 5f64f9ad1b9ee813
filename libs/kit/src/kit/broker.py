"""The one place where a Kafka consumer is configured. FastStream's defaults lose messages; these do not.

Defaults that would: acknowledge before handling, start at the newest offset, create topics by asking for them,
decode a whole batch at once so that one bad record fails them all (and, nacked, for ever).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import IllegalStateError, KafkaConnectionError, UnknownMemberIdError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage
from faststream.kafka.message import KafkaAckableMessage
from faststream.message import AckStatus

from kit import membership
from kit.membership import Membership
from kit.progress import Progress, offsets_of
from kit.telemetry import METRICS, get_logger

__all__ = ["ACK_POLICY", "MAX_RECORDS", "BatchSource"]

log = get_logger(__name__)

ACK_POLICY = AckPolicy.NACK_ON_ERROR
# A member whose session ends loses its partitions. One with an identity of its own keeps them through a restart, so
# its session outlasts one; what is left of it when it does not come back waits that much longer.
SESSION_SECONDS = 10.0
STATIC_SESSION_SECONDS = 45.0
# Polled and committed at a time, and so at most in one transaction of a set-based handler: by half as many, the commits
# of Postgres and of Kafka cost an event a tenth more.
MAX_RECORDS = 1000
COMMIT_SECONDS = 30.0
# A Kafka that starts may say that it has no topics, which the client by itself believes for five minutes.
METADATA_SECONDS = 10.0


def _sends_or_loses(send: Callable[..., Any]) -> Callable[..., Any]:
    """uvloop answers a write to a connection that was just reset with a RuntimeError; asyncio lets the reader find out.

    The client expects none: it would end its fetcher, and the consumer would read nothing for ever.
    """

    def sending(self: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return send(self, *arguments, **options)
        except RuntimeError as error:
            self.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"the connection is gone: {error}") from error

    return sending


def _commits_as_member(commit: Any) -> Any:
    """Once it has lost its place, the client commits as nobody's member, which Kafka takes for a group without members.

    Behind it may be another Kafka, whose log these offsets are not of: its records before them would never be read.
    """

    async def committing(self: Any, *arguments: Any) -> None:
        if self.generation < 0 and self._subscription.partitions_auto_assigned():
            raise UnknownMemberIdError
        await commit(self, *arguments)

    return committing


AIOKafkaConnection.send = _sends_or_loses(AIOKafkaConnection.send)
GroupCoordinator._do_commit_offsets = _commits_as_member(GroupCoordinator._do_commit_offsets)


class BatchSource:
    """Polls raw batches for one consumer group and commits each batch's offsets after ``handle`` returned.

    ``handle`` gets records with their original bytes. If it raises, nothing is committed and the batch comes
    again from its first record.
    """

    def __init__(
        self,
        *,
        bootstrap: str,
        group: str,
        topics: Sequence[str],
        handle: Callable[[Sequence[Any]], Awaitable[None]],
        max_records: int = MAX_RECORDS,
        instance_id: str | None = None,
    ) -> None:
        self._group = group
        self._handle = handle
        self._term = 0
        self._progress = Progress(group)
        self._membership = Membership(
            bootstrap=bootstrap,
            group=group,
            instance_id=instance_id,
            consumer=lambda: self._subscriber.consumer,
            assigned=lambda partitions: self._progress.assigned(self._subscriber.consumer, partitions),
        )
        self._watch: asyncio.Task[None] | None = None
        self._broker = KafkaBroker(
            bootstrap, client_id=group, ack_policy=ACK_POLICY, acks="all", enable_idempotence=True,
            allow_auto_create_topics=False, graceful_timeout=membership.DRAIN_SECONDS, request_timeout_ms=10_000,
            metadata_max_age_ms=int(1000 * METADATA_SECONDS), logger=None,
        )  # fmt: skip
        self._subscriber = self._broker.subscriber(
            *topics,
            group_id=group,
            group_instance_id=instance_id,
            session_timeout_ms=int(1000 * (STATIC_SESSION_SECONDS if instance_id else SESSION_SECONDS)),
            # The group waits for a member that drains; by default only as long as its session.
            rebalance_timeout_ms=int(1000 * (membership.DRAIN_SECONDS + SESSION_SECONDS)),
            batch=True, max_records=max_records, batch_timeout_ms=10, ack_policy=ACK_POLICY,
            auto_offset_reset="earliest", listener=self._membership, parser=self._parse, decoder=_no_decoding,
        )  # fmt: skip
        self._subscriber(self._on_batch)

    async def start(self) -> None:
        await self._broker.start()
        self._watch = asyncio.create_task(self._progress.watch(self._subscriber.consumer), name=f"watch {self._group}")

    async def stop(self) -> None:
        self._progress.close()
        if self._watch is not None:
            self._watch.cancel()
        await self._broker.stop()

    @property
    def fenced(self) -> str | None:
        """Why Kafka gave this process's place to another one, and what to do; nothing while it has its place."""
        return self._membership.fenced

    @property
    def progress(self) -> Progress:
        return self._progress

    def assignment(self) -> set[TopicPartition]:
        consumer = self._subscriber.consumer
        return set(consumer.assignment()) if consumer is not None and self.fenced is None else set()

    def running(self) -> bool:
        """Whether somebody polls and fetches; a fetcher that an error ended leaves polls that find nothing for ever."""
        consumer: Any = self._subscriber.consumer
        return bool(self._subscriber.running) and consumer is not None and not consumer._fetcher.error_future.done()

    async def _parse(self, records: Any) -> KafkaMessage:
        self._term = self._membership.term
        # The library's parser decodes every header as UTF-8 and would fail the batch on the first that is not.
        return KafkaAckableMessage(body=b"", headers={}, raw_message=records, consumer=self._subscriber.consumer)

    async def _on_batch(self, message: KafkaMessage) -> None:
        records, term = message.raw_message, self._term
        offsets = offsets_of(records)
        self._membership.idle.clear()
        try:
            await self._progress.received(message.consumer, offsets)
            await self._handle(records)
            await self._commit(message, offsets, term)
        except Exception as error:
            log.info("batch_comes_again", consumer=self._group, records=len(records), error=type(error).__name__)
            self._seek_back(message, offsets if self._membership.holds(term) else {})
        finally:
            self._progress.finished()
            self._membership.idle.set()

    def _seek_back(self, message: KafkaMessage, offsets: dict[TopicPartition, range]) -> None:
        """Have the batch come again. The library's own way stops at the first partition that is no longer ours, and
        would leave the records of the others unread behind their position."""
        consumer: Any = message.consumer
        for partition, each in offsets.items():
            with contextlib.suppress(IllegalStateError):
                consumer.seek(partition, each.start)
        message.committed = AckStatus.NACKED

    async def _commit(self, message: KafkaMessage, offsets: dict[TopicPartition, range], term: int) -> None:
        ends = {partition: each.stop for partition, each in offsets.items()}
        try:
            # The client tries for ever while it finds no coordinator.
            async with asyncio.timeout(COMMIT_SECONDS):
                why = "" if await self._membership.commit(term, ends) else "Rebalanced"
        except Exception as error:
            why = type(error).__name__
        if why:
            # Whoever owns the partitions by now gets these records again; the inbox knows them.
            METRICS.commit_failures.labels(self._group).inc()
            log.warning("offsets_not_committed", consumer=self._group, error=why)
        else:
            self._progress.committed(ends)
        # Committed by exact offsets, so the library must not commit its position once more.
        message.committed = AckStatus.ACKED


async def _no_decoding(message: Any) -> Any:
    return []
