"""Consumption: each record decoded by itself, order kept per key, effects once, bad records parked.

For a handler this means:

1. its event is of the newest version of its class;
2. its transaction is open, belongs to the event's tenant, and is committed once, after it returned;
3. it has effect once per event id, however often the event is delivered;
4. what it appends to the outbox leaves in commit order per key;
5. ``Retry`` delays, ``Poison`` parks, anything else is retried a few times and then parked, within limits beyond
   which the consumer stops. A lost database pauses it. The offset never moves before the outcome is stored.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from opentelemetry.trace import Link, SpanKind, get_current_span

from contracts.envelope import Envelope, MalformedEnvelope
from contracts.event import Event
from contracts.registry import REGISTRY, ContractViolation, Registry, UnknownMajor
from kit.broker import BatchSource
from kit.dead_letters import DeadLetterLimits, DeadLetters, Failure
from kit.delivery import Deletion, Poison, Received, Retry, Subscription, claim, claim_many, on, on_batch, on_deleted
from kit.postgres import SERVER_AWAY, TRY_AGAIN_AT_ONCE, Database
from kit.telemetry import METRICS, get_logger, get_tracer, parent_of

__all__ = ["Consumer", "Deletion", "Poison", "Received", "Retry", "Subscription", "on", "on_batch", "on_deleted"]

log = get_logger(__name__)
tracer = get_tracer(__name__)

STUCK_SECONDS = 240.0
LONGEST_PAUSE_SECONDS = 120.0
UNREADABLE: dict[type[Exception], str] = {
    MalformedEnvelope: "malformed_envelope", UnknownMajor: "unknown_major", ContractViolation: "contract_violation"
}  # fmt: skip
ATTEMPTS = 4
LANES = 6


class Halted(Exception):
    """The dead-letter limits are reached: nothing more is handled until an operator has looked."""


@dataclass(frozen=True, slots=True)
class _Work:
    record: Any
    envelope: Envelope
    payload: Event | Deletion
    subscription: Subscription

    @property
    def key(self) -> str:
        return self.record.key.decode("utf-8", "backslashreplace") if self.record.key is not None else ""


class Consumer:
    """One consumer group of a service with its table of subscriptions. A component: start, stop, health."""

    def __init__(
        self,
        *,
        service: str,
        database: Database,
        kafka_bootstrap: str,
        subscriptions: Sequence[Subscription],
        group: str | None = None,
        registry: Registry = REGISTRY,
        limits: DeadLetterLimits | None = None,
        max_records: int = 500,
    ) -> None:
        self.group = group or service
        self.name = f"consumer {self.group}"
        self._database = database
        self._registry = registry
        self._limits = limits or DeadLetterLimits()
        self._dead_letters = DeadLetters(database, self.group)
        self._lanes = asyncio.Semaphore(LANES)
        self._parking = asyncio.Lock()
        self._by_kind: dict[tuple[str, bool], Subscription] = {}
        for subscription in subscriptions:
            slot = (subscription.topic, subscription.kind == "deleted")
            if slot in self._by_kind:
                raise ValueError(f"{self.group} subscribes to {subscription.topic} twice")
            self._by_kind[slot] = subscription
        self._source_arguments: dict[str, Any] = {
            "bootstrap": kafka_bootstrap,
            "group": self.group,
            "topics": sorted({subscription.topic for subscription in subscriptions}),
            "handle": self.handle,
            "max_records": max_records,
        }
        self._source: BatchSource | None = None
        self._stopping = False
        self._busy_since: float | None = None
        self._paused: str | None = None
        self._halted: str | None = None
        self._counts: dict[str, int] = defaultdict(int)
        # Of the batch in flight, of which there is one at a time: what has an outcome, which keys wait.
        self._done: set[tuple[str, int, int]] = set()
        self._parked: set[str] = set()

    async def start(self) -> None:
        self._stopping = False
        source = BatchSource(**self._source_arguments)
        try:
            await source.start()
        except BaseException:
            await source.stop()
            raise
        self._source = source

    async def stop(self) -> None:
        self._stopping = True
        if self._source is not None:
            await self._source.stop()
            self._source = None

    def alive(self) -> str | None:
        """Progress, not dependencies: stuck means one batch that takes minutes while its database is there."""
        if self._busy_since is not None and self._paused is None and self._halted is None:
            seconds = time.monotonic() - self._busy_since
            if seconds > STUCK_SECONDS:
                return f"{self.name} has worked on one batch for {seconds:.0f} s"
        if self._source is not None and not self._source.running() and not self._stopping:
            return f"{self.name} has stopped polling"
        return None

    def ready(self) -> str | None:
        if self._halted is not None:
            return f"{self.name} stopped: {self._halted}"
        if self._source is None or not self._source.assignment():
            return f"{self.name} holds no partitions"
        return f"{self.name} waits: {self._paused}" if self._paused is not None else None

    def status(self) -> dict[str, object]:
        partitions = len(self._source.assignment()) if self._source else 0
        return {"partitions": partitions, "paused": self._paused, "halted": self._halted, **self._counts}

    async def handle(self, records: Sequence[Any]) -> None:
        """Handle one polled batch; returns when every record has a stored outcome."""
        if self._halted is not None:
            await asyncio.sleep(1.0)
            raise Halted(self._halted)
        self._busy_since = time.monotonic()
        delay, gives_up = 0.25, time.monotonic() + LONGEST_PAUSE_SECONDS
        self._done = set()
        try:
            while True:
                try:
                    await self._handle_all(records)
                except SERVER_AWAY as error:
                    if self._stopping or time.monotonic() > gives_up:
                        raise
                    self._pause(type(error).__name__)
                    await asyncio.sleep(delay * random.uniform(0.7, 1.3))  # noqa: S311 - jitter, not a secret
                    delay = min(delay * 2, 5.0)
                else:
                    self._pause(None)
                    return
        except Halted as halted:
            self._halt(str(halted))
            raise
        finally:
            self._busy_since = None

    async def _handle_all(self, records: Sequence[Any]) -> None:
        topics: dict[str, list[_Work]] = defaultdict(list)
        for record in records:
            if _place(record) in self._done:
                continue
            work = await self._decode(record)
            if work is not None:
                topics[record.topic].append(work)
        keys = sorted({work.key for works in topics.values() for work in works})
        self._parked = await self._dead_letters.parked_keys(keys) if keys else set()
        await _all(self._handle_topic(works) for works in topics.values())

    async def _decode(self, record: Any) -> _Work | None:
        """What there is to do for a record, or nothing: ignored, or parked because nobody can read it."""
        envelope: Envelope | None = None
        try:
            envelope = Envelope.from_headers(record.headers)
            subscription = self._by_kind.get((record.topic, record.value is None))
            if record.value is None:
                payload: Event | Deletion | None = Deletion(record.topic, envelope.tenant, envelope.subject)
            else:
                payload = self._registry.decode(envelope.type, record.value)
        except tuple(UNREADABLE) as error:
            await self._park(record, envelope, Failure.of(UNREADABLE[type(error)], error, 1))
        else:
            if payload is not None and subscription is not None:
                return _Work(record, envelope, payload, subscription)
            self._count(record.topic, "ignored")
        return None

    async def _handle_topic(self, works: list[_Work]) -> None:
        """In runs of one subscription each, so that a deletion keeps its place among the updates of its key."""
        start = 0
        while start < len(works):
            end = start
            while end < len(works) and works[end].subscription is works[start].subscription:
                end += 1
            run = works[start:end]
            if run[0].subscription.kind == "batch":
                await self._handle_set(run)
            else:
                await self._handle_keys(run)
            start = end

    async def _handle_keys(self, works: Iterable[_Work]) -> None:
        by_key: dict[str, list[_Work]] = defaultdict(list)
        for work in works:
            by_key[work.key].append(work)
        await _all(self._handle_key(lane) for lane in by_key.values())

    async def _handle_key(self, works: list[_Work]) -> None:
        async with self._lanes:
            for work in works:
                if work.key in self._parked:
                    waits = Failure("parked_behind", "an earlier event of this key is parked", 0)
                    await self._dead_letters.park(work.record, work.envelope, waits, behind=True)
                    self._count(work.record.topic, "parked_behind")
                elif not await self._attempt(work):
                    self._parked.add(work.key)
                self._done.add(_place(work.record))

    async def _attempt(self, work: _Work) -> bool:
        """Handle one record; false when it was parked."""
        attempt = 0
        while True:
            attempt += 1
            try:
                await self._handle_one(work)
            except SERVER_AWAY:
                raise
            except Poison as poison:
                failure = Failure.of(poison.code, poison, attempt)
            except Retry as retry:
                if attempt < ATTEMPTS:
                    METRICS.retries.labels(self.group).inc()
                    await asyncio.sleep(min(retry.after, 10.0))
                    continue
                failure = Failure.of("retries_exhausted", retry, attempt)
            except Exception as error:
                if attempt < ATTEMPTS:
                    METRICS.retries.labels(self.group).inc()
                    if not isinstance(error, TRY_AGAIN_AT_ONCE):
                        await asyncio.sleep(0.05 * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311
                    continue
                failure = Failure.of("unclassified", error, attempt)
                log.warning("handler_failed", consumer=self.group, event_id=work.envelope.id, error=failure.message)
            else:
                return True
            await self._park(work.record, work.envelope, failure)
            return False

    async def _handle_one(self, work: _Work) -> None:
        envelope, subscription = work.envelope, work.subscription
        with self._span(work):
            async with self._database.transaction(envelope.tenant, cause=envelope) as tx:
                payload: Any = work.payload
                if subscription.kind == "batch":
                    payload = [Received(payload, envelope)]
                if subscription.emits is not None:
                    await tx.hold(*await subscription.emits(payload, tx))
                if not await claim(tx, self.group, envelope):
                    self._count(work.record.topic, "duplicate")
                    return
                await subscription.handler(payload, tx)
        self._handled([work])

    async def _handle_set(self, works: list[_Work]) -> None:
        by_tenant: dict[Any, list[_Work]] = defaultdict(list)
        for work in works:
            by_tenant[None if work.key in self._parked else work.envelope.tenant].append(work)
        await self._handle_keys(by_tenant.pop(None, []))
        await _all(self._handle_tenant(group) for group in by_tenant.values())

    async def _handle_tenant(self, works: list[_Work]) -> None:
        try:
            async with self._lanes:
                await self._handle_together(works)
        except SERVER_AWAY:
            raise
        except Exception as error:
            # One by one, so that only the guilty record is parked.
            log.info("batch_falls_back", consumer=self.group, records=len(works), error=type(error).__name__)
            await self._handle_keys(works)
        else:
            self._done.update(_place(work.record) for work in works)

    async def _handle_together(self, works: list[_Work]) -> None:
        subscription, first = works[0].subscription, works[0].envelope
        received = [Received(work.payload, work.envelope) for work in works if isinstance(work.payload, Event)]
        with self._span(*works):
            async with self._database.transaction(first.tenant, cause=first) as tx:
                if subscription.emits is not None:
                    await tx.hold(*await subscription.emits(received, tx))
                new = await claim_many(tx, self.group, [work.envelope for work in works])
                fresh: list[Received[Any]] = []
                for item in received:
                    # A batch can hold the same event twice: the first one takes the claim.
                    identity = (item.envelope.replayid, item.envelope.id)
                    if identity in new:
                        new.discard(identity)
                        fresh.append(item)
                if fresh:
                    await subscription.handler(fresh, tx)
        self._count(works[0].record.topic, "duplicate", len(received) - len(fresh))
        self._handled(works[: len(fresh)])

    def _span(self, *works: _Work) -> Any:
        """One span of processing: continues the trace of a single event, links to the traces of many."""
        topic, name = works[0].record.topic, f"{works[0].record.topic} process"
        attributes = {
            "messaging.system": "kafka",
            "messaging.destination.name": topic,
            "messaging.consumer.group.name": self.group,
            "messaging.batch.message_count": len(works),
        }
        parents = [parent_of({"traceparent": w.envelope.traceparent}) for w in works[:128] if w.envelope.traceparent]
        if len(works) == 1 and parents:
            return tracer.start_as_current_span(name, context=parents[0], kind=SpanKind.CONSUMER, attributes=attributes)
        links = [Link(get_current_span(parent).get_span_context()) for parent in parents]
        return tracer.start_as_current_span(name, kind=SpanKind.CONSUMER, links=links, attributes=attributes)

    def _handled(self, works: Sequence[_Work]) -> None:
        self._limits.succeeded(len(works))
        if works:
            self._count(works[0].record.topic, "handled", len(works))
            age = METRICS.event_age.labels(self.group, works[0].record.topic)
            now = datetime.now(UTC)
            for work in works:
                age.observe(max(0.0, (now - work.envelope.time).total_seconds()))

    async def _park(self, record: Any, envelope: Envelope | None, failure: Failure) -> None:
        async with self._parking:
            exceeded = self._limits.would_exceed()
            if exceeded is not None:
                raise Halted(exceeded)
            await self._dead_letters.park(record, envelope, failure)
            self._limits.parked()
        self._done.add(_place(record))
        self._count(record.topic, "parked")
        log.warning(
            "record_parked",
            consumer=self.group,
            topic=record.topic,
            reason=failure.reason,
            partition=record.partition,
            offset=record.offset,
        )

    def _count(self, topic: str, outcome: str, count: int = 1) -> None:
        if count:
            self._counts[outcome] += count
            METRICS.handled.labels(self.group, topic, outcome).inc(count)

    def _pause(self, why: str | None) -> None:
        if why is not None and self._paused is None:
            log.warning("consumer_paused", consumer=self.group, error=why)
        self._paused = why
        METRICS.paused.labels(self.group).set(0 if why is None else 1)

    def _halt(self, why: str) -> None:
        self._halted = why
        METRICS.halted.labels(self.group).set(1)
        log.error(
            "consumer_halted",
            consumer=self.group,
            reason=why,
            action="look at the dead letters, mend the handler, restart the service",
        )


def _place(record: Any) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset


async def _all(awaitables: Iterable[Any]) -> None:
    """Run together; when one fails, let the others finish first, so that nothing works on behind our back."""
    results = await asyncio.gather(*awaitables, return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    for kind in (asyncio.CancelledError, Halted):
        for error in errors:
            if isinstance(error, kind):
                raise error
    if errors:
        raise errors[0]
