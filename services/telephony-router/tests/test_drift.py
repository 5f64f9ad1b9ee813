"""Fields that vendors never sent before are noticed, counted within bounds, and kept without what they say."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from kit.postgres import Database
from telephony_router import store
from telephony_router.drift import AT_ONCE, NAMES_MAX, DriftWatch, Finding, findings, redacted
from telephony_router.metrics import METRICS
from telephony_router.vendors import VENDORS
from telephony_router.vendors.base import Account, RawRequest

SAMPLES = Path(__file__).parent / "vendors/samples"
CASES = sorted(SAMPLES.glob("*/*.json"))
NOW = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)
MakeDatabase = Callable[..., Awaitable[Database]]


def request(fields: dict[str, Any], **more: Any) -> RawRequest:
    raw = RawRequest(
        method="POST",
        url_path="/",
        query="",
        headers={},
        body=json.dumps(fields).encode(),
        bases=("https://x",),
        hook="ring",
    )
    return replace(raw, **more)


@pytest.mark.parametrize("path", CASES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_field_of_the_samples_is_known(path: Path) -> None:
    sample = json.loads(path.read_text())["request"]
    body = json.dumps(sample["json"]) if "json" in sample else sample.get("body", "")
    raw = RawRequest(
        method=sample.get("method", "POST"),
        url_path="/",
        query=sample.get("query", ""),
        headers=sample.get("headers", {}),
        body=body.encode(),
        bases=("https://x",),
        options=sample.get("options", {}),
    )
    assert findings(VENDORS[path.parent.name], raw) == []


@pytest.mark.parametrize("name", VENDORS)
def test_a_new_field_is_noticed_for_every_vendor_in_forms_and_in_json(name: str) -> None:
    wanted = [Finding("brandNew", "unknown", "+99 Aaa")]
    assert findings(VENDORS[name], request({"brandNew": "+91 Abc"})) == wanted
    assert findings(VENDORS[name], request({}, body=b"brandNew=%2B91+Abc")) == wanted
    assert findings(VENDORS[name], request({}, body=b"", query="brandNew=%2B91+Abc")) == wanted


def test_another_kind_of_value_is_noticed_and_null_is_none() -> None:
    found = findings(VENDORS["generic"], request({"from": 9847000001, "to": None, "attempt": "1", "call_id": 7}))
    assert found == [Finding("from", "type", "9999999999")]


def test_what_is_nested_is_named_by_the_way_to_it() -> None:
    fields = {"data": {"payload": {"from": "x", "mood": {"score": 1}}}, "legs": [{"a": 1}, {"a": 2}], "x[3][y]": ""}
    assert {each.field for each in findings(VENDORS["telnyx"], request(fields))} == {
        "data.payload.mood.score",
        "legs[].a",
        "x[][y]",
    }
    assert findings(VENDORS["freeswitch"], request({"variables": {"anything": "goes"}, "variable_x": "1"})) == []


def test_the_accounts_own_names_are_known() -> None:
    raw = request({"call": {"uid": "1"}, "keys": "2"}, options={"in.call_id": "call.uid", "in.digits": "keys"})
    assert findings(VENDORS["bonvoice"], raw) == []


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[]", b'{"a":' * 300 + b"1" + b"}" * 300, b"&".join([b"a=1"] * 999)])
def test_what_cannot_be_read_is_no_drift(body: bytes) -> None:
    assert len(findings(VENDORS["generic"], request({}, body=body))) <= 1


def test_a_sample_keeps_the_shape_and_nothing_else() -> None:
    assert redacted("+91 98470 00010 Reception Desk <a@b.example>") == "+99 99999 99999 Aaaaaaaaa Aaaa <a@a.aaaaaaa>"
    assert redacted("\u0d15\u0e51\n") == "a9\n"
    assert redacted("\u20b9 5") == "? 9"
    assert len(redacted("x" * 5000)) == 48


def test_a_number_as_a_name_gets_into_no_label() -> None:
    (found,) = findings(VENDORS["generic"], request({"+919847000010 desk": 1}))
    assert found.field == "?#?desk"


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    return await make_database(service="telephony-router", package="telephony_router")


def account(tenant: UUID) -> Account:
    return Account(id=uuid4(), tenant=tenant, vendor="generic")


def counted(field: str) -> float:
    return METRICS.vendor_drift.labels("generic", field, "unknown")._value.get()


@pytest.mark.real
async def test_drift_is_counted_and_its_first_sample_kept_for_its_tenant(database: Database, tenant: UUID) -> None:
    watch, generic, before = DriftWatch(database, clock=lambda: NOW), VENDORS["generic"], counted("mood")
    mine = account(tenant)
    for mood in ("Good", "bad", "worse"):
        watch.note(generic, mine, request({"mood": mood}))
    await watch.look()
    watch.note(generic, mine, request({"mood": "again"}))
    await watch.look()
    async with database.transaction(tenant) as tx:
        (row,) = await store.list_drift(tx)
    assert (row["field"], row["change"], row["hook"], row["sample"], row["seen"]) == (
        "mood",
        "unknown",
        "ring",
        "Aaaa",
        4,
    )
    assert counted("mood") == before + 4
    async with database.transaction(uuid4()) as tx:
        assert await store.list_drift(tx) == []


@pytest.mark.real
async def test_names_without_end_are_counted_together(database: Database, tenant: UUID) -> None:
    watch = DriftWatch(database, clock=lambda: NOW)
    names = [chr(97 + a) + chr(97 + b) for a in range(10) for b in range(10)]
    watch.note(VENDORS["generic"], account(tenant), request(dict.fromkeys(names, "x")))
    await watch.look()
    async with database.transaction(tenant) as tx:
        rows = {row["field"]: row["seen"] for row in await store.list_drift(tx)}
    assert len(rows) == NAMES_MAX + 1
    assert rows["other"] == len(names) - NAMES_MAX


async def test_without_a_database_it_is_counted_and_kept_for_later(tenant: UUID) -> None:
    class Down:
        def transaction(self, tenant: UUID) -> Any:
            raise ConnectionRefusedError("no database")

    database: Any = Down()
    watch, before = DriftWatch(database, clock=lambda: NOW), counted("later")
    watch.note(VENDORS["generic"], account(tenant), request({"later": "x"}))
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            await watch.look()
    assert counted("later") == before + 1
    assert [seen.count for seen in watch._seen.values()] == [1]


async def test_too_many_webhooks_are_left_alone(tenant: UUID) -> None:
    database: Any = None
    watch = DriftWatch(database, clock=lambda: NOW)
    for _ in range(1000):
        watch.note(VENDORS["generic"], account(tenant), request({}))
    assert watch.status()["waiting"] == 256
    await watch.look()
    assert watch.status()["waiting"] == 256 - AT_ONCE
