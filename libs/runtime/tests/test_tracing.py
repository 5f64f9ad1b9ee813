"""Every request has a trace of its own; what is recorded of it names nobody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import REGISTRY
from prometheus_client.openmetrics.exposition import generate_latest

from kit.telemetry import current_traceparent, exemplar
from runtime import tracing
from runtime.service import Measured

CALLER = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


class Seen:
    """What an app sees of the trace it runs in."""

    def __init__(self) -> None:
        self.traceparents: list[str] = []
        self.exemplars: list[dict[str, str] | None] = []


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """As with a collector."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "spans_are_exported", lambda: True)
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


async def request(seen: Seen, *, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.traceparents.append(current_traceparent())
        seen.exemplars.append(exemplar())
        scope["trunkline.route"] = "/v1/hooks/generic/*/ring"
        if status == 599:
            raise RuntimeError("broken")
        await send({"type": "http.response.start", "status": status, "headers": []})

    async def ignore(_: Any) -> None: ...

    path = "/v1/hooks/generic/a-secret/ring"
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"from=+919847000011", "headers": headers}
    await Measured("traced", app)(scope, ignore, ignore)


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "EXEMPLAR_SECONDS", 0.0)
    monkeypatch.setattr(tracing, "_pace", tracing._Pace())


async def test_under_load_every_request_has_a_trace_and_some_of_them_an_exemplar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(tracing.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(tracing, "EXEMPLAR_SECONDS", 0.01)
    seen = Seen()
    for _ in range(21):
        await request(seen)
        now[0] += 0.001
    assert len(set(seen.traceparents)) == 21
    assert [number for number, mark in enumerate(seen.exemplars) if mark] == [0, 10, 20]


async def test_without_a_collector_a_request_still_has_a_trace_of_its_own() -> None:
    seen = Seen()
    for _ in range(2):
        await request(seen, headers=((b"traceparent", CALLER.encode()),))
    first, second = (value.split("-") for value in seen.traceparents)
    assert (len(first[1]), len(first[2]), first[3]) == (32, 16, "01")
    assert first[1] != second[1] != CALLER.split("-")[1]
    assert seen.exemplars == [{"trace_id": first[1]}, {"trace_id": second[1]}]
    assert current_traceparent() == ""


async def test_the_time_of_a_request_leads_to_its_trace() -> None:
    seen = Seen()
    await request(seen)
    text = generate_latest(REGISTRY).decode()
    assert f'{{trace_id="{seen.traceparents[0].split("-")[1]}"}}' in text


async def test_a_request_is_recorded_by_method_route_and_status_and_by_nothing_else(
    recorded: InMemorySpanExporter,
) -> None:
    seen = Seen()
    await request(seen, status=503)
    (span,) = recorded.get_finished_spans()
    assert (span.name, span.kind) == ("POST /v1/hooks/generic/*/ring", SpanKind.SERVER)
    assert dict(span.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/v1/hooks/generic/*/ring",
        "http.response.status_code": 503,
    }
    assert span.status.status_code is StatusCode.ERROR
    given = span.get_span_context()
    assert seen.traceparents == [f"00-{given.trace_id:032x}-{given.span_id:016x}-{given.trace_flags:02x}"]


async def test_a_callers_trace_is_linked_to_and_not_continued(recorded: InMemorySpanExporter) -> None:
    seen = Seen()
    await request(seen, headers=((b"traceparent", CALLER.encode()),))
    await request(seen, headers=((b"traceparent", b"nonsense"),))
    linked, plain = recorded.get_finished_spans()
    assert [f"{link.context.trace_id:032x}" for link in linked.links] == [CALLER.split("-")[1]]
    assert f"{linked.context.trace_id:032x}" != CALLER.split("-")[1]
    assert linked.parent is None
    assert not plain.links


async def test_a_request_that_breaks_ends_its_span(recorded: InMemorySpanExporter) -> None:
    with pytest.raises(RuntimeError):
        await request(Seen(), status=599)
    (span,) = recorded.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert current_traceparent() == ""


async def test_what_may_be_personal_does_not_leave_with_the_span() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(tracing.Wordless(exporter)))
    tracer = provider.get_tracer("test")
    said = {"url.path": "/v1/staff/+919847000011", "trunkline.outcome": "sent"}
    with (
        pytest.raises(ValueError, match="nobody"),
        tracer.start_as_current_span("parent"),
        tracer.start_as_current_span("child", attributes=said),
    ):
        raise ValueError("+919847000011 is nobody's")
    child, parent = exporter.get_finished_spans()
    assert "9847000011" not in child.to_json() + parent.to_json()
    assert (child.status.status_code, child.status.description) == (StatusCode.ERROR, "ValueError")
    assert dict(child.attributes or {}) == {"trunkline.outcome": "sent"}
    assert child.parent is not None
    assert child.parent.span_id == parent.get_span_context().span_id
    assert child.get_span_context().trace_id == parent.get_span_context().trace_id


def test_spans_are_only_exported_when_a_collector_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[TracerProvider] = []
    monkeypatch.setattr(tracing, "set_tracer_provider", made.append)
    tracing.configure_tracing("toy")
    tracing.configure_tracing("toy", "http://127.0.0.1:9")
    assert [provider.exports for provider in made] == [False, True]  # type: ignore[attr-defined]
    assert made[1].resource.attributes["service.name"] == "toy"
    made[1].shutdown()
