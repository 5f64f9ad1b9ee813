"""Running a service: HTTP at once, components in the background with retries, probes, a drain on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import uvicorn
import uvloop
from prometheus_client import REGISTRY
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from configuration import ConfigurationError, ServiceSettings
from kit.metrics import child, counter, histogram
from kit.telemetry import METRICS, exemplar, get_logger
from runtime.background import Background
from runtime.garbage import collect_seldom
from runtime.logs import configure_logging
from runtime.priority import give_way
from runtime.slow_senders import TimedProtocol
from runtime.tasks import end
from runtime.tracing import RequestTrace, configure_tracing

__all__ = ["Component", "Every", "Probes", "Wired", "main", "run"]

log = get_logger(__name__)

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]


class Component(Protocol):
    """A part of a service that runs beside its HTTP app."""

    name: str

    async def start(self) -> None:
        """Raise when it cannot start yet; it is tried again."""

    async def stop(self) -> None:
        """Finish what is in flight, then let go."""

    def alive(self) -> str | None:
        """Nothing while it makes progress, else why the process should be restarted."""

    def ready(self) -> str | None:
        """Nothing when it can do its job, else what it lacks."""

    def status(self) -> dict[str, object]:
        """Figures for a person."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wired:
    """A service put together, with nothing started yet."""

    http: AsgiApp
    components: Sequence[Component]


class Every(Background):
    """Runs a function periodically. An error is logged and counted, and ends that run only."""

    def __init__(self, name: str, seconds: float, function: Callable[[], Awaitable[None]]) -> None:
        self.name, self.ended = name, f"{name} has ended"
        self._seconds = seconds
        self._function = function
        self._runs = 0
        self._last_error: str | None = None
        self._began: float | None = None

    def alive(self) -> str | None:
        ended = super().alive()
        if ended is None and self._began is not None and time.monotonic() - self._began > 600:
            return f"{self.name} has been in one run for ten minutes"
        return ended

    def status(self) -> dict[str, object]:
        return {"runs": self._runs, "last_error": self._last_error}

    async def _run(self) -> None:
        while True:
            self._began = time.monotonic()
            try:
                await self._function()
                self._last_error = None
            except Exception as error:
                self._last_error = type(error).__name__
                METRICS.component_errors.labels(self.name).inc()
                log.warning("run_failed", component=self.name, error=type(error).__name__, exc_info=True)
            self._began = None
            self._runs += 1
            await asyncio.sleep(self._seconds)


HTTP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
HTTP_REQUESTS = counter(
    "trunkline_http_requests",
    "1",
    "HTTP requests answered, by route and status",
    ["service", "route", "method", "code"],
)
HTTP_SECONDS = histogram(
    "trunkline_http_request_duration_seconds",
    "seconds",
    "Time from a request's first byte to its answer's first",
    ["service", "route"],
    buckets=HTTP_BUCKETS,
)
HTTP_ANSWERS = counter(
    "trunkline_http_answers",
    "1",
    "HTTP requests by how they were answered: in_time, late (after 500 ms), failed (5xx). All are there from the start",
    ["service", "outcome"],
)
LATE_SECONDS = 0.5
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Measured:
    """Counts, times and traces every HTTP request of an app (rate, errors, duration), by route.

    The route is what the framework matched (``scope["route"]``, for instance ``/v1/facts/{fact_id}``), or the label an
    app put into ``scope["trunkline.route"]``; without either it is ``unmatched``, so that whoever probes for paths
    makes no series.
    """

    def __init__(self, service: str, app: AsgiApp) -> None:
        self._service = service
        self._app = app
        # A counter that is born with the first failure gives no rate of a burst: it begins at zero.
        self._answers = {each: HTTP_ANSWERS.labels(service, each) for each in ("in_time", "late", "failed")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, trace = time.monotonic(), RequestTrace(scope)
        status, seconds = 500, 0.0

        async def noting(message: dict[str, Any]) -> None:
            nonlocal status, seconds
            if message["type"] == "http.response.start":
                status, seconds = message["status"], time.monotonic() - began
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route = str(scope.get("trunkline.route") or getattr(scope.get("route"), "path", "unmatched"))
            method = scope["method"] if scope["method"] in METHODS else "other"
            child(HTTP_REQUESTS, self._service, route, method, str(status)).inc()
            took = seconds or time.monotonic() - began
            child(HTTP_SECONDS, self._service, route).observe(took, exemplar())
            self._answers["failed" if status >= 500 else "late" if took > LATE_SECONDS else "in_time"].inc()
            trace.end(method=method, route=route, status=status)


class Probes:
    """Answers ``/livez``, ``/readyz``, ``/metrics`` and ``/status``; hands everything else to the service's app.

    Live means: every part makes progress. Ready means: it can do its job. Neither asks a dependency.
    """

    def __init__(self, service: str, app: AsgiApp, components: Sequence[Component]) -> None:
        self._service = service
        self._app = Measured(service, app)
        self._components = components
        self._started: set[str] = set()
        self._since = time.time()
        self._stuck: list[str] = []
        self.draining = False

    def started(self, component: Component) -> None:
        self._started.add(component.name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            answer = {"/livez": self._live, "/readyz": self._ready, "/metrics": _metrics, "/status": self._status}
            make = answer.get(scope["path"])
            if make is not None:
                await _send(send, *make())
                return
        await self._app(scope, receive, send)

    def _live(self) -> tuple[int, bytes, str]:
        why = [why for c in self._components if c.name in self._started and (why := c.alive())]
        if why and not self._stuck:
            # Whoever asked will restart us: where everything waits is known only now.
            log.error("not_alive", why=why, tasks=sorted(f"{t.get_name()}: {waits_at(t)}" for t in asyncio.all_tasks()))
        self._stuck = why
        return self._verdict(why)

    def _ready(self) -> tuple[int, bytes, str]:
        why = ["draining"] if self.draining else []
        for component in self._components:
            lack = component.ready()
            if component.name not in self._started:
                lack = lack or f"{component.name} has not started yet"
            if lack and not (component.name not in self._started and getattr(component, "optional", False)):
                why.append(lack)
        return self._verdict(why)

    def _verdict(self, why: list[str]) -> tuple[int, bytes, str]:
        body = json.dumps({"ok": not why, "why": why}).encode()
        return (503 if why else 200), body, "application/json"

    def _status(self) -> tuple[int, bytes, str]:
        parts = {
            c.name: {"started": c.name in self._started, "alive": c.alive(), "ready": c.ready(), **c.status()}
            for c in self._components
        }
        body = {"service": self._service, "up_seconds": round(time.time() - self._since), "components": parts}
        return 200, json.dumps(body, default=str).encode(), "application/json"


def waits_at(task: asyncio.Task[Any]) -> str:
    """The innermost places where a task waits, outermost first, as ``file:line function``."""
    places: list[str] = []
    waiting: Any = task.get_coro()
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None)
        if frame is not None:
            file = Path(frame.f_code.co_filename)
            places.append(f"{file.parent.name}/{file.name}:{frame.f_lineno} {frame.f_code.co_name}")
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)
    return " > ".join(places[-4:])


def _metrics() -> tuple[int, bytes, str]:
    body: bytes = generate_latest(REGISTRY)  # type: ignore[no-untyped-call]
    return 200, body, CONTENT_TYPE_LATEST


async def _send(send: Send, status: int, body: bytes, content_type: str) -> None:
    headers = [(b"content-type", content_type.encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Signals are ours: a drain stops the components before it stops the server.
        yield


S = TypeVar("S", bound=ServiceSettings)


def main(settings: type[S], build: Callable[[S], Wired], *, first: Callable[[S], None] = lambda settings: None) -> None:
    """Serve what ``build`` makes of the environment, until SIGTERM or SIGINT. Exits with all that is wrong with it.

    ``first`` is called while there is no thread but this one.
    """
    try:
        loaded = settings.load()
    except ConfigurationError as error:
        sys.exit(str(error))
    configure_logging(loaded.service, loaded.log_level)
    first(loaded)
    configure_tracing(loaded.service, loaded.otlp_endpoint)
    wired = build(loaded)
    run(
        name=loaded.service, http=wired.http, host=loaded.bind_host, port=loaded.http_port,
        components=wired.components, niceness=loaded.niceness,
    )  # fmt: skip


def run(
    *,
    name: str,
    http: AsgiApp,
    host: str,
    port: int,
    components: Sequence[Component],
    niceness: int = 0,
    drain_seconds: float = 25.0,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain. Blocks.

    The components start together in the background and are tried again until they succeed, so a service comes
    up with its servers down. On a signal ``/readyz`` turns red, components stop in reverse order, then HTTP.
    A component with ``optional = True`` does not keep the service from being ready. ``niceness``, 0 to 19, is how far
    the process lets others on its machine go first.
    """
    give_way(niceness)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(name, http, host, port, components, drain_seconds))


async def _serve(
    name: str, http: AsgiApp, host: str, port: int, components: Sequence[Component], drain_seconds: float
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    probes = Probes(name, http, components)
    config = uvicorn.Config(
        probes,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        http=TimedProtocol,
        # Browsers have nothing to say over a WebSocket; what is sent to them is small.
        ws_max_size=4096,
        ws_per_message_deflate=False,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve())
    for component in components:
        METRICS.component_errors.labels(component.name)
    starting = [asyncio.create_task(_start(component, probes)) for component in components]
    stopped = asyncio.create_task(stop.wait())
    collect_seldom()
    log.info("service_started", port=port)
    await asyncio.wait([serving, stopped], return_when=asyncio.FIRST_COMPLETED)
    probes.draining = True
    log.info("service_draining")
    await end(*starting)
    try:
        await asyncio.wait_for(_stop_all(components), drain_seconds)
    except TimeoutError:
        log.warning("drain_incomplete", seconds=drain_seconds)
    server.should_exit = True
    stopped.cancel()
    await serving
    log.info("service_stopped")


async def _start(component: Component, probes: Probes) -> None:
    delay = 0.2
    while True:
        try:
            await component.start()
        except Exception as error:
            METRICS.component_errors.labels(component.name).inc()
            log.warning(
                "start_failed", component=component.name, error=f"{type(error).__name__}: {error}", retry_seconds=delay
            )
            await asyncio.sleep(delay)
            delay = min(delay * 2, 5.0)
        else:
            probes.started(component)
            return


async def _stop_all(components: Sequence[Component]) -> None:
    for component in reversed(components):
        try:
            await component.stop()
        except Exception as error:
            log.warning("stop_failed", component=component.name, error=type(error).__name__)
