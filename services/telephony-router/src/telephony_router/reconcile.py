"""Ask vendors about calls that never ended, and take their answers in as if they had told by themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from pydantic_core import to_json

from kit.postgres import Database
from kit.telemetry import get_logger
from telephony_router import outbound_store as store
from telephony_router import store as router_store
from telephony_router.answer_ring import intake_of
from telephony_router.calls import TERMINAL
from telephony_router.metrics import METRICS
from telephony_router.outbound_store import Stuck
from telephony_router.seal import Seal
from telephony_router.signals import CallSignal
from telephony_router.vendor_api import Interrupted, NotSent, VendorApi, find_access
from telephony_router.vendors import VENDORS
from telephony_router.vendors.base import Account
from telephony_router.vendors.dialling import DIALLERS
from telephony_router.vendors.dialling.base import ApiAnswer

__all__ = ["SOURCE", "Reconciler"]

log = get_logger(__name__)

SOURCE = "reconcile"
RUN_SECONDS = 180.0
"""However slow vendors are: a run that does not end is taken for one that hangs."""
OVER = TERMINAL | {"ended"}


class Reconciler:
    """Looks once in a while. Several routers may run one: each call is taken by one of them."""

    def __init__(
        self,
        database: Database,
        api: VendorApi,
        seal: Seal,
        *,
        clock: Callable[[], datetime],
        after: timedelta,
        per_minute: int,
    ) -> None:
        self._database = database
        self._api = api
        self._seal = seal
        self._clock = clock
        self._after = after
        self._per_minute = per_minute
        self.most = per_minute
        """How many one run asks about: a run is a minute's."""
        for vendor in DIALLERS:
            for outcome in ("told", "live", "unknown", "failed"):
                METRICS.calls_reconciled.labels(vendor, outcome)

    async def run(self) -> None:
        """Ask about as many as a minute allows, evenly."""
        async with self._database.system() as tx:
            tenants = await store.tenants_of_accounts(tx)
        until = time.monotonic() + RUN_SECONDS
        left, counts = self.most, dict.fromkeys(VENDORS, 0)
        for tenant in tenants:
            async with self._database.transaction(tenant) as tx:
                stuck = await store.stuck_calls(tx, self._after, left) if left else []
                found = await store.count_stuck(tx, self._after)
            for vendor, count in found.items():
                counts[vendor] = counts.get(vendor, 0) + count
            for call in stuck:
                if time.monotonic() > until:
                    # Vendors are slow to answer; the rest is for the next run.
                    left = 0
                    break
                left -= 1
                await self._look(tenant, call)
                await asyncio.sleep(60 / self._per_minute)
        for vendor, count in counts.items():
            METRICS.calls_stuck.labels(vendor).set(count)

    async def _look(self, tenant: UUID, call: Stuck) -> None:
        async with self._database.transaction(tenant) as tx:
            if not await store.claim_reconciliation(tx, call, self._after):
                return
        try:
            signal, body = await self._asked(tenant, call)
        except (NotSent, Interrupted) as error:
            log.warning("call_not_asked_about", call_id=str(call.id), vendor=call.vendor, error=str(error))
            outcome = "failed"
        else:
            outcome = "unknown"
            if signal is not None and signal.status != "unknown":
                outcome = "told" if signal.status in OVER else "live"
                await self._take_in(tenant, call, signal, body)
        METRICS.calls_reconciled.labels(call.vendor, outcome).inc()
        async with self._database.transaction(tenant) as tx:
            await store.end_reconciliation(tx, call.id, outcome)

    async def _asked(self, tenant: UUID, call: Stuck) -> tuple[CallSignal | None, bytes]:
        """What the vendor says, and its words; nothing when it cannot be asked or does not know."""
        found = await find_access(self._database, self._seal, tenant, call.account_id)
        if found is None:
            return None, b""
        dialler, access = found
        answers = await self._api.ask(call.account_id, access, dialler, call.vendor_call_id, call.ref)
        if answers is None:
            return None, b""
        return dialler.told(call.vendor_call_id, call.ref, answers), _words(answers)

    async def _take_in(self, tenant: UUID, call: Stuck, signal: CallSignal, body: bytes) -> None:
        """As a webhook is, under its own name: what the vendor says here does not repeat what it said by itself."""
        own = replace(signal, source=SOURCE, sequence=SOURCE, correlation=call.ref, confirmed=True)
        account = Account(id=call.account_id, tenant=tenant, vendor=call.vendor)
        row = intake_of(account, own, body, self._clock())
        async with self._database.system() as tx:
            await router_store.take_in(tx, [row])


def _words(answers: list[ApiAnswer]) -> bytes:
    return to_json([each.body.decode("utf-8", "replace") for each in answers])[: 64 * 1024]
