"""A person is forgotten on real servers: what rests on their words goes, what others said stays, nothing comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from brain_distiller.consumers import DIRECTORY
from brain_distiller.facts import Evidence, Fact
from brain_distiller.forgotten import Standing, tell_anew
from contracts.directory import CustomerV1
from contracts.envelope import Envelope, partition_key
from contracts.erasure import ErasureReceiptV1, SubjectErasedV1
from contracts.vault import MessageImportedV1
from kit.consume import Received
from kit.testing import columns_with

Build = Callable[..., MessageImportedV1]

PERSON, OTHER = "+919847000001", "+919847000002"
EMAIL, GSTIN, PAN = "accounts@example.in", "32AABCU9603R1ZW", "ABCPK1234Z"
EFFECTIVE = datetime(2026, 3, 2, 12, tzinfo=UTC)
CONTACT, CHAT, GROUP = str(uuid4()), str(uuid4()), str(uuid4())
(ERASING,) = (each for each in DIRECTORY if each.topic == "subject.erased")
(CUSTOMERS,) = (each for each in DIRECTORY if each.topic == "directory.customer" and each.kind == "batch")


def person(**fields: Any) -> SubjectErasedV1:
    told: dict[str, Any] = {
        "erasure_id": str(uuid4()),
        "subject_id": str(uuid4()),
        "part": 1,
        "scope": "person",
        "effective_at": EFFECTIVE,
        "numbers": (PERSON,),
        "emails": (EMAIL,),
        "contact_ids": (CONTACT,),
        "chat_ids": (CHAT,),
        "message_ids": ("m-1", "m-2", "g-1"),
    }
    return SubjectErasedV1(**(told | fields))


async def erase(brain: Any, subject: SubjectErasedV1, tenant: UUID | None = None) -> ErasureReceiptV1:
    tenant = tenant or brain.tenant
    async with brain.database.transaction(tenant) as tx:
        assert ERASING.emits is not None
        await tx.hold(*await ERASING.emits(subject, tx))
        await ERASING.handler(subject, tx)
    async with brain.database.system() as tx:
        payload = await tx.fetchval(
            "SELECT payload FROM outbox WHERE subject = $1 ORDER BY seq DESC", subject.subject_id
        )
    return ErasureReceiptV1.model_validate_json(payload)


async def outbox(brain: Any) -> list[dict[str, Any]]:
    """All events of the tenant, in their order, with ``type``."""
    async with brain.database.system() as tx:
        rows = await tx.fetch(
            "SELECT type, payload FROM outbox WHERE tenant_id = $1 ORDER BY epoch, xid, seq", brain.tenant
        )
    return [{**json.loads(row["payload"]), "type": row["type"]} for row in rows]


async def holds(brain: Any, needle: str) -> list[str]:
    """In which columns the text stands, but for the outbox, which forgets by itself, and what keeps the past out."""
    async with brain.database.transaction(brain.tenant) as tx:
        found = await columns_with(tx, needle)
    return [each for each in found if each.partition(".")[0] not in {"outbox", "erased_lately"}]


async def says_a_lot(brain: Any, a_message: Build) -> None:
    direct = {"chat_id": CHAT, "sender_id": CONTACT}
    await brain.follows("c-9", 1, PERSON)
    await brain.hears(
        a_message(f"GST {GSTIN}, call me on 9847000001 or write {EMAIL}", message_id="m-1", **direct),
        a_message(f"PAN {PAN}", message_id="m-2", minute=1, **direct),
        a_message(
            f"their PAN is {PAN}", message_id="g-1", minute=2, chat_id=GROUP, chat_kind="group", peer_number=None,
            direction="out",
        ),
        a_message(
            f"PAN {PAN} it is", message_id="g-2", minute=3, chat_id=GROUP, chat_kind="group", peer_number=None,
            direction="out",
        ),
        a_message(
            "ask 98470 00001 or pay 9847000001@ybl, Rs 5000/-", message_id="o-1", minute=4, chat_id="o",
            peer_number=OTHER,
        ),
    )  # fmt: skip


@pytest.mark.real
async def test_nothing_of_the_person_is_left_and_what_others_said_stays(brain: Any, a_message: Build) -> None:
    await says_a_lot(brain, a_message)
    held = {each.partition(".")[0] for each in await holds(brain, "9847000001")}
    assert held == {"customer_number", "fact", "evidence"}
    before = len(await outbox(brain))
    receipt = await erase(brain, person(customer_ids=("c-9",)))
    for needle in ("9847000001", "98470 00001", EMAIL, GSTIN, "c-9", "m-1", "m-2", "g-1", CHAT, CONTACT):
        assert await holds(brain, needle) == [], needle
    assert await brain.states() == {PAN: ("asserted", 2), "500000": ("asserted", 1)}
    counted = {each.store: each.rows for each in receipt.erased}
    assert counted == {
        "customer": 1, "customer_number": 1, "evidence": 7, "fact": 6, "fact_version": 7, "source": 3,
    }  # fmt: skip
    told = (await outbox(brain))[before:]
    assert [each["type"] for each in told] == ["fact.extracted.v1", "erasure.receipt.v1"]
    assert (told[0]["value"], told[0]["evidence"]["source_id"]) == (PAN, "g-2")
    assert not any(word in json.dumps(told) for word in ("9847000001", EMAIL, GSTIN, "m-1", "g-1"))


@pytest.mark.real
async def test_to_forget_twice_finds_nothing(brain: Any, a_message: Build) -> None:
    await says_a_lot(brain, a_message)
    subject = person()
    await erase(brain, subject)
    before = await brain.states()
    again = await erase(brain, subject)
    assert again.erased == ()
    assert await brain.states() == before


@pytest.mark.real
async def test_late_and_replayed_events_bring_nothing_back(brain: Any, a_message: Build) -> None:
    await says_a_lot(brain, a_message)
    await erase(brain, person(customer_ids=("c-9",)))
    before = await brain.states()
    await says_a_lot(brain, a_message)
    outer = Envelope(
        id=str(uuid4()), type=CustomerV1.type, source="/test", time=EFFECTIVE - timedelta(hours=1), tenant=brain.tenant,
        subject="c-9", partitionkey=partition_key(brain.tenant, "c-9"),
    )  # fmt: skip
    async with brain.database.transaction(brain.tenant) as tx:
        await tx.execute("DELETE FROM customer")
        customer = CustomerV1(customer_id="c-9", version=3, name="A customer", numbers=(PERSON,))
        await CUSTOMERS.handler([Received(customer, outer)], tx)
    await brain.hears(
        a_message(f"GST {GSTIN}", message_id="m-9", minute=5, chat_id=CHAT),
        a_message(f"GST {GSTIN}", message_id="m-1", revision=2, chat_id="elsewhere", peer_number=None),
    )
    for needle in ("9847000001", EMAIL, GSTIN, "c-9", "m-1", "m-9"):
        assert await holds(brain, needle) == [], needle
    assert await brain.states() == before


@pytest.mark.real
async def test_what_is_said_afterwards_is_a_new_matter(brain: Any, a_message: Build) -> None:
    later = {"minute": 10 * 60, "chat_id": "new"}
    await brain.hears(
        a_message(f"GST {GSTIN}", message_id="m-1", chat_id=CHAT),
        a_message(f"GST {GSTIN} again", message_id="n-1", **later),
    )
    await erase(brain, person())
    assert await brain.states(f"contact:{PERSON}") == {GSTIN: ("asserted", 2)}
    await brain.hears(a_message(f"PAN {PAN}", message_id="n-2", **later))
    assert await brain.states(f"contact:{PERSON}") == {GSTIN: ("asserted", 2), PAN: ("asserted", 1)}


@pytest.mark.real
async def test_only_messages_are_forgotten_where_only_they_are_named(brain: Any, a_message: Build) -> None:
    await says_a_lot(brain, a_message)
    await erase(brain, person(scope="messages", numbers=(), emails=()))
    assert await brain.count("customer") == 1
    assert GSTIN not in await brain.states()
    assert (await brain.states(f"contact:{OTHER}"))[PERSON] == ("asserted", 1)


@pytest.mark.real
@pytest.mark.parametrize(("scope", "left"), [("messages", {PAN: ("asserted", 1)}), ("person", {})])
async def test_what_others_say_of_a_customer_stays_where_only_messages_are_forgotten(
    brain: Any, a_message: Build, scope: str, left: dict[str, Any]
) -> None:
    await brain.follows("c-9", 1, PERSON, OTHER)
    await brain.hears(
        a_message(f"GST {GSTIN}", message_id="m-1", chat_id=CHAT, peer_number=PERSON),
        a_message(f"PAN {PAN}", message_id="o-1", minute=1, chat_id="o", peer_number=OTHER),
    )
    assert len(await brain.states("customer:c-9")) == 2
    await erase(brain, person(scope=scope, customer_ids=("c-9",), message_ids=("m-1",)))
    assert await brain.states() == left


@pytest.mark.real
async def test_another_tenant_keeps_what_is_theirs(brain: Any, a_message: Build) -> None:
    await says_a_lot(brain, a_message)
    before = await brain.states()
    await erase(brain, person(customer_ids=("c-9",)), tenant=uuid4())
    assert await brain.states() == before
    assert await brain.count("customer_number") == 1


@pytest.mark.real
async def test_a_conflict_ends_with_the_value_that_is_forgotten(brain: Any, a_message: Build) -> None:
    await brain.hears(
        a_message(f"GST {GSTIN}", message_id="g-1", chat_id=GROUP, peer_number=None),
        a_message("GST 27AAPFU0939F1ZV", message_id="g-2", minute=1, chat_id=GROUP, peer_number=None),
    )
    assert {state for state, _ in (await brain.states()).values()} == {"conflicting"}
    await erase(brain, person())
    assert await brain.states() == {"27AAPFU0939F1ZV": ("asserted", 3)}
    assert await holds(brain, "g-1") == []


@pytest.mark.real
async def test_the_service_itself_still_takes_nothing_back(brain: Any, a_message: Build) -> None:
    await says_a_lot(brain, a_message)
    for statement in ("DELETE FROM source", "DELETE FROM fact", "DELETE FROM fact_version", "DELETE FROM evidence"):
        with pytest.raises(Exception, match="permission denied"):
            async with brain.database.transaction(brain.tenant) as tx:
                await tx.execute(statement)


def test_a_fact_that_only_a_withdrawn_word_says_is_retracted_with_that_word() -> None:
    fact = Fact(
        fact_id=uuid4(), subject="chat:g", key="phone", value=OTHER, value_type="phone", unit=None, raw_value="old",
        confidence=0.9, extractor="phone/2", state="asserted", version=4,
    )  # fmt: skip
    evidence = Evidence(
        fact_id=fact.fact_id, source_type="message", source_id="o-1", revision=1, extractor="phone/2", start=0, end=3,
        quote="new", confidence=0.9, at=EFFECTIVE,
    )  # fmt: skip
    (version,) = tell_anew([Standing(fact=fact, evidence=evidence, live=False, told_is_gone=True)])
    assert (version.fact.state, version.fact.version, version.fact.raw_value) == ("retracted", 5, "new")
    assert tell_anew([Standing(fact=version.fact, evidence=evidence, live=False, told_is_gone=False)]) == []
