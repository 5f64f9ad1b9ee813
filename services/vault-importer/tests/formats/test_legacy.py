"""Stores from before 2022."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vault_importer.formats import recognise
from vault_importer.formats.base import SkippedRow, SourceMessage

PRESENT = (
    "CREATE TABLE jid (_id INTEGER PRIMARY KEY, user TEXT, server TEXT)",
    "CREATE TABLE chat (_id INTEGER PRIMARY KEY, jid_row_id INTEGER)",
    "CREATE TABLE message (_id INTEGER PRIMARY KEY, chat_row_id INTEGER, from_me INTEGER, key_id TEXT,"
    " sender_jid_row_id INTEGER, timestamp INTEGER, message_type INTEGER, text_data TEXT)",
    "INSERT INTO message (_id, chat_row_id, from_me, key_id) VALUES (1, -1, 0, '-1')",
)
MIGRATED = (
    *PRESENT,
    "INSERT INTO jid VALUES (1, '919847000010', 's.whatsapp.net')",
    "INSERT INTO chat VALUES (1, 1)",
    "INSERT INTO message VALUES (2, 1, 0, 'OLD1', 0, 1550000000000, 0, 'Rate today?')",
)


def _messages(path: Any, **lane: int) -> list[SourceMessage | SkippedRow]:
    backup = recognise(path).open(path, address_book=None, known_aliases={})
    found = list(backup.messages(**lane))
    backup.close()
    return found


def test_each_message_arrives_with_its_kind(stores: Any) -> None:
    found = {m.key_id: m for m in _messages(stores.legacy()) if isinstance(m, SourceMessage)}
    kinds = {key: (m.kind, m.raw_kind, m.from_me) for key, m in found.items()}
    assert kinds == {
        "OLD1": ("text", 0, False), "OLD2": ("text", 0, True), "OLD3": ("text", 0, False), "OLD4": ("image", 1, True),
        "OLD5": ("system", 7, False), "OLD6": ("revoked", 15, False), "OLD8": ("location", 5, False),
    }  # fmt: skip
    assert (found["OLD2"].text, found["OLD2"].forward_score) == ("5,200 a gram", 1)
    assert (found["OLD3"].sender_jid, found["OLD1"].sender_jid) == ("919847000011@s.whatsapp.net", "")
    assert found["OLD4"].text == "Bangle"
    assert found["OLD5"].details == {"system_action": 12}
    assert found["OLD6"].revoked
    assert found["OLD8"].details == {"latitude": 9.93, "longitude": 76.26, "place_name": "Marine Drive"}


def test_rows_that_cannot_be_kept_say_why(stores: Any) -> None:
    reasons = sorted(m.reason for m in _messages(stores.legacy()) if isinstance(m, SkippedRow))
    assert reasons == ["no_time", "sentinel"]


def test_what_its_sender_took_back_is_revoked_whatever_its_kind(stores: Any) -> None:
    version = "ALTER TABLE messages ADD COLUMN edit_version INTEGER"
    path = stores.legacy(version, "UPDATE messages SET edit_version = _id + 4 WHERE _id IN (2, 3)")
    found = {m.key_id: m for m in _messages(path) if isinstance(m, SourceMessage)}
    assert (found["OLD1"].revoked, found["OLD2"].revoked) == (False, True)
    assert (found["OLD2"].kind, found["OLD2"].raw_kind) == ("text", 0)


def test_every_row_is_in_one_lane_and_skipping_continues(stores: Any) -> None:
    hostile = "INSERT INTO messages (key_remote_jid, key_id) VALUES (x'00ff', 'X'), ('nobody', 'Y'), ('', 'Z')"
    path = stores.legacy(hostile)
    lanes = [_messages(path, lane=lane, lanes=2) for lane in (0, 1)]
    assert len(lanes[0]) + len(lanes[1]) == 12
    assert all(lanes)
    assert _messages(path, lane=0, lanes=2, skip=2) == lanes[0][2:]


def test_the_present_tables_come_first_once_they_hold_anything(stores: Any) -> None:
    assert recognise(stores.legacy()).name == "android-msgstore-legacy"
    assert recognise(stores.legacy(*PRESENT)).name == "android-msgstore-legacy"
    assert recognise(stores.legacy(*MIGRATED)).name == "android-msgstore"


@pytest.mark.real
async def test_a_store_arrives_with_what_stands_beside_its_messages(vault: Any, stores: Any) -> None:
    run = await vault.import_(stores.legacy())
    assert (run.format, run.messages_new, run.chats_seen) == ("android-msgstore-legacy", 7, 2)
    keys = {row["id"]: row["key_id"] for row in await vault.rows("SELECT id, key_id FROM message")}
    [media] = await vault.rows("SELECT * FROM message_media")
    assert (keys[media["message_id"]], media["mime_type"], media["bytes"]) == ("OLD4", "image/jpeg", 2048)
    [quote] = await vault.rows("SELECT * FROM message_quote")
    assert (keys[quote["message_id"]], keys[quote["quoted_message_id"]], quote["text"]) == (
        "OLD2",
        "OLD1",
        "Rate today?",
    )
    mentions = await vault.rows("SELECT address FROM message_mention ORDER BY item")
    assert [row["address"][:12] for row in mentions] == ["919847000010", "919847000012"]
    [receipt] = await vault.rows("SELECT * FROM message_receipt")
    assert (keys[receipt["message_id"]], receipt["read_at"].timestamp()) == ("OLD4", 1550000182)
    [member] = await vault.rows("SELECT c.number, m.rank FROM chat_member m JOIN contact c ON c.id = m.contact_id")
    assert member == {"number": "+919847000011", "rank": 1}
    [card] = await vault.rows("SELECT source, columns FROM message_detail WHERE source = 'messages_vcards'")
    assert json.loads(card["columns"])["vcard"] == "BEGIN:VCARD"
    for name, table in run.manifest["tables"].items():
        taken = table["new"] + table["changed"] + table["unchanged"] + sum(table["skipped"].values())
        assert table["seen"] == taken, name
    assert run.manifest["tables"]["receipts"]["skipped"] == {"no_message": 1}
    assert run.manifest["unread"] == {"props": 1}


@pytest.mark.real
async def test_a_phone_that_moved_to_the_present_schema_brings_no_message_twice(vault: Any, stores: Any) -> None:
    await vault.import_(stores.legacy())
    run = await vault.import_(stores.legacy(*MIGRATED))
    assert (run.format, run.messages_seen, run.messages_new) == ("android-msgstore", 1, 0)
