"""Calls that never ended: their vendors are asked, and what they say is taken in like a webhook."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY as MEASURED

from telephony_router import outbound_store
from telephony_router.count_webhooks import count_webhooks
from telephony_router.process_intake import process_some
from telephony_router.reconcile import Reconciler
from telephony_router.seal import Seal
from telephony_router.signals import CallSignal

pytestmark = pytest.mark.real
DESK, CUSTOMER, DID = "+919847000010", "+919847000001", "+914842000100"
KEY = "A" * 43 + "="
TWENTY = timedelta(minutes=20)
TWILIO = "/2010-04-01/Accounts/AC1/Calls"


def ringing(vendor: str, call_id: str, **more: Any) -> CallSignal:
    values = {"status": "ringing", "status_raw": "ringing", "caller_raw": CUSTOMER, "did_raw": DID, **more}
    return CallSignal(kind="status", vendor=vendor, call_id=call_id, **values)


@asynccontextmanager
async def reconciler(bureau: Any, per_minute: int = 6000) -> AsyncIterator[Reconciler]:
    async with bureau.replica(total=2.0) as replica:
        yield Reconciler(
            bureau.database,
            replica.api,
            Seal(KEY),
            clock=lambda: datetime.now(UTC),
            after=TWENTY,
            per_minute=per_minute,
        )


async def calls(bureau: Any) -> dict[str, dict[str, Any]]:
    async with bureau.database.transaction(bureau.tenant) as tx:
        return {row["vendor_call_id"]: dict(row) for row in await tx.fetch("SELECT * FROM call")}


async def outcomes(bureau: Any) -> list[str]:
    async with bureau.database.transaction(bureau.tenant) as tx:
        return sorted(row["outcome"] for row in await tx.fetch("SELECT outcome FROM reconciliation"))


async def settled(bureau: Any) -> None:
    while await process_some(bureau.database):
        pass


async def test_an_inbound_call_that_never_ended_ends_as_the_vendor_says(bureau: Any) -> None:
    await bureau.tells("twilio", ringing("twilio", "CA1"), ringing("twilio", "CA2"))
    ended = {"status": "completed", "direction": "inbound", "duration": "70",
             "end_time": "Wed, 04 Mar 2026 06:31:00 +0000"}  # fmt: skip
    bureau.fake.records = {
        f"{TWILIO}/CA1.json": (200, {"sid": "CA1", **ended}),
        f"{TWILIO}/CA2.json": (200, {"sid": "CA2", **ended}),
        f"{TWILIO}.json": (200, [
            {"calls": [{"sid": "CA8", "status": "completed", "duration": "42", "to": DESK}]},
            {"calls": []},
        ]),
    }  # fmt: skip
    async with reconciler(bureau) as sweep:
        await sweep.run()
        assert bureau.fake.asked == [], "it is not stuck yet"
        await bureau.ages(21)
        await sweep.run()
    await settled(bureau)
    found = await calls(bureau)
    assert sorted(call["state"] for call in found.values()) == ["completed", "missed"]
    talked = next(call for call in found.values() if call["state"] == "completed")
    assert (talked["duration_seconds"], talked["staff_id"], talked["confirmed"]) == (42, "desk", True)
    assert await outcomes(bureau) == ["told", "told"]
    async with bureau.database.transaction(bureau.tenant) as tx:
        row = await tx.fetchrow("SELECT kind, signal FROM intake WHERE signal LIKE '%reconcile%' LIMIT 1")
        timeline = await tx.fetch("SELECT sequence FROM call_status WHERE sequence = 'reconcile'")
    assert (row["kind"], json.loads(row["signal"])["source"]) == ("status", "reconcile")
    assert len(timeline) == 2


async def test_a_webhook_that_comes_after_all_moves_nothing_back(bureau: Any) -> None:
    await bureau.tells("exotel", ringing("exotel", "ex1"))
    await bureau.ages(21)
    call = {"Sid": "ex1", "Status": "completed", "EndTime": "2026-03-04 12:01:00",
            "Details": {"ConversationDuration": 42}}  # fmt: skip
    bureau.fake.records = {"/v1/Accounts/tiles1/Calls/ex1.json": (200, {"Call": call})}
    async with reconciler(bureau) as sweep:
        await sweep.run()
    await settled(bureau)
    await bureau.tells("exotel", ringing("exotel", "ex1", status="answered", status_raw="in-progress"))
    assert (await calls(bureau))["ex1"]["state"] == "completed"
    assert (await calls(bureau))["ex1"]["duration_seconds"] == 42


@pytest.mark.parametrize(
    ("vendor", "answer", "outcome"),
    [
        ("exotel", (404, {}), "unknown"),
        ("exotel", (200, {"Call": {"Sid": "c1", "Status": "teleported"}}), "unknown"),
        ("exotel", (200, {"Call": {"Sid": "other", "Status": "completed"}}), "unknown"),
        ("exotel", (200, b"<html>"), "unknown"),
        ("exotel", (200, {"Call": {"Sid": "c1", "Status": "in-progress"}}), "live"),
        # Bonvoice knows its calls by our name only, and this one we did not place.
        ("bonvoice", (200, {}), "unknown"),
    ],
)
async def test_what_the_vendor_does_not_know_is_marked_and_never_made_up(
    bureau: Any, vendor: str, answer: Any, outcome: str
) -> None:
    await bureau.tells(vendor, ringing(vendor, "c1"))
    await bureau.ages(21)
    labels = {"vendor": vendor, "outcome": outcome}
    before = MEASURED.get_sample_value("trunkline_calls_reconciled_total", labels) or 0
    bureau.fake.records = {"/v1/Accounts/tiles1/Calls/c1.json": answer}
    async with reconciler(bureau) as sweep:
        await sweep.run()
        await settled(bureau)
        assert await outcomes(bureau) == [outcome]
        assert (MEASURED.get_sample_value("trunkline_calls_reconciled_total", labels) or 0) == before + 1
        assert (await calls(bureau))["c1"]["state"] == ("answered" if outcome == "live" else "ringing")
        # Not asked again at once, by this router or another.
        asked = len(bureau.fake.asked)
        await sweep.run()
        assert len(bureau.fake.asked) == asked
    async with bureau.database.transaction(bureau.tenant) as tx:
        (told,) = await outbound_store.list_stuck(tx, timedelta(0), 10)
    assert (told["vendor"], told["outcome"], told["times"]) == (vendor, outcome, 1)


async def test_a_vendor_that_does_not_answer_is_asked_again_later(bureau: Any) -> None:
    await bureau.tells("exotel", ringing("exotel", "ex1"))
    await bureau.ages(21)
    real = bureau.fake.base
    async with bureau.database.transaction(bureau.tenant) as tx:
        await tx.execute('UPDATE dialling SET options = options || \'{"api_base": "https://127.0.0.1:1"}\'')
    async with reconciler(bureau) as sweep:
        await sweep.run()
        assert await outcomes(bureau) == ["failed"]
        async with bureau.database.transaction(bureau.tenant) as tx:
            await tx.execute("UPDATE dialling SET options = options || jsonb_build_object('api_base', $1::text)", real)
        bureau.fake.records = {"/v1/Accounts/tiles1/Calls/ex1.json": (200, {"Call": {"Sid": "ex1", "Status": "busy"}})}
        await bureau.ages(25)
        await sweep.run()
    await settled(bureau)
    assert (await calls(bureau))["ex1"]["state"] == "busy"


async def test_an_order_of_unknown_outcome_is_resolved_by_the_vendors_log_of_our_event(bureau: Any) -> None:
    bureau.fake.mode = "reset"
    call_id = await bureau.orders("bonvoice")
    async with bureau.replica() as replica:
        await bureau.submits(replica)
    found = await bureau.outbound(call_id)
    assert found["state"] == "submission_unknown"
    await bureau.ages(21)
    outbound = {"callID": "bv1", "Leg": "B", "Status": "NOANSWER", "EndTime": "2026-03-04 12:01:00"}
    data = {"outbound": outbound, "callbacks": [{"callBackParentID": "bv0"}]}
    bureau.fake.records = {f"/get-autocall-log/{found['ref']}/": (200, {"status": "1", "data": data})}
    async with reconciler(bureau) as sweep:
        await sweep.run()
    await settled(bureau)
    found = await bureau.outbound(call_id)
    assert (found["state"], found["vendor_call_id"]) == ("submitted", "bv1")
    assert len(bureau.fake.dials) == 1
    async with bureau.database.transaction(bureau.tenant) as tx:
        assert await tx.fetchval("SELECT parent_call_id FROM call WHERE id = $1", call_id) == "bv0"


async def test_an_order_that_nobody_told_of_is_asked_for_by_the_vendors_id(bureau: Any) -> None:
    call_id = await bureau.orders("exotel")
    async with bureau.replica() as replica:
        await bureau.submits(replica)
    await bureau.ages(21)
    bureau.fake.records = {"/v1/Accounts/tiles1/Calls/ex1.json": (200, {"Call": {"Sid": "ex1", "Status": "no-answer"}})}
    async with reconciler(bureau) as sweep:
        await sweep.run()
    await settled(bureau)
    call = await bureau.call(call_id)
    assert (call["state"], call["direction"], call["caller"]) == ("missed", "outbound", CUSTOMER)


async def test_no_more_are_asked_about_than_a_minute_allows(bureau: Any) -> None:
    await bureau.tells("exotel", *(ringing("exotel", f"ex{number}") for number in range(5)))
    await bureau.ages(21)
    async with reconciler(bureau, per_minute=120) as sweep:
        sweep.most = 3
        await sweep.run()
    assert len(bureau.fake.asked) == 3
    assert MEASURED.get_sample_value("trunkline_calls_stuck", {"vendor": "exotel"}) == 5


async def test_repeated_webhooks_are_counted_beside_how_many_came(bureau: Any) -> None:
    for _ in range(3):
        await bureau.tells("exotel", ringing("exotel", "ex1"), ringing("exotel", "ex1", sequence="2"))
    async with bureau.database.system() as tx:
        await tx.execute("UPDATE intake SET received_at = received_at - interval '25 hours' WHERE identity LIKE '%2'")
    await count_webhooks(bureau.database)
    labels = {"vendor": "exotel", "account": str(bureau.accounts["exotel"])}
    assert MEASURED.get_sample_value("trunkline_webhook_dedupe_skips_24h", labels) == 2
    assert MEASURED.get_sample_value("trunkline_webhooks_24h", labels) == 3
    silent = {"vendor": "plivo", "account": str(bureau.accounts["plivo"])}
    assert MEASURED.get_sample_value("trunkline_webhooks_24h", silent) == 0
