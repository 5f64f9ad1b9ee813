"""The tenants exporter: what each tenant's operation amounts to, counted from the services' outboxes.

The services' own metrics carry no tenant (docs/decisions/0007). This process, which operators alone reach, counts
events by the tenants' opaque ids. Every service's outbox holds everything that it ever told anybody, so six small
queries say what happened, whatever the services do; the plumbing's own role may read it for all tenants.
"""

from __future__ import annotations

import asyncio
import importlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from prometheus_client import start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from kit.postgres import role_dsn, schema_of
from kit.telemetry import get_logger
from runtime.logs import configure_logging
from trunkline.observe.figures import counted, shown
from trunkline.stack.layout import SERVICES

__all__ = ["Outbox", "Tenants", "run"]

log = get_logger(__name__)

EVENTS = counted("trunkline_tenant_events", "1", "Events of a tenant, by topic", ["tenant", "topic"])
LETTERS = shown("trunkline_tenant_dead_letters_waiting", "1", "Dead letters of a tenant", ["tenant", "service"])
KEYS = shown("trunkline_tenant_parked_keys", "1", "Keys of a tenant that wait behind one", ["tenant", "service"])
SEEN = shown("trunkline_tenants_seen", "1", "Tenants with an event since the start")
SHOWN = shown("trunkline_tenants_shown", "1", "Tenants that have series here")

FADE = 0.98
STATEMENT_SECONDS = 5

# Rows below the oldest running transaction are there for good, in this order, so that each is counted once.
_NEW = """
    SELECT tenant_id::text AS tenant, aggregatetype AS topic, count(*) AS events
    FROM {schema}.outbox
    WHERE (epoch, xid, seq) > ($1::integer, $2::text::xid8, $3::bigint)
        AND (epoch, xid, seq) <= ($4::integer, $5::text::xid8, $6::bigint)
    GROUP BY 1, 2
"""
_LAST = """
    SELECT epoch, xid::text AS xid, seq FROM {schema}.outbox
    WHERE xid < pg_snapshot_xmin(pg_current_snapshot())
        AND (epoch, xid, seq) > ($1::integer, $2::text::xid8, $3::bigint)
    ORDER BY outbox.epoch DESC, outbox.xid DESC, outbox.seq DESC LIMIT 1
"""
_STUCK = """
    SELECT tenant_id::text AS tenant, count(*) FILTER (WHERE NOT parked_behind) AS letters, count(DISTINCT lane) AS keys
    FROM {schema}.dead_letter WHERE state <> 'dropped' GROUP BY 1
"""
Place = tuple[int, str, int]
BEGINNING: Place = (0, "0", 0)


class Tenants(Collector):
    """What was counted so far. Only the busiest tenants are shown, so that there are never more series than that."""

    def __init__(self, *, top: int) -> None:
        self._top = top
        self._events: Counter[tuple[str, str]] = Counter()
        self._busy: dict[str, float] = {}
        self._stuck: dict[str, Mapping[str, tuple[int, int]]] = {}

    def happened(self, tenant: str, topic: str, count: int) -> None:
        self._events[tenant, topic] += count
        self._busy[tenant] = self._busy.get(tenant, 0.0) + count

    def stuck(self, service: str, by_tenant: Mapping[str, tuple[int, int]]) -> None:
        """Dead letters and waiting keys of a service's tenants, as they are now."""
        self._stuck[service] = by_tenant

    def fade(self) -> None:
        """What is long ago counts less for who is busy; the counters themselves never fall."""
        self._busy = {tenant: score * FADE for tenant, score in self._busy.items()}

    def shown(self) -> set[str]:
        """The busiest, and among equals always the same ones. Whoever has something stuck comes first."""
        troubled = {tenant for each in self._stuck.values() for tenant in each}
        ranked = sorted({*self._busy, *troubled}, key=lambda t: (t not in troubled, -self._busy.get(t, 0.0), t))
        return set(ranked[: self._top])

    def collect(self) -> Iterator[Metric]:
        visible = self.shown()
        events, letters, keys = EVENTS.counter(), LETTERS.gauge(), KEYS.gauge()
        for (tenant, topic), count in self._events.items():
            if tenant in visible:
                events.add_metric([tenant, topic], count)
        for service, by_tenant in self._stuck.items():
            for tenant in visible:
                waiting, parked = by_tenant.get(tenant, (0, 0))
                letters.add_metric([tenant, service], waiting)
                keys.add_metric([tenant, service], parked)
        yield from (events, letters, keys, SEEN.gauge(len(self._busy)), SHOWN.gauge(len(visible)))


@dataclass(kw_only=True)
class Outbox:
    """One service's outbox, followed from where it was when this began."""

    service: str
    dsn: str
    tenants: Tenants
    position: Place | None = None
    _connection: Any = field(default=None, repr=False)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def look(self) -> None:
        """Count what is new. Raises while Postgres is away; nothing is then counted twice or left out."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self.dsn,
                timeout=STATEMENT_SECONDS,
                command_timeout=STATEMENT_SECONDS,
                server_settings={"default_transaction_read_only": "on", "application_name": "tenants-exporter"},
            )
        schema = schema_of(self.service)
        async with self._connection.transaction(isolation="repeatable_read", readonly=True):
            since = self.position or BEGINNING
            last = await self._connection.fetchrow(_LAST.format(schema=schema), *since)
            until = tuple(last) if last is not None else since
            new = self.position is not None and until != since
            rows = await self._connection.fetch(_NEW.format(schema=schema), *since, *until) if new else []
            stuck = await self._connection.fetch(_STUCK.format(schema=schema))
        for row in rows:
            self.tenants.happened(row["tenant"], row["topic"], row["events"])
        self.position = until
        self.tenants.stuck(self.service, {row["tenant"]: (row["letters"], row["keys"]) for row in stuck})


def run(*, host: str, port: int, every: float, top: int) -> None:
    """Count and serve until SIGTERM or SIGINT. Blocks. Postgres may come and go."""
    configure_logging("tenants-exporter")
    tenants = Tenants(top=top)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(tenants)
    start_http_server(port, host, registry)
    log.info("tenants_exporter_started", port=port)
    asyncio.run(_follow(tenants, every))


async def _follow(tenants: Tenants, every: float) -> None:
    outboxes = [_outbox(service.name, service.package, tenants) for service in SERVICES]
    while True:
        for outbox in outboxes:
            try:
                await outbox.look()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("outbox_not_read", of=outbox.service, error=type(error).__name__)
        tenants.fade()
        await asyncio.sleep(every)


def _outbox(service: str, package: str, tenants: Tenants) -> Outbox:
    settings = importlib.import_module(f"{package}.settings").Settings.load()
    role = f"{schema_of(service)}_system"
    dsn = role_dsn(settings.postgres_dsn, role, settings.system_password.get_secret_value())
    return Outbox(service=service, dsn=dsn, tenants=tenants)
