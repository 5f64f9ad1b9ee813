"""A whole stack for journeys and faults: its own run directory and ports, started once, stopped at the end.

``TRUNKLINE_TEST_STACK_RUN_DIR`` and ``TRUNKLINE_TEST_STACK_PORT_BASE`` point at another one.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient

from kit.testing import PATIENCE
from trunkline.demo.clients import Directory, GenericPbx, Platform
from trunkline.demo.command import addresses_of
from trunkline.demo.events import Tail
from trunkline.demo.world import Addresses, command
from trunkline.stack import control
from trunkline.stack.layout import Layout

RUN_DIR, PORT_BASE = os.environ.get("TRUNKLINE_TEST_ROOT", ".run") + "/journeys", 21000
# For whole stacks, on a machine that does other things as well.
control.START_SECONDS = 300.0
AGENTS = {"reception": "+919847000031", "accounts": "+919847000032"}
_dids = itertools.count(secrets.randbelow(900_000))


@dataclass(frozen=True)
class Tenant:
    """A business made for one test."""

    id: str
    slug: str
    did: str
    hook_path: str
    vault_account: str
    directory: Directory
    customer_number: str

    @property
    def owner_email(self) -> str:
        return f"owner@{self.slug}.example"


@dataclass(frozen=True)
class Stack:
    """The running stack, as tests see it."""

    layout: Layout
    addresses: Addresses
    pbxes: dict[str, GenericPbx]

    def process(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = control.state(self.layout).get(name, {})
        return found

    def kill(self, name: str) -> None:
        """kill -9, without a word of warning."""
        os.kill(self.process(name)["pid"], signal.SIGKILL)

    def wait_until_ready(self, within: float = PATIENCE) -> None:
        for name in (
            "front-desk",
            "telephony-router",
            "vault-importer",
            "brain-distiller",
            "anomaly-engine",
            "notifier",
        ):
            url = f"{self.layout.url(name)}/readyz"
            wait_for(lambda url=url: control.probe(url)[0] == 200, f"{name} is not ready", within)

    def status(self, service: str) -> str:
        """What a service says of its own parts."""
        return httpx.get(f"{self.layout.url(service)}/status", timeout=60).text

    def query(self, sql: str, *args: object) -> list[Any]:
        """Look into the database past every fence, as the superuser that only tests and backups are."""

        async def ask() -> list[Any]:
            connection = await asyncpg.connect(self.layout.admin_dsn("trunkline"))
            try:
                return list(await connection.fetch(sql, *args))
            finally:
                await connection.close()

        return asyncio.run(ask())

    def admin(self, service: str, path: str, tenant: Tenant) -> dict[str, Any]:
        """Ask a service's admin API about a tenant."""
        headers = {"Authorization": f"Bearer {self.addresses.admin_token}", "X-Tenant": tenant.id}
        response = httpx.get(self.layout.url(service) + path, headers=headers, timeout=60)
        response.raise_for_status()
        found: dict[str, Any] = response.json()
        return found

    def mails_to(self, address: str) -> list[dict[str, str]]:
        mails = httpx.get(f"{self.addresses.mail}/api/mails", timeout=60).json()["mails"]
        return [mail for mail in mails if address in mail["to"]]

    def run(self, *arguments: str, stdin: str | None = None) -> Any:
        return command(self.addresses, *arguments, stdin=stdin)

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command as an operator types it, on this stack."""
        return subprocess.run(
            [sys.executable, "-m", "trunkline", *arguments], check=False, capture_output=True, text=True,
            env={**os.environ, **self.layout.environment(), "COLUMNS": "140"},
        )  # fmt: skip

    def lag(self, group: str) -> int:
        """How many records a consumer group has before it."""

        async def ask() -> int:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.layout.kafka_bootstrap)
            consumer = AIOKafkaConsumer(bootstrap_servers=self.layout.kafka_bootstrap)
            await admin.start()
            await consumer.start()
            try:
                committed = await admin.list_consumer_group_offsets(group)
                newest = await consumer.end_offsets(list(committed))
            finally:
                await admin.close()
                await consumer.stop()
            return sum(newest[place] - offset.offset for place, offset in committed.items())

        return asyncio.run(ask())

    def pbx(self, tenant: Tenant) -> GenericPbx:
        """The tenant's PBX; it keeps its connection for the whole run."""
        if tenant.id not in self.pbxes:
            self.pbxes[tenant.id] = GenericPbx(router_url=self.addresses.router, hook_path=tenant.hook_path)
        return self.pbxes[tenant.id]


def wait_for(condition: Callable[[], Any], otherwise: str, within: float = PATIENCE) -> Any:
    """Wait until ``condition`` gives something true, and return it."""
    deadline = time.monotonic() + within
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"{otherwise} (after {within:.0f} s)")
        time.sleep(0.1)


def read_on(tail: Tail, quiet: float = 0.5) -> None:
    """Read until nothing more comes: what was told too often or too much is among it."""
    before = -1
    while before != len(tail.seen):
        before = len(tail.seen)
        tail.poll(quiet)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    given = os.environ.get("TRUNKLINE_TEST_STACK_RUN_DIR")
    layout = Layout.of(given or RUN_DIR, int(os.environ.get("TRUNKLINE_TEST_STACK_PORT_BASE", PORT_BASE)))
    if given is None:
        control.clean(layout)
    control.up(layout, with_services=True, tell=lambda _: None)
    stack = Stack(layout, addresses_of(layout), {})
    yield stack
    for pbx in stack.pbxes.values():
        pbx.close()
    if given is None:
        control.down(layout)


@pytest.fixture
def make_tenant(stack: Stack) -> Callable[[str], Tenant]:
    return partial(new_tenant, stack)


def new_tenant(stack: Stack, name: str) -> Tenant:
    """Make a business with two agents, a line, a customer, a PBX account and an archive."""

    slug = f"{name}-{secrets.token_hex(3)}"
    platform = Platform(console_url=stack.addresses.console, admin_token=stack.addresses.admin_token)
    tenant_id = platform.tenant(
        slug, name=name, timezone="Asia/Kolkata", owner_email=f"owner@{slug}.example", pulse_at="23:59"
    )
    directory = Directory(console_url=stack.addresses.console, api_key=platform.api_key(tenant_id, "test"))
    did = f"+914842{next(_dids) % 900_000 + 100_000}"
    for reference, number in AGENTS.items():
        directory.put(f"/v1/staff/{reference}", {"name": reference, "numbers": [number]})
    directory.put(f"/v1/dids/{did}", {"label": "Main", "default_staff": ["reception"]})
    directory.put("/v1/routing", {"fallback_number": "+914842000098"})
    customer_number = f"+9198471{next(_dids) % 90_000 + 10_000}"
    directory.put("/v1/customers/c1", {"name": "First", "numbers": [customer_number], "owner": "accounts"})
    account = stack.run("router", "account", "add", "--tenant", tenant_id, "--vendor", "generic", "--label", "PBX")
    vault = stack.run("vault", "account", "add", "--tenant", tenant_id, "--name", "Desk")
    tenant = Tenant(tenant_id, slug, did, account["hook_base_path"], vault["account_id"], directory, customer_number)
    pbx = stack.pbx(tenant)
    probes = itertools.count()

    def known() -> bool:
        answer = pbx.ring(f"probe-{slug}-{next(probes)}", customer_number, did)
        return answer.status == 200 and bool(answer.body["destinations"]) and answer.first["reason"] == "owner"

    wait_for(known, "the directory has not reached the router")
    return tenant


@pytest.fixture
def tail(stack: Stack) -> Iterator[Tail]:
    tail = Tail(stack.layout.kafka_bootstrap)
    yield tail
    tail.close()


@pytest.fixture(scope="session")
def make_backup(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """An encrypted backup with its key beside it; two messages give one number two tax numbers."""

    def make(conflict_number: str, messages: int = 3000) -> Path:
        folder = tmp_path_factory.mktemp("backup")
        stack.run(
            "vault", "sample", "--out", str(folder), "--messages", str(messages), "--conflict-number", conflict_number
        )
        return folder

    return make


def import_until_done(stack: Stack, tenant: Tenant, folder: Path, within: float = PATIENCE) -> dict[str, Any]:
    """Import as an operator would: run the command again when a server went away under it."""
    last: list[str] = []

    def attempt() -> dict[str, Any] | None:
        try:
            result: dict[str, Any] = stack.run(
                "vault", "import", str(folder / "msgstore.db.crypt15"), "--account", tenant.vault_account,
                "--key-file", str(folder / "backup.key"),
            )  # fmt: skip
        except (RuntimeError, json.JSONDecodeError) as error:
            last[:] = [str(error)[-400:]]
            return None
        return result

    found: dict[str, Any] = wait_for(attempt, f"the import did not finish: {last}", within)
    return found
