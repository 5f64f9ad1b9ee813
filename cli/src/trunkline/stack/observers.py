"""What watches the stack: Prometheus, its exporters, and a database account that may look and not touch."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import asyncpg

from trunkline.stack import children, postgres
from trunkline.stack.kafka import checkout
from trunkline.stack.layout import Layout
from trunkline.stack.problems import Problem, quote

__all__ = [
    "MONITOR",
    "Seen",
    "configuration",
    "lag_exporter",
    "node_exporter",
    "postgres_exporter",
    "postgres_exporter_environment",
    "prepare",
    "prometheus",
    "redis_exporter",
    "require",
    "seen",
    "tenants_exporter",
]

MONITOR = "trunkline_monitor"
INTERVAL = "5s"
PROGRAMS = (
    "prometheus", "promtool", "prometheus-node-exporter", "prometheus-postgres-exporter", "prometheus-redis-exporter",
)  # fmt: skip

NOT_DISKS = (
    "autofs", "cgroup2?", "debugfs", "devpts", "devtmpfs", "mqueue", "nsfs", "proc", "ramfs", "squashfs", "sysfs",
    "tmpfs", "tracefs",
)  # fmt: skip


def require() -> None:
    """Raise when a program that the observers need is not installed."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise Problem(f"not installed: {', '.join(missing)}", "deploy/native/bootstrap --observe")


def folder(layout: Layout) -> Path:
    return layout.run_dir / "observe"


def prepare(layout: Layout) -> None:
    """Make the monitor's account and write what Prometheus reads. Postgres must be up."""
    asyncio.run(_ensure_monitor(layout))
    (folder(layout) / "prometheus").mkdir(parents=True, exist_ok=True)
    path = folder(layout) / "prometheus.yml"
    path.write_text(configuration(layout), encoding="utf-8")
    checked = children.run(["promtool", "check", "config", str(path)], cwd=layout.run_dir)
    if checked.returncode != 0:
        said = " ".join((checked.stdout + checked.stderr).split())
        raise Problem(f"Prometheus would not take its rules: {said[-300:]}", f"promtool check config {quote(path)}")


def configuration(layout: Layout, *, interval: str = INTERVAL, rules: Path | None = None) -> str:
    """Prometheus' configuration for this stack. ``rules`` is the folder of the alert rules."""
    source = checkout() / "deploy" / "prometheus"
    # A folder's name may hold what a pattern gives a meaning to.
    escaped = re.sub(r"([*?\[\]\\])", r"\\\1", str(rules or source / "rules"))
    places = {name.replace("-", "_"): f"127.0.0.1:{port}" for name, port in layout.ports.items()}
    template = Template((source / "prometheus.yml").read_text(encoding="utf-8"))
    return template.substitute(places, interval=interval, rules=json.dumps(f"{escaped}/*.yml", ensure_ascii=False))


def prometheus(layout: Layout) -> tuple[str, ...]:
    return (
        "prometheus",
        f"--config.file={folder(layout) / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder(layout) / 'prometheus'}",
        "--storage.tsdb.retention.time=15d",
        "--storage.tsdb.retention.size=1GB",
        f"--web.listen-address=127.0.0.1:{layout.ports['prometheus']}",
        f"--web.external-url={layout.url('prometheus')}/",
        "--enable-feature=exemplar-storage",
        "--log.level=warn",
    )


def postgres_exporter(layout: Layout) -> tuple[str, ...]:
    address = f"--web.listen-address=127.0.0.1:{layout.ports['postgres-exporter']}"
    return ("prometheus-postgres-exporter", address, "--log.level=warn")


def postgres_exporter_environment(layout: Layout) -> dict[str, str]:
    return {
        "DATA_SOURCE_URI": f"127.0.0.1:{layout.ports['postgres']}/trunkline?sslmode=disable&connect_timeout=3",
        "DATA_SOURCE_USER": MONITOR,
        "DATA_SOURCE_PASS": layout.secrets()["postgres_monitor"],
    }


def redis_exporter(layout: Layout) -> tuple[str, ...]:
    return (
        "prometheus-redis-exporter",
        f"-web.listen-address=127.0.0.1:{layout.ports['redis-exporter']}",
        f"-redis.addr=redis://127.0.0.1:{layout.ports['redis']}",
    )


def lag_exporter(layout: Layout) -> tuple[str, ...]:
    return (sys.executable, "-m", "trunkline", "lag-exporter", "--kafka", layout.kafka_bootstrap,
            "--port", str(layout.ports["lag-exporter"]))  # fmt: skip


def tenants_exporter(layout: Layout) -> tuple[str, ...]:
    return (sys.executable, "-m", "trunkline", "tenants-exporter", "--port", str(layout.ports["tenants-exporter"]))


def node_exporter(layout: Layout) -> tuple[str, ...]:
    """Of the host only how full its disks are; everything else is the business of whoever runs the host."""
    return (
        "prometheus-node-exporter",
        f"--web.listen-address=127.0.0.1:{layout.ports['node-exporter']}",
        "--collector.disable-defaults",
        "--collector.filesystem",
        f"--collector.filesystem.fs-types-exclude=^({'|'.join(NOT_DISKS)})$",
        "--log.level=warn",
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """What Prometheus says of the stack."""

    lost: tuple[str, ...]
    """Jobs that cannot be scraped, or whose server does not answer its exporter."""
    alerts: tuple[tuple[str, str, str], ...]
    """Alerts that are firing: their names, what they say, and where it is written what to do."""


def seen(layout: Layout) -> Seen | None:
    """Nothing when Prometheus does not answer."""
    try:
        up = _ask(layout, "query", query="up == 0 or pg_up == 0 or redis_up == 0 or trunkline_kafka_up == 0")["result"]
        alerts = _ask(layout, "alerts")["alerts"]
    except (OSError, ValueError, KeyError):
        return None
    return Seen(
        lost=tuple(sorted({each["metric"]["job"] for each in up})),
        alerts=tuple(sorted({_words(each) for each in alerts if each["state"] == "firing"})),
    )


def _words(alert: Any) -> tuple[str, str, str]:
    told = alert["annotations"]
    return alert["labels"]["alertname"], told.get("summary", ""), told.get("runbook_url", "docs/howto/observe.md")


def _ask(layout: Layout, what: str, **parameters: str) -> Any:
    url = f"{layout.url('prometheus')}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=3) as answer:  # noqa: S310 - our own loopback address
        return json.load(answer)["data"]


async def _ensure_monitor(layout: Layout) -> None:
    """An account that sees the server's figures and settings, and no row of any service."""
    await postgres.ensure_database(layout)
    connection = await asyncpg.connect(layout.admin_dsn("trunkline"))
    try:
        if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", MONITOR):
            await connection.execute(f"CREATE ROLE {MONITOR}")
        password = await connection.fetchval("SELECT quote_literal($1::text)", layout.secrets()["postgres_monitor"])
        await connection.execute(
            f"ALTER ROLE {MONITOR} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS NOREPLICATION "
            f"CONNECTION LIMIT 5 PASSWORD {password}"
        )
        await connection.execute(f"GRANT pg_monitor TO {MONITOR}")
        await connection.execute(f"ALTER ROLE {MONITOR} SET default_transaction_read_only = on")
        await connection.execute(f"ALTER ROLE {MONITOR} SET statement_timeout = '5s'")
    finally:
        await connection.close()
