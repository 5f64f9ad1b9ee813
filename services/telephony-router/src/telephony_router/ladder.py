"""Where the routing view comes from when servers fail: Redis, this process's snapshot, Postgres, what is left."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from kit.postgres import Database
from telephony_router import store
from telephony_router.budget import Budget, Unavailable
from telephony_router.entries import caller_from_json, did_from_json, load_from_json, tenant_from_json, text_of
from telephony_router.metrics import METRICS
from telephony_router.routing import BUSY_MAX, DidEntry, LoadEntry, RoutingView, TenantEntry
from telephony_router.snapshot import Snapshot
from telephony_router.view import Found, ViewUnavailable

__all__ = ["CachedView", "Ladder", "PostgresView", "Projections"]


class CachedView(Protocol):
    """Raises :class:`ViewUnavailable`."""

    async def find(self, tenant: UUID, did: str | None, number: str | None) -> Found: ...


class Projections(Protocol):
    """Raises :class:`Unavailable`."""

    async def find(self, tenant: UUID, did: str | None, number: str | None) -> Found: ...


class PostgresView:
    """The same view straight from the projections, within a budget."""

    def __init__(self, database: Database, budget: Budget) -> None:
        self._database = database
        self._budget = budget

    async def find(self, tenant: UUID, did: str | None, number: str | None) -> Found:
        return await self._budget.spend(lambda: read_view(self._database, tenant, did, number))


async def read_view(database: Database, tenant: UUID, did: str | None, number: str | None) -> Found:
    """The view as Postgres has it now."""
    async with database.transaction(tenant) as tx:
        tenants = await store.view_tenants(tx, [tenant])
        dids = await store.view_dids(tx, [tenant], [did]) if did is not None else []
        callers = await store.view_callers(tx, tenant, [number]) if number is not None else []
        loads = await store.view_loads(tx, [tenant])
    return Found(
        tenant=tenant_from_json(tenants[0]) if tenants else None,
        did=did_from_json(dids[0]) if dids else None,
        caller=caller_from_json(callers[0]) if callers else None,
        caller_text=text_of(callers[0] if callers else None),
        load=load_from_json(loads[0]) if loads else LoadEntry(),
    )


class Ladder:
    """One view per call, always. Which rung gave it is in the view; every rung that did not is counted."""

    def __init__(
        self,
        *,
        cached: CachedView,
        cached_budget: Budget,
        snapshot: Snapshot,
        projections: Projections,
        busy_max: timedelta = BUSY_MAX,
    ) -> None:
        self._cached = cached
        self._budget = cached_budget
        self._snapshot = snapshot
        self._projections = projections
        self._busy_max = busy_max

    async def view(self, tenant: UUID, did: str | None, number: str | None, now: datetime) -> RoutingView:
        """``did`` and ``number`` are E.164, or None for what is not a number. Takes its rungs' budgets at most."""
        view = await self._from_cache(tenant, did, number)
        return view or await self._without_cache(tenant, did, number, now)

    async def _from_cache(self, tenant: UUID, did: str | None, number: str | None) -> RoutingView | None:
        if not self._budget.open:
            METRICS.rung_failures.labels("redis", "paused").inc()
            return None
        try:
            found = await self._cached.find(tenant, did, number)
        except ViewUnavailable as error:
            METRICS.rung_failures.labels("redis", str(error)).inc()
            self._budget.failed()
            return None
        self._budget.worked()
        # A view that lost its tenant, or a DID we know it should have, was flushed: a missing caller means nothing.
        if found.tenant is None or (found.did is None and self._known_did(tenant, did) is not None):
            METRICS.rung_failures.labels("redis", "incomplete").inc()
            return None
        if number is not None:
            self._snapshot.learn_caller_text(tenant, number, found.caller_text)
        own = found.did if found.did is not None and found.did.tenant == tenant else None
        return RoutingView(
            tenant=found.tenant,
            did=own,
            caller=found.caller,
            rung="redis",
            load=found.load,
            offers=found.offers,
            busy_max=self._busy_max,
        )

    async def _without_cache(self, tenant: UUID, did: str | None, number: str | None, now: datetime) -> RoutingView:
        entry, own = self._snapshot.tenant(tenant), self._known_did(tenant, did)
        known, caller = self._snapshot.caller(tenant, number) if number is not None else (True, None)
        if entry is not None and known and (own is not None or did is None):
            return self._from_snapshot(RoutingView(tenant=entry, did=own, caller=caller, rung="snapshot"), now)
        METRICS.rung_failures.labels("snapshot", "incomplete").inc()
        found = await self._from_postgres(tenant, did, number)
        if found is not None and found.tenant is not None:
            if number is not None:
                self._snapshot.learn_caller_text(tenant, number, found.caller_text)
            return RoutingView(
                tenant=found.tenant,
                did=found.did,
                caller=found.caller,
                rung="postgres",
                load=found.load,
                busy_max=self._busy_max,
            )
        if entry is not None:
            return self._from_snapshot(RoutingView(tenant=entry, did=own, caller=caller, rung="snapshot"), now)
        return RoutingView(tenant=TenantEntry(tenant=tenant), did=own, caller=None, rung="static")

    def _from_snapshot(self, view: RoutingView, now: datetime) -> RoutingView:
        return replace(
            view,
            age_ms=self._snapshot.age_ms(now),
            load=self._snapshot.load(view.tenant.tenant),
            busy_max=self._busy_max,
        )

    async def _from_postgres(self, tenant: UUID, did: str | None, number: str | None) -> Found | None:
        try:
            return await self._projections.find(tenant, did, number)
        except Unavailable as error:
            METRICS.rung_failures.labels("postgres", str(error)).inc()
            return None

    def _known_did(self, tenant: UUID, did: str | None) -> DidEntry | None:
        """A DID of this tenant. Another tenant's number must not ring here, whoever asks."""
        found = self._snapshot.did(did) if did is not None else None
        return found if found is not None and found.tenant == tenant else None
