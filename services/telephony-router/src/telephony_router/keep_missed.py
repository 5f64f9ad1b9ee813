"""Open items for missed calls, see to them when calls end, and let go of claims whose time is over.

Intake notes, in the transaction of the call, that a call's end may concern a missed call (``missed_due``). Here it is
worked off: the numbers concerned and the calls of their items are held first, so that of two routers one comes after
the other, and whatever order the calls are seen in, the outcome is the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from kit.postgres import Database, Transaction
from kit.telemetry import get_logger
from runtime.background import Background
from telephony_router import claims_store, store
from telephony_router.call_record import CallRecord
from telephony_router.claim_missed import tell
from telephony_router.claims import Item, concern, missed_at, numbers_of
from telephony_router.claims_store import RefusedOrder
from telephony_router.metrics import METRICS
from telephony_router.record import DATABASE_FAILURES, about_data

__all__ = ["MissedKeeper", "release_lapsed", "settle_some"]

log = get_logger(__name__)
AT_ONCE = 100
REST_SECONDS = 0.1
LOOKS = 5
"""How often the items are looked up anew, when others come to be while their keys are waited for."""


async def settle_some(database: Database, *, window: timedelta, limit: int = AT_ONCE) -> int:
    """See to the oldest calls that are due, a transaction per tenant; return how many there were."""
    async with database.system() as tx:
        due = await claims_store.waiting(tx, limit)
    by_tenant: dict[UUID, dict[int, UUID]] = defaultdict(dict)
    for tenant, seq, call_id in due:
        by_tenant[tenant][seq] = call_id
    for tenant, calls in by_tenant.items():
        try:
            await _settle_all(database, tenant, calls, window)
        except DATABASE_FAILURES as error:
            if not about_data(error):
                raise
            await _one_by_one(database, tenant, calls, window)
        except Exception:
            await _one_by_one(database, tenant, calls, window)
    return len(due)


async def _one_by_one(database: Database, tenant: UUID, due: dict[int, UUID], window: timedelta) -> None:
    """Only the call that cannot be seen to is put aside."""
    for seq, call_id in due.items():
        try:
            await _settle_all(database, tenant, {seq: call_id}, window)
        except Exception as error:
            if isinstance(error, DATABASE_FAILURES) and not about_data(error):
                raise
            log.exception("missed_call_put_aside", tenant=str(tenant), call_id=str(call_id))
            async with database.transaction(tenant) as tx:
                await claims_store.put_aside(tx, seq, type(error).__name__)


async def _settle_all(database: Database, tenant: UUID, due: dict[int, UUID], window: timedelta) -> None:
    for _ in range(LOOKS):
        if await _settle(database, tenant, due, window):
            return


async def _settle(database: Database, tenant: UUID, due: dict[int, UUID], window: timedelta) -> bool:
    """False when an item came to be whose key is not held: look again."""
    async with database.transaction(tenant) as tx:
        calls = await _calls(tx, due.values())
        refused = await claims_store.refused_orders(tx, set(due.values()) - calls.keys())
        numbers = {number for call in calls.values() for number in numbers_of(call)}
        keys = {str(item.id) for item in await claims_store.unresolved(tx, numbers)}
        keys |= {str(call_id) for call_id in calls} | {str(order.missed_id) for order in refused.values()}
        await tx.hold(*keys, *(f"caller:{number}" for number in numbers))
        if {str(item.id) for item in await claims_store.unresolved(tx, numbers)} - keys:
            return False
        calls = await _calls(tx, due.values())
        left = await claims_store.still_due(tx, list(due))
        for _, call_id in left:
            if call_id in calls and numbers_of(calls[call_id]) <= numbers:
                await _see_to(tx, calls[call_id], window)
            elif call_id in refused:
                await _not_made(tx, refused[call_id])
        await claims_store.done_with(tx, [seq for seq, _ in left])
    return True


async def _calls(tx: Transaction, ids: Iterable[UUID]) -> dict[UUID, CallRecord]:
    return {row["id"]: CallRecord.from_row(row) for row in await store.find_calls(tx, ids)}


async def _see_to(tx: Transaction, call: CallRecord, window: timedelta) -> None:
    what, at = concern(call), missed_at(call)
    if what == "missed" and at is not None:
        await _missed(tx, call, at, window)
    elif what == "talked":
        await _talked(tx, call)
    elif what == "not_reached":
        await _not_reached(tx, call)


async def _missed(tx: Transaction, call: CallRecord, at: datetime, window: timedelta) -> None:
    if await claims_store.item_of_call(tx, call.id) is not None:
        return
    if call.caller is not None:
        if await claims_store.talked_since(tx, call.caller, at):
            # Told late: they have been talked to meanwhile.
            return
        for item in await claims_store.unresolved(tx, [call.caller]):
            if item.first_at - window <= at <= item.last_at + window:
                await claims_store.count_call(tx, call.id, item.id)
                again = await claims_store.count_again(tx, item.id, at)
                if again is not None:
                    await tell(tx, again, "missed_again", who=(None, ""))
                return
    opened = await claims_store.open_item(tx, call, at)
    if opened is not None:
        await claims_store.count_call(tx, call.id, opened.id)
        await tell(tx, opened, "opened")


async def _talked(tx: Transaction, call: CallRecord) -> None:
    """Whoever talked with the caller later has seen to it, whoever claimed it."""
    at = call.facts.answered_at or call.facts.ended_at
    for item in await claims_store.unresolved(tx, numbers_of(call)):
        if item.id == call.id:
            # A later report: it was answered after all.
            outcome, note = "not_needed", "the call was answered after all"
        elif at is not None and item.last_at < at:
            outcome, note = "called_back", ""
        else:
            continue
        who, name = await _who_talked(tx, call, item)
        settled = await claims_store.settle(tx, item.id, who, name, outcome, note)
        if settled is not None:
            await tell(tx, settled, "resolved", reason=f"call {call.id}")


async def _who_talked(tx: Transaction, call: CallRecord, item: Item) -> tuple[str, str]:
    if call.direction == "outbound" and item.user_id is not None:
        return item.user_id, item.user_name
    if call.staff_id is not None:
        return call.staff_id, await claims_store.staff_name(tx, call.staff_id)
    return call.agent_number or "", call.agent_number or ""


async def _not_reached(tx: Transaction, call: CallRecord) -> None:
    """A call back that reached nobody: what its caller had claimed before it is everybody's again."""
    began = await claims_store.began_at(tx, call.id)
    if began is None:
        return
    for item in await claims_store.unresolved(tx, numbers_of(call)):
        if item.state == "claimed" and item.since <= began:
            await _give_back(tx, item, f"call back {call.facts.state}")


async def _not_made(tx: Transaction, order: RefusedOrder) -> None:
    """The claim that it was ordered for is everybody's again, unless it has been given back and taken anew since."""
    item = await claims_store.find(tx, order.missed_id)
    if item is not None and item.state == "claimed" and item.since == order.claimed_at:
        await _give_back(tx, item, f"call back refused: {order.code}")


async def _give_back(tx: Transaction, item: Item, reason: str) -> None:
    free = await claims_store.release(tx, item.id, item.user_id)
    if free is not None:
        await tell(tx, free, "released", who=(item.user_id, item.user_name), reason=reason)


async def release_lapsed(database: Database, *, limit: int = AT_ONCE) -> int:
    """Let go of claims whose time is over, by the database's clock. Any number of routers may do so at once."""
    async with database.system() as tx:
        over = await claims_store.lapsed(tx, limit)
    count = 0
    for tenant, item_id in over:
        async with database.transaction(tenant, emits=[str(item_id)]) as tx:
            before = await claims_store.find(tx, item_id)
            free = await claims_store.release_lapsed(tx, item_id)
            if before is not None and free is not None:
                await tell(tx, free, "released", who=(before.user_id, before.user_name), reason="lapsed")
                count += 1
    return count


class MissedKeeper(Background):
    """Does all of it, as calls end and every few seconds. A component; every router runs one."""

    name = "missed calls"
    ended = "missed calls are not kept any more"

    def __init__(self, database: Database, *, window: timedelta, seconds: float) -> None:
        self._database = database
        self._window = window
        self._seconds = seconds
        self._last_error: str | None = None
        self.doorbell = asyncio.Event()
        for change in ("opened", "missed_again", "claimed", "renewed", "released", "resolved", "refused"):
            METRICS.claim_changes.labels(change)

    def status(self) -> dict[str, object]:
        return {"last_error": self._last_error}

    async def _run(self) -> None:
        swept_at = float("-inf")
        while True:
            self.doorbell.clear()
            count = 0
            try:
                count = await settle_some(self._database, window=self._window)
                if time.monotonic() - swept_at >= self._seconds:
                    await release_lapsed(self._database)
                    await self._measure()
                    swept_at = time.monotonic()
                self._last_error = None
            except DATABASE_FAILURES as error:
                self._last_error = type(error).__name__
            except Exception as error:
                # Whatever it is, the others' claims must still lapse.
                self._last_error = type(error).__name__
                log.exception("missed_calls_not_kept")
            if count < AT_ONCE:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.doorbell.wait(), self._seconds)
            # Whoever rings goes first: what many calls ring for is looked at a few times a second.
            await asyncio.sleep(REST_SECONDS)

    async def _measure(self) -> None:
        async with self._database.system() as tx:
            found = await claims_store.figures(tx)
        for state in ("open", "claimed", "put_aside"):
            METRICS.missed_items.labels(state).set(found[state])
        METRICS.missed_oldest.set(found["oldest"])
