"""A person is forgotten: mails, summaries and details lose what names them, nothing comes back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.anomalies import AnomalyFiredV1
from contracts.envelope import Envelope
from contracts.erasure import ErasureReceiptV1, SubjectErasedV1
from kit.consume import Received
from kit.postgres import Database
from kit.testing import columns_with
from notifier import consumers, store
from notifier.channels import CHANNELS
from notifier.channels.email import SmtpOptions
from notifier.deliver import Deliverer
from notifier.enqueue import enqueue_pulse, preview_pulse
from notifier.sends import SendState

from .conftest import DAY, NOW, AddRecipient, MailServer

pytestmark = pytest.mark.real

NUMBER, EMAIL = "+919847000010", "accounts@example.in"
NEEDLES = ("9847000010", EMAIL, "customer:42", "32AABCU9603R1ZW")
(ERASING,) = (each for each in consumers.SUBSCRIPTIONS if each.topic == "subject.erased")
THEIRS = (
    {"subject": "customer:42", "fact_key": "gstin", "distinct_values": 2, "found_values": "32AABCU9603R1ZW"},
    {"subject": f"contact:{NUMBER}", "fact_key": "gstin", "distinct_values": 2},
    {"subject": "customer:7", "mail": f"wrote to {EMAIL}"},
)


def person(**fields: Any) -> SubjectErasedV1:
    told: dict[str, Any] = {
        "erasure_id": str(uuid4()),
        "subject_id": str(uuid4()),
        "part": 1,
        "scope": "person",
        "effective_at": NOW,
        "numbers": (NUMBER,),
        "emails": (EMAIL,),
        "customer_ids": ("42",),
    }
    return SubjectErasedV1(**(told | fields))


async def fires(database: Database, tenant: UUID, *rows: dict[str, Any], hours: int = -1) -> None:
    """A rule for each row, so that each stands in a summary."""
    told = []
    for number, row in enumerate(rows):
        event = AnomalyFiredV1(
            anomaly_id=str(uuid4()), rule=f"rule_{number}", rule_version="1", title="Two values", description="d",
            learning="Ask.", severity="warning", local_day=DAY.isoformat(), as_of=NOW + timedelta(hours=hours),
            fingerprint="f", evidence=(row,), evidence_total=5,
        )  # fmt: skip
        outer = Envelope(
            id=str(uuid4()),
            type=event.type,
            source="/test",
            time=NOW,
            tenant=tenant,
            subject=event.rule,
            partitionkey="k",
        )
        told.append(Received(event, outer))
    async with database.transaction(tenant) as tx:
        await consumers.on_anomalies(told, tx)


async def erase(database: Database, tenant: UUID, subject: SubjectErasedV1) -> ErasureReceiptV1:
    async with database.transaction(tenant) as tx:
        assert ERASING.emits is not None
        await tx.hold(*await ERASING.emits(subject, tx))
        await ERASING.handler(subject, tx)
    async with database.system() as tx:
        told = "SELECT payload FROM outbox WHERE subject = $1 ORDER BY seq DESC"
        payload = await tx.fetchval(told, subject.subject_id)
    return ErasureReceiptV1.model_validate_json(payload)


async def holds(database: Database, tenant: UUID, needle: str) -> list[str]:
    """In which columns the text stands, but for the outbox, which forgets by itself, and what keeps the past out."""
    async with database.transaction(tenant) as tx:
        found = await columns_with(tx, needle)
    return [each for each in found if each.partition(".")[0] not in {"outbox", "erased_lately"}]


@pytest.fixture
async def pulse(database: Database, tenant: UUID, add_recipient: AddRecipient) -> UUID:
    """A pulse about the person that was sent after a refusal which an operator looked into."""
    await add_recipient(tenant)
    await fires(database, tenant, *THEIRS, {"subject": "customer:420", "fact_key": "pan"})
    send = await enqueue_pulse(database, tenant, now=NOW)
    async with database.transaction(tenant) as tx:
        lease = uuid4()
        await store.lease_send(tx, send.id, lease=lease, length=timedelta(minutes=1), at_once=True)
        await store.settle_send(tx, send.id, lease=lease, state=SendState.UNKNOWN, reason=f"550 <{EMAIL}> is unknown")
        await store.end_attempt(tx, send.id, lease=lease, outcome="unknown", code=550, detail=f"<{EMAIL}> is unknown")
        known = await store.lock_send(tx, send.id)
        assert known is not None
        await store.resolve_send(tx, known, state=SendState.SENT, reason=f"{EMAIL} has it", by="desk")
    return send.id


async def test_nothing_of_the_person_is_left_and_the_mail_stays(database: Database, tenant: UUID, pulse: UUID) -> None:
    held = {each for needle in NEEDLES for each in await holds(database, tenant, needle)}
    assert {each.partition(".")[0] for each in held} == set(store.TEXTS)
    receipt = await erase(database, tenant, person())
    for needle in ("9847000010", EMAIL, "32AABCU9603R1ZW", "customer:42,"):
        assert await holds(database, tenant, needle) == [], needle
    counted = {each.store: each.rows for each in receipt.erased}
    assert counted == {"red_rule": 3, "send": 1, "send_attempt": 1, "send_resolution": 1}
    assert receipt.kept == ()
    async with database.transaction(tenant) as tx:
        send = await store.find_send(tx, pulse)
    assert send is not None
    assert (send.state, send.recipient) == (SendState.SENT, "owner@kochi.example")
    assert send.text_body.count("[erased]") == send.html_body.count("[erased]") == 3
    assert "subject customer:420, fact key pan" in send.text_body
    assert "Two values (5)" in send.text_body


async def test_to_forget_twice_finds_nothing(database: Database, tenant: UUID, pulse: UUID) -> None:
    subject = person()
    await erase(database, tenant, subject)
    assert (await erase(database, tenant, subject)).erased == ()


async def test_a_late_anomaly_is_shown_without_the_person(
    database: Database, tenant: UUID, add_recipient: AddRecipient
) -> None:
    await add_recipient(tenant)
    await erase(database, tenant, person())
    await fires(database, tenant, *THEIRS)
    for needle in ("9847000010", EMAIL, "32AABCU9603R1ZW", "customer:42"):
        assert await holds(database, tenant, needle) == [], needle
    shown = (await preview_pulse(database, tenant, now=NOW)).pulse.text
    assert "subject [erased], fact key [erased], distinct values 2" in shown


async def test_what_was_found_late_of_long_before_is_marked_and_what_is_new_is_not(
    database: Database, tenant: UUID, add_recipient: AddRecipient
) -> None:
    await add_recipient(tenant)
    await erase(database, tenant, person())
    before, after = ((NOW + timedelta(hours=hours)).isoformat() for hours in (-2, 2))
    old, new = {"subject": "customer:42", "newest_at": before}, {"subject": f"contact:{NUMBER}", "newest_at": after}
    await fires(database, tenant, old, new, hours=3)
    assert await holds(database, tenant, "customer:42") == []
    assert await holds(database, tenant, NUMBER) == ["red_rule.evidence_summary"]


async def test_nobody_gets_a_mail_who_is_forgotten(
    database: Database, tenant: UUID, add_recipient: AddRecipient, mail_server: MailServer
) -> None:
    await add_recipient(tenant, owner_email=EMAIL)
    send = await enqueue_pulse(database, tenant, now=NOW)
    receipt = await erase(database, tenant, person())
    (kept,) = receipt.kept
    assert (kept.store, kept.rows) == ("recipient", 1)
    channel = CHANNELS["email"](SmtpOptions(host=mail_server.host, port=mail_server.port, sender="pulse@house.example"))
    deliverer = Deliverer(database=database, channels={"email": channel}, sender="pulse@house.example")
    settled = await deliverer.deliver(tenant, send.id)
    assert settled is not None
    assert (settled.state, settled.recipient) == (SendState.FAILED, "[erased]")
    assert mail_server.mails == []
    assert await holds(database, tenant, EMAIL) == ["recipient.owner_email"]


async def test_another_tenant_keeps_what_is_theirs(database: Database, tenant: UUID, pulse: UUID) -> None:
    before = {needle: await holds(database, tenant, needle) for needle in NEEDLES}
    await erase(database, uuid4(), person())
    assert {needle: await holds(database, tenant, needle) for needle in NEEDLES} == before


async def test_a_decision_itself_is_still_never_changed(database: Database, tenant: UUID, pulse: UUID) -> None:
    for statement in ("UPDATE send_resolution SET reason = ''", "DELETE FROM send_resolution"):
        with pytest.raises(Exception, match="permission denied"):
            async with database.transaction(tenant) as tx:
                await tx.execute(statement)
