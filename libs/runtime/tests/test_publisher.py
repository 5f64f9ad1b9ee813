"""The relay's fast path says what an envelope would say, and never leaves a gap in a partition."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from contracts.envelope import Envelope, partition_key
from contracts.event import in_utc
from contracts.registry import REGISTRY
from kit.ids import uuid7
from kit.testing import Bench, MakeDatabase
from runtime.publisher import COLUMNS, Publisher, PublishError

from .reading import read_all

SERVICE = "front-desk"
TIMES = [
    datetime(2026, 3, 1, 23, 59, 59, 999_999, UTC),
    datetime(2026, 3, 1, 4, 5, 6, 0, timezone(timedelta(hours=5, minutes=30))),
    datetime(1, 1, 2, tzinfo=UTC),
    datetime(999, 12, 31, 1, 2, 3, 40, UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_998, UTC),
]
INSERT = """
INSERT INTO outbox (epoch, tenant_id, id, aggregatetype, aggregateid, type, payload, subject, occurred_at,
                    correlationid, causationid, traceparent, replayid)
VALUES (1, $1, $2, 't', $3, $4, '{}', $5, $6, $7, $8, $9, $10)
"""


def envelopes(tenant: UUID) -> list[Envelope]:
    """Every optional attribute present and absent, known and unknown types, times of all years and zones."""
    known = sorted(event.type for event in REGISTRY)[0]
    found = []
    for number, time in enumerate(TIMES):
        full = number % 2 == 0
        event_id = str(uuid7())
        found.append(
            Envelope(
                id=event_id,
                type=known if full else "unknown.thing.v1",
                source=f"/{SERVICE}",
                time=in_utc(time),
                tenant=tenant,
                subject=f"é{number}",
                partitionkey=partition_key(tenant, f"é{number}"),
                correlationid="story" if full else event_id,
                causationid="cause" if full else "",
                dataschema=REGISTRY.get(known).dataschema() if full else "",  # type: ignore[union-attr]
                replayid="again" if full else "",
                traceparent=f"00-{number + 1:032x}-{number + 1:016x}-01" if full else "",
            )
        )
    return found


@pytest.mark.real
async def test_a_records_headers_are_those_of_its_envelope(make_database: MakeDatabase, tenant: UUID) -> None:
    database = await make_database(service=SERVICE, package="kit")
    wanted = envelopes(tenant)
    async with database.transaction(tenant) as tx:
        for e in wanted:
            correlation = e.correlationid if e.correlationid != e.id else ""
            await tx.execute(
                INSERT, tenant, UUID(e.id), e.partitionkey, e.type, e.subject, e.time, correlation, e.causationid,
                e.traceparent, e.replayid,
            )  # fmt: skip
    async with database.system() as tx:
        # Whatever the server's time zone is, times travel in UTC.
        await tx.execute("SET LOCAL timezone = 'Asia/Kolkata'")
        rows = await tx.fetch(f"SELECT {COLUMNS} FROM outbox o ORDER BY epoch, xid, seq")
    publisher = Publisher(bootstrap="127.0.0.1:1", service=SERVICE)
    for row, envelope in zip(rows, wanted, strict=True):
        headers = [(name, value.encode()) for name, value in publisher.headers(row).items()]
        assert sorted(headers) == sorted(envelope.to_headers())


def test_headers_hold_nothing_of_the_row_before() -> None:
    publisher = Publisher(bootstrap="127.0.0.1:1", service=SERVICE)
    optional = ("cause", "again", f"00-{1:032x}-{1:016x}-01")
    names = ("ce_causationid", "ce_replayid", "traceparent")
    for there in [*product((True, False), repeat=3)] * 2:
        given = [value if has else "" for value, has in zip(optional, there, strict=True)]
        row = ("t", "{}", "t.v1", f"{uuid4()}:k", str(uuid7()), "2026-01-01T00:00:00.000000Z", "", *given, 1, 700, 1)
        headers = publisher.headers(row)
        assert [headers.get(name, "") for name in names] == given
        assert headers["ce_id"] == headers["ce_correlationid"] == row[4]


async def test_publishing_what_is_old_links_to_its_trace_and_does_not_stretch_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("runtime.publisher.tracer", provider.get_tracer("test"))
    trace_id = 0x4BF92F3577B34DA6A3CE929D0E0E4736
    publisher = Publisher(bootstrap="127.0.0.1:1", service=SERVICE)
    fresh = uuid7()
    found = []
    for event_id in (fresh, UUID(int=fresh.int - (3_600_000 << 80))):
        row = ("t", "{}", "t.v1", f"{uuid4()}:k", str(event_id), "2026-01-01T00:00:00.000000Z", "", "", "",
               f"00-{trace_id:032x}-00f067aa0ba902b7-01", 1, 700, 1)  # fmt: skip
        headers = publisher.headers(row, spans=True)
        (span,) = exporter.get_finished_spans()
        exporter.clear()
        assert span.context is not None
        assert headers["traceparent"].split("-")[1] == f"{span.context.trace_id:032x}"
        found.append((span.context.trace_id == trace_id, [link.context.trace_id for link in span.links]))
    assert found == [(True, []), (False, [trace_id])]


def rows_of(bench: Bench, values: list[str | None], first: int = 1) -> list[tuple[Any, ...]]:
    """Rows as they are read, of one key each."""
    found = []
    for number, value in enumerate(values, first):
        id_, tenant = str(uuid7()), str(bench.tenant)
        found.append(
            (bench.topic, value, f"{bench.topic}.v1", f"{tenant}:k", id_, "2026-01-01T00:00:00.000000Z",
             "", "", "", "", 1, 700, number)
        )  # fmt: skip
    return found


@pytest.mark.real
async def test_the_place_moves_only_to_what_kafka_holds(bench: Bench) -> None:
    publisher = Publisher(bootstrap=bench.bootstrap, service=SERVICE)
    await asyncio.to_thread(publisher.send, rows_of(bench, ["{}"] * 10), settle=False)
    held = await asyncio.to_thread(publisher.send, rows_of(bench, ["{}"] * 10, 11), settle=True)
    assert held is not None
    assert held.place == (1, 700, 20)
    partition = (await read_all(bench, 20))[0].partition
    assert held.ends == {f"{bench.topic}/{partition}": 20}
    assert await asyncio.to_thread(publisher.send, [], settle=True) is None
    publisher.close()


@pytest.mark.real
async def test_after_a_refused_record_nothing_younger_is_published(bench: Bench) -> None:
    """It is sent again before them: had they been taken, its key would be out of order."""
    admin = AdminClient({"bootstrap.servers": bench.bootstrap, "log_level": 0})
    narrow = replace(bench, topic=f"{bench.topic}.narrow")
    topic = NewTopic(narrow.topic, 1, 1, config={"max.message.bytes": "900000"})
    admin.create_topics([topic])[narrow.topic].result(15)
    publisher = Publisher(bootstrap=bench.bootstrap, service=SERVICE)
    await asyncio.to_thread(publisher.send, rows_of(narrow, ["{}"] * 3), settle=True)
    # The refused one fills a batch of its own; the younger ones make one that would be taken.
    values = [json.dumps("x" * 980_000), *[json.dumps("y" * 50_000)] * 10]
    with pytest.raises(PublishError):
        await asyncio.to_thread(publisher.send, rows_of(narrow, values, 4), settle=False)
        await asyncio.sleep(1.5)  # all that could go out by itself has done so before the refusal is noticed
        await asyncio.to_thread(publisher.send, [], settle=True)
    publisher.close()
    assert await asyncio.to_thread(_count, narrow) == 3


def _count(bench: Bench) -> int:
    """How many records partition 0 holds."""
    consumer = Consumer({"bootstrap.servers": bench.bootstrap, "group.id": "counts", "log_level": 0})
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(bench.topic, 0), timeout=10)
        return high - low
    finally:
        consumer.close()
