"""Watchers that run beside the load: the isolation probe, readiness and recovery times, forgotten transactions."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
from tests.faults.harness.ledger import Ledger
from tests.faults.harness.stack import FaultStack

from kit.postgres import SERVER_AWAY, Database
from trunkline.stack import control
from trunkline.stack.layout import SERVICES

__all__ = ["Deaths", "Isolation", "Readiness", "Recovery", "Transactions"]

PROBE_SECONDS = 0.1
IDLE_LIMIT = 60.0
ORDERLY = ("exit 0", "signal 15")
"""How a service ends that is asked to; only the supervisor asks."""
PROBED = "board_call"
UNSET = "unrecognized configuration parameter"


@dataclass
class Recovery:
    """One fault's end, and how long after it every service was ready again."""

    kind: str
    target: str
    healed_at: float
    seconds: float | None = None


class Isolation:
    """Asks, ten times a second, as one tenant after another, over one pool of the real app role: whose rows are these?

    Every second question names no tenant at all: it must be refused, also on a connection that has just served one.
    """

    def __init__(self, database: Database, tenants: Sequence[str], table: str = PROBED) -> None:
        self._database = database
        self._tenants = [UUID(tenant) for tenant in tenants]
        self._table = table
        self.probes = 0
        self.own_rows = 0
        """A probe that sees nothing at all would see no stranger either."""
        self.unanswered = 0
        self.strangers: list[str] = []

    async def close(self) -> None:
        await self._database.close()

    async def run(self, stopping: asyncio.Event) -> None:
        number = 0
        while not stopping.is_set():
            number += 1
            try:
                async with asyncio.timeout(5):
                    await self.probe(number)
                self.probes += 1
            except (*SERVER_AWAY, asyncpg.PostgresError):
                self.unanswered += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), PROBE_SECONDS)

    async def probe(self, number: int) -> None:
        tenant = self._tenants[number % len(self._tenants)]
        async with self._database.transaction(tenant) as tx:
            rows = await tx.fetch(f"SELECT DISTINCT tenant_id FROM {self._table}")
        self.own_rows += sum(row["tenant_id"] == tenant for row in rows)
        self.strangers += [f"{tenant} saw {row['tenant_id']}" for row in rows if row["tenant_id"] != tenant]
        pool: Any = self._database._app
        async with pool.acquire() as connection:
            try:
                rows = await connection.fetch(f"SELECT DISTINCT tenant_id FROM {self._table}")
            except asyncpg.PostgresError as error:
                # Unset it is unknown, or an empty text that is no uuid: both are a refusal.
                if not isinstance(error, asyncpg.UndefinedObjectError | asyncpg.InvalidTextRepresentationError):
                    raise
            else:
                self.strangers += [f"nobody saw {row['tenant_id']}" for row in rows]


class Readiness:
    """Looks at every service's readiness and tells each ended fault when all were ready again."""

    def __init__(self, stack: FaultStack, ledger: Ledger) -> None:
        self._stack = stack
        self._ledger = ledger
        self.recoveries: list[Recovery] = []
        self.last: list[str] = []
        self.all_ready_at = 0.0
        """When the last look began that found every service ready."""

    def healed(self, kind: str, target: str) -> None:
        self.recoveries.append(Recovery(kind, target, time.time()))

    async def never_all_ready(self, since: float, until: float) -> list[str]:
        """Wait until a look that began after ``since`` found every service ready; by ``until``, who was not."""
        while self.all_ready_at < since:
            if time.time() > until:
                return sorted(self.last) or ["one after the other"]
            await asyncio.sleep(0.1)
        return []

    async def run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            began = time.time()
            self.last = await asyncio.to_thread(self._stack.not_ready)
            if not self.last:
                self.all_ready_at = began
                for each in self.recoveries:
                    # A look that began before the fault ended says nothing about it; a killed process may not have
                    # been missed yet.
                    if each.seconds is None and each.healed_at + 0.3 < began:
                        each.seconds = time.time() - each.healed_at
                        self._ledger.note(
                            "recovered", fault=each.kind, target=each.target, seconds=round(each.seconds, 2)
                        )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), 0.3)


@dataclass
class Deaths:
    """Counts how often each service ended, against how often it was killed. It ends of nothing but that, and of the
    supervisor's own restart of one that says itself that it makes no progress: those are orderly, and counted."""

    stack: FaultStack
    strange: set[str] = field(default_factory=set)
    restarts: Counter[str] = field(default_factory=Counter)
    orderly: Counter[str] = field(default_factory=Counter)
    last_exits: dict[str, str] = field(default_factory=dict)
    _asked: set[str] = field(default_factory=set)

    async def run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            self.note(await asyncio.to_thread(control.state, self.stack.layout))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), 0.5)

    def note(self, state: Mapping[str, Any]) -> None:
        for service in SERVICES:
            known = state.get(service.name, {})
            restarts, died = int(known.get("restarts", 0)), str(known.get("last_exit") or "")
            asked = service.name in self._asked
            (self._asked.add if known.get("state") == "stopping" else self._asked.discard)(service.name)
            if restarts <= self.restarts[service.name]:
                continue
            if asked or died in ORDERLY:
                # One that does not end in time when it is asked to is killed.
                self.orderly[service.name] += 1
            elif died.startswith("signal") and died != "signal 9":
                self.strange.add(f"{service.name} after {restarts} restarts: {died}")
            self.restarts[service.name], self.last_exits[service.name] = restarts, died

    def too_many(self) -> list[str]:
        """Services that ended more often than they were killed or restarted as stuck."""
        killed = self.stack.kills.copy()
        for fired in self.stack.fired():
            killed[str(fired["process"]).replace("_", "-")] += 1
        return [
            f"{name} ended {count} times, was killed {killed[name]} times and restarted as stuck "
            f"{self.orderly[name]} times; the last time with {self.last_exits[name]}"
            for name, count in self.restarts.items()
            if count > killed[name] + self.orderly[name]
        ]


@dataclass
class Transactions:
    """Looks for transactions that somebody left open: they hold every relay of the cluster back."""

    stack: FaultStack
    idle: set[str] = field(default_factory=set)

    async def run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            with contextlib.suppress(*SERVER_AWAY, asyncpg.PostgresError):
                self.idle |= set(await self._look())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), 5)

    async def _look(self) -> list[str]:
        connection = await self.stack.admin()
        try:
            rows = await connection.fetch(
                "SELECT usename, application_name FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' "
                "AND application_name <> 'fault harness' AND now() - state_change > make_interval(secs => $1)",
                IDLE_LIMIT,
            )
            return [f"{row['usename']} ({row['application_name']})" for row in rows]
        finally:
            await connection.close(timeout=5)
