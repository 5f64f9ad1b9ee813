"""Bring what Postgres knows to where calls are answered from: this process's snapshot, its disk, and Redis."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from redis.exceptions import RedisError

from kit.postgres import Database, Transaction
from kit.telemetry import get_logger
from runtime.background import Background
from telephony_router import store
from telephony_router.metrics import METRICS
from telephony_router.record import DATABASE_FAILURES
from telephony_router.snapshot import Snapshot, SnapshotBroken, read_snapshot, write_snapshot
from telephony_router.view import REDIS_FAILURES, RedisView, caller_key, did_key, load_key, tenant_key

__all__ = ["ViewKeeper", "rebuild_view", "sweep_view"]

log = get_logger(__name__)

_Entry = tuple[str, dict[str, Any]]
DISK_WRITE_SECONDS = 2.0


class ViewKeeper(Background):
    """Follows the numbered changes of the view. A component: ready as soon as any snapshot is loaded."""

    name = "routing view"
    ended = "the routing view is not followed any more"

    def __init__(
        self,
        *,
        database: Database,
        view: RedisView,
        snapshot: Snapshot,
        path: Path,
        clock: Callable[[], datetime],
        poll_seconds: float = 0.2,
        sweep_seconds: float = 60.0,
    ) -> None:
        self._database = database
        self._view = view
        self._snapshot = snapshot
        self._path = path
        self._clock = clock
        self._poll = poll_seconds
        self._sweep_every = sweep_seconds
        self._seen: dict[UUID, int] | None = None
        """The last change of each tenant that is in the snapshot; None asks for everything anew."""
        self._swept_at: float | None = None
        self._written = 0
        self._written_at = 0.0
        self._last_error: str | None = None
        self.doorbell = asyncio.Event()
        """Rung after a commit that changed the view."""

    def load(self) -> None:
        """Load the snapshot from the disk, if there is one. A broken one is as good as none."""
        try:
            dumped = read_snapshot(self._path)
            if dumped is not None:
                self._snapshot.restore(dumped)
        except (SnapshotBroken, OSError):
            log.exception("snapshot_not_loaded")
        self._written = self._snapshot.changes

    async def stop(self) -> None:
        await super().stop()
        if self._snapshot.loaded:
            await self._write(at_once=True)

    def ready(self) -> str | None:
        return None if self._snapshot.loaded else "no snapshot of the routing view is loaded yet"

    def status(self) -> dict[str, object]:
        return {
            "snapshot_loaded": self._snapshot.loaded,
            "snapshot_age_ms": self._snapshot.age_ms(self._clock()),
            "last_error": self._last_error,
        }

    async def _run(self) -> None:
        while True:
            self.doorbell.clear()
            try:
                await self.follow()
                await self._sweep_when_due()
                self._last_error = None
            except DATABASE_FAILURES as error:
                self._failed(error)
            except Exception as error:
                log.exception("view_not_followed")
                self._failed(error)
            await self._write()
            METRICS.snapshot_age.set(self._snapshot.age_ms(self._clock()) / 1000)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.doorbell.wait(), self._poll)

    def _failed(self, error: Exception) -> None:
        # After an outage the log of changes may have been pruned or the database replaced: start from everything.
        if self._last_error is None:
            log.warning("view_interrupted", error=type(error).__name__)
        self._last_error = type(error).__name__
        self._seen, self._swept_at = None, None

    async def follow(self) -> None:
        """Take over what changed since the last time."""
        async with self._database.system() as tx:
            versions = await store.view_versions(tx)
            if self._seen is None:
                await self._reload(tx)
                changes: dict[UUID, list[tuple[str, str]]] = {}
            else:
                stale = {tenant: v for tenant, v in versions.items() if v != self._seen.get(tenant)}
                changes = {t: await store.changes_since(tx, t, self._seen.get(t, 0)) for t in stale}
            entries = [entry for tenant, each in changes.items() for entry in await self._learn(tx, tenant, each)]
        self._seen = versions
        self._snapshot.confirmed_at = self._clock()
        await self._to_redis(entries)

    async def _reload(self, tx: Transaction) -> None:
        self._snapshot.replace(
            accounts=await store.all_accounts(tx),
            tenants=await store.view_tenants(tx),
            dids=await store.view_dids(tx),
            confirmed_at=self._clock(),
        )
        self._snapshot.replace_loads(await store.view_loads(tx))
        for tenant in self._snapshot.tenants():
            recent = self._snapshot.recent_callers(tenant)
            await self._learn(tx, tenant, [("caller", number) for number in recent])

    async def _learn(self, tx: Transaction, tenant: UUID, changes: list[tuple[str, str]]) -> list[_Entry]:
        """Put changed entries into the snapshot; return them as Redis wants them, callers before what names them."""
        numbers = [key for kind, key in changes if kind == "caller"]
        dids = [key for kind, key in changes if kind == "did"]
        entries: list[_Entry] = []
        if numbers:
            found = {each["number"]: each for each in await store.view_callers(tx, tenant, numbers)}
            version = max((each["version"] for each in found.values()), default=await self._version(tx, tenant))
            for number in numbers:
                entry = found.get(number)
                self._snapshot.learn_caller(tenant, number, entry, version=version)
                entries.append((caller_key(tenant, number), entry or _gone(version)))
        if any(kind == "tenant" for kind, _ in changes):
            for entry in await store.view_tenants(tx, tenant):
                self._snapshot.learn_tenant(tenant, entry)
                entries.append((tenant_key(tenant), entry))
        if any(kind == "load" for kind, _ in changes):
            for entry in await store.view_loads(tx, tenant):
                self._snapshot.learn_load(tenant, entry)
                entries.append((load_key(tenant), entry))
        if dids:
            known = {each["did"]: each for each in await store.view_dids(tx, None, dids)}
            for did in dids:
                self._snapshot.learn_did(did, known.get(did))
                entries.append((did_key(did), known.get(did) or _gone(await self._version(tx, tenant))))
        return entries

    async def _version(self, tx: Transaction, tenant: UUID) -> int:
        return (await store.view_versions(tx)).get(tenant, 0)

    async def _to_redis(self, entries: list[_Entry]) -> None:
        if not entries:
            return
        try:
            await self._view.put(entries)
        except REDIS_FAILURES as error:
            log.warning("view_not_written", error=type(error).__name__, entries=len(entries))
            self._swept_at = None

    async def _sweep_when_due(self) -> None:
        """Compare all of Redis with Postgres now and then, and as soon as Redis may have missed something."""
        now = time.monotonic()
        if self._swept_at is not None and now - self._swept_at < self._sweep_every:
            return
        try:
            repaired = await sweep_view(self._database, self._view)
        except REDIS_FAILURES as error:
            if isinstance(error, RedisError | RuntimeError):
                return
            raise
        if repaired:
            METRICS.view_drift.inc(repaired)
            log.info("view_repaired", entries=repaired)
        # Accounts are not in the log of changes, so everything is read again as often as it is compared.
        self._swept_at, self._seen = now, None

    async def _write(self, *, at_once: bool = False) -> None:
        due = at_once or time.monotonic() - self._written_at >= DISK_WRITE_SECONDS
        if not due or self._written == self._snapshot.changes or not self._snapshot.loaded:
            return
        changes, dumped = self._snapshot.changes, self._snapshot.dump()
        try:
            await asyncio.to_thread(write_snapshot, self._path, dumped)
        except OSError:
            log.exception("snapshot_not_written")
        else:
            self._written = changes
        self._written_at = time.monotonic()


def _gone(version: int) -> dict[str, Any]:
    return {"version": version, "gone": True}


async def _entries_of(database: Database, tenant: UUID) -> list[_Entry]:
    """All of a tenant's entries. Callers first and DIDs last: a view that has the DID has everything behind it."""
    async with database.transaction(tenant) as tx:
        callers = [(caller_key(tenant, each["number"]), each) for each in await store.view_callers(tx, tenant)]
        tenants = [(tenant_key(tenant), each) for each in await store.view_tenants(tx, tenant)]
        loads = [(load_key(tenant), each) for each in await store.view_loads(tx, tenant) if each["agents"]]
        dids = [(did_key(each["did"]), each) for each in await store.view_dids(tx, tenant)]
    return [*callers, *loads, *tenants, *dids]


async def sweep_view(database: Database, view: RedisView) -> int:
    """Repair what differs in Redis from Postgres; return how many entries that were."""
    await _promote(database)
    # Keys are listed before Postgres is read: a key that is written in between is never taken for an orphan.
    present = await view.keys()
    async with database.system() as tx:
        tenants = list(await store.view_versions(tx))
    repaired, expected = 0, set[str]()
    for tenant in tenants:
        entries = await _entries_of(database, tenant)
        expected |= {key for key, _ in entries}
        wrong = set(await view.drifted(entries))
        if wrong:
            await view.put([entry for entry in entries if entry[0] in wrong])
            # Still different: Redis claims to be newer. Postgres decides, as it is now.
            again = [entry for entry in await _entries_of(database, tenant) if entry[0] in wrong]
            stubborn = set(await view.drifted(again))
            await view.force([entry for entry in again if entry[0] in stubborn])
            repaired += len(wrong)
    orphans = await view.living(present - expected)
    await view.delete(orphans)
    return repaired + len(orphans)


async def _promote(database: Database) -> None:
    async with database.system() as tx:
        for tenant, _ in await store.promote_unclaimed(tx):
            log.warning("did_passed_on", tenant=str(tenant))
        await store.forget_changes(tx)
        await store.forget_routed(tx)


async def rebuild_view(database: Database, view: RedisView) -> int:
    """Write every entry anew and delete what should not be there; return how many were written."""
    present = await view.keys()
    async with database.system() as tx:
        tenants = list(await store.view_versions(tx))
    expected: set[str] = set()
    for tenant in tenants:
        entries = await _entries_of(database, tenant)
        await view.force(entries)
        expected |= {key for key, _ in entries}
    await view.delete(present - expected)
    return len(expected)
