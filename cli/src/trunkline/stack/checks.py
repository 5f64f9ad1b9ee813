"""What must be true before a start, and what ``doctor`` looks at. Passive: looks, never mends."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import asyncpg

from contracts.topics import TOPICS
from trunkline.stack import kafka, observers, postgres, redis
from trunkline.stack.layout import SERVICES, Layout
from trunkline.stack.probes import probe
from trunkline.stack.problems import Problem, quote
from trunkline.stack.processes import watchers

__all__ = ["Check", "before_start", "directory", "examine"]

DISK_GB, MEMORY_MB = 2, 1500


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    verdict: Literal["PASS", "WARN", "FAIL", "SKIP"]
    finding: str
    mend: str = ""


def before_start(layout: Layout) -> None:
    """Raise the first thing that would make a start fail. Nothing has been changed by then."""
    for check in _requirements(layout):
        if check.verdict == "FAIL":
            raise Problem(check.finding, check.mend)


def directory(layout: Layout) -> None:
    """Raise when the stack's directory is somebody else's."""
    check = _owner(layout)
    if check.verdict == "FAIL":
        raise Problem(check.finding, check.mend)


def _requirements(layout: Layout) -> Iterator[Check]:
    yield Check("python", "PASS", f"Python {sys.version_info.major}.{sys.version_info.minor}")
    version = kafka.java_version()
    if version is None or version < 17:
        found = "no Java" if version is None else f"Java {version}"
        yield Check(
            "java", "FAIL", f"Kafka needs Java 17 or later, found {found}", "apt-get install default-jre-headless"
        )
    else:
        yield Check("java", "PASS", f"Java {version}")
    for name, there in (("postgres", postgres.binaries()), ("redis-server", shutil.which("redis-server"))):
        missing = Check(name, "FAIL", f"the {name} server is not installed", "make setup")
        yield Check(name, "PASS", str(there)) if there else missing
    yield _disk(layout)
    yield _memory()
    door = postgres.closed_door(layout)
    if door is not None:
        account = postgres.unprivileged_user()
        yield Check("directory", "FAIL", f"the account {account}, which must run Postgres, cannot enter {door}",
                    f"chmod o+x {quote(door)}")  # fmt: skip
    else:
        yield _owner(layout)
    yield from _ports(layout)


def _owner(layout: Layout) -> Check:
    """The directory must be ours, and the cluster in it that of the account which will run Postgres."""
    place = layout.run_dir
    while not place.exists():
        place = place.parent
    ours = pwd.getpwuid(os.geteuid()).pw_name
    if not os.access(place, os.W_OK | os.X_OK):
        return Check("directory", "FAIL", f"{ours} cannot write in {place}", f"sudo chown -R {ours} {quote(place)}")
    cluster, account = postgres.data_dir(layout), postgres.unprivileged_user() or ours
    if cluster.parent.exists() and (owner := _owner_of(cluster)) not in (account, ""):
        return Check("directory", "FAIL", f"the cluster in {cluster} belongs to {owner}, and {account} would run it",
                     f"sudo chown -R {account} {quote(cluster.parent)}")  # fmt: skip
    return Check("directory", "PASS", "the stack's accounts can reach its data")


def _owner_of(path: Path) -> str:
    try:
        return pwd.getpwuid(path.stat().st_uid).pw_name
    except (FileNotFoundError, KeyError):
        return ""
    except PermissionError:
        return "somebody else"


def _disk(layout: Layout) -> Check:
    place = layout.run_dir if layout.run_dir.exists() else layout.run_dir.parent
    free = shutil.disk_usage(place if place.exists() else Path.cwd()).free / 1e9
    if free < DISK_GB:
        return Check("disk", "FAIL", f"{free:.1f} GB free in {place}, {DISK_GB} GB are needed", f"df -h {quote(place)}")
    return Check("disk", "PASS", f"{free:.0f} GB free")


def _memory() -> Check:
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) // 1024
            if free < MEMORY_MB:
                return Check("memory", "FAIL", f"{free} MB of memory free, {MEMORY_MB} MB are needed", "free -m")
            return Check("memory", "PASS", f"{free} MB free")
    return Check("memory", "SKIP", "the kernel does not tell")


def _ports(layout: Layout) -> Iterator[Check]:
    from trunkline.stack.control import supervisor_pid

    if supervisor_pid(layout) is not None:
        yield Check("ports", "PASS", f"held by this stack, from {layout.port_base}")
        return
    taken = []
    for name, port in layout.ports_in_use.items():
        with socket.socket() as trial:
            # As servers do: a connection in TIME_WAIT does not take a port.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                taken.append((name, port))
    if taken:
        names = ", ".join(f"{port} ({name})" for name, port in taken)
        yield Check("ports", "FAIL", f"taken by another program: {names}",
                    f"TRUNKLINE_PORT_BASE={layout.port_base + 1000} trunkline up")  # fmt: skip
    else:
        yield Check("ports", "PASS", f"free, from {layout.port_base}")


def examine(layout: Layout) -> list[Check]:
    """Every check, the worst first."""
    from trunkline.stack.control import supervisor_pid

    found = [*_requirements(layout), _secrets(layout)]
    if supervisor_pid(layout) is None:
        found.append(Check("stack", "WARN", "is not running", "trunkline up"))
    else:
        found += [*_servers(layout), *_services(layout), *asyncio.run(_database(layout)), *_watchers(layout)]
    order = {"FAIL": 0, "WARN": 1, "SKIP": 2, "PASS": 3}
    return sorted(found, key=lambda check: order[check.verdict])


def _secrets(layout: Layout) -> Check:
    path = layout.run_dir / "secrets.json"
    if not path.exists():
        return Check("secrets", "SKIP", "not made yet")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        return Check("secrets", "FAIL", f"{path} can be read by others", f"chmod 600 {quote(path)}")
    return Check("secrets", "PASS", "readable by their owner only")


def _servers(layout: Layout) -> Iterator[Check]:
    for name, is_up in (("postgres", postgres.is_up), ("redis", redis.is_up), ("kafka", kafka.is_up)):
        down = Check(name, "FAIL", "does not answer", f"trunkline logs {name}")
        yield Check(name, "PASS", "answers") if is_up(layout) else down
    if kafka.is_up(layout):
        from confluent_kafka.admin import AdminClient

        topics = (
            AdminClient({"bootstrap.servers": layout.kafka_bootstrap, "log_level": 0}).list_topics(timeout=5).topics
        )
        missing = sorted(TOPICS.keys() - topics.keys())
        lack = Check("topics", "FAIL", f"missing: {', '.join(missing)}", "trunkline up")
        yield lack if missing else Check("topics", "PASS", f"all {len(TOPICS)} exist")


def _services(layout: Layout) -> Iterator[Check]:
    from trunkline.stack.control import state

    known = state(layout)
    for service in SERVICES:
        if service.name not in known:
            yield Check(service.name, "SKIP", "not part of this start")
            continue
        status, why = probe(f"{layout.url(service.name)}/readyz")
        restarts = known[service.name]["restarts"]
        if status != 200:
            yield Check(service.name, "FAIL", why or "does not answer", f"trunkline logs {service.name}")
        elif restarts > 3:
            yield Check(
                service.name, "WARN", f"ready, but restarted {restarts} times", f"trunkline logs {service.name}"
            )
        else:
            yield Check(service.name, "PASS", "ready")


def _watchers(layout: Layout) -> Iterator[Check]:
    if not layout.choices.observe:
        yield Check("observation", "SKIP", "is off; trunkline up --observe switches it on")
        return
    for process in watchers(layout):
        status, why = probe(str(process.ready_url))
        down = Check(process.name, "FAIL", why or "does not answer", f"trunkline logs {process.name}")
        yield Check(process.name, "PASS", "answers") if status == 200 else down
    seen = observers.seen(layout)
    if seen is None:
        return
    for job in seen.lost:
        yield Check("scraping", "WARN", f"{job} gives no figures", f"trunkline logs {job}")
    for name, summary, runbook in seen.alerts:
        yield Check(f"alert {name}", "WARN", summary, f"less {runbook}")
    if not seen.lost and not seen.alerts:
        yield Check("scraping", "PASS", "everything gives its figures, no alert is firing")


async def _database(layout: Layout) -> list[Check]:
    try:
        connection = await asyncpg.connect(layout.admin_dsn("trunkline"), timeout=3)
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return [Check("row-level security", "SKIP", "Postgres does not answer")]
    try:
        schemas = [service.package for service in SERVICES]
        rows = await connection.fetch(
            "SELECT c.oid::regclass::text AS name FROM pg_class c "
            "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' "
            "WHERE c.relnamespace = ANY (SELECT oid FROM pg_namespace WHERE nspname = ANY ($1)) "
            "AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND NOT (c.relrowsecurity AND c.relforcerowsecurity)",
            schemas,
        )
        bypass = await connection.fetch(
            "SELECT rolname FROM pg_roles WHERE (rolsuper OR rolbypassrls) AND rolname ~ $1",
            f"^({'|'.join(schemas)})_(owner|app|system|ro)$",
        )
        routed = await connection.fetchval("SELECT to_regclass('telephony_router.intake') IS NOT NULL")
        parked = await connection.fetchval(_PARKED) if routed else 0
    finally:
        await connection.close()
    open_tables = [row["name"] for row in rows] + [row["rolname"] for row in bypass]
    fenced = Check("row-level security", "PASS", "forced on every tenant's table, no role above it")
    if open_tables:
        fenced = Check("row-level security", "FAIL", f"not forced: {', '.join(open_tables)}", "trunkline migrate")
    return [fenced, _parked_webhooks(parked)]


_PARKED = "SELECT count(*) FROM telephony_router.intake WHERE parked IS NOT NULL AND processed_at IS NULL"


def _parked_webhooks(count: int) -> Check:
    if count:
        return Check("webhooks", "WARN", f"{count} were taken in and had no effect", "trunkline router parked list")
    return Check("webhooks", "PASS", "none is parked")
