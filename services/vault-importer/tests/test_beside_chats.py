"""Calls, groups, chats and an account's own lists arrive, once, whole and accounted for."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = pytest.mark.real

TARGETS = ("call_log", "call_participant", "message_call", "chat_member", "chat_past_member", "chat_detail",
           "account_detail")  # fmt: skip


async def _details(vault: Any, source: str) -> dict[str, Any]:
    rows = await vault.rows(
        "SELECT c.jid, d.columns FROM chat_detail d JOIN chat c ON c.id = d.chat_id WHERE d.source = $1", source
    )
    return {row["jid"]: json.loads(row["columns"]) for row in rows}


async def test_calls_arrive_with_whom_they_were_and_how_they_ended(vault: Any, stores: Any) -> None:
    run = await vault.import_(stores.beside())
    rows = await vault.rows(
        "SELECT l.*, c.number FROM call_log l JOIN contact c ON c.id = l.caller_or_called_id ORDER BY started_at"
    )
    shown = [(row["number"], row["from_me"], row["video"], row["duration_seconds"], row["raw_result"]) for row in rows]
    # The second was with a hidden identity.
    assert shown == [("+919847000010", False, False, 62, 5), ("+919847000011", True, True, 0, 2)]
    assert {row["account_id"] for row in rows} == {vault.account.id}
    [participant] = await vault.rows("SELECT * FROM call_participant")
    assert participant["call_id"] == rows[0]["call_id"]
    assert run.manifest["tables"]["call_log_participant_v2"]["skipped"] == {"no_call": 1}


async def test_a_message_that_tells_of_a_call_names_it(vault: Any, stores: Any) -> None:
    told = (
        "CREATE TABLE message_call_log (message_row_id INTEGER PRIMARY KEY, call_log_row_id INTEGER)",
        "INSERT INTO message_call_log VALUES (8002, 1), (8003, 99)",
    )
    run = await vault.import_(stores.beside(*told))
    assert await vault.rows(
        "SELECT m.key_id, l.duration_seconds FROM message_call t JOIN message m ON m.id = t.message_id"
        " JOIN call_log l ON l.call_id = t.call_id"
    ) == [{"key_id": "REPLY1", "duration_seconds": 62}]
    assert run.manifest["tables"]["message_call_log"]["skipped"] == {"no_call": 1}


async def test_a_call_whose_peer_got_a_number_stays_one_call(vault: Any, stores: Any) -> None:
    await vault.import_(stores.beside("DELETE FROM jid_map"))
    await vault.import_(stores.beside())
    assert len(await vault.rows("SELECT * FROM call_log")) == 2


async def test_groups_have_their_members_and_who_left(vault: Any, stores: Any) -> None:
    run = await vault.import_(stores.beside())
    members = await vault.rows(
        "SELECT h.name, c.number, m.rank FROM chat_member m JOIN chat h ON h.id = m.chat_id"
        " JOIN contact c ON c.id = m.contact_id ORDER BY m.rank, h.name"
    )
    assert members == [
        {"name": "My Group", "number": "+919847000011", "rank": 0},
        {"name": "Price list", "number": "+919847000010", "rank": 0},
        {"name": "My Group", "number": "+919847000010", "rank": 1},
    ]
    assert run.manifest["tables"]["group_participant_user"]["skipped"] == {"no_jid": 1}
    [past] = await vault.rows("SELECT left_at, by_choice FROM chat_past_member")
    assert (past["left_at"].timestamp(), past["by_choice"]) == (1650000000, True)


async def test_communities_channels_and_labels_are_kept_with_their_chat(vault: Any, stores: Any) -> None:
    run = await vault.import_(stores.beside())
    community, channel = "120363000000000001@g.us", "120363000000000002@newsletter"
    assert await _details(vault, "community_chat") == {
        community: {"last_activity_ts": 1700000000000, "join_ts": 1600000000000, "closed": 0}
    }
    assert await _details(vault, "parent_group_participants") == {
        community: {"user_jid": "919847000010@s.whatsapp.net"}
    }
    assert await _details(vault, "newsletter") == {channel: {"name": "Price list", "subscribers_count": 12}}
    assert await _details(vault, "labeled_jid") == {"11111@s.whatsapp.net": {"label": "New customer"}}
    # A label on somebody without a chat, and a community whose chat is gone.
    tables = run.manifest["tables"]
    assert (tables["labeled_jid"]["skipped"], tables["community_chat"]["skipped"]) == ({"no_chat": 1}, {"no_chat": 1})


async def test_a_chat_keeps_its_other_columns(vault: Any, stores: Any) -> None:
    await vault.import_(stores.beside())
    group = (await _details(vault, "chat"))["100000000000000001@g.us"]
    [last] = await vault.rows("SELECT id FROM message WHERE text = 'Last group message'")
    assert (group["subject"], group["created_timestamp"]) == ("My Group", 1643607839000)
    assert group["last_message_id"] == str(last["id"])


async def test_lists_of_the_account_are_kept(vault: Any, stores: Any) -> None:
    await vault.import_(stores.beside())
    kept = {row["source"]: json.loads(row["columns"]) for row in await vault.rows("SELECT * FROM account_detail")}
    assert kept["labels"] == {"label_name": "New customer", "color_id": 3}
    assert kept["quick_replies"]["content"] == "Todays rate is"


async def test_another_backup_of_the_same_rows_writes_none(vault: Any, stores: Any) -> None:
    await vault.import_(stores.beside())
    before = {table: await vault.rows(f"SELECT * FROM {table} ORDER BY {table}::text") for table in TARGETS}
    moved = ("UPDATE labels SET _id = 7", "UPDATE labeled_jid SET label_id = 7", "UPDATE call_log SET _id = _id + 5",
             "UPDATE call_log_participant_v2 SET call_log_row_id = call_log_row_id + 5")  # fmt: skip
    run = await vault.import_(stores.beside("CREATE TABLE another_file (x)", *moved))
    after = {table: await vault.rows(f"SELECT * FROM {table} ORDER BY {table}::text") for table in TARGETS}
    assert {name: len(rows) for name, rows in after.items()} == {name: len(rows) for name, rows in before.items()}
    assert sum(table["new"] for table in run.manifest["tables"].values()) == 0
