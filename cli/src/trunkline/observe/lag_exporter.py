"""The lag exporter: looks at the broker every few seconds and serves what it saw to Prometheus."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from kit.telemetry import get_logger
from runtime.logs import configure_logging
from trunkline.observe.figures import GaugeMetricFamily, shown
from trunkline.observe.kafka_lag import LagReader, Snapshot
from trunkline.observe.lag import seconds_behind

__all__ = ["LagExporter", "serve"]

log = get_logger(__name__)

KAFKA_UP = shown("trunkline_kafka_up", "1", "1 while Kafka answers the lag exporter")
SCRAPE_SECONDS = shown("trunkline_lag_exporter_scrape_seconds", "seconds", "How long the last look at Kafka took")
LAST_SUCCESS = shown(
    "trunkline_lag_exporter_last_success_timestamp_seconds",
    "seconds of the epoch",
    "When Kafka was last looked at with success",
)
_PARTITION, _GROUP = ("topic", "partition"), ("group", "topic", "partition")
START = shown("trunkline_topic_start_offset", "offset", "Offset of the oldest record that is still there", _PARTITION)
END = shown("trunkline_topic_end_offset", "offset", "Offset that the next record will get", _PARTITION)
LAG_RECORDS = shown(
    "trunkline_consumer_lag_records", "1", "Records that a consumer group has not yet committed", _GROUP
)
LAG_SECONDS = shown(
    "trunkline_consumer_lag_seconds",
    "seconds",
    "Age of the oldest record that a group has not yet committed; 0 when it has caught up, nothing while unread",
    _GROUP,
)
COMMITTED = shown("trunkline_consumer_committed_offset", "offset", "Offset that a consumer group reads on from", _GROUP)
MISSED = shown(
    "trunkline_consumer_missed_records",
    "1",
    "Records that retention took before a consumer group had committed them. Alarm on any",
    _GROUP,
)
MEMBERS = shown("trunkline_consumer_group_members", "1", "Processes that a consumer group has now", ["group"])

STALE_SECONDS = 60.0
STUCK_SECONDS = 120.0


class Reader(Protocol):
    def read(self) -> Snapshot: ...


class LagExporter(Collector):
    """Holds the newest look at the broker and gives it as metrics.

    A look that failed leaves the one before it standing for a minute; then the figures disappear rather than lie.
    """

    def __init__(self, reader: Reader, *, clock: Callable[[], float] = time.time) -> None:
        self._reader = reader
        self._clock = clock
        self._snapshot: Snapshot | None = None
        self._succeeded_at = 0.0
        self._took = 0.0
        self._began: float | None = None
        self._failure = "no look at the broker has succeeded yet"

    def look(self) -> bool:
        """Look once; false, with a line in the log, when that failed."""
        began = self._began = self._clock()
        try:
            snapshot = self._reader.read()
        except Exception as error:
            failure = f"Kafka was not read: {type(error).__name__}"
            if failure != self._failure:
                log.warning("lag_not_read", error=f"{type(error).__name__}: {error}")
            self._failure = failure
            return False
        finally:
            self._began = None
        self._snapshot, self._succeeded_at, self._failure = snapshot, self._clock(), ""
        self._took = self._succeeded_at - began
        return True

    def alive(self) -> str:
        """Nothing while looks end, else why the process should be restarted."""
        began = self._began
        stuck = began is not None and self._clock() - began > STUCK_SECONDS
        return "a look at the broker does not end" if stuck else ""

    def ready(self) -> str:
        """Nothing when the last look succeeded, else why not."""
        return self._failure

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield KAFKA_UP.gauge(0 if self._failure else 1)
        yield SCRAPE_SECONDS.gauge(self._took)
        yield LAST_SUCCESS.gauge(self._succeeded_at)
        now, snapshot = self._clock(), self._snapshot
        if snapshot is not None and now - self._succeeded_at <= STALE_SECONDS:
            yield from _partitions(snapshot)
            yield from _groups(snapshot, now)


def _partitions(snapshot: Snapshot) -> Iterator[GaugeMetricFamily]:
    start, end = START.gauge(), END.gauge()
    for (topic, partition), bounds in snapshot.bounds.items():
        start.add_metric([topic, str(partition)], bounds.start)
        end.add_metric([topic, str(partition)], bounds.end)
    yield from (start, end)


def _groups(snapshot: Snapshot, now: float) -> Iterator[GaugeMetricFamily]:
    records, seconds, committed, missed = (each.gauge() for each in (LAG_RECORDS, LAG_SECONDS, COMMITTED, MISSED))
    for lag in snapshot.lags:
        place = [lag.group, lag.partition[0], str(lag.partition[1])]
        records.add_metric(place, lag.records)
        behind = seconds_behind(lag, snapshot.written_at, now)
        if behind is not None:
            seconds.add_metric(place, behind)
        missed.add_metric(place, lag.missed)
        if lag.committed is not None:
            committed.add_metric(place, lag.committed)
    members = MEMBERS.gauge()
    for group, count in snapshot.members.items():
        members.add_metric([group], count)
    yield from (records, seconds, committed, missed, members)


def handler(exporter: LagExporter) -> type[BaseHTTPRequestHandler]:
    """``/metrics``, ``/livez`` and ``/readyz``, as the services have them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(exporter)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                encoder, content_type = choose_encoder(self.headers.get("Accept", ""))
                self._answer(200, encoder(registry), content_type)
            elif path in ("/livez", "/readyz"):
                why = exporter.alive() if path == "/livez" else exporter.ready()
                body = json.dumps({"ok": not why, "why": [why] if why else []}).encode()
                self._answer(503 if why else 200, body, "application/json")
            else:
                self._answer(404, b"there are /metrics, /livez and /readyz\n", "text/plain; charset=utf-8")

        def _answer(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, *_: Any) -> None:
            """Scrapes are not worth a line each."""

    return Handler


def serve(*, kafka: str, host: str, port: int, every: float) -> None:
    """Look and serve until SIGTERM or SIGINT. Blocks. Kafka may come and go."""
    configure_logging("lag-exporter")
    reader = LagReader(kafka)
    exporter = LagExporter(reader)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    server = ThreadingHTTPServer((host, port), handler(exporter))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    looking = threading.Thread(target=_look_on, args=(exporter, every, stopping), name="looking", daemon=True)
    looking.start()
    log.info("lag_exporter_started", port=port)
    stopping.wait()
    server.shutdown()
    looking.join(2)
    log.info("lag_exporter_stopped")


def _look_on(exporter: LagExporter, every: float, stopping: threading.Event) -> None:
    while not stopping.is_set():
        exporter.look()
        stopping.wait(every)
