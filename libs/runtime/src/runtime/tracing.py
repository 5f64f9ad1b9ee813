"""Traces of a process: where they go, what they may say, and the one that begins with every HTTP request."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextvars import Token
from typing import Any

from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
    set_tracer_provider,
)

from kit.telemetry import get_tracer, parent_of, spans_are_exported

__all__ = ["QUIET", "RequestTrace", "Wordless", "configure_tracing"]

QUIET: Any = {"tracing": False, "metrics": False, "logs": False}
"""``FastAPI(telemetry=QUIET)``: left alone, it would tell of every request again, with the URL that was called."""

#: What a span may say, by the beginning of an attribute's name.
SAID = ("messaging.", "trunkline.", "http.request.method", "http.route", "http.response.status_code", "error.type")

_tracer = get_tracer(__name__)
_ids = RandomIdGenerator()
_SAMPLED, _NOT_SAMPLED = TraceFlags(TraceFlags.SAMPLED), TraceFlags(TraceFlags.DEFAULT)
#: Without a collector a trace is only good for exemplars, of which each bucket shows its newest at a scrape.
EXEMPLAR_SECONDS = 0.01
_NOTHING = Context()


class _Provider(TracerProvider):
    """Says whether its spans go anywhere: :func:`kit.telemetry.spans_are_exported` asks."""

    exports = False


def configure_tracing(service: str, otlp_endpoint: str | None = None) -> None:
    """Make trace ids in this process; export spans only when a collector is named (OTLP over HTTP)."""
    provider = _Provider(resource=Resource.create({"service.name": service}))
    if otlp_endpoint:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        # A collector that is away does not keep a process from stopping: this bounds each attempt with its retries.
        exporter = OTLPSpanExporter(endpoint=otlp_endpoint.rstrip("/") + "/v1/traces", timeout=3)
        provider.add_span_processor(BatchSpanProcessor(Wordless(exporter)))
        provider.exports = True
    set_tracer_provider(provider)


class Wordless(SpanExporter):
    """Exports spans with attributes of a closed list and without what exceptions said.

    Either may be anything, also a person's number. The kind of the exception stays; the log has the rest, redacted.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exporter.export([_without_words(span) for span in spans])

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _without_words(span: ReadableSpan) -> ReadableSpan:
    kind = (span.status.description or "").partition(":")[0]
    return ReadableSpan(
        name=span.name,
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource,
        attributes={name: value for name, value in (span.attributes or {}).items() if name.startswith(SAID)},
        links=[Link(link.context) for link in span.links],
        kind=span.kind,
        status=Status(span.status.status_code, kind if kind.isidentifier() else None),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


class RequestTrace:
    """The trace of one request, current from its making until :meth:`end`.

    Whoever calls is outside: a trace context that they send is linked to and not continued, so nobody can write into
    our traces. Nothing of the request but its method, route and status is kept. Without a collector the span is made
    of its ids alone, which a hot path hardly feels; under load only some of them are marked for exemplars.
    """

    __slots__ = ("_span", "_token")

    def __init__(self, scope: dict[str, Any]) -> None:
        self._span: Span = _recorded(scope) if spans_are_exported() else NonRecordingSpan(_fresh())
        self._token: Token[Context] = attach(set_span_in_context(self._span, _NOTHING))

    def end(self, *, method: str, route: str, status: int) -> None:
        detach(self._token)
        if not self._span.is_recording():
            return
        self._span.update_name(f"{method} {route}")
        self._span.set_attributes(
            {"http.request.method": method, "http.route": route, "http.response.status_code": status}
        )
        if status >= 500:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class _Pace:
    """Lets one through every so often: under load an exemplar costs more than the trace that it names."""

    next = 0.0

    def passes(self) -> bool:
        now = time.monotonic()
        if now < self.next:
            return False
        self.next = now + EXEMPLAR_SECONDS
        return True


_pace = _Pace()


def _fresh() -> SpanContext:
    flags = _SAMPLED if _pace.passes() else _NOT_SAMPLED
    return SpanContext(_ids.generate_trace_id(), _ids.generate_span_id(), is_remote=False, trace_flags=flags)


def _recorded(scope: dict[str, Any]) -> Span:
    given = _header(scope.get("headers", ()), b"traceparent")
    caller = get_current_span(parent_of({"traceparent": given})).get_span_context() if given else None
    links = [Link(caller)] if caller is not None and caller.is_valid else []
    return _tracer.start_span("request", context=_NOTHING, kind=SpanKind.SERVER, links=links)


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in headers if key == name), "")
