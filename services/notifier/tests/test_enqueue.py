"""A tenant has one pulse per local day, at its time, of what is red; a replay brings none about."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.anomalies import AnomalyFiredV1
from contracts.directory import TenantV1
from contracts.envelope import Envelope
from contracts.event import Event
from contracts.notifications import NotificationStateV1
from kit.consume import Deletion, Received
from kit.handling import Handling
from kit.postgres import Database
from notifier import consumers, store
from notifier.enqueue import CannotSend, PulseRules, enqueue_due_pulses, enqueue_pulse, preview_pulse
from notifier.sends import PULSE, SendState

from .conftest import DAY, NOW, AddRecipient

pytestmark = pytest.mark.real


def anomaly(rule: str = "stuck", day: date = DAY, **fields: Any) -> AnomalyFiredV1:
    values = {
        "anomaly_id": str(uuid4()),
        "rule": rule,
        "rule_version": "1",
        "title": f"Title of {rule}",
        "description": "d",
        "learning": "Learn.",
        "severity": "warning",
        "local_day": day.isoformat(),
        "as_of": NOW,
        "fingerprint": "f",
        "evidence": ({"call_id": "c1"},),
        "evidence_total": 1,
        **fields,
    }
    return AnomalyFiredV1(**values)


def received(tenant: UUID, events: Sequence[Event], replay: str = "") -> list[Received[Any]]:
    return [
        Received(
            event,
            Envelope(
                id=str(uuid4()),
                type=event.type,
                source="/anomaly-engine",
                time=NOW,
                tenant=tenant,
                subject=event.entity_id(),
                partitionkey="k",
                replayid=replay,
            ),
        )
        for event in events
    ]


def record(tenant: UUID, event: AnomalyFiredV1, replay: str = "") -> Any:
    """An event as Kafka hands it over."""
    (made,) = received(tenant, [event], replay)
    return SimpleNamespace(
        topic=event.topic(), partition=0, offset=0 if replay else 1, timestamp=0, key=b"k",
        value=event.model_dump_json().encode(), headers=made.envelope.to_headers(),
    )  # fmt: skip


async def fire(database: Database, tenant: UUID, *events: AnomalyFiredV1) -> None:
    async with database.transaction(tenant) as tx:
        await consumers.on_anomalies(received(tenant, events), tx)


async def told(database: Database) -> list[NotificationStateV1]:
    async with database.system() as tx:
        rows = await tx.fetch("SELECT payload FROM outbox ORDER BY epoch, xid, seq")
    return [NotificationStateV1.model_validate_json(row["payload"]) for row in rows]


async def test_a_due_pulse_is_entered_once(database: Database, add_recipient: AddRecipient, tenant: UUID) -> None:
    await add_recipient(tenant)
    await fire(database, tenant, anomaly())
    for minutes in range(3):
        now = NOW + timedelta(minutes=minutes)
        assert await enqueue_due_pulses(database, now=now, rules=PulseRules()) == (1 if minutes == 0 else 0)
    [event] = await told(database)
    assert (event.state, event.kind, event.local_day, event.version) == ("accepted", "daily_pulse", "2026-03-02", 1)
    assert event.subject_line == "Kochi Traders: 1 red rule, 2 Mar"
    assert event.recipient == "owner@kochi.example"


async def test_ten_at_once_enter_one(database: Database, add_recipient: AddRecipient, tenant: UUID) -> None:
    await add_recipient(tenant)
    entered = await asyncio.gather(*(enqueue_pulse(database, tenant, now=NOW) for _ in range(10)))
    assert len({send.id for send in entered}) == 1
    assert len(await told(database)) == 1


async def test_the_next_day_has_its_own(database: Database, add_recipient: AddRecipient, tenant: UUID) -> None:
    await add_recipient(tenant)
    for days in range(3):
        await enqueue_due_pulses(database, now=NOW + timedelta(days=days), rules=PulseRules())
    assert [event.local_day for event in await told(database)] == ["2026-03-02", "2026-03-03", "2026-03-04"]


@pytest.mark.parametrize(
    "fields",
    [
        {"active": False},
        {"owner_email": ""},
        {"pulse_at": "09:31"},
        {"known_since": NOW},
        {"timezone": "Asia/Tokyo", "pulse_at": "13:01"},
    ],
    ids=["inactive", "no address", "not yet", "became known after its time", "not yet in its zone"],
)
async def test_who_is_not_due_gets_none(
    database: Database, add_recipient: AddRecipient, tenant: UUID, fields: dict[str, Any]
) -> None:
    await add_recipient(tenant, **fields)
    assert await enqueue_due_pulses(database, now=NOW, rules=PulseRules()) == 0


async def test_all_green_is_sent_unless_it_is_muted(
    database: Database, add_recipient: AddRecipient, tenant: UUID
) -> None:
    await add_recipient(tenant)
    await enqueue_due_pulses(database, now=NOW, rules=PulseRules(all_green=False))
    await enqueue_due_pulses(database, now=NOW + timedelta(days=1), rules=PulseRules())
    first, second = await told(database)
    assert (first.state, first.reason) == ("suppressed", "nothing is red and all-green pulses are muted")
    assert (second.state, second.subject_line) == ("accepted", "Kochi Traders: nothing red, 3 Mar")


async def test_a_replay_brings_no_mail_about(database: Database, add_recipient: AddRecipient, tenant: UUID) -> None:
    """Through the machinery of delivery: the same record with and without a replay's id."""
    await add_recipient(tenant)
    handling = Handling(database=database, consumer="notifier", subscriptions=consumers.SUBSCRIPTIONS)
    await handling.handle([record(tenant, anomaly(), replay="anomaly-engine.1")])
    assert handling.counts == {"replay_refused": 1}
    await enqueue_due_pulses(database, now=NOW, rules=PulseRules(all_green=False))
    assert [event.state for event in await told(database)] == ["suppressed"]
    async with database.transaction(tenant) as tx:
        assert await store.red_rules(tx, DAY, PULSE) == []
    await handling.handle([record(tenant, anomaly())])
    async with database.transaction(tenant) as tx:
        assert len(await store.red_rules(tx, DAY, PULSE)) == 1


async def test_what_became_red_after_a_pulse_is_in_the_next_one(
    database: Database, add_recipient: AddRecipient, tenant: UUID
) -> None:
    await add_recipient(tenant)
    await fire(database, tenant, anomaly("early"))
    await enqueue_pulse(database, tenant, now=NOW)
    await fire(database, tenant, anomaly("late"), anomaly("both"))
    tomorrow = DAY + timedelta(days=1)
    await fire(database, tenant, anomaly("both", tomorrow), anomaly("fresh", tomorrow))
    async with database.transaction(tenant) as tx:
        red = {rule.rule: rule.local_day for rule in await store.red_rules(tx, tomorrow, PULSE)}
    assert red == {"late": DAY, "both": tomorrow, "fresh": tomorrow}


async def test_two_tellings_of_one_day_are_one_line(
    database: Database, add_recipient: AddRecipient, tenant: UUID
) -> None:
    await add_recipient(tenant)
    newer = anomaly(title="Newer", as_of=NOW + timedelta(hours=1))
    await fire(database, tenant, newer, anomaly(title="Older"))
    await fire(database, tenant, anomaly(title="Older"))
    preview = await preview_pulse(database, tenant, now=NOW)
    assert preview.pulse.red == 1
    assert "Newer" in preview.pulse.text


async def test_one_tenants_rules_are_not_in_anothers_pulse(database: Database, add_recipient: AddRecipient) -> None:
    kochi, mumbai = uuid4(), uuid4()
    for each in (kochi, mumbai):
        await add_recipient(each)
    await fire(database, kochi, anomaly())
    assert (await preview_pulse(database, kochi, now=NOW)).pulse.red == 1
    assert (await preview_pulse(database, mumbai, now=NOW)).pulse.red == 0


async def test_nobody_to_send_to_is_a_sentence(database: Database, add_recipient: AddRecipient, tenant: UUID) -> None:
    with pytest.raises(CannotSend, match="No tenant has this id"):
        await enqueue_pulse(database, tenant, now=NOW)
    await add_recipient(tenant, owner_email="")
    with pytest.raises(CannotSend, match="owner_email"):
        await enqueue_pulse(database, tenant, now=NOW)


async def test_the_directory_is_kept_in_its_newest_version(database: Database, tenant: UUID) -> None:
    def directory(version: int, email: str) -> TenantV1:
        return TenantV1(tenant_id=str(tenant), version=version, name="Kochi Traders", owner_email=email)

    for events in (
        [directory(2, "new@kochi.example"), directory(1, "old@kochi.example")],
        [directory(1, "old@x.example")],
    ):
        async with database.transaction(tenant) as tx:
            await consumers.on_tenants(received(tenant, events), tx)
    async with database.transaction(tenant) as tx:
        recipient = await store.find_recipient(tx)
        assert recipient is not None
        assert recipient.owner_email == "new@kochi.example"
        await consumers.on_tenant_deleted(Deletion("directory.tenant", tenant, str(tenant)), tx)
        assert await store.find_recipient(tx) is None


async def test_a_pulse_keeps_what_it_said_when_it_was_entered(
    database: Database, add_recipient: AddRecipient, tenant: UUID
) -> None:
    await add_recipient(tenant)
    first = await enqueue_pulse(database, tenant, now=NOW)
    await fire(database, tenant, anomaly())
    again = await enqueue_pulse(database, tenant, now=NOW + timedelta(hours=1))
    assert again == first
    assert again.state is SendState.PENDING


def test_every_topic_that_names_the_notifier_as_a_reader_is_subscribed() -> None:
    from contracts.topics import TOPICS

    declared = {topic.name for topic in TOPICS.values() if "notifier" in topic.consumers}
    assert {subscription.topic for subscription in consumers.SUBSCRIPTIONS} == declared


def test_the_time_of_these_tests_is_after_nine_in_kochi() -> None:
    assert datetime.fromisoformat("2026-03-02T09:30+05:30") == NOW
