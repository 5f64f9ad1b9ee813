from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from prometheus_client import REGISTRY

from brain_distiller import store
from brain_distiller.consumers import on_messages
from brain_distiller.distil_messages import distil_messages, fact_id_of, subjects_touched
from brain_distiller.follow_directory import forget_customer
from contracts.vault import MessageImportedV1
from kit.consume import Retry

pytestmark = pytest.mark.real

KOCHI, MUMBAI = "32AABCU9603R1ZW", "27AAPFU0939F1ZV"
PEER = "+919847000001"
Build = Callable[..., MessageImportedV1]


async def test_a_message_becomes_a_fact_an_event_and_evidence(brain: Any, a_message: Build) -> None:
    text = f"ഞങ്ങളുടെ GSTIN\u00a0{KOCHI} ആണ്"
    (event,) = await brain.hears(a_message(text))
    assert (event.subject, event.key, event.value) == (f"contact:{PEER}", "gstin", KOCHI)
    assert (event.state, event.version, event.extractor) == ("asserted", 1, "gstin/1")
    assert text[event.evidence.start : event.evidence.end] == event.evidence.quote == KOCHI
    assert event.fact_id == str(fact_id_of(brain.tenant, event.subject, "gstin", KOCHI))
    assert await brain.count("evidence") == await brain.count("fact_version") == 1


async def test_two_gstins_of_one_customer_conflict_across_batches(brain: Any, a_message: Build) -> None:
    await brain.follows("c-1", 1, PEER)
    await brain.hears(a_message(KOCHI))
    events = await brain.hears(a_message(MUMBAI, message_id="m-2", minute=1))
    assert [(e.value, e.state, e.version) for e in events] == [
        (MUMBAI, "asserted", 1),
        (KOCHI, "conflicting", 2),
        (MUMBAI, "conflicting", 2),
    ]
    assert {e.subject for e in events} == {"customer:c-1"}
    assert await brain.states("customer:c-1") == {KOCHI: ("conflicting", 2), MUMBAI: ("conflicting", 2)}


async def test_facts_are_counted_by_the_state_that_they_enter(brain: Any, a_message: Build) -> None:
    def counted(state: str, key: str = "gstin") -> float:
        return REGISTRY.get_sample_value("trunkline_facts_total", {"key": key, "state": state}) or 0.0

    # All are there before the first fact: a rate sees no counter that is born with what it counts.
    assert REGISTRY.get_sample_value("trunkline_facts_total", {"key": "pan", "state": "retracted"}) is not None
    before = {state: counted(state) for state in ("asserted", "conflicting")}
    batches = REGISTRY.get_sample_value("trunkline_distil_seconds_count") or 0.0
    messages = [a_message(KOCHI), a_message(MUMBAI, message_id="m-2", minute=1)]
    async with brain.database.transaction(brain.tenant) as tx:
        await tx.hold(*await subjects_touched(messages, tx))
        await on_messages([SimpleNamespace(event=message) for message in messages], tx)
    assert {state: counted(state) - count for state, count in before.items()} == {"asserted": 2, "conflicting": 2}
    assert REGISTRY.get_sample_value("trunkline_distil_seconds_count") == batches + 1


async def test_the_same_message_twice_changes_nothing(brain: Any, a_message: Build) -> None:
    messages = [
        a_message(f"{KOCHI} ph 98470 00009 ₹5 lakh a@example.in ABCPK1234Z"),
        a_message(KOCHI, message_id="m-2"),
    ]
    first = await brain.hears(*messages)
    stored = [await brain.count(table) for table in ("fact", "fact_version", "evidence", "source")]
    assert len(first) == 5
    assert await brain.hears(*messages) == []
    assert await brain.hears(*messages, *messages) == []
    assert [await brain.count(table) for table in ("fact", "fact_version", "evidence", "source")] == stored


async def test_an_edit_supersedes_and_a_revocation_retracts(brain: Any, a_message: Build) -> None:
    await brain.hears(a_message(KOCHI))
    edited = await brain.hears(a_message(MUMBAI, revision=2))
    assert {(e.value, e.state) for e in edited} == {(KOCHI, "superseded"), (MUMBAI, "asserted")}
    revoked = await brain.hears(a_message("", revision=3, revoked=True))
    assert [(e.value, e.state, e.version) for e in revoked] == [(MUMBAI, "retracted", 2)]
    assert revoked[0].evidence.quote == MUMBAI


async def test_revisions_of_one_message_in_one_batch_are_taken_in_turn(brain: Any, a_message: Build) -> None:
    events = await brain.hears(a_message(KOCHI), a_message(MUMBAI, revision=2), a_message("never mind", revision=3))
    assert [(e.value, e.state, e.version) for e in events] == [
        (KOCHI, "asserted", 1),
        (MUMBAI, "asserted", 1),
        (KOCHI, "superseded", 2),
        (MUMBAI, "retracted", 2),
    ]


async def test_an_older_revision_that_a_replay_brings_is_left_alone(brain: Any, a_message: Build) -> None:
    await brain.hears(a_message(KOCHI), a_message("never mind", revision=2))
    assert await brain.hears(a_message(KOCHI)) == []
    assert await brain.states() == {KOCHI: ("retracted", 2)}


async def test_a_revocation_leaves_the_other_value_of_a_conflict_asserted(brain: Any, a_message: Build) -> None:
    await brain.hears(a_message(KOCHI), a_message(MUMBAI, message_id="m-2"))
    events = await brain.hears(a_message("", message_id="m-2", revision=2, revoked=True))
    assert {(e.value, e.state) for e in events} == {(MUMBAI, "retracted"), (KOCHI, "asserted")}


async def test_a_repeated_value_stores_evidence_without_an_event(brain: Any, a_message: Build) -> None:
    await brain.hears(a_message(KOCHI))
    assert await brain.hears(*[a_message(KOCHI, message_id=f"m-{n}", minute=n) for n in range(2, 52)]) == []
    assert await brain.count("evidence") == 51
    assert await brain.hears(a_message("", revision=2, revoked=True)) == []
    assert await brain.states() == {KOCHI: ("asserted", 1)}


async def test_a_replay_after_a_customer_appeared_moves_the_facts(brain: Any, a_message: Build) -> None:
    await brain.hears(a_message(KOCHI))
    await brain.follows("c-1", 1, PEER)
    events = await brain.hears(a_message(KOCHI))
    assert {(e.subject, e.state) for e in events} == {("customer:c-1", "asserted"), (f"contact:{PEER}", "superseded")}


async def test_only_newer_versions_of_a_customer_are_followed(brain: Any, a_message: Build) -> None:
    await brain.follows("c-1", 3, PEER, "+919847000002")
    await brain.follows("c-1", 2, "+919847000003")
    await brain.follows("c-1", 3, "+919847000004")
    numbers = {PEER, *(f"+91984700000{n}" for n in (2, 3, 4))}
    async with brain.database.transaction(brain.tenant) as tx:
        assert await store.customers_of(tx, numbers) == {PEER: "c-1", "+919847000002": "c-1"}
    await brain.follows("c-1", 4, "+919847000004")
    async with brain.database.transaction(brain.tenant) as tx:
        assert await store.customers_of(tx, numbers) == {"+919847000004": "c-1"}
        await forget_customer(tx=tx, customer_id="c-1")
        assert await store.customers_of(tx, numbers) == {}


async def test_a_number_that_two_customers_share_always_means_the_same_one(brain: Any, a_message: Build) -> None:
    await brain.follows("c-2", 1, PEER)
    await brain.follows("c-1", 1, PEER)
    assert {e.subject for e in await brain.hears(a_message(KOCHI))} == {"customer:c-1"}


async def test_a_customer_that_appears_between_lock_and_read_delays_the_message(brain: Any, a_message: Build) -> None:
    messages = [a_message(KOCHI)]
    with pytest.raises(Retry):
        async with brain.database.transaction(brain.tenant) as tx:
            await tx.hold(*await subjects_touched(messages, tx))
            await brain.follows("c-1", 1, PEER)
            await distil_messages(messages, tx)
    assert {e.subject for e in await brain.hears(*messages)} == {"customer:c-1"}


async def test_one_tenant_never_sees_anothers_facts(brain: Any, a_message: Build) -> None:
    await brain.hears(a_message(KOCHI))
    stranger = type(brain)(brain.database, uuid4())
    assert await stranger.states() == {}
    events = await stranger.hears(a_message(MUMBAI))
    assert [e.state for e in events] == ["asserted"]
    assert await brain.states() == {KOCHI: ("asserted", 1)}


async def test_history_cannot_be_rewritten(brain: Any, a_message: Build) -> None:
    await brain.hears(a_message(KOCHI))
    for statement in (
        "UPDATE fact_version SET state = 'retracted'",
        "DELETE FROM fact_version",
        "DELETE FROM evidence",
    ):
        with pytest.raises(Exception, match="permission denied"):
            async with brain.database.transaction(brain.tenant) as tx:
                await tx.execute(statement)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that Postgres is sent."""
    statements = list[str]()

    def noted(ask: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        def note(connection: asyncpg.Connection, statement: str, *arguments: Any, **options: Any) -> Awaitable[Any]:
            statements.append(statement)
            return ask(connection, statement, *arguments, **options)

        return note

    for name in ("execute", "executemany", "fetch", "fetchrow", "fetchval"):
        monkeypatch.setattr(asyncpg.Connection, name, noted(getattr(asyncpg.Connection, name)))
    return statements


async def test_a_large_batch_is_as_many_statements_as_a_small_one(
    brain: Any, a_message: Build, asked: list[str]
) -> None:
    messages = [
        a_message(
            f"Quote {n}: Rs {n + 1},000/- call 98470 {n:05}" if n % 4 == 0 else "ഡെലിവറി വേണം",
            message_id=f"m-{n}",
            chat_id=f"chat-{n % 40}",
            peer_number=f"+9198470{n % 40:05}",
        )
        for n in range(500)
    ]
    assert len(await brain.hears(*messages[:4])) == 2
    few = len(asked)
    asked.clear()
    assert len(await brain.hears(*messages[4:])) == 248
    assert 0 < len(asked) <= few
