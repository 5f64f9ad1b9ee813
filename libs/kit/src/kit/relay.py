"""The relay: publishes a service's outbox to Kafka, in commit order per key, by one leader at a time."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Message, Producer
from opentelemetry.trace import SpanKind

from contracts.envelope import Envelope
from contracts.registry import REGISTRY
from kit.postgres import Database
from kit.telemetry import METRICS, current_traceparent, get_logger, get_tracer, parent_of

__all__ = ["Relay"]

log = get_logger(__name__)
tracer = get_tracer(__name__)

# Rows of a transaction that is still running, or that a running one may still precede, are not read yet:
# below xmin every transaction has ended, so nothing can appear behind the position.
_FETCH = """
SELECT o.epoch, o.xid::text AS xid, o.seq, o.id, o.tenant_id, o.aggregatetype, o.aggregateid, o.type, o.payload,
       o.subject, o.occurred_at, o.correlationid, o.causationid, o.traceparent, o.replayid, o.created_at
FROM outbox o
WHERE (o.epoch, o.xid, o.seq) > ($1, $2::text::xid8, $3)
  AND (o.epoch < current_epoch() OR o.xid < pg_snapshot_xmin(pg_current_snapshot()))
ORDER BY o.epoch, o.xid, o.seq
LIMIT $4
"""
_ADVANCE = """
UPDATE relay_position SET epoch = $2, xid = $3::text::xid8, seq = $4, kafka_cluster = $5, updated_at = now()
WHERE relay = $1
"""
_REGISTER = """
WITH known AS (
    INSERT INTO cluster_epoch (system_identifier, epoch)
    SELECT system_identifier, current_epoch() FROM pg_control_system() ON CONFLICT DO NOTHING
)
INSERT INTO relay_position (relay) VALUES ($1) ON CONFLICT DO NOTHING
"""
_POSITION = "SELECT epoch, xid::text AS xid, seq, kafka_cluster FROM relay_position WHERE relay = $1"

_Position = tuple[int, str, int]


class PublishError(Exception):
    """Kafka did not take a record; the relay reads it again from its stored position."""


class Relay:
    """Publishes the outbox of one service. Several processes may run one: an advisory lock makes one the leader.

    A record is repeated when the leader dies between Kafka's acknowledgement and storing the position, always
    with the same id; consumers' inboxes absorb it.
    """

    def __init__(
        self,
        *,
        database: Database,
        kafka_bootstrap: str,
        service: str,
        batch: int = 2000,
        poll_seconds: float = 0.2,
        keep_days: int = 9,
    ) -> None:
        self.name = "relay"
        self._database = database
        self._bootstrap = kafka_bootstrap
        self._service = service
        self._batch = batch
        self._poll = poll_seconds
        self._keep_days = keep_days
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._leader = False
        self._published = 0
        self._last_error: str | None = None

    async def start(self) -> None:
        self._stopping = False
        self._task = asyncio.create_task(self._run(), name=f"relay {self._service}")

    async def stop(self) -> None:
        """Publish what is committed, as far as Kafka takes it within a moment, then let go of the lead."""
        self._stopping = True
        self._database.doorbell.set()
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                try:
                    await asyncio.wait_for(self._task, 8)
                except TimeoutError:
                    self._task.cancel()
        self._task = None

    def alive(self) -> str | None:
        return "the relay's task has ended" if self._task is not None and self._task.done() else None

    def ready(self) -> str | None:
        return None

    def status(self) -> dict[str, object]:
        return {"leader": self._leader, "published": self._published, "last_error": self._last_error}

    async def _run(self) -> None:
        delay = 0.2
        while not self._stopping:
            try:
                await self._lead()
                delay = 0.2
            except Exception as error:
                # Whatever it is: what is committed must still be published.
                METRICS.relay_errors.labels(self._service).inc()
                self._last_error = type(error).__name__
                log.warning("relay_interrupted", error=type(error).__name__, retry_seconds=delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5.0)
            finally:
                self._leader = False
                METRICS.relay_leader.labels(self._service).set(0)

    async def _lead(self) -> None:
        connection = await self._database.dedicated("relay")
        try:
            while not await connection.fetchval(
                "SELECT pg_try_advisory_lock(hashtext('relay'), hashtext($1))", self._service
            ):
                if self._stopping:
                    return
                await asyncio.sleep(1.0)
            self._leader = True
            METRICS.relay_leader.labels(self._service).set(1)
            await connection.execute(_REGISTER, self._service)
            await self._maintain(connection)
            await connection.add_listener(f"{self._service}_outbox", lambda *_: self._database.doorbell.set())
            producer = self._producer()
            try:
                await self._publish_all(connection, producer)
            finally:
                await asyncio.to_thread(producer.flush, 2)
        finally:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(connection.close(), 2)

    async def _maintain(self, connection: Any) -> None:
        """Make coming partitions, drop published old ones, forget what nobody delivers any more."""
        await connection.execute("SELECT maintain_outbox(make_interval(days => $1))", self._keep_days)
        await connection.execute("DELETE FROM inbox WHERE seen_at < now() - make_interval(days => $1)", self._keep_days)

    def _producer(self) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self._bootstrap,
                "client.id": f"{self._service}-relay",
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 2,
                "delivery.timeout.ms": 15_000,
                "allow.auto.create.topics": False,
                # The partitioner of the Java clients and of aiokafka: a key has one partition for every producer.
                "partitioner": "murmur2_random",
                "queue.buffering.max.messages": max(100_000, self._batch * 2),
                "log_level": 0,
            },
            error_cb=lambda _: None,
        )

    async def _publish_all(self, connection: Any, producer: Producer) -> None:
        row = await connection.fetchrow(_POSITION, self._service)
        position: _Position = (row["epoch"], row["xid"], row["seq"])
        cluster = await self._cluster_id(producer)
        maintained = asyncio.get_running_loop().time()
        while True:
            self._database.doorbell.clear()
            rows = await connection.fetch(_FETCH, *position, self._batch)
            METRICS.outbox_age.labels(self._service).set(_age(rows))
            if rows:
                await self._publish(producer, rows)
                position = (rows[-1]["epoch"], rows[-1]["xid"], rows[-1]["seq"])
                await connection.execute(_ADVANCE, self._service, *position, cluster)
                self._published += len(rows)
                self._last_error = None
                METRICS.relayed.labels(self._service).inc(len(rows))
                if len(rows) == self._batch:
                    continue
            if self._stopping:
                return
            if asyncio.get_running_loop().time() - maintained > 3600:
                await self._maintain(connection)
                maintained = asyncio.get_running_loop().time()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._database.doorbell.wait(), self._poll)

    async def _cluster_id(self, producer: Producer) -> str:
        metadata = await asyncio.to_thread(producer.list_topics, timeout=10)
        return str(getattr(metadata, "cluster_id", "") or "")

    async def _publish(self, producer: Producer, rows: list[Any]) -> None:
        failed: list[str] = []

        def delivered(error: Any, _: Message) -> None:
            if error is not None:
                failed.append(error.name())

        for row in rows:
            producer.produce(
                row["aggregatetype"],
                key=row["aggregateid"].encode(),
                value=None if row["payload"] is None else row["payload"].encode(),
                headers=self._headers(row),
                on_delivery=delivered,
            )
        left = await asyncio.to_thread(producer.flush, 20)
        if failed or left:
            # The producer is made anew as well: after an outage an idempotent one may refuse for ever.
            raise PublishError(f"{len(failed) + left} of {len(rows)} records were not taken: {sorted(set(failed))}")

    def _headers(self, row: Any) -> list[tuple[str, str | bytes | None]]:
        traceparent = row["traceparent"]
        if traceparent:
            # The span of publishing continues the trace of the transaction that appended the event.
            with tracer.start_as_current_span(
                f"{row['aggregatetype']} publish",
                context=parent_of({"traceparent": traceparent}),
                kind=SpanKind.PRODUCER,
            ):
                traceparent = current_traceparent() or traceparent
        envelope = Envelope(
            id=str(row["id"]),
            type=row["type"],
            source=f"/{self._service}",
            time=row["occurred_at"],
            tenant=row["tenant_id"],
            subject=row["subject"],
            partitionkey=row["aggregateid"],
            correlationid=row["correlationid"] or str(row["id"]),
            causationid=row["causationid"],
            dataschema=_dataschema(row["type"]),
            replayid=row["replayid"],
            traceparent=traceparent,
        )
        return list(envelope.to_headers())


def _dataschema(type_: str) -> str:
    known = REGISTRY.get(type_)
    return known.dataschema() if known is not None else ""


def _age(rows: list[Any]) -> float:
    return (datetime.now(UTC) - rows[0]["created_at"]).total_seconds() if rows else 0.0
