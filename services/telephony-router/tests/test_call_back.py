"""A missed call that is called back: when the call back is not made, the claim is everybody's again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from telephony_router import claim_missed, claims_store, store
from telephony_router.answer_ring import answer_to_json, intake_of
from telephony_router.call_back import call_back
from telephony_router.claims import Item
from telephony_router.keep_missed import settle_some
from telephony_router.process_intake import process_some
from telephony_router.routing import Decision
from telephony_router.signals import CallSignal
from telephony_router.submit_calls import tidy
from telephony_router.vendors.base import Account

pytestmark = pytest.mark.real
CUSTOMER, DID = "+919847000001", "+914842000100"
NOBODY = Decision(action="reject", destinations=(), excluded=(), rule="nobody", rung="redis")
LEASE = timedelta(minutes=15)


async def misses(bureau: Any) -> Item:
    """The customer rang and nobody answered."""
    account = Account(id=bureau.accounts["generic"], tenant=bureau.tenant, vendor="generic")
    at = datetime.now(UTC)
    ring = CallSignal(kind="ring", vendor="generic", call_id="m1", caller_raw=CUSTOMER, did_raw=DID, at=at)
    over = CallSignal(kind="status", vendor="generic", call_id="m1", status="missed", status_raw="missed", at=at)
    rows = [intake_of(account, ring, b"ring", at, answer_to_json(NOBODY, 1.0)), intake_of(account, over, b"over", at)]
    async with bureau.database.system() as tx:
        await store.take_in(tx, rows)
    await process_some(bureau.database)
    await settles(bureau)
    return await item(bureau)


async def settles(bureau: Any) -> None:
    while await settle_some(bureau.database, window=timedelta(hours=24)):
        pass


async def item(bureau: Any) -> Item:
    async with bureau.database.transaction(bureau.tenant) as tx:
        (found,) = await claims_store.page(tx, None, None, 10)
    return found


async def claims(bureau: Any, call: UUID) -> None:
    await claim_missed.claim(bureau.database, bureau.tenant, call, user="u1", name="Desk", lease=LEASE)


async def last_change(bureau: Any, call: UUID) -> tuple[str, str]:
    async with bureau.database.transaction(bureau.tenant) as tx:
        change = (await claims_store.history(tx, call))[-1]
    return change["change"], change["reason"]


async def orders_a_call_back(bureau: Any, call: UUID) -> UUID:
    _, ordered = await call_back(bureau.database, bureau.tenant, call, user="u1", staff="desk")
    return UUID(ordered)


async def breaks(bureau: Any) -> None:
    """Nobody listens at the vendor's address."""
    async with bureau.database.transaction(bureau.tenant) as tx:
        options = json.dumps({"api_base": "http://127.0.0.1:1"})
        await tx.execute("UPDATE dialling SET options = options || $1::jsonb", options)


async def test_a_refused_call_back_gives_the_claim_back(bureau: Any) -> None:
    missed = await misses(bureau)
    await claims(bureau, missed.id)
    await breaks(bureau)
    await orders_a_call_back(bureau, missed.id)
    async with bureau.replica() as replica:
        await bureau.submits(replica)
    await settles(bureau)
    assert (await item(bureau)).state == "open"
    assert await last_change(bureau, missed.id) == ("released", "call back refused: not_sent_host_not_allowed")


async def test_one_of_which_nobody_knows_whether_it_rang_keeps_the_claim(bureau: Any) -> None:
    missed = await misses(bureau)
    await claims(bureau, missed.id)
    bureau.fake.mode = "reset"
    call_id = await orders_a_call_back(bureau, missed.id)
    async with bureau.replica(total=1.5) as replica:
        await bureau.submits(replica)
    assert (await bureau.outbound(call_id))["state"] == "submission_unknown"
    await settles(bureau)
    assert (await item(bureau)).state == "claimed"


async def test_one_that_was_never_placed_gives_the_claim_back_when_it_expires(bureau: Any) -> None:
    missed = await misses(bureau)
    await claims(bureau, missed.id)
    await orders_a_call_back(bureau, missed.id)
    await bureau.ages(60)
    await tidy(bureau.database)
    await settles(bureau)
    assert (await item(bureau)).state == "open"
    assert await last_change(bureau, missed.id) == ("released", "call back refused: expired")


async def test_an_order_for_its_own_sake_gives_no_claim_back(bureau: Any) -> None:
    missed = await misses(bureau)
    await claims(bureau, missed.id)
    await breaks(bureau)
    await bureau.orders(did=DID)
    async with bureau.replica() as replica:
        await bureau.submits(replica)
    await bureau.orders(did=DID)
    await bureau.ages(60)
    await tidy(bureau.database)
    await settles(bureau)
    assert (await item(bureau)).state == "claimed"


async def test_only_the_claim_it_was_ordered_for_is_given_back(bureau: Any) -> None:
    missed = await misses(bureau)
    await claims(bureau, missed.id)
    await breaks(bureau)
    await orders_a_call_back(bureau, missed.id)
    await claim_missed.release(bureau.database, bureau.tenant, missed.id, user="u1", reason="")
    await claims(bureau, missed.id)
    async with bureau.replica() as replica:
        await bureau.submits(replica)
    await settles(bureau)
    assert (await item(bureau)).state == "claimed"
