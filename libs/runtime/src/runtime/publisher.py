"""Rows of the outbox to Kafka's records. Blocking: meant for a thread, beside a loop that reads the next rows.

Of what was sent to a partition, Kafka holds a beginning without gaps, whatever fails: the producer is idempotent,
no record times out by itself (a younger one might still be taken), a refused one ends the producer, and who gives up
throws away all that is queued. So the rows can be sent again from any earlier place, and the order of a key holds.

A lost connection is given up as well, before the client makes another one: what answers at that address afterwards may
be a Kafka that lost records, and nothing newer must get there before what is missing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, get_current_span

from contracts.envelope import CONTENT_TYPE, SPEC_VERSION
from contracts.registry import REGISTRY
from kit.telemetry import current_traceparent, get_tracer, is_past, parent_of, spans_are_exported

__all__ = ["COLUMNS", "Held", "Place", "PublishError", "Publisher"]

tracer = get_tracer(__name__)

Place = tuple[int, int, int]
"""A row's place in the outbox: epoch, transaction, sequence."""


class Held(NamedTuple):
    """What Kafka holds without gaps."""

    place: Place
    ends: dict[str, int]
    """Next to where partitions ended that took records since this was last told."""

    def and_then(self, newer: Held) -> Held:
        return Held(newer.place, self.ends | newer.ends)


TENANT = 36
"""A key is its tenant's id, a colon and the subject (:func:`contracts.envelope.partition_key`): both come from it."""
# What may be on its way to Kafka at once: repeated if the process dies, and held in memory.
UNDERWAY_RECORDS, UNDERWAY_BYTES = 20_000, 32_000_000
# Of each set of rows the last so many tell where they came to lie, so next to every partition's end is known.
NOTED = 64
# How long the client waits before it connects again. Meanwhile the loss is noticed and the queue is thrown away.
RECONNECT_MS = 1000

#: What is read of a row: topic, value and type, then what travels as it is, then the place. A cast to text costs the
#: server more than the rest of a row.
COLUMNS = """o.aggregatetype, o.payload, o.type, o.aggregateid, o.id::text,
       to_char(o.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
       o.correlationid, o.causationid, o.replayid, o.traceparent, o.epoch, o.xid, o.seq"""


class PublishError(Exception):
    """Kafka did not take everything; what is behind the stored position is read and sent again."""


class _Sent:
    """Rows that were sent together: how many of them Kafka does not hold yet."""

    __slots__ = ("ends", "failed", "left", "place", "size")

    def __init__(self, rows: Sequence[Any], failed: set[str], ends: dict[str, int]) -> None:
        self.place: Place = tuple(rows[-1][-3:])
        self.left = len(rows)
        self.size = sum(len(row[1] or "") for row in rows)
        self.failed = failed
        self.ends = ends

    def delivered(self, error: Any, _: Any) -> None:
        if error is None:
            self.left -= 1
        else:
            self.failed.add(error.name())

    def noted(self, error: Any, record: Any) -> None:
        self.delivered(error, record)
        if error is None:
            self.ends[_end_of(record.topic(), record.partition())] = record.offset() + 1


class Publisher:
    """One idempotent producer. After an error it is closed and another one made: it may refuse for ever."""

    def __init__(self, *, bootstrap: str, service: str, give_up_seconds: float = 20.0) -> None:
        self._give_up = give_up_seconds
        self._underway: deque[_Sent] = deque()
        self._failed: set[str] = set()
        self._lost = False
        self._ends: dict[str, int] = {}
        self._sending, self._closing = threading.Lock(), threading.Event()
        self._source = f"/{service}"
        self._topics: set[str] = set()
        # Only asks, and never joins its group. The client's admin calls end the process when a broker dies under one.
        self._asker = Consumer({"bootstrap.servers": bootstrap, "group.id": f"{service}-relay", "log_level": 0},
                               logger=logging.getLogger("librdkafka"))  # fmt: skip
        self._headers: dict[tuple[str, bool, bool, bool], dict[str, str]] = {}
        self._producer: Any = Producer(
            {
                "bootstrap.servers": bootstrap,
                "client.id": f"{service}-relay",
                "enable.idempotence": True,
                "enable.gapless.guarantee": True,
                "acks": "all",
                # While more waits: what is settled is flushed, and does not linger. A longer wait makes larger batches
                # and lets the broker idle meanwhile.
                "linger.ms": 5,
                "delivery.timeout.ms": 0,
                "allow.auto.create.topics": False,
                # The partitioner of the Java clients and of aiokafka: a key has one partition for every producer.
                "partitioner": "murmur2_random",
                "reconnect.backoff.ms": RECONNECT_MS,
                "log_level": 0,
            },
            error_cb=self._told,
            logger=logging.getLogger("librdkafka"),
        )

    def _told(self, error: Any) -> None:
        if error.name() in ("_TRANSPORT", "_ALL_BROKERS_DOWN"):
            self._lost = True

    def kafka(self, topics: Iterable[str]) -> tuple[str, str]:
        """The cluster's id; and as JSON where each partition ends, of these topics and of those that were sent to.

        It is the producer that asks for the topics: one that has never talked to Kafka takes half a second to begin.
        """
        known = self._producer.list_topics(timeout=5)
        ends = {}
        for topic in {*topics, *self._topics} & known.topics.keys():
            for partition in known.topics[topic].partitions:
                _, end = self._asker.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
                ends[_end_of(topic, partition)] = end
        return str(known.cluster_id), json.dumps(ends)

    def send(self, rows: Sequence[Any], *, settle: bool) -> Held | None:
        """Hand rows to Kafka in this order. Returns the place up to which it holds everything, if that is a new one.

        With ``settle`` only when it holds them all, else while some are underway. Raises :class:`PublishError`.
        """
        deadline = time.monotonic() + self._give_up
        try:
            with self._sending:
                self._producer.poll(0)  # whether the connection was lost meanwhile
                if not self._lost:
                    self._send(rows)
                while not self._lost and not self._failed and self._too_much(settle):
                    if time.monotonic() > deadline or self._closing.is_set():
                        raise PublishError(f"{len(self._producer)} records were not taken in time")
                    self._producer.flush(0.2) if settle else self._producer.poll(0.2)
        except (KafkaException, SystemError) as error:
            # The second is how the client reports that it has ended itself in the middle of a callback.
            raise PublishError("the producer refuses to go on") from error
        if self._lost:
            raise PublishError("the connection was lost; what answers now may be another Kafka")
        if self._failed:
            raise PublishError(f"records were refused: {sorted(self._failed)}")
        place = None
        while self._underway and not self._underway[0].left:
            place = self._underway.popleft().place
        if place is None:
            return None
        ends = dict(self._ends)
        self._ends.clear()
        return Held(place, ends)

    def _send(self, rows: Sequence[Any]) -> None:
        if rows:
            sent = _Sent(rows, self._failed, self._ends)
            self._underway.append(sent)
            self._topics |= {row[0] for row in rows}
            produce, headers, spans = self._producer.produce, self.headers, spans_are_exported()
            for told, some in ((sent.delivered, rows[:-NOTED]), (sent.noted, rows[-NOTED:])):
                for row in some:
                    # By position, which the client takes in half a microsecond less than by name: any partition, whom
                    # to tell on delivery (under two names), now.
                    produce(row[0], row[1], row[3], -1, told, None, 0, headers(row, spans=spans))
        self._producer.poll(0)

    def _too_much(self, settle: bool) -> bool:
        return len(self._producer) > (0 if settle else UNDERWAY_RECORDS) or (
            sum(sent.size for sent in self._underway if sent.left) > UNDERWAY_BYTES
        )

    def close(self) -> None:
        """Throw away what is queued: nothing that was given up may still be published, least of all later."""
        self._closing.set()
        with self._sending:
            self._producer.purge()
            with contextlib.suppress(KafkaException, SystemError):
                self._producer.flush(1)
            self._producer = None  # here, in a thread: its last reference waits for threads of its own to end
            self._asker.close()

    def headers(self, row: Any, *, spans: bool = False) -> dict[str, str]:
        """The headers of ``Envelope.to_headers``, made without an envelope: this is done for every event.

        A dictionary, since the client takes it in less time than a list of pairs. The client keeps copies, so it is
        filled again for the next row with the same attributes. With ``spans`` the trace goes through one of publishing.
        """
        topic, _, type_, key, id_, at, correlation, causation, replay, trace, _, _, _ = row
        attributes = type_, not causation, not replay, not trace
        headers = self._headers.get(attributes) or self._headers.setdefault(attributes, self._of_type(type_))
        headers["ce_partitionkey"] = key
        headers["ce_id"] = id_
        headers["ce_time"] = at
        headers["ce_tenant"] = key[:TENANT]
        headers["ce_subject"] = key[TENANT + 1 :]
        headers["ce_correlationid"] = correlation or id_
        if causation:
            headers["ce_causationid"] = causation
        if replay:
            headers["ce_replayid"] = replay
        if trace:
            headers["traceparent"] = _published(topic, trace, id_, at) if spans else trace
        return headers

    def _of_type(self, type_: str) -> dict[str, str]:
        known = REGISTRY.get(type_)
        fixed = {"ce_specversion": SPEC_VERSION, "ce_type": type_, "ce_source": self._source}
        fixed |= {"content-type": CONTENT_TYPE, **({"ce_dataschema": known.dataschema()} if known else {})}
        return fixed


def _end_of(topic: str, partition: int) -> str:
    return f"{topic}/{partition}"


def _published(topic: str, traceparent: str, event_id: str, at: str) -> str:
    """The span of publishing continues the trace of the transaction that appended the event; one that ended long ago,
    as when the relay was wound back, it links to."""
    given: dict[str, Any] = {"context": parent_of({"traceparent": traceparent})}
    if is_past(event_id, datetime.fromisoformat(at)):
        given = {"context": Context(), "links": [Link(get_current_span(given["context"]).get_span_context())]}
    with tracer.start_as_current_span(f"{topic} publish", kind=SpanKind.PRODUCER, **given):
        return current_traceparent() or traceparent
