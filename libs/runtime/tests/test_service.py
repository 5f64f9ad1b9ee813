"""Probes, periodic components, and a drain on SIGTERM."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from runtime import service
from runtime.service import Every, Measured, Probes


class Part:
    def __init__(self, name: str, *, alive: str | None = None, ready: str | None = None) -> None:
        self.name = name
        self._alive, self._ready = alive, ready

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def alive(self) -> str | None:
        return self._alive

    def ready(self) -> str | None:
        return self._ready

    def status(self) -> dict[str, object]:
        return {"figures": 1}


async def ask(probes: Probes, path: str) -> tuple[int, Any]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    await probes({"type": "http", "path": path, "method": "GET"}, receive, send)
    return sent[0]["status"], sent[1]["body"]


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def test_live_means_progress_and_ready_means_able() -> None:
    lacking = Part("consumer", ready="consumer holds no partitions")
    probes = Probes("test", app, [Part("relay"), lacking])
    assert (await ask(probes, "/livez"))[0] == 200
    status, body = await ask(probes, "/readyz")
    assert status == 503
    assert json.loads(body)["why"] == ["relay has not started yet", "consumer holds no partitions"]
    probes.started(probes._components[0])
    probes.started(lacking)
    lacking._ready = None
    assert (await ask(probes, "/readyz"))[0] == 200
    lacking._alive = "stuck"
    assert (await ask(probes, "/livez"))[0] == 503
    assert (await ask(probes, "/anything"))[0] == 204


async def test_where_everything_waits_is_logged_once_before_whoever_watches_restarts_the_service(
    capsys: pytest.CaptureFixture[str],
) -> None:
    never = asyncio.Event()

    async def wait_for_nobody() -> None:
        await never.wait()

    task = asyncio.create_task(wait_for_nobody(), name="the culprit")
    await asyncio.sleep(0)
    stuck = Part("consumer", alive="it does not move")
    probes = Probes("test", app, [stuck])
    probes.started(stuck)
    for _ in range(3):
        await ask(probes, "/livez")
    logged = capsys.readouterr()
    lines = [line for line in (logged.out + logged.err).splitlines() if "not_alive" in line]
    assert len(lines) == 1, lines
    assert "the culprit: " in lines[0]
    assert "wait_for_nobody > " in lines[0]
    task.cancel()


async def test_metrics_are_openmetrics_and_status_shows_every_part() -> None:
    probes = Probes("test", app, [Part("relay")])
    status, body = await ask(probes, "/metrics")
    assert status == 200
    assert body.endswith(b"# EOF\n")
    status, body = await ask(probes, "/status")
    assert json.loads(body)["components"]["relay"]["figures"] == 1


async def test_a_failing_run_is_followed_by_the_next() -> None:
    runs = 0
    enough = asyncio.Event()

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs == 3:
            enough.set()
        raise RuntimeError("this time")

    every = Every("sweep", 0.001, run)
    await every.start()
    await asyncio.wait_for(enough.wait(), 60)
    assert every.alive() is None
    await every.stop()


async def test_requests_are_counted_by_route_and_never_by_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"].startswith("/calls/"):
            scope["route"] = SimpleNamespace(path="/calls/{call_id}")
        if scope["path"] == "/calls/broken":
            raise RuntimeError("broken")
        status = 200 if "route" in scope else 404
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ignore(_: Any) -> None: ...

    measured = Measured("toy", app)

    def answered(outcome: str) -> float | None:
        return REGISTRY.get_sample_value("trunkline_http_answers_total", {"service": "toy", "outcome": outcome})

    # Before the first request: a rate sees no counter that is born with what it counts.
    assert [answered(each) for each in ("in_time", "late", "failed")] == [0, 0, 0]
    for path in ("/calls/1", "/calls/2", "/.env", "/wp-login"):
        await measured({"type": "http", "path": path, "method": "GET"}, ignore, ignore)
    with pytest.raises(RuntimeError):
        await measured({"type": "http", "path": "/calls/broken", "method": "BREW"}, ignore, ignore)

    def counted(route: str, method: str, code: str) -> float | None:
        labels = {"service": "toy", "route": route, "method": method, "code": code}
        return REGISTRY.get_sample_value("trunkline_http_requests_total", labels)

    assert counted("/calls/{call_id}", "GET", "200") == 2
    assert counted("unmatched", "GET", "404") == 2
    assert counted("/calls/{call_id}", "other", "500") == 1
    assert [answered(each) for each in ("in_time", "late", "failed")] == [4, 0, 1]
    monkeypatch.setattr(service, "LATE_SECONDS", -1.0)
    await measured({"type": "http", "path": "/calls/1", "method": "GET"}, ignore, ignore)
    assert answered("late") == 1


PROGRAM = """
import asyncio, gc, sys
from runtime.service import run

class Slow:
    name = "slow"
    async def start(self):
        self.tries = getattr(self, "tries", 0) + 1
        if self.tries < 3:
            raise OSError("server is down")
    async def stop(self):
        await asyncio.sleep(0.3)
        print("drained, looked for cycles every", gc.get_threshold()[0], flush=True)
    def alive(self): return None
    def ready(self): return None
    def status(self): return {}

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})

run(name="t", http=app, host="127.0.0.1", port=int(sys.argv[1]), components=[Slow()], niceness=3)
"""


MAIN = """
import threading
from configuration import ServiceSettings
from runtime.service import Wired, main

class Settings(ServiceSettings, service="toy"):
    http_port: int = 1

def first(settings):
    print("first, threads:", threading.active_count(), flush=True)

def build(settings):
    print("then built for", settings.http_port, flush=True)
    raise SystemExit(0)

main(Settings, build, first=first)
"""


def started(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def test_a_service_is_built_from_its_environment_after_what_comes_first() -> None:
    done = started(TRUNKLINE_TOY_HTTP_PORT="7", TRUNKLINE_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert (done.returncode, done.stdout.splitlines()) == (0, ["first, threads: 1", "then built for 7"])


def test_a_service_with_a_wrong_environment_says_what_is_wrong_and_nothing_else() -> None:
    done = started(TRUNKLINE_TOY_HTTP_PROT="7", TRUNKLINE_NICENESS="99")
    assert (done.returncode, done.stdout) == (1, "")
    assert "TRUNKLINE_TOY_HTTP_PROT is not a setting of toy; did you mean TRUNKLINE_TOY_HTTP_PORT?" in done.stderr
    assert "TRUNKLINE_NICENESS" in done.stderr
    assert "Traceback" not in done.stderr


def get(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@pytest.mark.real
def test_a_service_serves_at_once_starts_its_parts_with_retries_and_drains_on_sigterm() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        codes = []
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and get(port, "/readyz") != 200:
            codes.append(get(port, "/livez"))
            time.sleep(0.02)
        assert get(port, "/readyz") == 200
        assert get(port, "/x") == 200
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == os.nice(0) + 3
        os.kill(process.pid, signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert b"drained, looked for cycles every 20000\n" in out
    finally:
        process.kill()
