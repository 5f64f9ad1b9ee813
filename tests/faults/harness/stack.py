"""The real stack, started so that faults can be put between its parts: every server behind a proxy, every process
with the saboteur on its path. Production code is not touched."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from tests.faults.harness.proxy import Proxies, Proxy

from trunkline.demo.command import addresses_of
from trunkline.demo.world import Addresses
from trunkline.stack import control, kafka
from trunkline.stack.layout import SERVICES, Layout
from trunkline.stack.problems import Problem
from trunkline.stack.processes import servers, services

__all__ = ["PROXIED", "FaultLayout", "FaultStack", "wait_until"]

SABOTEUR = Path(__file__).parent / "saboteur"
PROXIED = {"kafka": (94, 192), "postgres": (432, 532), "redis": (379, 479), "smtp": (25, 125)}
"""Each server that has a proxy before it: its own port's and the proxy's distance from the base."""

# A second listener whose advertised port is the proxy's: who comes through the proxy is sent back to the proxy.
LISTENERS = """
listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:@SERVER@,CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:@PROXY@,CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT
"""
QUICKER = {
    "TRUNKLINE_NOTIFIER_LEASE_SECONDS": "8",
    "TRUNKLINE_NOTIFIER_RETRY_FIRST_SECONDS": "1",
    "TRUNKLINE_NOTIFIER_RETRY_LONGEST_SECONDS": "4",
    "TRUNKLINE_NOTIFIER_SMTP_TIMEOUT_SECONDS": "4",
}
"""Waits that are minutes in production, so that a short run sees their end. Nothing else is set otherwise."""
STARTS = 4


def wait_until(condition: Callable[[], Any], otherwise: str, within: float, every: float = 0.1) -> Any:
    deadline = time.monotonic() + within
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise TimeoutError(f"{otherwise} (after {within:.0f} s)")
        time.sleep(every)


@dataclass(frozen=True, slots=True)
class FaultLayout(Layout):
    """A layout whose services reach Kafka, Postgres, Redis and SMTP through the proxies."""

    def proxy_port(self, name: str) -> int:
        return self.port_base + PROXIED[name][1]

    @property
    def folder(self) -> Path:
        """The saboteur's: what is armed, what has fired."""
        return self.run_dir / "saboteur"

    def environment(self) -> dict[str, str]:
        path = [str(SABOTEUR), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            **Layout.environment(self),
            **QUICKER,
            "TRUNKLINE_KAFKA_BOOTSTRAP": f"127.0.0.1:{self.proxy_port('kafka')}",
            "TRUNKLINE_POSTGRES_DSN": f"postgresql://127.0.0.1:{self.proxy_port('postgres')}/trunkline",
            "TRUNKLINE_REDIS_URL": f"redis://127.0.0.1:{self.proxy_port('redis')}/0",
            "TRUNKLINE_NOTIFIER_SMTP_PORT": str(self.proxy_port("smtp")),
            "FAULTS_DIR": str(self.folder),
            "FAULTS_BUGS": os.environ.get("FAULTS_BUGS", ""),
            "PYTHONPATH": os.pathsep.join(path),
        }


class FaultStack:
    """Starts and stops it, kills and stops processes of it, and knows what is ready."""

    def __init__(self, layout: FaultLayout, *, seed: int = 0, small_disks: bool = False) -> None:
        self.layout = layout
        self.small_disks = small_disks
        self.why_no_small_disks = ""
        self.proxies = Proxies(
            *(
                Proxy(name, listen=layout.port_base + own, target=layout.port_base + server, seed=seed)
                for name, (server, own) in PROXIED.items()
            )
        )
        self.kills: Counter[str] = Counter()
        """How often a process of the stack was killed with signal 9, by name."""
        self.guests: Counter[str] = Counter()
        """How many further processes of a service a fault has started."""
        self._mounted: list[Path] = []

    def start(self, tell: Callable[[str], None] = lambda _: None) -> None:
        control.down(self.layout)
        self._unmount()
        control.clean(self.layout)
        (self.layout.folder / "armed").mkdir(parents=True, exist_ok=True)
        if self.small_disks:
            self._mount(tell)
        self.proxies.start()
        server, own = (self.layout.port_base + offset for offset in PROXIED["kafka"])
        with _more_properties(LISTENERS.replace("@SERVER@", str(server)).replace("@PROXY@", str(own))):
            self._up(tell)

    def _up(self, tell: Callable[[str], None]) -> None:
        """On a busy machine a start may take longer than it is given; what came up meanwhile stays."""
        for left in reversed(range(STARTS)):
            try:
                control.up(self.layout, with_services=True, tell=tell)
            except Problem as problem:
                if not left:
                    raise
                tell(f"starting again: {str(problem).splitlines()[0]}")
            else:
                return

    def stop(self) -> None:
        control.down(self.layout)
        self.proxies.stop()
        self._unmount()

    def mend(self) -> list[str]:
        """Undo what a fault that broke off may have left: everything is on its way up after this, but for what it
        returns."""
        for name in PROXIED:
            self.proxies.heal(name)
        for left in (self.layout.folder / "armed").iterdir():
            left.unlink(missing_ok=True)
        for left in self.layout.folder.glob("clock.*"):
            left.unlink(missing_ok=True)
        for name in ("postgres", "kafka"):
            (self.disk(name) / "ballast").unlink(missing_ok=True)
        failed = []
        for process in (*servers(self.layout), *services(self.layout)):
            self.signal(process.name, signal.SIGCONT)
            if not self.process(process.name):
                try:
                    control.start_one(self.layout, process.name)
                except Problem as problem:
                    failed.append(f"{process.name}: {problem}")
        return failed

    @property
    def addresses(self) -> Addresses:
        return addresses_of(self.layout)

    def process(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = control.state(self.layout).get(name, {})
        return found

    def signal(self, name: str, number: signal.Signals) -> int | None:
        """Send a signal to a process if it runs; return whom it reached."""
        pid = self.process(name).get("pid")
        if pid is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            self.kills[name] += number == signal.SIGKILL
            return int(pid)
        return None

    def not_ready(self) -> list[str]:
        """Which of the services cannot do their job right now."""
        return [
            service.name for service in SERVICES if control.probe(f"{self.layout.url(service.name)}/readyz")[0] != 200
        ]

    async def admin(self, database: str = "trunkline") -> Any:
        """A superuser's connection past the proxies, for looking and for faults. The caller closes it."""
        return await asyncpg.connect(
            self.layout.admin_dsn(database), timeout=5, server_settings={"application_name": "fault harness"}
        )

    def arm(self, process: str, point: str, passes: int) -> Path:
        path = self.layout.folder / "armed" / f"{process}.{point}"
        path.write_text(str(passes))
        return path

    def fired(self) -> list[dict[str, Any]]:
        path = self.layout.folder / "fired"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def disk(self, name: str) -> Path:
        """Where a server's small disk is mounted."""
        return {"postgres": self.layout.run_dir / "postgres", "kafka": kafka.home(self.layout) / "data"}[name]

    def _mount(self, tell: Callable[[str], None]) -> None:
        for name, size in (("postgres", "2g"), ("kafka", "1g")):
            folder = self.disk(name)
            folder.mkdir(parents=True, exist_ok=True)
            done = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", str(folder)],
                check=False, capture_output=True, text=True,
            )  # fmt: skip
            if done.returncode != 0:
                self.why_no_small_disks = f"tmpfs cannot be mounted here: {done.stderr.strip()}"
                tell(f"no full disks in this run: {self.why_no_small_disks}")
                self._unmount()
                return
            self._mounted.append(folder)

    def _unmount(self) -> None:
        for name in ("postgres", "kafka"):
            folder = self.disk(name)
            if os.path.ismount(folder):
                subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)
        self._mounted.clear()

    @property
    def has_small_disks(self) -> bool:
        return bool(self._mounted)

    def forget(self) -> None:
        """Remove everything that the run left."""
        shutil.rmtree(self.layout.run_dir, ignore_errors=True)


@contextlib.contextmanager
def _more_properties(lines: str) -> Iterator[None]:
    """While the stack is made, its broker's configuration has these lines more; the last of a name counts."""
    before = kafka.PROPERTIES
    kafka.PROPERTIES = before + lines
    try:
        yield
    finally:
        kafka.PROPERTIES = before
