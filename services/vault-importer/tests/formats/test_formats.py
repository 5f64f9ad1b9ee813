from __future__ import annotations

import pkgutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import vault_importer.formats
from vault_importer.formats import FORMATS, recognise
from vault_importer.formats.base import SkippedRow, SourceChat, SourceContact, SourceMessage
from vault_importer.refusals import BackupRefused

HELPERS = {
    "address_book",
    "android_kinds",
    "base",
    "chatstorage_tables",
    "export_keys",
    "export_marks",
    "export_options",
    "gathered",
    "msgstore_aliases",
    "msgstore_changes",
    "msgstore_chats",
    "msgstore_messages",
    "msgstore_tables",
    "sqlite_source",
    "sync_added",
    "sync_beside",
    "sync_content",
    "sync_envelope",
    "sync_message",
    "zip_source",
}


def _open(path: Path, address_book: Path | None = None, **known: str) -> Any:
    return recognise(path).open(path, address_book=address_book, known_aliases=known)


def _messages(path: Path, skip: int = 0) -> list[SourceMessage | SkippedRow]:
    backup = _open(path)
    found = list(backup.messages(skip=skip))
    backup.close()
    return found


def test_every_format_module_is_in_the_table() -> None:
    modules = {m.name for m in pkgutil.iter_modules(vault_importer.formats.__path__)} - HELPERS
    assert modules == {type(each).__module__.rpartition(".")[2] for each in FORMATS}


def test_the_fixture_is_read_whole(stores: Any) -> None:
    joined, last, place, revoked = _messages(stores.plain())
    assert (joined.kind, joined.details, joined.sender_jid) == ("system", {"system_action": 12}, "11111@s.whatsapp.net")
    assert (last.text, last.earlier_key_ids, last.forward_score) == ("Last group message", ("GROUPMSG99999OLD",), 1)
    assert last.edited_at_ms == 1661417955000
    assert (place.kind, place.details["place_name"]) == ("live_location", "New Bahari")
    assert place.details["latitude"] == pytest.approx(-8.70385650)
    assert (revoked.revoked, revoked.earlier_key_ids, revoked.text) == (True, ("PERSONALMSGDELETED",), "")


def test_chats_come_with_their_kind_and_contacts_with_their_best_name(stores: Any) -> None:
    book = stores.plain(
        "UPDATE wa_contacts SET jid = '11111@s.whatsapp.net', wa_name = 'Self Made' WHERE _id = 181",
        name="wa.db",
        script="wa.sql",
    )
    backup = _open(stores.plain(), book)
    contacts = list(backup.contacts())
    assert SourceContact(jid="11111@s.whatsapp.net") in contacts
    assert SourceContact(jid="11111@s.whatsapp.net", name="Self Made", name_source="own_profile") in contacts
    assert SourceContact(jid="00000@s.whatsapp.net", name="Hey look it's me!", name_source="address_book") in contacts
    assert list(backup.chats()) == [
        SourceChat(jid="100000000000000001@g.us", kind="group", name="My Group"),
        SourceChat(jid="11111@s.whatsapp.net", kind="direct"),
    ]
    backup.close()


def test_skipping_continues_where_an_earlier_reading_stopped(stores: Any) -> None:
    path = stores.plain()
    assert _messages(path)[2:] == _messages(path, skip=2)


def test_columns_and_tables_that_a_version_lacks_are_read_as_absent(stores: Any) -> None:
    path = stores.plain(
        "ALTER TABLE message DROP COLUMN received_timestamp",
        "DROP TABLE message_location",
        "ALTER TABLE message_revoked DROP COLUMN revoke_timestamp",
    )
    assert [type(each) for each in _messages(path)] == [SourceMessage] * 4


def test_rows_that_cannot_be_kept_say_why(stores: Any) -> None:
    path = stores.plain(
        "INSERT INTO message (_id, chat_row_id, from_me, key_id) VALUES (1, -1, 0, '-1')",
        "INSERT INTO message (_id, chat_row_id, from_me, key_id, timestamp) VALUES (2, 999, 0, 'X', 1)",
        "INSERT INTO message (_id, chat_row_id, from_me, key_id, timestamp) VALUES (3, 19, 0, 'Y', 0)",
        "INSERT INTO message (_id, chat_row_id, from_me, key_id, timestamp) VALUES (4, 19, 0, '', 5)",
    )
    reasons = sorted(each.reason for each in _messages(path) if isinstance(each, SkippedRow))
    assert reasons == ["no_chat", "no_key", "no_time", "sentinel"]


def test_hostile_values_become_text_or_nothing(stores: Any) -> None:
    path = stores.plain(
        "UPDATE message SET text_data = 'a' || char(0) || 'b', message_type = 'seven', key_id = x'fffe41',"
        " timestamp = 99999999999999999 WHERE _id = 750",
        "UPDATE message SET text_data = CAST(x'f09f98' AS TEXT), sender_jid_row_id = 'x' WHERE _id = 169",
    )
    first, second, *_ = _messages(path)
    assert (second.text, second.raw_kind, second.kind) == ("ab", -1, "other")
    assert second.sent_at_ms == 1661417509709
    assert "\ufffd" in first.text


def test_hidden_identities_are_replaced_by_the_number_they_stand_for(stores: Any) -> None:
    change = (
        "INSERT INTO jid VALUES (900, '7000', 'lid', 0, 0, 18, '7000@lid')",
        "UPDATE message SET sender_jid_row_id = 900, from_me = 0 WHERE _id = 750",
    )
    mapped = stores.plain(
        *change, "CREATE TABLE jid_map (lid_row_id INTEGER PRIMARY KEY, jid_row_id INTEGER)",
        "INSERT INTO jid_map VALUES (900, 252)",
    )  # fmt: skip
    assert _messages(mapped)[1].sender_jid == "11111@s.whatsapp.net"
    unknown = stores.plain(*change)
    assert _messages(unknown)[1].sender_jid == "7000@lid"
    backup = _open(unknown, **{"7000@lid": "22222@s.whatsapp.net"})
    assert list(backup.messages())[1].sender_jid == "22222@s.whatsapp.net"
    backup.close()


def test_a_store_with_the_old_table_beside_the_new_one_is_read_as_new(stores: Any) -> None:
    path = stores.plain("CREATE TABLE messages (_id INTEGER, key_remote_jid TEXT, data TEXT)")
    assert recognise(path).name == "android-msgstore"


def test_another_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(BackupRefused, match=r"msgstore\.db"):
        recognise(path)


def test_a_damaged_database_is_refused_without_quoting_it(stores: Any) -> None:
    path = stores.plain()
    data = bytearray(path.read_bytes())
    data[4096 * 2 :] = b"\xa5" * (len(data) - 4096 * 2)
    path.write_bytes(data)
    with pytest.raises(BackupRefused, match=r"not a SQLite|damaged|msgstore"):
        _messages(path)
