"""The mid-ring answer, durable in Postgres before it is sent, beside a bare FastAPI hello on the same worker.

Both are one uvicorn worker pinned to one core; the load comes from the other. First as many requests as they take,
by ``wrk``; then an open loop at a steady rate in which each request has its intended time (``bench.ringing``): a slow
answer makes the ones behind it late, as real callers would be.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from redis.asyncio import Redis

from bench.results import Addresses, Result, cores, percentiles
from bench.ringing import Callers, Line, Rings
from contracts.directory import CustomerV1, DidV1, RoutingV1, StaffV1, TenantV1
from kit.postgres import Database
from kit.testing import fresh_database

RATE = 500
SECONDS = 6
WRK_CONNECTIONS = 32
DID = "+914842000100"
ANYWHERE = -1
ROUTER = [sys.executable, "-m", "telephony_router"]
ANSWERS_ONLY = {"TRUNKLINE_TELEPHONY_ROUTER_ANSWERS_ONLY": "true"}
ANSWERING = ANSWERS_ONLY | {"TRUNKLINE_TELEPHONY_ROUTER_REALTIME": "true"}
BEHIND = {"TRUNKLINE_NICENESS": "10"}
"""What understands webhooks lets what answers them go first."""
CUSTOMERS = 2000
NUMBERS = tuple(f"+9198470{each:05}" for each in range(CUSTOMERS))
HELLO = """
from fastapi import FastAPI
app = FastAPI()
@app.post("/hello")
async def hello() -> dict[str, str]:
    return {"hello": "world"}
"""
# Every request is a call of its own, so that none is answered out of the memory of the one before.
WRK_SCRIPT = """
local thread_number = 0
function setup(thread) thread:set("id", thread_number); thread_number = thread_number + 1 end
function init() n = 0; math.randomseed(os.time() + id) ; run = math.random(1000000000) end
function request()
  n = n + 1
  local body = string.format('{"call_id":"w%d-%d-%d","from":"+9198470%05d","to":"{did}"}', run, id, n, n % {customers})
  return wrk.format("POST", "{path}", {["content-type"] = "application/json"}, body)
end
"""


def run(addresses: Addresses) -> list[Result]:
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing; install it: apt-get install -y wrk")
    return asyncio.run(_run(addresses))


async def _run(addresses: Addresses) -> list[Result]:
    with tempfile.TemporaryDirectory(prefix="midring") as folder:
        hello = await _hello(Path(folder))
        async with (
            redis_in_real_time(addresses),
            fresh_database(addresses.postgres_dsn, service="telephony-router", package="telephony_router") as database,
        ):
            secret = secrets.token_urlsafe(16)
            name = await directory(addresses, database, secret)
            with customers(secret, core=0) as callers:
                ours, rings, rss = await _router(addresses, name, secret, Path(folder), callers)
                alone, together = [
                    await _replicas(addresses, name, secret, Path(folder), callers, count) for count in (1, 2)
                ]
    p50, p95, p99 = percentiles(rings.latencies)
    return [
        Result(
            name="midring", value=ours, unit="rps", limit_name="rps, bare FastAPI hello", limit=hello,
            ratio=ours / hello, p50_ms=p50, p95_ms=p95, p99_ms=p99, rss_mb=rss,
            note=f"one worker, each answer durable first; latency open loop at {RATE}/s, {rings.lateness}",
        ),
        Result(
            name="midring_replicas", value=together, unit="rps", limit_name="rps, one worker", limit=alone,
            ratio=together / alone, note="two workers; servers and senders on the same two cores",
        ),
    ]  # fmt: skip


async def _hello(folder: Path) -> float:
    (folder / "hello_app.py").write_text(HELLO)
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "hello_app:app", "--port", str(port), "--no-access-log"]
    with pinned(command, {"PYTHONPATH": str(folder)}, folder / "hello.log"):
        await listening(port)
        return await _wrk(port, "/hello", folder)


async def _replicas(addresses: Addresses, name: str, secret: str, folder: Path, callers: Callers, count: int) -> float:
    """What so many workers answer together, each with a sender of its own, wherever the machine lets them run.

    Not in real time: as many of those as there are cores would leave none to the servers and the senders.
    """
    ports = [free_port() for _ in range(count)]
    with contextlib.ExitStack() as running:
        for port in ports:
            data = folder / f"replica-{count}-{port}"
            environment = settings(addresses, name, port, data) | ANSWERS_ONLY
            running.enter_context(pinned(ROUTER, environment, data.with_suffix(".log"), core=ANYWHERE))
        for port in ports:
            await listening(port)
            await callers.ring(port, rate=RATE, seconds=1)
        return sum(await asyncio.gather(*(_wrk(port, webhook(secret), folder, core=ANYWHERE) for port in ports)))


async def _router(
    addresses: Addresses, name: str, secret: str, folder: Path, callers: Callers
) -> tuple[float, Rings, float]:
    port = free_port()
    environment = settings(addresses, name, port, folder / "router")
    behind = settings(addresses, name, free_port(), folder / "behind")
    with (
        # What was taken in is understood and published meanwhile, by another process on the other core.
        pinned(ROUTER, behind | BEHIND, folder / "behind.log", core=0),
        pinned(ROUTER, environment | ANSWERING, folder / "router.log") as process,
    ):
        await listening(port)
        await callers.ring(port, rate=RATE, seconds=2)
        rings = await callers.ring(port, rate=RATE, seconds=SECONDS)
        rate = await _wrk(port, webhook(secret), folder)
        rss = rss_mb(process.pid)
    return rate, rings, rss


def settings(addresses: Addresses, database: str, port: int, data: Path) -> dict[str, str]:
    """What a router needs in its environment to work on these servers, with this database."""
    parts = urlsplit(addresses.postgres_dsn)
    return {
        "TRUNKLINE_DEMO": "true",
        "TRUNKLINE_POSTGRES_DSN": urlunsplit(
            parts._replace(netloc=parts.netloc.rpartition("@")[2], path=f"/{database}")
        ),
        "TRUNKLINE_REDIS_URL": addresses.redis_url,
        "TRUNKLINE_KAFKA_BOOTSTRAP": addresses.kafka_bootstrap,
        "TRUNKLINE_TELEPHONY_ROUTER_HTTP_PORT": str(port),
        "TRUNKLINE_TELEPHONY_ROUTER_DATA_DIR": str(data),
        "TRUNKLINE_TELEPHONY_ROUTER_APP_PASSWORD": "test",
        "TRUNKLINE_TELEPHONY_ROUTER_SYSTEM_PASSWORD": "test",
        "TRUNKLINE_INSTANCE_ID": data.name,
        "TRUNKLINE_TELEPHONY_ROUTER_SECRET_KEY": base64.b64encode(bytes(32)).decode(),
    }


async def directory(addresses: Addresses, database: Database, secret: str) -> str:
    """One office with two agents and many customers, in Postgres and in Redis; gives the database's name."""
    from telephony_router import store
    from telephony_router.project_directory import (
        project_customer,
        project_did,
        project_routing,
        project_staff,
        project_tenant,
    )
    from telephony_router.sweep_view import rebuild_view
    from telephony_router.view import RedisView

    tenant = uuid4()
    async with database.transaction(tenant) as tx:
        await project_tenant(TenantV1(tenant_id=str(tenant), version=1, name="Kochi"), tx)
        for staff_id, number in (("asha", "+919847000010"), ("meera", "+919847000012")):
            await project_staff(StaffV1(staff_id=staff_id, version=1, name=staff_id, numbers=(number,)), tx)
        customer = CustomerV1(customer_id="c", version=1, name="Tiles", numbers=NUMBERS, owner_staff_id="asha")
        await project_customer(customer, tx)
        await project_did(DidV1(did=DID, version=1, default_staff_ids=("meera",)), tx)
        await project_routing(RoutingV1(version=1, fallback_number="+914842000199"), tx)
        await store.add_account(tx, account_id=uuid4(), vendor="generic", label="", secret=secret, sealed_tokens=[])
        name = str(await tx.fetchval("SELECT current_database()"))
    # A router that finds no view in Redis compares it in its own good time, and answers from elsewhere meanwhile.
    view = RedisView(addresses.redis_url)
    await rebuild_view(database, view)
    await view.close()
    return name


@contextlib.asynccontextmanager
async def redis_in_real_time(addresses: Addresses) -> AsyncIterator[None]:
    """With Redis in real time, as docs/howto/run-replicas.md says for routers that are, where that is allowed."""
    async with Redis.from_url(addresses.redis_url) as redis:
        process = int((await redis.info("server"))["process_id"])
    with contextlib.ExitStack() as afterwards:
        with contextlib.suppress(PermissionError):
            # What Redis forks to save itself can wait.
            os.sched_setscheduler(process, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
            back = os.SCHED_OTHER | os.SCHED_RESET_ON_FORK
            afterwards.callback(os.sched_setscheduler, process, back, os.sched_param(0))
        yield


def webhook(secret: str) -> str:
    """The path at which an account's calls ring."""
    return f"/v1/hooks/generic/{secret}/ring"


def customers(secret: str, *, core: int | None = None) -> Callers:
    """All customers of the office of ``directory``, who call its number."""
    return Callers([Line(webhook(secret), DID)], NUMBERS, core=core)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def pinned(
    command: list[str], environment: dict[str, str], log: Path, *, core: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process on one core, by default the last; the load is made on the first."""
    prefix = _on(cores() - 1 if core is None else core)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*prefix, *command], env={**os.environ, **environment}, stderr=output, stdout=output,
            start_new_session=True,  # as whatever supervises a service does: Linux weighs sessions against each other
        )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def listening(port: int) -> None:
    """Until it answers and, if it can tell, is ready."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            status = (await reader.readline()).split(b" ")[1:2]
            writer.close()
            if status in ([b"200"], [b"404"]):
                return
        await asyncio.sleep(0.1)
    raise SystemExit("the server under measurement did not start within 30 s")


def _on(core: int) -> list[str]:
    """How a command begins that runs on one core."""
    pins = core != ANYWHERE and cores() > 1 and shutil.which("taskset")
    return ["taskset", "-c", str(core)] if pins else []


async def _wrk(port: int, path: str, folder: Path, *, core: int = 0) -> float:
    script = folder / f"ring-{port}.lua"
    text = WRK_SCRIPT.replace("{did}", DID).replace("{path}", path).replace("{customers}", str(CUSTOMERS))
    script.write_text(text)
    command = [*_on(core), "wrk", "-t1", f"-c{WRK_CONNECTIONS}", f"-d{SECONDS}s", "-s", str(script)]
    process = await asyncio.create_subprocess_exec(*command, f"http://127.0.0.1:{port}", stdout=asyncio.subprocess.PIPE)
    output = (await process.communicate())[0].decode()
    if failed := re.search(r"Non-2xx or 3xx responses: (\d+)", output):
        raise SystemExit(f"{failed.group(1)} requests were refused under load")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if rate is None:
        raise SystemExit("wrk gave no figure")
    return float(rate.group(1))


def rss_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", text)
    return int(found.group(1)) / 1024 if found else 0.0


def main(arguments: Sequence[str]) -> int:
    addresses = Addresses(*arguments)
    for result in run(addresses):
        print(json.dumps(result.row(), indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:4]))
