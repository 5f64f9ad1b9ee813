"""What runs: a table of processes, written to a file that the supervisor reads."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from trunkline.stack import kafka, observers, postgres, redis
from trunkline.stack.layout import SERVICES, Layout

__all__ = ["Process", "digest_of_table", "read_table", "servers", "services", "watchers", "write_table"]


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process: how to start and stop it, and where it says that it is ready."""

    name: str
    argv: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    user: str | None = None
    cwd: str | None = None
    stop_signal: int = 15
    stop_seconds: float = 30.0
    ready_url: str | None = None


def servers(layout: Layout) -> list[Process]:
    """Kafka, Postgres, Redis and the mail sink."""
    account = postgres.unprivileged_user()
    sink = (sys.executable, "-m", "trunkline.smtp_sink", "--smtp-port", str(layout.ports["smtp"]),
            "--page-port", str(layout.ports["mail-page"]), "--folder", str(layout.mails))  # fmt: skip
    return [
        Process(name="kafka", argv=kafka.command(layout), environment=kafka.ENVIRONMENT, cwd=str(kafka.home(layout))),
        # SIGINT is Postgres's fast shutdown: it does not wait for its clients to leave.
        Process(name="postgres", argv=postgres.command(layout), user=account, cwd="/", stop_signal=2),
        Process(name="redis", argv=redis.command(layout)),
        Process(name="smtp-sink", argv=sink, ready_url=f"{layout.url('mail-page')}/livez"),
    ]


def services(layout: Layout) -> list[Process]:
    """The six services, each ``python -m <package>`` with the stack's environment."""
    environment = layout.environment()
    return [
        Process(
            name=service.name,
            argv=(sys.executable, "-m", service.package),
            environment=environment | {"TRUNKLINE_NICENESS": str(service.niceness)},
            ready_url=f"{layout.url(service.name)}/readyz",
        )
        for service in SERVICES
    ]


def watchers(layout: Layout) -> list[Process]:
    """Prometheus and the exporters, when they are switched on."""
    if not layout.choices.observe:
        return []
    return [
        Process(
            name="postgres-exporter",
            argv=observers.postgres_exporter(layout),
            environment=observers.postgres_exporter_environment(layout),
            ready_url=layout.url("postgres-exporter"),
        ),
        Process(
            name="redis-exporter",
            argv=observers.redis_exporter(layout),
            ready_url=f"{layout.url('redis-exporter')}/health",
        ),
        Process(
            name="lag-exporter", argv=observers.lag_exporter(layout), ready_url=f"{layout.url('lag-exporter')}/readyz"
        ),
        Process(
            name="tenants-exporter",
            argv=observers.tenants_exporter(layout),
            environment=layout.environment(),
            ready_url=f"{layout.url('tenants-exporter')}/metrics",
        ),
        Process(
            name="node-exporter",
            argv=observers.node_exporter(layout),
            ready_url=f"{layout.url('node-exporter')}/metrics",
        ),
        Process(name="prometheus", argv=observers.prometheus(layout), ready_url=f"{layout.url('prometheus')}/-/ready"),
    ]


def write_table(layout: Layout, processes: Sequence[Process]) -> None:
    """Replace the table as a whole; the supervisor never sees half of it. It holds secrets."""
    path = table_path(layout)
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps([asdict(process) for process in processes]), encoding="utf-8")
    fresh.replace(path)


def read_table(layout: Layout) -> list[Process]:
    path = table_path(layout)
    if not path.exists():
        return []
    rows = json.loads(path.read_text(encoding="utf-8"))
    # Written by a newer release, it may say more than we know.
    known = {each.name for each in fields(Process)}
    rows = [{name: value for name, value in row.items() if name in known} for row in rows]
    return [Process(**{**row, "argv": tuple(row["argv"])}) for row in rows]


def digest_of_table(layout: Layout) -> str:
    """Tells one table from another; nothing when there is none."""
    path = table_path(layout)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def table_path(layout: Layout) -> Path:
    return layout.run_dir / "processes.json"
