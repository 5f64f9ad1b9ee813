"""Forgetting a person on real servers: letters that name them go, what still arrives is known, a receipt is written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from contracts.erasure import ErasureReceiptV1, KeptRows, SubjectErasedV1
from kit.delivery import Retry
from kit.ids import uuid7
from kit.postgres import Database, Transaction, role_dsn
from kit.testing import MakeDatabase
from recovery.erasure import REMEMBERED, Forgotten, erased, erasing

pytestmark = pytest.mark.real

SERVICE = "notifier"
NOBODY = UUID(int=0)
NUMBER, EMAIL = "+919847000010", "accounts@example.in"
AT = datetime(2026, 6, 15, 10, tzinfo=UTC)
KEPT = KeptRows(store="ledger", rows=2, reason="The accounts are kept for eight years.", until=AT)
_LETTER = """
INSERT INTO dead_letter (id, tenant_id, consumer, topic, partition, "offset", key, value, header_names, header_values,
                         reason, message, attempts, lane, identity, parked_behind, edited_value, trying_since)
VALUES ($1, $2, 'toys', 'toy', 0, $3, $4, $5, '{h}', $6, 'failed', '', 1, $7, $8, $9, $10, $11)
"""


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    return await make_database(service=SERVICE, package="kit")


async def put(database: Database, tenant: UUID, value: bytes, **columns: Any) -> UUID:
    id_ = uuid7()
    async with database.system() as tx:
        offset = await tx.fetchval("SELECT count(*) FROM dead_letter")
        await tx.execute(
            _LETTER, id_, tenant, offset, columns.get("key"), value, [columns.get("header", b"")],
            columns.get("lane"), str(id_), columns.get("behind", False), columns.get("edited"), columns.get("trying"),
        )  # fmt: skip
    return id_


async def left(database: Database) -> set[UUID]:
    async with database.system() as tx:
        return {row["id"] for row in await tx.fetch("SELECT id FROM dead_letter")}


def subject(**fields: Any) -> SubjectErasedV1:
    told = {"erasure_id": str(uuid4()), "subject_id": str(uuid4()), "part": 1, "scope": "person", "effective_at": AT}
    return SubjectErasedV1(**{**told, **fields})


async def erase(
    database: Database, tenant: UUID, person: SubjectErasedV1, forgotten: Forgotten | None = None
) -> ErasureReceiptV1:
    async def forget(_: SubjectErasedV1, __: Transaction) -> Forgotten:
        return forgotten or Forgotten()

    subscription = erasing(SERVICE, forget)
    async with database.transaction(tenant, emits=[person.subject_id]) as tx:
        await subscription.handler(person, tx)
    async with database.system() as tx:
        told = "SELECT payload FROM outbox WHERE subject = $1 ORDER BY seq DESC"
        payload = await tx.fetchval(told, person.subject_id)
    return ErasureReceiptV1.model_validate_json(payload)


@pytest.mark.parametrize(
    "letter",
    [
        {"value": json.dumps({"caller": NUMBER}).encode()},
        {"value": b"From=%2B919847000010&To=x"},
        {"value": b"caller=09847000010"},
        {"value": b'{"sender": "919847000010@s.whatsapp.net"}'},
        {"value": b'{"mail": "Accounts@Example.in"}'},
        {"value": b"{}", "key": b"x:" + NUMBER.encode()},
        {"value": b"{}", "edited": NUMBER.encode()},
        {"value": b"{}", "header": NUMBER.encode()},
        {"value": b"\xff\x00 9847000010 \\ \xe0"},
    ],
    ids=["json", "form", "national", "address", "e-mail", "key", "edited", "header", "garbage"],
)
async def test_a_letter_that_names_the_person_is_destroyed(
    database: Database, tenant: UUID, letter: dict[str, Any]
) -> None:
    value = letter.pop("value")
    await put(database, tenant, value, **letter)
    other = await put(database, tenant, b'{"caller": "+919847000011"}')
    receipt = await erase(database, tenant, subject(numbers=[NUMBER], emails=[EMAIL]))
    assert await left(database) == {other}
    assert [(each.store, each.rows) for each in receipt.erased] == [("dead_letter", 1)]
    async with database.system() as tx:
        audit = await tx.fetch("SELECT action, event_id, why FROM dead_letter_audit")
    assert [(row["action"], row["event_id"], row["why"]) for row in audit] == [
        ("erase", None, f"erasure {receipt.erasure_id}")
    ]


async def test_a_letter_is_found_by_the_ids_of_what_was_written(database: Database, tenant: UUID) -> None:
    gone, stays = str(uuid4()), str(uuid4())
    await put(database, tenant, json.dumps({"message_id": gone}).encode())
    other = await put(database, tenant, json.dumps({"message_id": stays}).encode())
    await erase(database, tenant, subject(part=2, message_ids=[gone]))
    assert await left(database) == {other}


async def test_another_tenants_letters_stay_and_nobodys_go(database: Database, tenant: UUID) -> None:
    theirs = await put(database, uuid4(), NUMBER.encode())
    await put(database, NOBODY, b"unreadable " + NUMBER.encode())
    await erase(database, tenant, subject(numbers=[NUMBER]))
    assert await left(database) == {theirs}


async def test_what_is_just_being_tried_is_waited_for(database: Database, tenant: UUID) -> None:
    tried = await put(database, tenant, NUMBER.encode(), trying=datetime.now(UTC))
    with pytest.raises(Retry):
        await erase(database, tenant, subject(numbers=[NUMBER]))
    assert await left(database) == {tried}


async def test_only_the_function_reaches_letters(database: Database, tenant: UUID) -> None:
    await put(database, tenant, NUMBER.encode())
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with database.transaction(tenant) as tx:
            await tx.execute("DELETE FROM dead_letter")
    owner = await asyncpg.connect(role_dsn(database._app_dsn, "notifier_owner", "test"))
    try:
        # Without a tenant the owner sees nothing at all, with one that tenant's only.
        with pytest.raises(asyncpg.UndefinedObjectError):
            await owner.fetch("SELECT * FROM dead_letter")
        await owner.execute(f"SET app.tenant = '{uuid4()}'")
        assert await owner.fetch("SELECT * FROM dead_letter") == []
    finally:
        await owner.close()


async def test_the_copies_of_a_shadow_run_are_thrown_away(database: Database, tenant: UUID) -> None:
    owner = await asyncpg.connect(role_dsn(database._app_dsn, "notifier_owner", "test"))
    try:
        for name in ("run", "send", "send__base"):
            await owner.execute(f"CREATE TABLE notifier_shadow.{name} (text text)")
        receipt = await erase(database, tenant, subject(numbers=[NUMBER]))
        assert [(each.store, each.rows) for each in receipt.erased] == [("shadow run", 1)]
        left = "SELECT count(*) FROM pg_tables WHERE schemaname = 'notifier_shadow'"
        assert await owner.fetchval(left) == 0
        assert (await erase(database, tenant, subject(numbers=[NUMBER]))).erased == ()
    finally:
        await owner.close()


async def test_the_receipt_says_what_went_what_stays_and_until_when(database: Database, tenant: UUID) -> None:
    person = subject(numbers=[NUMBER])
    receipt = await erase(database, tenant, person, Forgotten({"send": 3, "red_rule": 0}, (KEPT,)))
    assert (receipt.erasure_id, receipt.part, receipt.service) == (person.erasure_id, 1, SERVICE)
    assert [(each.store, each.rows) for each in receipt.erased] == [("send", 3)]
    assert receipt.kept == (KEPT,)
    assert receipt.forgotten_at - receipt.at == REMEMBERED


NAMES: Sequence[tuple[dict[str, Any], str]] = [
    ({"numbers": [NUMBER]}, NUMBER),
    ({"emails": [EMAIL]}, EMAIL),
    ({"addresses": ["919847000010@s.whatsapp.net"]}, "919847000010@s.whatsapp.net"),
    ({"message_ids": ["m-1"]}, "m-1"),
    ({"customer_ids": ["c-1"]}, "c-1"),
]


@pytest.mark.parametrize(("fields", "name"), NAMES, ids=[next(iter(fields)) for fields, _ in NAMES])
async def test_the_past_is_known_when_it_arrives_and_the_future_is_another_matter(
    database: Database, tenant: UUID, fields: dict[str, Any], name: str
) -> None:
    await erase(database, tenant, subject(**fields))
    before, after = AT - timedelta(hours=1), AT + timedelta(seconds=1)
    async with database.transaction(tenant) as tx:
        assert await erased(tx, {name: before, "somebody else": before}) == {name}
        assert await erased(tx, {name: after}) == set()
        assert await erased(tx, {}) == set()
    async with database.transaction(uuid4()) as tx:
        assert await erased(tx, {name: before}) == set()


async def test_where_only_messages_are_erased_a_number_may_still_be_told_of(database: Database, tenant: UUID) -> None:
    letter = await put(database, tenant, json.dumps({"caller": NUMBER}).encode())
    await erase(database, tenant, subject(numbers=[NUMBER], scope="messages"))
    async with database.transaction(tenant) as tx:
        assert await erased(tx, {NUMBER: AT}) == set()
    assert await left(database) == {letter}


async def test_a_second_erasure_of_the_same_person_reaches_further(database: Database, tenant: UUID) -> None:
    await erase(database, tenant, subject(numbers=[NUMBER]))
    later = AT + timedelta(days=1)
    await erase(database, tenant, subject(numbers=[NUMBER], effective_at=later))
    await erase(database, tenant, subject(numbers=[NUMBER]))
    async with database.transaction(tenant) as tx:
        assert await erased(tx, {NUMBER: later}) == {NUMBER}
