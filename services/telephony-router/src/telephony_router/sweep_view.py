"""Compare the routing view in Redis with Postgres, page by page, and repair what differs.

Neither the whole view nor a whole business is ever held in memory, and between two pages whoever rings is answered:
a thousand businesses with a thousand callers each are compared beside the calls that come in meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

from kit.postgres import Database
from kit.telemetry import get_logger
from runtime.background import Background
from telephony_router import store
from telephony_router.metrics import METRICS
from telephony_router.record import DATABASE_FAILURES
from telephony_router.view import REDIS_FAILURES, Entry, RedisView, caller_key, did_key, key_parts, load_key, tenant_key

__all__ = ["ViewSweeper", "rebuild_view", "sweep_view"]

log = get_logger(__name__)

PAGE = 100
"""Entries that are compared at once: a few milliseconds, in which nobody is answered."""
REBUILD_PAGE = 1_000
SHARE = 0.1
RETRY_SECONDS = 1.0
_Rest = Callable[[], Awaitable[None]]
_Read = Callable[[], Awaitable[list[Entry]]]


class _Pace:
    """Rests after each piece of work, so that the work takes no more than a share of the time."""

    def __init__(self, share: float) -> None:
        self._resting = 1 / share - 1
        self._began = time.monotonic()

    async def rest(self) -> None:
        await asyncio.sleep((time.monotonic() - self._began) * self._resting)
        self._began = time.monotonic()


class ViewSweeper(Background):
    """Sweeps now and then, and as soon as Redis may have missed something. A component; one router that has it is
    enough."""

    name = "routing view sweep"
    ended = "the routing view in Redis is not compared any more"

    def __init__(self, database: Database, view: RedisView, *, seconds: float = 60.0, share: float = SHARE) -> None:
        self._database = database
        self._view = view
        self._seconds = seconds
        self._share = share
        self._due = asyncio.Event()
        self._repaired = 0
        self._last_error: str | None = None

    def ask(self) -> None:
        """Redis may have missed something."""
        self._due.set()

    def status(self) -> dict[str, object]:
        return {"repaired": self._repaired, "last_error": self._last_error}

    async def _run(self) -> None:
        while True:
            self._due.clear()
            wait = self._seconds
            try:
                repaired = await sweep_view(self._database, self._view, rest=_Pace(self._share).rest)
                self._last_error = None
            except (*DATABASE_FAILURES, *REDIS_FAILURES) as error:
                if self._last_error is None:
                    log.warning("view_not_swept", error=type(error).__name__)
                self._last_error, wait = type(error).__name__, RETRY_SECONDS
            except Exception as error:
                log.exception("view_not_swept")
                self._last_error, wait = type(error).__name__, RETRY_SECONDS
            else:
                if repaired:
                    self._repaired += repaired
                    METRICS.view_drift.inc(repaired)
                    log.info("view_repaired", entries=repaired)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), wait)


async def sweep_view(database: Database, view: RedisView, *, rest: _Rest | None = None) -> int:
    """Repair what differs in Redis from Postgres; return how many entries that were. Rests after each page."""
    await _promote(database)
    repaired = 0
    async for read in _pages(database, PAGE):
        repaired += await _repair(view, read)
        if rest is not None:
            await rest()
    async for keys in view.key_pages():
        repaired += await _drop_orphans(database, view, keys)
        if rest is not None:
            await rest()
    return repaired


async def rebuild_view(database: Database, view: RedisView) -> int:
    """Write every entry anew and delete what should not be there; return how many were written."""
    written = 0
    async for read in _pages(database, REBUILD_PAGE):
        entries = await read()
        await view.force(entries)
        written += len(entries)
    async for keys in view.key_pages():
        await _drop_orphans(database, view, keys)
    return written


async def _pages(database: Database, size: int) -> AsyncIterator[_Read]:
    """Readers of all entries, tenant by tenant. Callers first and DIDs last: a view that has the DID has everything
    behind it."""
    async with database.system() as tx:
        tenants = list(await store.view_versions(tx))
    for tenant in tenants:
        after = ""
        while True:
            async with database.transaction(tenant) as tx:
                numbers = await store.caller_numbers(tx, tenant, after, size)
            if numbers:
                after = numbers[-1]
                yield _callers_of(database, tenant, numbers)
            if len(numbers) < size:
                break
        yield _rest_of(database, tenant)


def _callers_of(database: Database, tenant: UUID, numbers: list[str]) -> _Read:
    async def read() -> list[Entry]:
        async with database.transaction(tenant) as tx:
            found = await store.view_callers(tx, tenant, numbers)
        return [(caller_key(tenant, each["number"]), each) for each in found]

    return read


def _rest_of(database: Database, tenant: UUID) -> _Read:
    async def read() -> list[Entry]:
        async with database.transaction(tenant) as tx:
            loads = [(load_key(tenant), each) for each in await store.view_loads(tx, [tenant]) if each["agents"]]
            tenants = [(tenant_key(tenant), each) for each in await store.view_tenants(tx, [tenant])]
            dids = [(did_key(each["did"]), each) for each in await store.view_dids(tx, [tenant])]
        return [*loads, *tenants, *dids]

    return read


async def _repair(view: RedisView, read: _Read) -> int:
    entries = await read()
    wrong = set(await view.drifted(entries))
    if wrong:
        await view.put([entry for entry in entries if entry[0] in wrong])
        # Still different: Redis claims to be newer. Postgres decides, as it is now.
        again = [entry for entry in await read() if entry[0] in wrong]
        stubborn = set(await view.drifted(again))
        await view.force([entry for entry in again if entry[0] in stubborn])
    return len(wrong)


async def _drop_orphans(database: Database, view: RedisView, keys: list[str]) -> int:
    """Delete those that nothing in Postgres stands behind. Postgres is read after the keys were listed: one that is
    written meanwhile is never taken for an orphan."""
    parts: dict[str, tuple[str, UUID | None, str]] = {}
    orphans: list[str] = []
    for key in keys:
        known = key_parts(key)
        if known is None:
            orphans.append(key)
        else:
            parts[key] = known
    async with database.system() as tx:
        orphans += await store.unknown_keys(tx, parts)
    living = await view.living(orphans)
    await view.delete(living)
    return len(living)


async def _promote(database: Database) -> None:
    async with database.system() as tx:
        for tenant, _ in await store.promote_unclaimed(tx):
            log.warning("did_passed_on", tenant=str(tenant))
        await store.forget_changes(tx)
        await store.forget_routed(tx)
