"""A collector of traces, as far as services can tell: it takes what they export over the wire and keeps it."""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.conftest import wait_for
from tests.observability.pace import PATIENCE

__all__ = ["CLIENT", "CONSUMER", "PRODUCER", "SERVER", "Collector", "Span"]

_INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = range(1, 6)
UUIDS = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Span:
    """A span as the collector got it."""

    def __init__(self, service: str, span: Any) -> None:
        self.service = service
        self.name: str = span.name
        self.kind: int = span.kind
        self.trace_id: str = span.trace_id.hex()
        self.span_id: str = span.span_id.hex()
        self.parent_id: str = span.parent_span_id.hex()
        self.links: set[str] = {link.trace_id.hex() for link in span.links}
        self.attributes = {each.key: each.value.string_value or each.value.int_value for each in span.attributes}
        said = " ".join(map(str, (span.name, span.attributes, span.events, span.status, span.trace_state)))
        said += " ".join(str(link.attributes) for link in span.links)
        # All that is not an id or a time: the digits of an event's id may be those of any number.
        self.words = UUIDS.sub("", said)

    def __repr__(self) -> str:
        return f"<{self.service}: {self.name} in {self.trace_id[:8]} of {self.parent_id[:8]}>"


class Collector:
    """An OTLP/HTTP endpoint that keeps what it is sent."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
                for resource in request.resource_spans:
                    names = {each.key: each.value.string_value for each in resource.resource.attributes}
                    collector.spans += [
                        Span(names["service.name"], span) for scope in resource.scope_spans for span in scope.spans
                    ]
                self.send_response(200 if self.path == "/v1/traces" else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def find(self, service: str, name: str, trace_id: str | None = None) -> Span | None:
        """The first such span; it may be of the trace, or link to it as one of several that it handles."""
        for span in list(self.spans):
            if (span.service, span.name) == (service, name) and trace_id in (None, span.trace_id, *span.links):
                return span
        return None

    def wait(self, service: str, name: str, trace_id: str | None = None) -> Span:
        found: Span = wait_for(
            lambda: self.find(service, name, trace_id), f"no span {name!r} of {service} in {trace_id}", PATIENCE
        )
        return found
