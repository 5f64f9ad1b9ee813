"""Projections keep the newest version of each thing, in whatever order and however often events arrive."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from anomaly_engine import consumers
from contracts.calls import CallInboundV1, CallStateV1, Destination
from contracts.directory import TenantV1
from contracts.envelope import Envelope
from contracts.event import Event
from contracts.facts import Evidence, FactExtractedV1
from contracts.vault import VaultStateV1
from kit.consume import Deletion, Received
from kit.postgres import Database, Transaction

pytestmark = pytest.mark.real

AT = datetime(2026, 3, 2, 10, tzinfo=UTC)
Handler = Callable[[Sequence[Received[Any]], Transaction], Awaitable[None]]


def minutes(count: int) -> datetime:
    return AT + timedelta(minutes=count)


def a_state(version: int, state: str, **fields: Any) -> CallStateV1:
    values = {
        "call_id": "c1",
        "vendor": "generic",
        "vendor_call_id": "v1",
        "leg": "main",
        "state": state,
        "at": minutes(version),
        "did": "+914842000010",
        "version": version,
        **fields,
    }
    return CallStateV1(**values)


def asked(**fields: Any) -> CallInboundV1:
    values = {
        "call_id": "c1",
        "vendor": "generic",
        "account_id": "a1",
        "vendor_call_id": "v1",
        "caller": "+919847000001",
        "caller_kind": "number",
        "caller_raw": "09847000001",
        "did": "+914842000010",
        "asked_at": AT,
        "destinations": (Destination(number="+919847000002", reason="owner"),),
        "rule": "owner",
        "rung": "redis",
        "rule_version": "1",
        **fields,
    }
    return CallInboundV1(**values)


def a_fact(version: int, state: str, **fields: Any) -> FactExtractedV1:
    evidence = Evidence(source_type="message", source_id="m1", start=0, end=15, quote="27AAPFU0939F1ZV", at=AT)
    values = {
        "fact_id": "f1",
        "version": version,
        "subject": "customer:42",
        "key": "gstin",
        "raw_value": "27AAPFU0939F1ZV",
        "value": "27AAPFU0939F1ZV",
        "value_type": "gstin",
        "evidence": evidence,
        "confidence": 1.0,
        "extractor": "gstin/1",
        "state": state,
        **fields,
    }
    return FactExtractedV1(**values)


def an_import(state: str, at: datetime, **fields: Any) -> VaultStateV1:
    values = {
        "account_id": "a1",
        "account_name": "Shop",
        "import_id": "i",
        "state": state,
        "file_sha256": "0",
        **fields,
    }
    return VaultStateV1(at=at, **values)


@pytest.fixture
def feed(database: Database, tenant: UUID) -> Callable[..., Awaitable[None]]:
    async def feed(handler: Handler, *events: Event) -> None:
        received = [
            Received(
                event,
                Envelope(
                    id=str(number),
                    type=event.type,
                    source="/test",
                    time=AT,
                    tenant=tenant,
                    subject=event.entity_id(),
                    partitionkey="k",
                ),
            )
            for number, event in enumerate(events)
        ]
        async with database.transaction(tenant) as tx:
            await handler(received, tx)

    return feed


@pytest.fixture
def rows(database: Database, tenant: UUID) -> Callable[[str], Awaitable[list[dict[str, Any]]]]:
    async def rows(table: str) -> list[dict[str, Any]]:
        async with database.transaction(tenant) as tx:
            return [dict(row) for row in await tx.fetch(f"SELECT * FROM {table}")]

    return rows


CALL = [
    a_state(1, "initiated"),
    a_state(2, "ringing"),
    a_state(3, "answered", staff_id="s1"),
    a_state(4, "completed", staff_id="s1", ended_at=minutes(4), duration_seconds=60),
]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
@pytest.mark.parametrize("together", [True, False])
async def test_a_call_ends_in_its_newest_state_and_began_with_its_first(
    feed: Any, rows: Any, order: tuple[int, ...], together: bool
) -> None:
    events = [CALL[index] for index in order]
    for batch in [events] if together else [[event] for event in events]:
        await feed(consumers.on_call_states, *batch, *batch)
    [call] = await rows("call")
    assert (call["state"], call["version"], call["duration_seconds"]) == ("completed", 4, 60)
    assert call["began_at"] == minutes(1)


@pytest.mark.parametrize("asked_first", [True, False])
async def test_a_call_is_known_from_the_question_and_its_states_win(feed: Any, rows: Any, asked_first: bool) -> None:
    steps = [(consumers.on_calls_asked, asked()), (consumers.on_call_states, a_state(2, "ringing", did=None))]
    for handler, event in steps if asked_first else reversed(steps):
        await feed(handler, event)
    [call] = await rows("call")
    assert (call["state"], call["version"], call["chosen_by"]) == ("ringing", 2, "owner")
    assert (call["began_at"], call["did"]) == (AT, "+914842000010")


async def test_a_call_of_which_only_the_question_is_known_counts_as_initiated(feed: Any, rows: Any) -> None:
    await feed(consumers.on_calls_asked, asked())
    [call] = await rows("call")
    assert (call["state"], call["version"], call["began_at"]) == ("initiated", 0, AT)


@pytest.mark.parametrize("backwards", [True, False])
async def test_a_fact_keeps_its_newest_version(feed: Any, rows: Any, backwards: bool) -> None:
    versions = [a_fact(1, "asserted"), a_fact(2, "conflicting"), a_fact(3, "superseded")]
    for event in reversed(versions) if backwards else versions:
        await feed(consumers.on_facts, event)
    [fact] = await rows("fact")
    assert (fact["version"], fact["state"], fact["seen_at"]) == (3, "superseded", AT)


@pytest.mark.parametrize("backwards", [True, False])
@pytest.mark.parametrize("together", [True, False])
async def test_an_archive_is_as_old_as_its_newest_import_that_worked(
    feed: Any, rows: Any, backwards: bool, together: bool
) -> None:
    events = [
        an_import("started", minutes(0)),
        an_import("completed", minutes(1), newest_message_at=minutes(-60)),
        an_import("unchanged", minutes(9)),
        an_import("failed", minutes(20), account_name="Shop phone"),
    ]
    events = list(reversed(events)) if backwards else events
    for batch in [events] if together else [[event] for event in events]:
        await feed(consumers.on_imports, *batch)
    [archive] = await rows("archive")
    assert (archive["archived_at"], archive["last_state"], archive["last_at"]) == (minutes(9), "failed", minutes(20))
    assert (archive["first_seen_at"], archive["newest_message_at"]) == (AT, minutes(-60))
    assert archive["account_name"] == "Shop phone"


async def test_an_old_version_of_a_tenant_brings_nothing_back(feed: Any, rows: Any, tenant: UUID) -> None:
    new = TenantV1(tenant_id=str(tenant), version=2, name="New", timezone="Europe/Berlin", active=False)
    old = TenantV1(tenant_id=str(tenant), version=1, name="Old")
    await feed(consumers.on_tenants, new)
    await feed(consumers.on_tenants, old)
    [row] = await rows("tenant")
    assert (row["name"], row["timezone"], row["active"]) == ("New", "Europe/Berlin", False)


async def test_a_deleted_tenant_is_gone(feed: Any, rows: Any, database: Database, tenant: UUID) -> None:
    await feed(consumers.on_tenants, TenantV1(tenant_id=str(tenant), version=1, name="Old"))
    async with database.transaction(tenant) as tx:
        await consumers.on_tenant_deleted(Deletion("directory.tenant", tenant, str(tenant)), tx)
    assert await rows("tenant") == []


def test_every_topic_that_names_the_engine_as_a_reader_is_subscribed() -> None:
    from contracts.topics import TOPICS

    declared = {topic.name for topic in TOPICS.values() if "anomaly-engine" in topic.consumers}
    assert {subscription.topic for subscription in consumers.SUBSCRIPTIONS} == declared
