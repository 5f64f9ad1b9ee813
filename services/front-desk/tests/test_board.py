"""The read model on a real database: every event once, in any order, in sets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from contracts.facts import Evidence
from front_desk import board_store, show_on_board
from front_desk.panels.calls import PANEL

pytestmark = pytest.mark.real


async def _cards(desk: Any, tenant: Any, panel: str) -> list[dict[str, Any]]:
    async with desk.database.transaction(tenant) as tx:
        found: list[dict[str, Any]] = await board_store.recent(tx, panel, facet=None, before=None, limit=100)
        return found


async def test_a_call_and_its_states_meet_in_any_order(desk: Any, tenant: Any, make: Any) -> None:
    await desk.show(tenant, show_on_board.show_call_states, make.state("c1", "completed", 4, duration_seconds=61))
    await desk.show(tenant, show_on_board.show_inbound_calls, make.call("c1"), make.call("c2"))
    await desk.show(tenant, show_on_board.show_call_states, make.state("c1", "answered", 3, staff_id="s1"))
    by_id = {card["id"]: card for card in await _cards(desk, tenant, "calls")}
    assert (by_id["c1"]["state"], by_id["c1"]["duration_seconds"], by_id["c1"]["rule"]) == ("completed", 61, "owner")
    assert by_id["c2"]["state"] == "ringing"


async def test_a_calls_card_says_what_is_recorded_whichever_is_told_first(desk: Any, tenant: Any, make: Any) -> None:
    early, stereo, mono = make.recording("c1", "r1"), make.recording("c2", "r2"), make.recording("c2", "r3", mixed=True)
    await desk.show(tenant, show_on_board.show_recordings, early)
    await desk.show(tenant, show_on_board.show_inbound_calls, make.call("c1"), make.call("c2"))
    await desk.show(tenant, show_on_board.show_call_states, make.state("c2", "completed", 4))
    await desk.show(tenant, show_on_board.show_recordings, stereo)
    await desk.show(tenant, show_on_board.show_recordings, mono, stereo)
    by_id = {card["id"]: PANEL.card(card) for card in await _cards(desk, tenant, "calls")}
    assert by_id["c1"]["recordings"] == [{"seconds": 61, "apart": True}]
    assert by_id["c1"]["asked_at"] is not None
    assert by_id["c2"]["recordings"] == [{"seconds": 61, "apart": True}, {"seconds": 61, "apart": False}]


async def test_a_recording_reaches_a_browser_that_follows(desk: Any, tenant: Any, make: Any) -> None:
    await desk.show(tenant, show_on_board.show_inbound_calls, make.call("c1"))
    async with desk.database.transaction(tenant) as tx:
        cursor = await board_store.cursor(tx)
    await desk.show(tenant, show_on_board.show_recordings, make.recording("c1", "r1"))
    async with desk.database.transaction(tenant) as tx:
        [changed] = await board_store.changed(tx, "calls", since=cursor, limit=10)
    assert PANEL.card(changed)["recordings"] == [{"seconds": 61, "apart": True}]


async def test_the_newest_of_many_states_in_one_batch_wins(desk: Any, tenant: Any, make: Any) -> None:
    states = [make.state("c1", state, v) for v, state in ((2, "ringing"), (4, "completed"), (3, "answered"))]
    await desk.show(tenant, show_on_board.show_call_states, *states)
    [card] = await _cards(desk, tenant, "calls")
    assert card["state"] == "completed"


async def test_facts_keep_their_newest_version(desk: Any, tenant: Any, make: Any) -> None:
    await desk.show(tenant, show_on_board.show_facts, make.fact("f1", 2, state="conflicting"), make.fact("f1", 1))
    await desk.show(tenant, show_on_board.show_facts, make.fact("f1", 1))
    [card] = await _cards(desk, tenant, "facts")
    assert (card["state"], card["version"]) == ("conflicting", 2)


async def test_messages_are_counted_once_however_often_they_are_told(desk: Any, tenant: Any, make: Any) -> None:
    messages = [make.message(f"m{n}", chat_id=f"chat{n % 3}") for n in range(30)]
    await desk.show(tenant, show_on_board.show_messages, *messages, *messages[:5])
    await desk.show(tenant, show_on_board.show_messages, *messages)
    edited = make.message("m3", chat_id="chat0", revision=2, text="edited", sent_at=messages[3].sent_at)
    await desk.show(tenant, show_on_board.show_messages, edited)
    by_id = {card["id"]: card for card in await _cards(desk, tenant, "chats")}
    assert {name: card["messages"] for name, card in by_id.items()} == {"chat0": 10, "chat1": 10, "chat2": 10}


async def test_a_chat_shows_its_latest_message_and_no_revoked_text(desk: Any, tenant: Any, make: Any) -> None:
    later = make.message("m2", text="later")
    earlier = make.message("m1", text="earlier", sent_at=later.sent_at - timedelta(hours=1))
    await desk.show(tenant, show_on_board.show_messages, later)
    await desk.show(tenant, show_on_board.show_messages, earlier)
    [card] = await _cards(desk, tenant, "chats")
    assert card["last_text"] == "later"
    revoked = make.message("m2", text="later", revision=2, revoked=True, sent_at=later.sent_at)
    await desk.show(tenant, show_on_board.show_messages, revoked)
    [card] = await _cards(desk, tenant, "chats")
    assert (card["last_text"], card["messages"]) == ("", 2)


async def test_twenty_thousand_messages_are_a_few_statements(desk: Any, tenant: Any, make: Any) -> None:
    for start in range(0, 20_000, 5_000):
        batch = [make.message(f"m{n}", chat_id=f"chat{n % 200}") for n in range(start, start + 5_000)]
        await desk.show(tenant, show_on_board.show_messages, *batch)
    async with desk.database.transaction(tenant) as tx:
        counts = await board_store.counts(tx, batch[0].sent_at)
    assert (counts["messages"], counts["chats"]) == (20_000, 200)


async def test_an_import_that_ended_does_not_start_again(desk: Any, tenant: Any, make: Any) -> None:
    done = make.imported("i1", "completed", messages_new=5)
    began = make.imported("i1", "started")
    for event in (began, done, began, done):
        await desk.show_one(tenant, show_on_board.show_import, event)
    [card] = await _cards(desk, tenant, "imports")
    assert (card["state"], card["messages_new"]) == ("completed", 5)
    assert card["started_at"] is not None


async def test_mails_and_anomalies_are_idempotent(desk: Any, tenant: Any, make: Any) -> None:
    for mail in (make.mail("p1", 2, state="sent"), make.mail("p1", 1, state="accepted"), make.mail("p1", 2)):
        await desk.show_one(tenant, show_on_board.show_mail, mail)
    for _ in range(2):
        await desk.show_one(tenant, show_on_board.show_anomaly, make.anomaly())
    [mail] = await _cards(desk, tenant, "mails")
    assert mail["state"] == "sent"
    assert len(await _cards(desk, tenant, "anomalies")) == 1


async def test_what_postgres_cannot_hold_does_not_park_an_event(desk: Any, tenant: Any, make: Any) -> None:
    odd = "a\0b\\u0000c \\\0 d"
    evidence = Evidence(source_type="message", source_id="m", start=0, end=1, quote=odd, at=make.call().asked_at)
    await desk.show(tenant, show_on_board.show_facts, make.fact(evidence=evidence))
    await desk.show(tenant, show_on_board.show_messages, make.message(text=odd, chat_name=odd))
    await desk.show(tenant, show_on_board.show_inbound_calls, make.call(caller_raw=odd))
    await desk.show_one(tenant, show_on_board.show_anomaly, make.anomaly(evidence=({"text": odd},)))
    await desk.show_one(tenant, show_on_board.show_mail, make.mail(subject_line=odd, reason=odd))
    await desk.show_one(tenant, show_on_board.show_import, make.imported(error=odd, account_name=odd))
    [fact] = await _cards(desk, tenant, "facts")
    assert fact["quote"] == "ab\\u0000c \\ d"


async def test_nothing_that_commits_late_is_missed(desk: Any, tenant: Any, make: Any) -> None:
    """A slow transaction that began before the cursor was read and commits after a quick one."""
    async with desk.database.transaction(tenant) as slow:
        await board_store.keep_inbound(slow, [make.call("slow")])
        await desk.show(tenant, show_on_board.show_inbound_calls, make.call("quick"))
        async with desk.database.transaction(tenant) as tx:
            cursor = await board_store.cursor(tx)
            seen = await board_store.recent(tx, "calls", facet=None, before=None, limit=10)
        assert [card["id"] for card in seen] == ["quick"]
    async with desk.database.transaction(tenant) as tx:
        changed = await board_store.changed(tx, "calls", since=cursor, limit=10)
    assert "slow" in [card["id"] for card in changed]


async def test_old_rows_are_forgotten(desk: Any, tenant: Any, make: Any) -> None:
    old = make.call("old").asked_at - timedelta(days=100)
    await desk.show(tenant, show_on_board.show_inbound_calls, make.call("old", asked_at=old), make.call("new"))
    assert await board_store.sweep(desk.database, old + timedelta(days=10)) == 1
    assert [card["id"] for card in await _cards(desk, tenant, "calls")] == ["new"]


async def test_one_tenants_board_is_not_anothers(desk: Any, tenant: Any, make: Any) -> None:
    other = type(tenant)(int=tenant.int ^ 1)
    await desk.show(tenant, show_on_board.show_inbound_calls, make.call("c1"))
    assert await _cards(desk, other, "calls") == []
