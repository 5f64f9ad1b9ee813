"""What becomes of records: each decoded by itself, order kept per key, effects once, bad records parked.

It knows nothing of Kafka's groups and offsets: :class:`kit.consume.Consumer` feeds it from a topic, working dead
letters off and replaying feed it from where they keep their records.
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from typing import Any, NamedTuple, cast
from zlib import crc32

from opentelemetry.trace import Link, SpanKind, get_current_span, use_span

from contracts.envelope import Envelope, MalformedEnvelope
from contracts.event import Event
from contracts.registry import REGISTRY, ContractViolation, Registry, UnknownMajor
from kit.dead_letters import DeadLetterLimits, DeadLetters, Failure, Parking
from kit.delivery import Deletion, Poison, Received, Retry, Subscription, claim_many
from kit.postgres import SERVER_AWAY, TRY_AGAIN_AT_ONCE, Database
from kit.telemetry import AGE_BUCKETS, METRICS, exemplar, get_logger, get_tracer, is_past, parent_of, spans_are_exported

__all__ = ["Halted", "Handling"]

log = get_logger(__name__)
tracer = get_tracer(__name__)

UNREADABLE: dict[type[Exception], str] = {
    MalformedEnvelope: "malformed_envelope", UnknownMajor: "unknown_major", ContractViolation: "contract_violation"
}  # fmt: skip
ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 0.1
LANES = 6
# So many records are read before others on the event loop have their turn: a few milliseconds.
TURN = 250
# Of one lane's records that are handled one by one, how many share a transaction.
TOGETHER = 32


class Halted(Exception):
    """The dead-letter limits are reached: nothing more is handled until an operator has looked."""


class _Work(NamedTuple):
    record: Any
    envelope: Envelope
    payload: Event | Deletion
    subscription: Subscription
    key: str
    again: bool = False
    """Whether it was parked and is worked off now."""


class _Unreadable(NamedTuple):
    """Keeps its place among the others: what is older than it takes effect first, what is younger waits behind it."""

    record: Any
    envelope: Envelope | None
    failure: Failure
    key: str
    subscription: None = None


class Handling:
    """One consumer's table of subscriptions, put to work on records.

    A record is anything with ``topic``, ``partition``, ``offset``, ``timestamp``, ``key``, ``value`` and ``headers``
    as aiokafka names them. With a ``replayid`` everything is handled under that replay: in an inbox of its own, and
    whatever is emitted carries it.
    """

    def __init__(
        self,
        *,
        database: Database,
        consumer: str,
        subscriptions: Sequence[Subscription],
        registry: Registry = REGISTRY,
        limits: DeadLetterLimits | None = None,
        replayid: str = "",
    ) -> None:
        self.consumer = consumer
        self.subscriptions = tuple(subscriptions)
        self.code_version = code_version(database.service)
        self.dead_letters: Parking = DeadLetters(database, consumer, self.code_version)
        self.counts: dict[str, int] = defaultdict(int)
        self._database = database
        self._registry = registry
        self._limits = limits or DeadLetterLimits()
        self._replayid = replayid
        self._lanes = asyncio.Semaphore(LANES)
        self._parking = asyncio.Lock()
        self._by_kind: dict[tuple[str, bool], Subscription] = {}
        for subscription in subscriptions:
            slot = (subscription.topic, subscription.kind == "deleted")
            if slot in self._by_kind:
                raise ValueError(f"{consumer} subscribes to {subscription.topic} twice")
            self._by_kind[slot] = subscription
        # Of the batch in flight, of which there is one at a time: what has an outcome, which keys wait.
        self._done: list[Any] = []
        self._parked: set[str] = set()
        self._away: BaseException | None = None

    def begin(self) -> None:
        """A new batch: forget which records of the last one have an outcome."""
        self._done = []

    async def handle(self, records: Sequence[Any]) -> None:
        """Give every record of the batch a stored outcome; those that have one since :meth:`begin` are passed over.

        Raises what is in ``SERVER_AWAY`` while the database is away (call again later), and :class:`Halted`.
        """
        self._away = None
        done = set(map(_place, self._done))
        topics: dict[str, list[_Work | _Unreadable]] = defaultdict(list)
        for number, record in enumerate(records, 1):
            if number % TURN == 0:
                await asyncio.sleep(0)
            if (not done or _place(record) not in done) and (work := self._read(record)) is not None:
                topics[record.topic].append(work)
        keys = sorted({work.key for works in topics.values() for work in works})
        self._parked = await self.dead_letters.parked_keys(keys) if keys else set()
        await _all(self._handle_topic(works) for works in topics.values())

    async def attempt(self, record: Any) -> Failure | None:
        """Handle one record that was parked; nothing when it took effect, else why not. Parks nothing."""
        try:
            work = self._decode(record)
        except tuple(UNREADABLE) as error:
            return Failure.of(UNREADABLE[type(error)], error, 1)
        return await self._attempt(work._replace(again=True)) if work is not None else None

    def _read(self, record: Any) -> _Work | _Unreadable | None:
        try:
            return self._decode(record)
        except tuple(UNREADABLE) as error:
            failure = Failure.of(UNREADABLE[type(error)], error, 1)
            return _Unreadable(record, _envelope(record), failure, lane_of(record))

    def _decode(self, record: Any) -> _Work | None:
        """What there is to do for a record, or nothing when it is not for us. Raises what is in ``UNREADABLE``."""
        envelope = Envelope.from_headers(record.headers)
        if self._replayid:
            envelope = envelope._replace(replayid=self._replayid)
        subscription = self._by_kind.get((record.topic, record.value is None))
        if record.value is None:
            payload: Event | Deletion | None = Deletion(record.topic, envelope.tenant, envelope.subject)
        else:
            payload = self._registry.decode(envelope.type, record.value)
        if payload is None or subscription is None:
            self._count(record.topic, "ignored")
        elif envelope.replayid and subscription.replay == "forbidden":
            self._count(record.topic, "replay_refused")
        else:
            return _Work(record, envelope, payload, subscription, lane_of(record))
        return None

    async def _handle_topic(self, works: list[_Work | _Unreadable]) -> None:
        """In runs of one subscription each, so that a deletion keeps its place among the updates of its key."""
        for _, run in groupby(works, key=lambda work: id(work.subscription)):
            each = list(run)
            await self._park_unreadable([work for work in each if isinstance(work, _Unreadable)])
            await self._handle_set([work for work in each if isinstance(work, _Work)])

    async def _park_unreadable(self, works: Iterable[_Unreadable]) -> None:
        for work in works:
            await self._park(work.record, work.envelope, work.failure)
            if work.envelope is not None:
                self._parked.add(work.key)

    async def _handle_keys(self, works: Iterable[_Work]) -> None:
        by_key: dict[str, list[_Work]] = defaultdict(list)
        for work in works:
            by_key[work.key].append(work)
        await _all(self._handle_key(lane) for lane in by_key.values())

    async def _handle_key(self, works: list[_Work]) -> None:
        async with self._lanes:
            for work in works:
                self._ask_a_lost_server_once()
                if work.key in self._parked:
                    waits = Failure("parked_behind", "an earlier event of this key is parked", 0)
                    await self.dead_letters.park(work.record, work.envelope, waits, behind=True)
                    self._count(work.record.topic, "parked_behind")
                elif (failure := await self._attempt(work)) is not None:
                    await self._park(work.record, work.envelope, failure)
                    self._parked.add(work.key)
                self._done.append(work.record)

    async def _attempt(self, work: _Work) -> Failure | None:
        """Handle one record, a bounded number of times; nothing when it took effect, else why it did not."""
        attempt = 0
        while True:
            attempt += 1
            try:
                await self._handle_together([work])
            except SERVER_AWAY as error:
                self._away = error
                raise
            except Poison as poison:
                return Failure.of(poison.code, poison, attempt)
            except Retry as retry:
                if attempt == ATTEMPTS:
                    return Failure.of("retries_exhausted", retry, attempt)
                METRICS.retries.labels(self.consumer).inc()
                await asyncio.sleep(min(retry.after, 10.0))
            except Exception as error:
                if attempt == ATTEMPTS:
                    failure = Failure.of("unclassified", error, attempt)
                    log.warning("handler_failed", consumer=self.consumer, event_id=work.envelope.id,
                                error=failure.message)  # fmt: skip
                    return failure
                METRICS.retries.labels(self.consumer).inc()
                if not isinstance(error, TRY_AGAIN_AT_ONCE):
                    pause = FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)
                    await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            else:
                return None

    async def _handle_set(self, works: list[_Work]) -> None:
        """In groups that share a transaction: of one tenant and one replay, with all records of a key in one group."""
        groups: dict[Any, list[_Work]] = defaultdict(list)
        for work in works:
            share = 0 if work.subscription.kind == "batch" else crc32(work.key.encode()) % LANES
            parked = work.key in self._parked
            groups[None if parked else (work.envelope.tenant, work.envelope.replayid, share)].append(work)
        await self._handle_keys(groups.pop(None, []))
        await _all(self._handle_share(group) for group in groups.values())

    async def _handle_share(self, works: list[_Work]) -> None:
        size = len(works) if works[0].subscription.kind == "batch" else TOGETHER
        for start in range(0, len(works), size):
            await self._handle_group(works[start : start + size])

    async def _handle_group(self, works: list[_Work]) -> None:
        # An earlier group of this lane may have parked a key: what is left of it waits behind.
        if self._parked:
            waiting = [work for work in works if work.key in self._parked]
            works = [work for work in works if work.key not in self._parked]
            await self._handle_keys(waiting)
        if len(works) < 2:
            return await self._handle_keys(works)
        try:
            async with self._lanes:
                self._ask_a_lost_server_once()
                await self._handle_together(works)
        except SERVER_AWAY as error:
            self._away = error
            raise
        except Exception as error:
            # One by one, so that only the guilty record is parked.
            log.info("batch_falls_back", consumer=self.consumer, records=len(works), error=type(error).__name__)
            await self._handle_keys(works)
        else:
            self._done.extend([work.record for work in works])
        return None

    def _ask_a_lost_server_once(self) -> None:
        """A server that takes connections and never answers would cost every key of the batch a time-out of its own."""
        if self._away is not None:
            raise self._away

    async def _handle_together(self, works: list[_Work]) -> None:
        """Works of one subscription, tenant and replay, in one transaction."""
        first, subscription = works[0].envelope, works[0].subscription
        in_a_set = subscription.kind == "batch"
        with self._span(*works) if in_a_set or len(works) == 1 else nullcontext():
            async with self._database.transaction(first.tenant, cause=first) as tx:
                tx.silent = bool(first.replayid) and subscription.replay == "suppress_effects"
                if subscription.emits is not None:
                    # Before the first write: the keys of whom the transaction will tell.
                    payloads = [_received(works)] if in_a_set else [work.payload for work in works]
                    await tx.hold(*{entity for each in payloads for entity in await subscription.emits(each, tx)})
                new = await claim_many(tx, self.consumer, [work.envelope for work in works])
                fresh = works if len(new) == len(works) else _first_of_each(works, new)
                if in_a_set and fresh:
                    await subscription.handler(_received(fresh), tx)
                for work in () if in_a_set else fresh:
                    tx.cause = work.envelope
                    with self._span(work) if len(works) > 1 else nullcontext():
                        await subscription.handler(work.payload, tx)
            self._count(works[0].record.topic, "duplicate", len(works) - len(fresh))
            self._handled(fresh)

    def _span(self, *works: _Work) -> Any:
        """One span of processing: continues the trace of a single event, links to the traces of many.

        A replay, a dead letter and what has waited for long link as well: the old trace is not stretched to today.
        """
        topic, exported = works[0].record.topic, spans_are_exported()
        # Links that nobody would see are not made.
        traces = [work.envelope.traceparent for work in works[:128]] if exported or len(works) == 1 else []
        parents = [parent_of({"traceparent": trace}) for trace in traces if trace]
        alone = len(works) == 1 and bool(parents) and not works[0].envelope.replayid
        if alone and not exported:
            # Nobody would see the span; what the handler logs and emits still belongs to the event's trace.
            return use_span(get_current_span(parents[0]), record_exception=False, set_status_on_exception=False)
        attributes = {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.destination.name": topic,
            "messaging.consumer.group.name": self.consumer,
            "messaging.batch.message_count": len(works),
        }
        given: dict[str, Any] = {"kind": SpanKind.CONSUMER, "attributes": attributes}
        if len(works) == 1:
            place = {"messaging.destination.partition.id": str(works[0].record.partition),
                     "messaging.kafka.offset": works[0].record.offset}  # fmt: skip
            given["attributes"] = {**attributes, **place, "trunkline.event_id": works[0].envelope.id}
        if alone and not works[0].again and not is_past(works[0].envelope.id, works[0].envelope.time):
            given["context"] = parents[0]
        else:
            given["links"] = [Link(get_current_span(parent).get_span_context()) for parent in parents]
        return tracer.start_as_current_span(f"{topic} process", **given)

    def _handled(self, works: Sequence[_Work]) -> None:
        self._limits.succeeded(len(works))
        if works:
            self._count(works[0].record.topic, "handled", len(works))
            age = METRICS.event_age.labels(self.consumer, works[0].record.topic)
            now, marked = datetime.now(UTC), set[int]()
            for each in (work.envelope for work in works if not work.envelope.replayid):
                waited = max(0.0, (now - each.time).total_seconds())
                # One of a bucket leads to its trace, and no other would be kept: an exemplar costs more than the rest.
                bucket = bisect_left(AGE_BUCKETS, waited)
                trace = exemplar(each.traceparent) if bucket not in marked else None
                if trace is not None:
                    marked.add(bucket)
                age.observe(waited, trace)

    async def _park(self, record: Any, envelope: Envelope | None, failure: Failure) -> None:
        async with self._parking:
            exceeded = self._limits.would_exceed()
            if exceeded is not None:
                raise Halted(exceeded)
            await self.dead_letters.park(record, envelope, failure)
            self._limits.parked()
        self._count(record.topic, "parked")
        self._done.append(record)

    def _count(self, topic: str, outcome: str, count: int = 1) -> None:
        if count:
            self.counts[outcome] += count
            METRICS.handled.labels(self.consumer, topic, outcome).inc(count)


def lane_of(record: Any) -> str:
    """The key whose records keep their order, as text; empty for a record without one."""
    return record.key.decode("utf-8", "backslashreplace") if record.key is not None else ""


def code_version(service: str) -> str:
    """The installed version of a service's package, or nothing."""
    try:
        return version(f"trunkline-{service}")
    except PackageNotFoundError:
        return ""


def _envelope(record: Any) -> Envelope | None:
    try:
        return Envelope.from_headers(record.headers)
    except MalformedEnvelope:
        return None


def _first_of_each(works: Iterable[_Work], new: set[str]) -> list[_Work]:
    """Those whose events are new; a batch can hold the same event twice, and the first one takes the claim."""
    first: dict[str, _Work] = {}
    for work in works:
        first.setdefault(work.envelope.id, work)
    return [work for event_id, work in first.items() if event_id in new]


def _received(works: Iterable[_Work]) -> list[Received[Any]]:
    return [Received(cast("Event", work.payload), work.envelope) for work in works]


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
