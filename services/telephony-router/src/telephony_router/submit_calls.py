"""Place the calls that were ordered: whoever takes one asks the vendor once, and nobody ever asks again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta

import stamina

from kit.postgres import Database
from kit.telemetry import get_logger
from runtime.background import Background
from telephony_router import outbound_store as store
from telephony_router.breaker import admit, noted
from telephony_router.metrics import METRICS
from telephony_router.outbound_store import Claimed
from telephony_router.record import DATABASE_FAILURES
from telephony_router.seal import Seal
from telephony_router.signals import call_named
from telephony_router.vendor_api import Interrupted, NotSent, VendorApi, find_access
from telephony_router.vendors.dialling import DIALLERS
from telephony_router.vendors.dialling.base import Outcome

__all__ = ["CallSubmitter", "tidy"]

log = get_logger(__name__)

FRESH = timedelta(minutes=2)
"""An order that nobody came to place within this time is not placed any more."""
PATIENCE = timedelta(minutes=3)
"""Longer than placing one can take, token and time-outs included."""
OUTCOMES = ("requested", "submitted", "refused", "unknown", "expired")
STATES = {"submitted": "submitted", "refused": "refused", "unknown": "submission_unknown"}


class CallSubmitter(Background):
    """A component; every router may run one."""

    name = "outbound"
    ended = "calls are not placed any more"

    def __init__(
        self,
        database: Database,
        api: VendorApi,
        seal: Seal,
        *,
        clock: Callable[[], datetime],
        at_once: int = 8,
        poll_seconds: float = 0.5,
    ) -> None:
        self._database = database
        self._api = api
        self._seal = seal
        self._clock = clock
        self._at_once = at_once
        self._poll = poll_seconds
        self._claiming: asyncio.Future[list[Claimed]] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._last_error: str | None = None
        # A counter that is born with the first failure gives no rate of a burst: it begins at zero.
        for vendor in DIALLERS:
            METRICS.breaker_trips.labels(vendor)
            for outcome in OUTCOMES:
                METRICS.outbound_calls.labels(vendor, outcome)
            for outcome in ("minted", "failed") if DIALLERS[vendor].login is not None else ():
                METRICS.token_mints.labels(vendor, outcome)
        self.doorbell = asyncio.Event()
        """Rung when an order was taken by this router."""

    async def stop(self) -> None:
        """What was begun is finished: an answer that nobody waits for is an unknown outcome."""
        await super().stop()
        if self._claiming is not None:
            await asyncio.wait([self._claiming])
        if self._running:
            await asyncio.wait(set(self._running))

    def status(self) -> dict[str, object]:
        return {"under_way": len(self._running), "last_error": self._last_error}

    async def _run(self) -> None:
        delay = self._poll
        while True:
            self.doorbell.clear()
            try:
                began = await self.submit_some()
                delay, self._last_error = self._poll, None
            except DATABASE_FAILURES as error:
                began, delay, self._last_error = 0, min(delay * 2, 5.0), type(error).__name__
            if len(self._running) >= self._at_once:
                await asyncio.wait(set(self._running), return_when=asyncio.FIRST_COMPLETED)
            elif not began:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.doorbell.wait(), delay)

    async def submit_some(self) -> int:
        """Take as many calls as there is room for, and begin to place them; return how many."""
        room = self._at_once - len(self._running)
        if room <= 0:
            return 0
        # Not interrupted by a stop: what is claimed must be placed or settled.
        self._claiming = asyncio.ensure_future(self._claim(room))
        return len(await asyncio.shield(self._claiming))

    async def _claim(self, room: int) -> list[Claimed]:
        async with self._database.system() as tx:
            claimed = await store.claim(tx, room, FRESH)
        for call in claimed:
            task = asyncio.create_task(self._submit(call))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return claimed

    async def _submit(self, call: Claimed) -> None:
        try:
            asked, outcome = await self._outcome(call)
        except Exception:
            # Whether it was sent cannot be told any more.
            log.exception("outbound_call_failed", call_id=str(call.id))
            asked, outcome = True, Outcome(kind="unknown", code="internal", healthy=False)
        try:
            await self._settle(call, outcome, asked)
        except Exception:
            # The row stays as it is, and becomes unknown in a while.
            log.exception("outbound_call_not_settled", call_id=str(call.id))
        METRICS.outbound_calls.labels(call.vendor, outcome.kind).inc()
        log.info("outbound_call", call_id=str(call.id), vendor=call.vendor, outcome=outcome.kind, code=outcome.code)

    async def _outcome(self, call: Claimed) -> tuple[bool, Outcome]:
        """What came of it, and whether the vendor was asked at all."""
        try:
            found = await find_access(self._database, self._seal, call.tenant, call.account_id)
            if found is None:
                return False, Outcome(kind="refused", code="not_set_up")
            if not await self._admitted(call):
                return False, Outcome(kind="refused", code="breaker_open", retryable=True)
        except DATABASE_FAILURES:
            return False, Outcome(kind="refused", code="not_sent", retryable=True)
        dialler, access = found
        try:
            answer = await self._api.dial(call.account_id, access, dialler, call.order)
        except NotSent as error:
            return True, Outcome(kind="refused", code=f"not_sent_{error}", retryable=True, healthy=False)
        except Interrupted as error:
            return True, Outcome(kind="unknown", code=str(error), healthy=False)
        return True, dialler.dialled(answer)

    async def _admitted(self, call: Claimed) -> bool:
        async with self._database.system() as tx:
            before = await store.hold_breaker(tx, call)
            after, admitted = admit(before, self._clock())
            if after != before:
                await store.put_breaker(tx, call, after)
        return admitted

    @stamina.retry(on=DATABASE_FAILURES, attempts=6, timeout=30.0, wait_initial=0.2, wait_max=5.0)
    async def _settle(self, call: Claimed, outcome: Outcome, asked: bool) -> None:
        own = outcome.vendor_call_id
        alias = call_named(call.tenant, call.vendor, call.account_id, own) if own else None
        async with self._database.system() as tx:
            await store.settle(tx, call, STATES[outcome.kind], outcome.code, outcome.retryable, own, alias)
            if not asked:
                return
            before = await store.hold_breaker(tx, call)
            after = noted(before, outcome.healthy, self._clock())
            if after != before:
                await store.put_breaker(tx, call, after)
        if after.state == "open" != before.state:
            METRICS.breaker_trips.labels(call.vendor).inc()
            log.warning("breaker_opened", vendor=call.vendor, account_id=str(call.account_id), trips=after.trips)


async def tidy(database: Database) -> None:
    """End what nobody will end: orders that came too late, and calls whose router died while it asked."""
    async with database.system() as tx:
        late, lost = await store.expire(tx, FRESH, PATIENCE)
        await store.prune_keys(tx)
        backlog = await store.backlog(tx)
        breakers = await store.list_breakers(tx)
    for vendor in late:
        METRICS.outbound_calls.labels(vendor, "expired").inc()
    for vendor in lost:
        METRICS.outbound_calls.labels(vendor, "unknown").inc()
    for vendor in DIALLERS:
        waiting, unknown = backlog.get(vendor, (0, 0))
        METRICS.outbound_waiting.labels(vendor).set(waiting)
        METRICS.outbound_unknown.labels(vendor).set(unknown)
        opened = sum(each["vendor"] == vendor and each["state"] != "closed" for each in breakers)
        METRICS.breakers_open.labels(vendor).set(opened)
