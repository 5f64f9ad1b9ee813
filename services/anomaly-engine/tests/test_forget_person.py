"""A person is forgotten: facts go, findings keep their counts, nothing comes back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from anomaly_engine import consumers, store
from anomaly_engine.detect import Detector
from anomaly_engine.rules import load_rules
from anomaly_engine.store import RuleReader
from contracts.envelope import Envelope
from contracts.erasure import ErasureReceiptV1, SubjectErasedV1
from contracts.facts import Evidence, FactExtractedV1
from kit.consume import Received
from kit.postgres import Database
from kit.testing import columns_with

from .conftest import AS_OF, AddTenant

pytestmark = pytest.mark.real

NUMBER, EMAIL = "+919847000010", "accounts@example.in"
GSTINS = ("32AABCU9603R1ZW", "27AAPFU0939F1ZV")
EFFECTIVE = AS_OF
NEEDLES = ("9847000010", EMAIL, *GSTINS, "m-1", "g-1", "customer:42")
(ERASING,) = (each for each in consumers.SUBSCRIPTIONS if each.topic == "subject.erased")


def person(**fields: Any) -> SubjectErasedV1:
    told: dict[str, Any] = {
        "erasure_id": str(uuid4()),
        "subject_id": str(uuid4()),
        "part": 1,
        "scope": "person",
        "effective_at": EFFECTIVE,
        "numbers": (NUMBER,),
        "emails": (EMAIL,),
        "customer_ids": ("42",),
        "message_ids": ("m-1", "g-1"),
    }
    return SubjectErasedV1(**(told | fields))


def a_fact(subject: str, key: str, value: str, *, source: str = "m-9", hours: int = -5) -> FactExtractedV1:
    at = EFFECTIVE + timedelta(hours=hours)
    return FactExtractedV1(
        fact_id=f"{subject} {key} {value}",
        version=1,
        subject=subject,
        key=key,
        raw_value=value,
        value=value,
        value_type=key,
        evidence=Evidence(source_type="message", source_id=source, start=0, end=1, quote="x", at=at),
        confidence=1.0,
        extractor=f"{key}/1",
        state="asserted",
    )


THEIRS = [
    *(a_fact("customer:42", "gstin", value, source="m-1") for value in GSTINS),
    *(a_fact(f"contact:{NUMBER}", "gstin", value) for value in GSTINS),
    *(a_fact("chat:group", "gstin", value, source="g-1") for value in GSTINS),
    a_fact("customer:7", "phone", NUMBER),
    a_fact("customer:7", "email", EMAIL),
    a_fact("customer:7", "upi", "9847000010@okaxis"),
]
OTHERS = [a_fact("customer:420", "gstin", f"33AABCU9603R1Z{end}") for end in "AB"]
LATER = [a_fact(f"contact:{NUMBER}", "pan", "ABCPK1234Z", hours=1)]


async def learns(database: Database, tenant: UUID, *facts: FactExtractedV1) -> None:
    received = [
        Received(
            fact,
            Envelope(
                id=str(uuid4()), type=fact.type, source="/test", time=datetime.now(UTC), tenant=tenant,
                subject=fact.subject, partitionkey="k",
            ),
        )
        for fact in facts
    ]  # fmt: skip
    async with database.transaction(tenant) as tx:
        await consumers.on_facts(received, tx)


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


async def facts(database: Database, tenant: UUID) -> set[str]:
    async with database.transaction(tenant) as tx:
        return {row["fact_id"] for row in await tx.fetch("SELECT fact_id FROM fact")}


@pytest.fixture
async def found(database: Database, reader: RuleReader, add_tenant: AddTenant, tenant: UUID) -> Detector:
    """Four capsules with two tax numbers each, found twice and told once."""
    known = await add_tenant(tenant)
    await learns(database, tenant, *THEIRS, *OTHERS)
    detector = Detector(database=database, reader=reader, rules=load_rules(), now=lambda: AS_OF)
    rule = detector.rules["capsule_fact_value_conflict"]
    for minute in (0, 10):
        await detector.detect(known, rule, as_of=AS_OF + timedelta(minutes=minute), again=True)
    return detector


async def test_nothing_of_the_person_is_left_and_counts_stay(database: Database, tenant: UUID, found: Detector) -> None:
    assert {each.partition(".")[0] for each in await holds(database, tenant, GSTINS[0])} == {
        "fact",
        "anomaly",
        "rule_run",
    }
    receipt = await erase(database, tenant, person())
    for needle in NEEDLES:
        # customer:420 has customer:42 in it and is somebody else.
        left = [each for each in await holds(database, tenant, needle) if needle != "customer:42"]
        assert left == [], needle
    assert await facts(database, tenant) == {each.fact_id for each in OTHERS}
    assert {each.store: each.rows for each in receipt.erased} == {"fact": 9, "anomaly": 1, "rule_run": 2}
    async with database.transaction(tenant) as tx:
        (anomaly,) = await store.anomalies(tx, day=None, limit=10)
    rows = anomaly["evidence"]
    assert (anomaly["evidence_total"], len(rows)) == (4, 4)
    assert sorted(row["subject"] for row in rows) == ["[erased]", "[erased]", "[erased]", "customer:420"]
    assert {row["distinct_values"] for row in rows} == {2}
    assert {row["found_values"] for row in rows if row["subject"] != "[erased]"} == {"33AABCU9603R1ZA, 33AABCU9603R1ZB"}


async def test_what_somebody_else_has_said_too_stays(
    database: Database, reader: RuleReader, add_tenant: AddTenant, tenant: UUID
) -> None:
    known = await add_tenant(tenant)
    by_others = [a_fact("customer:7", "gstin", value) for value in GSTINS]
    await learns(database, tenant, *(a_fact("chat:group", "gstin", value, source="g-1") for value in GSTINS))
    await learns(database, tenant, *by_others)
    detector = Detector(database=database, reader=reader, rules=load_rules(), now=lambda: AS_OF)
    await detector.detect(known, detector.rules["capsule_fact_value_conflict"], as_of=AS_OF, again=True)
    await erase(database, tenant, person(chat_ids=("group",)))
    async with database.transaction(tenant) as tx:
        (anomaly,) = await store.anomalies(tx, day=None, limit=10)
    assert sorted(row["subject"] for row in anomaly["evidence"]) == ["[erased]", "customer:7"]
    assert await facts(database, tenant) == {each.fact_id for each in by_others}


async def test_to_forget_twice_finds_nothing(database: Database, tenant: UUID, found: Detector) -> None:
    subject = person()
    await erase(database, tenant, subject)
    assert (await erase(database, tenant, subject)).erased == ()


async def test_late_and_replayed_facts_bring_nothing_back(
    database: Database, reader: RuleReader, tenant: UUID, found: Detector
) -> None:
    await erase(database, tenant, person())
    await learns(database, tenant, *THEIRS, *OTHERS, *LATER)
    assert await facts(database, tenant) == {each.fact_id for each in (*OTHERS, *LATER)}
    async with database.transaction(tenant) as tx:
        known = await store.find_tenant(tx)
    assert known is not None
    rule = found.rules["capsule_fact_value_conflict"]
    await found.detect(known, rule, as_of=AS_OF + timedelta(days=1), again=True)
    assert await holds(database, tenant, GSTINS[0]) == []


async def test_what_is_said_afterwards_is_a_new_matter(database: Database, tenant: UUID, found: Detector) -> None:
    await learns(database, tenant, *LATER)
    await erase(database, tenant, person())
    assert await facts(database, tenant) == {each.fact_id for each in (*OTHERS, *LATER)}


async def test_another_tenant_keeps_what_is_theirs(database: Database, tenant: UUID, found: Detector) -> None:
    before = {needle: await holds(database, tenant, needle) for needle in NEEDLES}
    await erase(database, uuid4(), person())
    assert {needle: await holds(database, tenant, needle) for needle in NEEDLES} == before


async def test_only_what_was_written_is_forgotten_where_only_messages_are_named(
    database: Database, tenant: UUID, found: Detector
) -> None:
    await erase(database, tenant, person(scope="messages", numbers=(), emails=(), customer_ids=()))
    gone = {each.fact_id for each in THEIRS if each.evidence.source_id in {"m-1", "g-1"}}
    assert await facts(database, tenant) == {each.fact_id for each in (*THEIRS, *OTHERS)} - gone


async def test_findings_can_be_changed_in_their_evidence_only(database: Database, tenant: UUID) -> None:
    for statement in ("UPDATE anomaly SET title = ''", "DELETE FROM anomaly", "UPDATE rule_run SET state = 'ok'"):
        with pytest.raises(Exception, match="permission denied"):
            async with database.transaction(tenant) as tx:
                await tx.execute(statement)


def test_rows_are_marked_whole_and_counts_are_not() -> None:
    from anomaly_engine.forget_person import _marked

    row = {"subject": "customer:42", "distinct_values": 2, "late": True, "nothing": None}
    assert json.dumps(_marked(row)) == '{"subject": "[erased]", "distinct_values": 2, "late": true, "nothing": null}'
