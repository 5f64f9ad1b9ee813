"""A live event continues the trace that caused it; a replayed one begins its own and links to the old."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kit import handling
from kit.ids import uuid7

from .conftest import Service

pytestmark = pytest.mark.real
TRACE = 0x4BF92F3577B34DA6A3CE929D0E0E4736
TRACEPARENT = f"00-{TRACE:032x}-00f067aa0ba902b7-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(handling, "tracer", provider.get_tracer("test"))
    monkeypatch.setattr(handling, "spans_are_exported", lambda: True)
    return exporter


def only(spans: InMemorySpanExporter) -> ReadableSpan:
    (span,) = spans.get_finished_spans()
    spans.clear()
    return span


async def test_a_replay_links_to_the_trace_and_does_not_extend_it(
    service: Service, spans: InMemorySpanExporter
) -> None:
    headers = [*service.bench.headers("e0"), ("traceparent", TRACEPARENT.encode())]
    await service.bench.send("e0", 1, headers=headers)
    await service.consume(1)
    live = only(spans)
    assert live.context is not None
    assert live.context.trace_id == TRACE
    await service.apply(await service.plan())
    again = only(spans)
    assert again.context is not None
    assert again.context.trace_id != TRACE
    assert [link.context.trace_id for link in again.links] == [TRACE]
    async with service.database.system() as tx:
        told = await tx.fetch("SELECT traceparent, replayid FROM outbox ORDER BY epoch, xid, seq")
    assert told[0]["traceparent"].split("-")[1] == f"{TRACE:032x}"
    assert told[1]["traceparent"].split("-")[1] == f"{again.context.trace_id:032x}"


async def test_what_was_parked_and_what_is_old_link_as_well(service: Service, spans: InMemorySpanExporter) -> None:
    bench, now = service.bench, datetime.now(UTC)
    an_hour_old = UUID(int=uuid7().int - (3_600_000 << 80))

    def record(event_id: UUID, time: datetime) -> Any:
        headers = bench.headers("e0", str(event_id), ce_time=time.isoformat())
        return SimpleNamespace(
            topic=bench.topic, partition=0, offset=7, timestamp=0, key=b"k",
            headers=[*headers, ("traceparent", TRACEPARENT.encode())],
            value=bench.event(entity="e0", number=1).model_dump_json().encode(),
        )  # fmt: skip

    late = handling.Handling(
        database=service.database, consumer="late", registry=bench.registry,
        subscriptions=service.replayable.consumers[service.group],
    )  # fmt: skip
    # Appended just now, whenever that was which it tells of.
    await late.handle([record(uuid7(), now - timedelta(hours=1))])
    assert continued(only(spans))
    late.begin()
    await late.handle([record(an_hour_old, now)])
    assert not continued(only(spans))
    assert await late.attempt(record(uuid7(), now)) is None
    assert not continued(only(spans))


def continued(span: ReadableSpan) -> bool:
    assert span.context is not None
    if span.context.trace_id == TRACE:
        return True
    assert [link.context.trace_id for link in span.links] == [TRACE], "the way back is lost"
    return False
