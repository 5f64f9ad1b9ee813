"""What watches the stack: Prometheus, its exporters, and a database account that may look and not touch."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
from pathlib import Path
from string import Template

import asyncpg

from trunkline.stack import postgres
from trunkline.stack.kafka import checkout
from trunkline.stack.layout import Layout
from trunkline.stack.problems import Problem

__all__ = [
    "MONITOR",
    "configuration",
    "lag_exporter",
    "postgres_exporter",
    "postgres_exporter_environment",
    "prepare",
    "prometheus",
    "redis_exporter",
    "require",
]

MONITOR = "trunkline_monitor"
INTERVAL = "5s"
PROGRAMS = ("prometheus", "prometheus-postgres-exporter", "prometheus-redis-exporter")


def require() -> None:
    """Raise when a program that the observers need is not installed."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise Problem(f"not installed: {', '.join(missing)}", "deploy/native/bootstrap --observe")


def folder(layout: Layout) -> Path:
    return layout.run_dir / "observe"


def prepare(layout: Layout) -> bool:
    """Make the monitor's account and write what Prometheus reads; true when that differs from before.

    Postgres must be up.
    """
    asyncio.run(_ensure_monitor(layout))
    (folder(layout) / "prometheus").mkdir(parents=True, exist_ok=True)
    path, text = folder(layout) / "prometheus.yml", configuration(layout)
    changed = not path.exists() or path.read_text(encoding="utf-8") != text
    path.write_text(text, encoding="utf-8")
    return changed


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
