"""A trace for every HTTP request: the span that log lines, exemplars, outbox rows and whatever follows belong to."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import Token
from typing import Any

from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

from kit.telemetry import get_tracer, parent_of, spans_are_exported

__all__ = ["RequestTrace"]

_tracer = get_tracer(__name__)
_ids = RandomIdGenerator()
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_NOTHING = Context()


class RequestTrace:
    """The trace of one request, current from its making until :meth:`end`.

    Whoever calls is outside: a trace context that they send is linked to and not continued, so nobody can write into
    our traces. Nothing of the request but its method, route and status is kept. Without a collector the span is made
    of its ids alone, which a hot path hardly feels.
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


def _fresh() -> SpanContext:
    return SpanContext(_ids.generate_trace_id(), _ids.generate_span_id(), is_remote=False, trace_flags=_SAMPLED)


def _recorded(scope: dict[str, Any]) -> Span:
    given = _header(scope.get("headers", ()), b"traceparent")
    caller = get_current_span(parent_of({"traceparent": given})).get_span_context() if given else None
    links = [Link(caller)] if caller is not None and caller.is_valid else []
    return _tracer.start_span("request", context=_NOTHING, kind=SpanKind.SERVER, links=links)


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in headers if key == name), "")
