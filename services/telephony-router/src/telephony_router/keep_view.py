"""Follow what Postgres knows, change by change: into this process's snapshot, onto its disk, and to Redis."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from kit.postgres import Database, Transaction
from kit.telemetry import get_logger
from runtime.background import Background
from telephony_router import store
from telephony_router.metrics import METRICS
from telephony_router.record import DATABASE_FAILURES
from telephony_router.snapshot import Snapshot, SnapshotBroken, read_snapshot, write_snapshot
from telephony_router.view import REDIS_FAILURES, Entry, RedisView, caller_key, did_key, load_key, tenant_key

__all__ = ["ViewKeeper"]

log = get_logger(__name__)

DISK_WRITE_SECONDS = 2.0
WRITING_SHARE = 0.05
"""Of the time, at most, goes into writing the snapshot: a large one is written less often."""


class ViewKeeper(Background):
    """Follows the numbered changes of the view. A component: ready as soon as any snapshot is loaded."""

    name = "routing view"
    ended = "the routing view is not followed any more"

    def __init__(
        self,
        *,
        database: Database,
        view: RedisView | None,
        snapshot: Snapshot,
        path: Path,
        clock: Callable[[], datetime],
        poll_seconds: float = 0.2,
        accounts_seconds: float = 60.0,
        on_missed: Callable[[], None] = lambda: None,
    ) -> None:
        """``view`` is None where other routers write to Redis. ``on_missed`` hears when Redis did not take a change."""
        self._database = database
        self._view = view
        self._snapshot = snapshot
        self._path = path
        self._clock = clock
        self._poll = poll_seconds
        self._accounts_every = accounts_seconds
        self._accounts_at = 0.0
        self._on_missed = on_missed
        self._seen: dict[UUID, int] | None = None
        """The last change of each tenant that is in the snapshot; None asks for everything anew."""
        self._written = 0
        self._write_after = 0.0
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
        self._seen = None
        self._on_missed()

    async def follow(self) -> None:
        """Take over what changed since the last time."""
        async with self._database.system() as tx:
            versions = await store.view_versions(tx)
            seen = self._seen
            if seen is None:
                await self._reload(tx, versions)
                entries: list[Entry] = []
            else:
                await self._accounts_when_due(tx)
                stale = {tenant: seen.get(tenant, 0) for tenant, v in versions.items() if v != seen.get(tenant)}
                changes = await store.changes_since(tx, stale) if stale else []
                entries = await self._learn(tx, changes, versions)
                self._forget(changes, entries)
        self._seen = versions
        self._snapshot.confirmed_at = self._clock()
        await self._to_redis(entries)

    async def _reload(self, tx: Transaction, versions: Mapping[UUID, int]) -> None:
        self._snapshot.replace(
            accounts=await store.all_accounts(tx),
            tenants=await store.view_tenants(tx),
            dids=await store.view_dids(tx),
            confirmed_at=self._clock(),
        )
        self._accounts_at = time.monotonic()
        self._snapshot.replace_loads(await store.view_loads(tx))
        recent = [(tenant, "caller", number) for tenant, number in self._snapshot.recent_callers()]
        await self._learn(tx, recent, versions)

    async def _accounts_when_due(self, tx: Transaction) -> None:
        """They are not in the log of changes: a new one is looked up when it is first called, a changed one is not."""
        if time.monotonic() - self._accounts_at >= self._accounts_every:
            self._snapshot.replace_accounts(await store.all_accounts(tx))
            self._accounts_at = time.monotonic()

    async def _learn(self, tx: Transaction, changes: list[store.Change], versions: Mapping[UUID, int]) -> list[Entry]:
        """Put changed entries into the snapshot; return them as Redis wants them, callers before what names them."""
        touched: dict[str, dict[UUID, list[str]]] = {"caller": {}, "tenant": {}, "load": {}, "did": {}}
        for tenant, kind, key in changes:
            touched[kind].setdefault(tenant, []).append(key)
        entries: list[Entry] = []
        for tenant, numbers in touched["caller"].items():
            found = {each["number"]: each for each in await store.view_callers(tx, tenant, numbers)}
            version = max((each["version"] for each in found.values()), default=versions.get(tenant, 0))
            for number in numbers:
                entry = found.get(number)
                self._snapshot.learn_caller(tenant, number, entry, version=version)
                entries.append((caller_key(tenant, number), entry or _gone(version)))
        if touched["tenant"]:
            for entry in await store.view_tenants(tx, list(touched["tenant"])):
                self._snapshot.learn_tenant(UUID(entry["tenant"]), entry)
                entries.append((tenant_key(UUID(entry["tenant"])), entry))
        if touched["load"]:
            for entry in await store.view_loads(tx, list(touched["load"])):
                self._snapshot.learn_load(UUID(entry["tenant"]), entry)
                entries.append((load_key(UUID(entry["tenant"])), entry if entry["agents"] else _gone(entry["version"])))
        if touched["did"]:
            dids = {did: tenant for tenant, each in touched["did"].items() for did in each}
            known = {each["did"]: each for each in await store.view_dids(tx, None, list(dids))}
            for did, tenant in dids.items():
                self._snapshot.learn_did(did, known.get(did))
                entries.append((did_key(did), known.get(did) or _gone(versions.get(tenant, 0))))
        return entries

    def _forget(self, changes: list[store.Change], entries: list[Entry]) -> None:
        """Of a caller of whom nothing is known any more not even the number stays: they may have been erased."""
        known = {name for name, entry in entries if not entry.get("gone")}
        for tenant, kind, number in changes:
            if kind == "caller" and caller_key(tenant, number) not in known:
                self._snapshot.forget_caller(tenant, number)

    async def _to_redis(self, entries: list[Entry]) -> None:
        if not entries or self._view is None:
            return
        try:
            await self._view.put(entries)
        except REDIS_FAILURES as error:
            log.warning("view_not_written", error=type(error).__name__, entries=len(entries))
            self._on_missed()

    async def _write(self, *, at_once: bool = False) -> None:
        began = time.monotonic()
        news = self._written != self._snapshot.changes and self._snapshot.loaded
        if not news or not (at_once or began >= self._write_after):
            return
        changes, dumped = self._snapshot.changes, self._snapshot.dump()
        try:
            await asyncio.to_thread(write_snapshot, self._path, dumped)
        except OSError:
            log.exception("snapshot_not_written")
        else:
            self._written = changes
        ended = time.monotonic()
        self._write_after = ended + max(DISK_WRITE_SECONDS, (ended - began) / WRITING_SHARE)


def _gone(version: int) -> dict[str, Any]:
    return {"version": version, "gone": True}
