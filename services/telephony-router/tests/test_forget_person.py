"""Forgetting a person's calls on a real Postgres: what goes, what stays, what vendors tell late, and the bytes."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from contracts.directory import CustomerV1, StaffV1
from contracts.erasure import ErasureReceiptV1, SubjectErasedV1
from kit.postgres import Database
from kit.testing import columns_with
from telephony_router import claim_missed, claims_store, recording_store
from telephony_router.answer_ring import answer_to_json, intake_of
from telephony_router.blob_store import FileBlobStore
from telephony_router.consumers import SUBSCRIPTIONS
from telephony_router.forget_person import remove_erased_recordings, sweep_erased
from telephony_router.keep_missed import settle_some
from telephony_router.process_intake import process_some
from telephony_router.project_directory import project_customer, project_staff
from telephony_router.record import PostgresIntakes
from telephony_router.routing import Decision
from telephony_router.signals import CallSignal, Recording
from telephony_router.vendors.base import Account

pytestmark = pytest.mark.real
MakeDatabase = Callable[..., Awaitable[Database]]
CALLER, OTHER, DID = "+919847000001", "+919847000002", "+914842000100"
DECISION = Decision(action="dial", destinations=(), excluded=(), rule="owner", rung="redis", customer_id=None)
#: What leaves by itself: the outbox by its partitions, what was touched after a day, whom to keep out on its day.
FOR_A_WHILE = {"outbox", "view_change", "erased_lately"}


@dataclass
class Office:
    database: Database
    account: Account
    seconds: Any = field(default_factory=itertools.count)

    @property
    def tenant(self) -> UUID:
        return self.account.tenant

    async def hears(self, *signals: CallSignal) -> None:
        rows = []
        for signal in signals:
            answer = answer_to_json(DECISION, 1.5) if signal.kind == "ring" else None
            at = datetime.now(UTC) - timedelta(hours=1) + timedelta(seconds=next(self.seconds))
            body = json.dumps([signal.call_id, signal.status, signal.caller_raw]).encode()
            rows.append(intake_of(self.account, signal, body, at, answer))
        intakes = PostgresIntakes(self.database)
        await intakes.take_in(rows)
        await intakes.close()
        await process_some(self.database)
        while await settle_some(self.database, window=timedelta(hours=24)):
            pass

    async def misses(self, call_id: str, caller: str) -> None:
        await self.hears(ring(call_id, caller), told(call_id, "missed", caller))

    async def erase(self, **fields: Any) -> ErasureReceiptV1:
        given: dict[str, Any] = {
            "erasure_id": str(uuid4()), "subject_id": str(uuid4()), "part": 1, "scope": "person",
            "effective_at": datetime.now(UTC), "numbers": (CALLER,),
        }  # fmt: skip
        person = SubjectErasedV1(**{**given, **fields})
        [subscription] = [each for each in SUBSCRIPTIONS if each.topic == "subject.erased"]
        async with self.database.transaction(self.tenant, emits=[person.subject_id]) as tx:
            await subscription.handler(person, tx)
        async with self.database.system() as tx:
            payload = await tx.fetchval("SELECT payload FROM outbox WHERE subject = $1", person.subject_id)
        return ErasureReceiptV1.model_validate_json(payload)

    async def found(self, *needles: str) -> set[str]:
        async with self.database.transaction(self.tenant) as tx:
            return {each.partition(".")[0] for needle in needles for each in await columns_with(tx, needle)}

    async def rows(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        async with self.database.transaction(self.tenant) as tx:
            return [dict(row) for row in await tx.fetch(query, *arguments)]

    async def run(self, query: str, *arguments: object) -> None:
        async with self.database.transaction(self.tenant) as tx:
            await tx.execute(query, *arguments)


def ring(call_id: str, caller: str = CALLER) -> CallSignal:
    return CallSignal(kind="ring", vendor="generic", call_id=call_id, caller_raw=caller, did_raw=DID)


def told(call_id: str, status: str, caller: str = CALLER, **more: Any) -> CallSignal:
    return CallSignal(
        kind="status", vendor="generic", call_id=call_id, caller_raw=caller, did_raw=DID, status=status,
        status_raw=status, **more,
    )  # fmt: skip


@pytest.fixture
async def office(make_database: MakeDatabase) -> Office:
    database = await make_database(service="telephony-router", package="telephony_router")
    account = Account(id=uuid4(), tenant=uuid4(), vendor="generic")
    return Office(database, account)


async def everything(office: Office) -> None:
    """Missed calls of two people, one of them claimed and resolved with a note, a call to them, a recording."""
    await office.misses("c1", CALLER)
    await office.misses("c2", OTHER)
    async with office.database.transaction(office.tenant) as tx:
        items = {item.caller: item for item in await claims_store.page(tx, None, None, 10)}
    who = {"user": "u1", "name": "Reception desk"}
    mine = items[CALLER]
    await claim_missed.claim(office.database, office.tenant, mine.id, **who, lease=timedelta(minutes=15))
    await office.run(
        "INSERT INTO last_agent (tenant_id, number, staff_id, at) VALUES ($1, $2, 's1', now() - interval '1 hour')",
        office.tenant, CALLER,
    )  # fmt: skip
    await office.run(
        "INSERT INTO caller_score (tenant_id, number, score, at) VALUES ($1, $2, 9, now() - interval '1 hour')",
        office.tenant, CALLER,
    )  # fmt: skip
    call = (await office.rows("SELECT id FROM call WHERE caller = $1", CALLER))[0]["id"]
    await office.run(
        "INSERT INTO recording_audit (tenant_id, id, operator, action, call_id, detail)"
        " VALUES ($1, gen_random_uuid(), 'Desk', 'listen', $2, 'rec-919847000001.wav')",
        office.tenant, call,
    )  # fmt: skip


async def test_nothing_of_the_person_is_left_and_others_stay(office: Office) -> None:
    await everything(office)
    assert {"call", "intake", "missed", "last_agent", "caller_score"} <= await office.found("9847000001")
    receipt = await office.erase()
    assert await office.found("9847000001") <= FOR_A_WHILE
    counts = {each.store: each.rows for each in receipt.erased}
    assert (counts["call"], counts["missed"], counts["intake"], counts["last_agent"]) == (1, 1, 2, 1)
    assert [(each.store, each.rows) for each in receipt.kept] == [("recording_audit", 1)]
    assert [row["caller"] for row in await office.rows("SELECT caller FROM call")] == [OTHER]
    assert [row["caller"] for row in await office.rows("SELECT caller FROM missed")] == [OTHER]
    assert (await office.rows("SELECT operator, detail FROM recording_audit")) == [{"operator": "Desk", "detail": ""}]
    # Every router hears that nothing is known of the number any more.
    changes = await office.rows("SELECT key FROM view_change WHERE kind = 'caller'")
    assert CALLER in {row["key"] for row in changes}


async def test_a_call_that_was_ordered_to_them_goes_with_its_key(office: Office) -> None:
    order = uuid4()
    await office.run(
        "INSERT INTO account (tenant_id, id, vendor, secret_sha256) VALUES ($1, $2, 'generic', 'secret')",
        office.tenant, office.account.id,
    )  # fmt: skip
    await office.run(
        "INSERT INTO outbound_call (tenant_id, id, account_id, vendor, ref, from_number, to_number, state)"
        " VALUES ($1, $2, $3, 'generic', 'r', $4, $5, 'submitted')",
        office.tenant, order, office.account.id, OTHER, CALLER,
    )  # fmt: skip
    await office.run(
        "INSERT INTO idempotency_key (tenant_id, key, body_sha256, answer)"
        " VALUES ($1, 'k', 'x', $2), ($1, 'l', 'x', '{}')",
        office.tenant, json.dumps({"call": str(order), "to": CALLER}),
    )  # fmt: skip
    await office.run(
        "INSERT INTO outbound_audit (tenant_id, id, actor, action, subject, reason)"
        " VALUES ($1, gen_random_uuid(), 'Desk', 'settle', $2, '9847000001 did answer')",
        office.tenant, order,
    )  # fmt: skip
    receipt = await office.erase()
    assert await office.found("9847000001") <= FOR_A_WHILE
    assert {each.store for each in receipt.erased} == {"outbound_call", "idempotency_key"}
    assert await office.rows("SELECT actor, reason FROM outbound_audit") == [{"actor": "Desk", "reason": "(erased)"}]
    assert [row["key"] for row in await office.rows("SELECT key FROM idempotency_key")] == ["l"]


async def test_their_recordings_leave_the_store_unless_another_has_the_same_bytes(
    office: Office, tmp_path: Path
) -> None:
    await everything(office)
    blobs = FileBlobStore(tmp_path / "store")
    calls = {row["caller"]: row["id"] for row in await office.rows("SELECT id, caller FROM call")}
    for caller, content in ((CALLER, b"theirs"), (CALLER, b"the same"), (OTHER, b"the same")):
        recording, source = uuid4(), tmp_path / "source"
        source.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        await blobs.put(office.tenant, sha256, source)
        await office.run(
            "INSERT INTO recording_fetch (tenant_id, id, call_id, recording_key, account_id, vendor, state)"
            " VALUES ($1, $2, $3, $2::uuid::text, $2, 'generic', 'stored')", office.tenant, recording, calls[caller],
        )  # fmt: skip
        await office.run(
            "INSERT INTO recording_file (tenant_id, recording_id, call_id, sha256, size_bytes, content_type, channels,"
            " duration_ms, speakers, voices, stored_at)"
            " VALUES ($1, $2, $3, $4, 1, 'audio/wav', 1, 1, 'mixed', 'mono', now())",
            office.tenant, recording, calls[caller], sha256,
        )  # fmt: skip
    await office.erase()
    await remove_erased_recordings(office.database, blobs)
    assert {each.read_bytes() for each in (tmp_path / "store").rglob("*") if each.is_file()} == {b"the same"}
    assert await office.rows("SELECT FROM erased_blob") == []


async def test_what_a_vendor_tells_late_is_erased_again_and_who_calls_then_is_a_stranger(office: Office) -> None:
    await everything(office)
    await office.erase()
    await office.hears(told("c1", "completed"), ring("c0"))
    assert await office.rows("SELECT FROM call WHERE caller = $1", CALLER) != []
    await sweep_erased(office.database)
    assert await office.found("9847000001") <= FOR_A_WHILE
    later = datetime.now(UTC) + timedelta(seconds=1)
    answer = answer_to_json(DECISION, 1.5)
    intakes = PostgresIntakes(office.database)
    await intakes.take_in([intake_of(office.account, ring("c9"), b"later", later, answer)])
    await intakes.close()
    await process_some(office.database)
    await sweep_erased(office.database)
    assert len(await office.rows("SELECT FROM call WHERE caller = $1", CALLER)) == 1


async def test_who_talked_to_them_is_not_learned_from_what_is_told_late(office: Office) -> None:
    agent = StaffV1(staff_id="s1", version=1, name="Reception desk", numbers=("+919847000009",))
    async with office.database.transaction(office.tenant) as tx:
        await project_staff(agent, tx)
    await everything(office)
    await office.erase()
    before = datetime.now(UTC) - timedelta(hours=1)
    await office.hears(ring("c0"), told("c0", "answered", agent_raw="+919847000009", at=before), ring("c1"))
    # This one says no time: it seems to be of just now.
    now = told("c1", "answered", agent_raw="+919847000009")
    intakes = PostgresIntakes(office.database)
    await intakes.take_in([intake_of(office.account, now, b"late", datetime.now(UTC), None)])
    await intakes.close()
    await process_some(office.database)
    assert await office.rows("SELECT FROM last_agent WHERE number = $1", CALLER) != []
    [version] = await office.rows("SELECT version FROM view_version")
    await sweep_erased(office.database)
    assert await office.rows("SELECT FROM last_agent") == []
    changes = await office.rows("SELECT key FROM view_change WHERE version > $1", version["version"])
    assert [row["key"] for row in changes] == [CALLER]
    await sweep_erased(office.database)
    assert len(await office.rows("SELECT FROM view_change WHERE version > $1", version["version"])) == 1


async def test_a_recording_told_late_by_its_calls_id_alone_goes_too_and_is_not_fetched(office: Office) -> None:
    await everything(office)
    await office.erase()
    nameless = CallSignal(
        kind="recording", vendor="generic", call_id="c1", caller_raw="", did_raw="",
        recording=Recording(url="https://recordings.example/c1.wav"),
    )  # fmt: skip
    others = replace(nameless, call_id="c2", recording=Recording(url="https://recordings.example/c2.wav"))
    await office.hears(nameless, others)
    async with office.database.system() as tx:
        claims = await recording_store.claim(tx, at_most=9, per_account=9, lease_seconds=60)
    async with office.database.transaction(office.tenant) as tx:
        found = [await recording_store.find_fetch(tx, claim) for claim in claims]
    assert [each["url"] for each in found if each is not None] == ["https://recordings.example/c2.wav"]
    assert len(found) == 2
    await sweep_erased(office.database)
    for table in ("recording", "recording_fetch"):
        assert len(await office.rows(f"SELECT FROM {table}")) == 1, table
    assert await office.found("c1.wav") == set()


async def test_a_webhook_that_never_became_a_call_goes_by_the_number_in_it(office: Office) -> None:
    await office.hears(told("c7", "unknown", "098470 00001"), told("c8", "unknown", OTHER))
    assert await office.rows("SELECT FROM call") == []
    receipt = await office.erase()
    assert {each.store: each.rows for each in receipt.erased} == {"intake": 1}
    [left] = await office.rows("SELECT signal FROM intake")
    assert OTHER in left["signal"]


async def test_twice_is_once_and_another_tenant_keeps_theirs(office: Office) -> None:
    other = Office(office.database, Account(id=uuid4(), tenant=uuid4(), vendor="generic"))
    await everything(office)
    await everything(other)
    before = await other.found("9847000001")
    await office.erase()
    assert (await office.erase()).erased == ()
    assert await other.found("9847000001") == before


@pytest.mark.parametrize("fields", [{"scope": "messages"}, {"numbers": (), "message_ids": ("m1",)}])
async def test_where_only_messages_are_erased_calls_stay(office: Office, fields: dict[str, Any]) -> None:
    await everything(office)
    receipt = await office.erase(**fields)
    assert (receipt.erased, receipt.kept) == ((), ())
    assert len(await office.rows("SELECT FROM call WHERE caller = $1", CALLER)) == 1


async def test_the_directorys_entry_is_left_to_its_own_event(office: Office) -> None:
    customer = CustomerV1(customer_id="k1", version=1, name="A firm", numbers=(CALLER, OTHER))
    async with office.database.transaction(office.tenant) as tx:
        await project_customer(customer, tx)
    await office.erase()
    async with office.database.transaction(office.tenant) as tx:
        await project_customer(customer.model_copy(update={"version": 2, "numbers": (OTHER,)}), tx)
    assert await office.found("9847000001") <= FOR_A_WHILE
    assert [row["name"] for row in await office.rows("SELECT name FROM dir_customer")] == ["A firm"]


async def test_only_the_function_deletes_what_may_only_be_added_to(office: Office) -> None:
    await everything(office)
    for table in ("intake", "missed", "missed_change", "recording_audit", "outbound_call"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await office.run(f"DELETE FROM {table}")
