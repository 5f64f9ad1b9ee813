"""What the database knows of a call: its webhooks, its row, its events, and what became of them in every service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from kit.postgres import role_dsn, schema_of
from kit.telemetry import trace_id_of
from trunkline.stack.layout import SERVICES

__all__ = ["Call", "Database", "Effect", "Event", "Webhook", "calls_of", "effects_of"]

ROUTER = "telephony-router"
#: A call's events are appended while it lasts, soon after its webhooks.
AROUND = timedelta(days=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhook:
    """One webhook of a call, as it was taken in."""

    seq: int
    kind: str
    received_at: datetime
    processed_at: datetime | None
    parked: str | None
    trace_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One event about a call, as it was appended to the outbox."""

    id: str
    topic: str
    key: str
    type: str
    created_at: datetime
    trace_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    id: UUID
    tenant: UUID
    state: str | None
    """Nothing when no webhook of it has become a call yet."""
    vendor: str | None
    version: int | None
    webhooks: tuple[Webhook, ...]
    events: tuple[Event, ...]

    @property
    def trace_ids(self) -> tuple[str, ...]:
        found = [*(webhook.trace_id for webhook in self.webhooks), *(event.trace_id for event in self.events)]
        return tuple(dict.fromkeys(each for each in found if each))


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """What a consumer did with an event: it took effect, or it is parked, with the reason."""

    consumer: str
    event_id: str
    at: datetime
    parked: str | None = None
    topic: str | None = None
    letter_id: str | None = None


class Database:
    """The services' schemas, each by its own roles; settings as the services have them."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._settings = settings

    @asynccontextmanager
    async def system(self, service: str) -> AsyncIterator[Any]:
        """Plumbing of every tenant."""
        async with self._open(service, "system") as connection:
            yield connection

    @asynccontextmanager
    async def app(self, service: str, tenant: UUID) -> AsyncIterator[Any]:
        """Rows of one tenant."""
        async with self._open(service, "app") as connection, connection.transaction(readonly=True):
            await connection.execute("SELECT set_config('app.tenant', $1, true)", str(tenant))
            yield connection

    @asynccontextmanager
    async def _open(self, service: str, role: str) -> AsyncIterator[Any]:
        schema = schema_of(service)
        password = self._settings[f"TRUNKLINE_{schema.upper()}_{role.upper()}_PASSWORD"]
        dsn = role_dsn(self._settings["TRUNKLINE_POSTGRES_DSN"], f"{schema}_{role}", password)
        connection = await asyncpg.connect(dsn, timeout=5, command_timeout=30)
        try:
            yield connection
        finally:
            await connection.close()


async def calls_of(database: Database, call_id: UUID) -> list[Call]:
    """The call of this id: none, one, or (ids are made of the vendor's) one for each tenant that has it."""
    async with database.system(ROUTER) as connection:
        taken = await connection.fetch(
            "SELECT tenant_id, seq, kind, received_at, processed_at, parked, traceparent FROM intake "
            "WHERE call_id = $1 ORDER BY received_at, seq",
            call_id,
        )
        tenants = dict.fromkeys(row["tenant_id"] for row in taken)
        return [await _call(database, connection, call_id, tenant, taken) for tenant in tenants]


async def _call(database: Database, system: Any, call_id: UUID, tenant: UUID, taken: Sequence[Any]) -> Call:
    own = [row for row in taken if row["tenant_id"] == tenant]
    told = await system.fetch(
        "SELECT id, aggregatetype, aggregateid, type, created_at, traceparent FROM outbox "
        "WHERE aggregateid = $1 AND created_at BETWEEN $2 AND $3 ORDER BY epoch, xid, seq",
        f"{tenant}:{call_id}",
        own[0]["received_at"] - AROUND,
        own[-1]["received_at"] + AROUND,
    )
    async with database.app(ROUTER, tenant) as connection:
        row = await connection.fetchrow("SELECT state, vendor, version FROM call WHERE id = $1", call_id)
    return Call(
        id=call_id,
        tenant=tenant,
        state=row["state"] if row else None,
        vendor=row["vendor"] if row else None,
        version=row["version"] if row else None,
        webhooks=tuple(_webhook(each) for each in own),
        events=tuple(_event(each) for each in told),
    )


def _webhook(row: Any) -> Webhook:
    same = ("seq", "kind", "received_at", "processed_at", "parked")
    return Webhook(trace_id=trace_id_of(row["traceparent"]), **{name: row[name] for name in same})


def _event(row: Any) -> Event:
    return Event(
        id=str(row["id"]),
        topic=row["aggregatetype"],
        key=row["aggregateid"],
        type=row["type"],
        created_at=row["created_at"],
        trace_id=trace_id_of(row["traceparent"]),
    )


async def effects_of(database: Database, tenant: UUID, events: Sequence[str]) -> list[Effect]:
    """What every service's consumers did with these events, in time."""
    found: list[Effect] = []
    for service in SERVICES:
        async with database.system(service.name) as connection:
            handled = await connection.fetch(
                "SELECT consumer, event_id, seen_at FROM inbox WHERE tenant_id = $1 AND event_id = ANY ($2::text[]) "
                "AND replay_id = ''",
                tenant,
                list(events),
            )
            parked = await connection.fetch(
                "SELECT id, consumer, topic, event_id, reason, message, last_failed_at FROM dead_letter "
                "WHERE tenant_id = $1 AND event_id = ANY ($2::text[])",
                tenant,
                list(events),
            )
        found += [Effect(consumer=r["consumer"], event_id=r["event_id"], at=r["seen_at"]) for r in handled]
        found += [
            Effect(
                consumer=row["consumer"],
                event_id=row["event_id"],
                at=row["last_failed_at"],
                parked=f"{row['reason']}: {row['message']}",
                topic=row["topic"],
                letter_id=str(row["id"]),
            )
            for row in parked
        ]
    return sorted(found, key=lambda effect: (effect.at, effect.consumer))
