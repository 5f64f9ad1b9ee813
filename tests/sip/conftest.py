"""A real Kamailio with our configuration, a real router, a Redis of their own, and a stand-in between them."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import httpx
import pytest
from tests.conftest import wait_for
from tests.sip.phones import Phones
from tests.sip.standin import Standin

from contracts.directory import DidV1, RoutingV1, StaffV1, TenantV1
from kit.postgres import Database
from kit.testing import Servers, fresh_database
from telephony_router import store
from telephony_router.project_directory import project_did, project_routing, project_staff, project_tenant
from trunkline.sip.command import write

BASE = int(os.environ.get("TRUNKLINE_TEST_PORT_BASE", "18000")) + 600
SIP, REDIS, STANDIN, ROUTER = BASE, BASE + 1, BASE + 2, BASE + 3
RECEPTION_PORT, ACCOUNTS_PORT, NIGHT_PORT, OTHER_SIP = BASE + 4, BASE + 5, BASE + 6, BASE + 7
RECEPTION, ACCOUNTS, NIGHT, ROUND = "+919847000010", "+919847000012", "+919847000014", "+919847000016"
LOOPING_DID, LANDING_DID = "+914842000150", "+914842000151"
SECRET = "sip-secret-in-the-path"
DIDS = [f"+9148420001{number:02d}" for number in range(50)]
RING_SECONDS, SILENT_MS, DEADLINE_MS = 4, 3000, 1500
SLACK = 30.0
"""What a busy machine may add to any time-out. Far less than what it would take without one."""


@dataclass
class Router:
    """The router's process and what it recorded."""

    runner: asyncio.Runner
    database: Database
    tenant: UUID
    environment: dict[str, str]
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "router.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "telephony_router"], env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        wait_for(self.ready, "the router is not ready", 90)

    def ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{ROUTER}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def call(self, call_id: str, state: str) -> dict[str, Any]:
        """The call as the router recorded it, once it is in this state."""

        async def look() -> dict[str, Any] | None:
            async with self.database.transaction(self.tenant) as tx:
                row = await tx.fetchrow("SELECT * FROM call WHERE vendor_call_id = $1", call_id)
                return dict(row) if row else None

        last: list[Any] = []

        def there() -> dict[str, Any] | None:
            row = self.runner.run(look())
            last[:] = [row and (row["state"], row["staff_id"])]
            return row if row and row["state"] == state else None

        try:
            found: dict[str, Any] = wait_for(there, f"the call is not {state}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {last}") from None
        return found


@dataclass
class Kamailio:
    folder: Path
    settings: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self.folder / "kamailio.log").read_text(errors="replace")

    def rung_of(self, call_id: str) -> str:
        """By what a call was routed when the router did not say."""
        for line in self.log.splitlines():
            if f"call {call_id} " in line and "rung=" in line:
                return line.partition("rung=")[2].strip()
        return "router"

    def start(self) -> None:
        settings, configuration = self.folder / "settings.toml", self.folder / "etc"
        settings.write_text(_toml(self.settings), encoding="utf-8")
        write(settings, configuration)
        account = pwd.getpwnam("nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name)
        (self.folder / "run").mkdir(exist_ok=True)
        if os.getuid() == 0:
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, account.pw_uid, account.pw_gid)
        program = shutil.which("kamailio", path=f"{os.environ['PATH']}:/usr/sbin") or "kamailio"
        with (self.folder / "kamailio.log").open("ab") as log:
            self.process = subprocess.Popen(
                [program, "-f", str(configuration / "kamailio.cfg"), "-DD", "-E", "-m", "64", "-M", "8",
                 "-Y", str(self.folder / "run")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                **({"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if os.getuid() == 0 else {}),
            )  # fmt: skip
        wait_for(self.answers, "kamailio does not answer")

    def answers(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"kamailio ended: {self.log[-3000:]}")
        with self._socket() as probe:
            self._send(probe, "OPTIONS", "x")
            try:
                return probe.recv(65535).startswith(b"SIP/2.0 200")
            except OSError:
                return False

    def codes_of_burst(self, did: str, calls: int) -> set[int]:
        """The final replies to calls that all come at the same moment."""
        codes: list[int] = []
        with self._socket() as burst:
            for _ in range(calls):
                self._send(burst, "INVITE", did)
            while sum(code >= 200 for code in codes) < calls:
                codes.append(int(burst.recv(65535).split()[1]))
                if 503 in codes:
                    break
        return set(codes)

    @contextmanager
    def _socket(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(5)
            probe.bind(("127.0.0.1", 0))
            yield probe

    def _send(self, probe: socket.socket, method: str, user: str) -> None:
        port, name = probe.getsockname()[1], secrets.token_hex(8)
        lines = (
            f"{method} sip:{user}@127.0.0.1 SIP/2.0",
            f"Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{name}",
            f"From: <sip:probe@127.0.0.1>;tag={name}",
            f"To: <sip:{user}@127.0.0.1>",
            f"Call-ID: {name}",
            f"CSeq: 1 {method}",
            f"Contact: <sip:probe@127.0.0.1:{port}>",
            "Max-Forwards: 5",
            "Content-Length: 0",
        )
        server = int(self.settings["listen"][0].rpartition(":")[2])
        probe.sendto("".join(f"{line}\r\n" for line in (*lines, "")).encode(), ("127.0.0.1", server))

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def _toml(values: dict[str, Any]) -> str:
    plain = {name: value for name, value in values.items() if not isinstance(value, dict)}
    tables = {name: value for name, value in values.items() if isinstance(value, dict)}
    lines = [f"{name} = {json.dumps(value)}" for name, value in plain.items()]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f'"{key}" = "{value}"' for key, value in table.items())]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """Open to the account that Kamailio runs as, which must not be root."""
    place = Path(tempfile.mkdtemp(prefix="trunkline-sip-", dir="/var/tmp"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="session")
def answers_redis(folder: Path) -> Iterator[Callable[[], Any]]:
    """The Redis that keeps answers. It can be taken away: the value is how."""
    running: list[subprocess.Popen[bytes]] = []

    def begin() -> None:
        running.append(
            subprocess.Popen(
                ["redis-server", "--port", str(REDIS), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=folder,
            )
        )

        def up() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", REDIS)) == 0

        wait_for(up, "redis does not answer")

    def end() -> None:
        for process in running:
            process.kill()
            process.wait()
        running.clear()

    @contextmanager
    def away() -> Iterator[None]:
        end()
        try:
            yield
        finally:
            begin()

    begin()
    yield away
    end()


@pytest.fixture(scope="session")
def router(servers: Servers, folder: Path) -> Iterator[Router]:
    tenant = uuid4()
    with asyncio.Runner() as runner:
        fresh = fresh_database(servers.postgres_dsn, service="telephony-router", package="telephony_router")
        database = runner.run(fresh.__aenter__())
        name = runner.run(_populate(database, tenant))
        parts = urlsplit(servers.postgres_dsn)
        environment = {
            "TRUNKLINE_DEMO": "true",
            "TRUNKLINE_ADMIN_TOKEN": "admin",
            "TRUNKLINE_POSTGRES_DSN": urlunsplit(
                parts._replace(netloc=parts.netloc.rpartition("@")[2], path=f"/{name}")
            ),
            "TRUNKLINE_REDIS_URL": servers.redis_url,
            "TRUNKLINE_KAFKA_BOOTSTRAP": servers.kafka_bootstrap,
            "TRUNKLINE_TELEPHONY_ROUTER_APP_PASSWORD": "test",
            "TRUNKLINE_TELEPHONY_ROUTER_SYSTEM_PASSWORD": "test",
            "TRUNKLINE_TELEPHONY_ROUTER_SECRET_KEY": base64.b64encode(bytes(32)).decode(),
            "TRUNKLINE_TELEPHONY_ROUTER_HTTP_PORT": str(ROUTER),
            "TRUNKLINE_TELEPHONY_ROUTER_DATA_DIR": str(folder / "router"),
        }
        router = Router(runner, database, tenant, environment, folder)
        try:
            router.start()
            yield router
        finally:
            router.kill()
            runner.run(fresh.__aexit__(None, None, None))


async def _populate(database: Database, tenant: UUID) -> str:
    async with database.transaction(tenant) as tx:
        await project_tenant(TenantV1(tenant_id=str(tenant), version=1, name="Kochi"), tx)
        for staff, number in (("reception", RECEPTION), ("accounts", ACCOUNTS), ("round", ROUND)):
            await project_staff(StaffV1(staff_id=staff, version=1, name=f"{staff} desk", numbers=(number,)), tx)
        for did in DIDS:
            await project_did(DidV1(did=did, version=1, default_staff_ids=("reception", "accounts")), tx)
        # The first to be rung is reached through this very server.
        await project_did(DidV1(did=LOOPING_DID, version=1, default_staff_ids=("round", "accounts")), tx)
        await project_routing(RoutingV1(version=1, ring_seconds=RING_SECONDS, last_agent_days=0), tx)
        await store.add_account(
            tx, account_id=uuid4(), vendor="kamailio", label="", secret=SECRET, sealed_tokens=[],
            options={"fr_timer_ms": str(SILENT_MS)},
        )  # fmt: skip
        return str(await tx.fetchval("SELECT current_database()"))


@pytest.fixture(scope="session")
def standin(router: Router) -> Iterator[Standin]:
    standin = Standin(STANDIN, f"http://127.0.0.1:{ROUTER}")
    yield standin
    standin.stop()


def settings(**more: Any) -> dict[str, Any]:
    return {
        "listen": [f"udp:127.0.0.1:{SIP}"],
        "peers": ["127.0.0.1/32"],
        # Nobody is there: what rings, rings because the settings say so.
        "gateway": "127.0.0.1:9",
        "router_hook": f"http://127.0.0.1:{STANDIN}/v1/hooks/kamailio/{SECRET}",
        "redis": f"redis://127.0.0.1:{REDIS}/0",
        "default_number": NIGHT,
        "deadline_ms": DEADLINE_MS,
        "silent_ms": SILENT_MS,
        "ring_seconds": RING_SECONDS,
        "destinations": {
            RECEPTION: f"sip:reception@127.0.0.1:{RECEPTION_PORT}",
            ACCOUNTS: f"sip:accounts@127.0.0.1:{ACCOUNTS_PORT}",
            NIGHT: f"sip:night@127.0.0.1:{NIGHT_PORT}",
            ROUND: f"sip:{LANDING_DID}@127.0.0.1:{SIP}",
        },
        **more,
    }


@pytest.fixture(scope="session")
def kamailio(folder: Path, standin: Standin, answers_redis: Any) -> Iterator[Kamailio]:
    place = folder / "kamailio"
    place.mkdir()
    server = Kamailio(place, settings(control_socket=str(place / "run" / "ctl")))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def phones(folder: Path, kamailio: Kamailio) -> Iterator[Phones]:
    place = folder / f"phones-{secrets.token_hex(4)}"
    place.mkdir()
    phones = Phones(place, SIP, _ports)
    yield phones
    phones.stop()


_ports = itertools.cycle(range(BASE + 20, BASE + 380, 4))
_dids = itertools.count()


@pytest.fixture
def did() -> str:
    """A number that nobody has called yet."""
    return DIDS[next(_dids)]
