"""A stack of its own with Prometheus, rules whose windows are scaled down, and a business that never rests."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from tests.conftest import AGENTS, Stack, Tenant, new_tenant, wait_for
from tests.observability.collector import Collector
from tests.observability.faults import poison, repeat, wait_behind
from tests.observability.pace import LOOKS, PATIENCE, QUICK, Pace, pace_for
from tests.observability.prometheus import Prometheus

from trunkline.demo.clients import GenericPbx, Platform
from trunkline.demo.command import addresses_of
from trunkline.observability.generate import rules_files
from trunkline.stack import control, observers
from trunkline.stack.layout import Layout

RUN_DIR = os.environ.get("TRUNKLINE_TEST_ROOT", ".run") + "/observability"
PORT_BASE = int(os.environ.get("TRUNKLINE_TEST_OBSERVABILITY_PORT_BASE", "28000"))


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture(scope="session")
def stack(collector: Collector) -> Iterator[Stack]:
    layout = Layout.of(RUN_DIR, PORT_BASE)
    control.clean(layout)
    control.up(layout, with_services=True, observe=True, tell=lambda _: None, otlp_endpoint=collector.url)
    _scale_down(layout, QUICK)
    stack = Stack(layout, addresses_of(layout), {})
    yield stack
    for pbx in stack.pbxes.values():
        pbx.close()
    control.down(layout)


def _scale_down(layout: Layout, pace: Pace) -> None:
    rules = observers.folder(layout) / "rules"
    rules.mkdir(exist_ok=True)
    for name, text in rules_files(pace.scale).items():
        (rules / name).write_text(text, encoding="utf-8")
    configuration = observers.configuration(layout, interval=f"{pace.interval}s", rules=rules)
    (observers.folder(layout) / "prometheus.yml").write_text(configuration, encoding="utf-8")
    os.kill(control.state(layout)["prometheus"]["pid"], signal.SIGHUP)


@pytest.fixture(scope="session")
def pace(stack: Stack) -> Pace:
    """Chosen once, by how long Prometheus' looks at a stack take that has nothing to do yet."""
    took = []
    for _ in range(LOOKS):
        time.sleep(QUICK.interval)
        targets = httpx.get(f"{stack.layout.url('prometheus')}/api/v1/targets", timeout=PATIENCE).json()["data"]
        took += [target["lastScrapeDuration"] for target in targets["activeTargets"]]
    pace = pace_for(took)
    if pace != QUICK:
        _scale_down(stack.layout, pace)
    return pace


class Calls(threading.Thread):
    """A PBX whose telephone never stops ringing. What fails while a server is down is rung again."""

    def __init__(self, stack: Stack, tenant: Tenant) -> None:
        super().__init__(name="calls", daemon=True)
        self._router, self._tenant = stack.addresses.router, tenant
        self.stop = threading.Event()
        self.rung = 0

    def run(self) -> None:
        with closing(GenericPbx(router_url=self._router, hook_path=self._tenant.hook_path)) as pbx:
            while not self.stop.wait(0.1):
                with suppress(httpx.HTTPError):
                    self._call(pbx, f"{self._tenant.slug}-{self.rung}")
                with suppress(httpx.HTTPError):
                    self._tenant.directory.get("/v1/staff")
                self.rung += 1

    def _call(self, pbx: GenericPbx, call_id: str) -> None:
        ends = {"from": self._tenant.customer_number, "to": self._tenant.did, "agent_number": AGENTS["accounts"]}
        pbx.ring(call_id, self._tenant.customer_number, self._tenant.did)
        # A PBX that is unsure asks again.
        pbx.ring(call_id, self._tenant.customer_number, self._tenant.did)
        for sequence, status in enumerate(("answered", "completed")):
            pbx.status(call_id, status, sequence=sequence, at=datetime.now(UTC).isoformat(), **ends)


@pytest.fixture(scope="session")
def began(pace: Pace) -> float:
    return time.time()


@pytest.fixture(scope="session")
def prometheus(stack: Stack, began: float) -> Prometheus:
    return Prometheus(stack.layout.url("prometheus"), began)


@pytest.fixture(scope="session")
def tenant(stack: Stack, began: float, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenant]:
    """A business under load: calls all the time, imports, a pulse, strangers, and one record of poison."""
    tenant = new_tenant(stack, "watched")
    _pulse_soon(stack)
    calls = Calls(stack, tenant)
    calls.start()
    backup = tmp_path_factory.mktemp("backup")
    stack.run("vault", "sample", "--out", str(backup), "--messages", "300", "--conflict-number", tenant.customer_number)
    _import_by_the_service(stack, tenant, backup)
    httpx.post(f"{stack.addresses.router}{tenant.hook_path}x/ring", json={}, timeout=PATIENCE)
    # A word and a field that the vendor has not told us of.
    stack.pbx(tenant).status(f"{tenant.slug}-odd", "gone-fishing", mood="calm")
    _missed_and_claimed(stack, tenant)
    poison(stack, tenant, "message.imported", 1)
    wait_behind(stack, "message.imported")
    repeat(stack, "call.inbound")
    yield tenant
    calls.stop.set()
    calls.join(20)


def _missed_and_claimed(stack: Stack, tenant: Tenant) -> None:
    """Nobody took a stranger's call, and somebody says that they will call back."""
    pbx, call_id, caller = stack.pbx(tenant), f"{tenant.slug}-missed", "+919847100099"
    pbx.ring(call_id, caller, tenant.did)
    pbx.status(call_id, "missed", sequence=1, at=datetime.now(UTC).isoformat(), **{"from": caller, "to": tenant.did})
    url = f"{stack.addresses.router}/v1/missed"
    headers = {"Authorization": f"Bearer {stack.addresses.admin_token}", "X-Tenant": tenant.id}

    def missed() -> list[dict[str, Any]]:
        items = httpx.get(url, headers=headers, timeout=PATIENCE).json()["items"]
        return [item for item in items if item["state"] == "open"]

    item = wait_for(missed, "the missed call is nobody's to see to", PATIENCE)[0]
    claim = {"user": "desk", "name": "Reception desk"}
    httpx.post(f"{url}/{item['id']}/claim", headers=headers, json=claim, timeout=PATIENCE).raise_for_status()


def _import_by_the_service(stack: Stack, tenant: Tenant, backup: Path) -> None:
    """Its counters count what it does, not what a command does. Whole, the same again, one damaged, one newer."""
    account = stack.run(
        "vault", "account", "add", "--tenant", tenant.id, "--name", "Phone", "--key-file", str(backup / "backup.key")
    )["account_id"]  # fmt: skip
    folder = stack.layout.run_dir / "whatsapp" / account
    whole = (backup / "msgstore.db.crypt15").read_bytes()
    folder.mkdir(parents=True)
    (folder / "1.crypt15").write_bytes(whole)
    (folder / "2.crypt15").write_bytes(whole)
    (folder / "3.crypt15").write_bytes(whole[:-1000])
    wait_for(lambda: [*folder.glob("done/*1.crypt15")], "the backup was not imported", PATIENCE)
    # What is newer comes later, as it does from a telephone.
    sample = ("vault", "sample", "--out", str(backup / "newer"), "--conflict-number", tenant.customer_number)
    stack.run(*sample, "--messages", "600")
    stack.run(
        "vault", "account", "add", "--tenant", tenant.id, "--name", "Phone", "--key-file",
        str(backup / "newer" / "backup.key"),
    )  # fmt: skip
    shutil.copy(backup / "newer" / "msgstore.db.crypt15", folder / "4.crypt15")


def _pulse_soon(stack: Stack) -> None:
    """Another business, whose pulse is due at the next full minute."""
    due = datetime.now(ZoneInfo("Asia/Kolkata")) + timedelta(seconds=70)
    slug = f"early-{secrets.token_hex(3)}"
    Platform(console_url=stack.addresses.console, admin_token=stack.addresses.admin_token).tenant(
        slug, name=slug, timezone="Asia/Kolkata", owner_email=f"owner@{slug}.example", pulse_at=f"{due:%H:%M}"
    )
