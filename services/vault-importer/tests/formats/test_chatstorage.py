from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from vault_importer.formats import recognise
from vault_importer.formats.base import SkippedRow, SourceChat, SourceContact, SourceMessage
from vault_importer.refusals import BackupRefused

DESK, OTHER, GROUP = "919847000010@s.whatsapp.net", "919847000011@s.whatsapp.net", "120363000000000001@g.us"
SCHEMA = (
    "CREATE TABLE ZWACHATSESSION (Z_PK INTEGER PRIMARY KEY, ZCONTACTJID VARCHAR, ZPARTNERNAME VARCHAR,"
    " ZSESSIONTYPE INTEGER)",
    "CREATE TABLE ZWAGROUPMEMBER (Z_PK INTEGER PRIMARY KEY, ZCHATSESSION INTEGER, ZMEMBERJID VARCHAR,"
    " ZCONTACTNAME VARCHAR, ZFIRSTNAME VARCHAR)",
    "CREATE TABLE ZWAMEDIAITEM (Z_PK INTEGER PRIMARY KEY, ZMESSAGE INTEGER, ZTITLE VARCHAR, ZVCARDSTRING VARCHAR,"
    " ZMEDIALOCALPATH VARCHAR, ZFILESIZE INTEGER, ZLATITUDE FLOAT, ZLONGITUDE FLOAT)",
    "CREATE TABLE ZWAPROFILEPUSHNAME (Z_PK INTEGER PRIMARY KEY, ZJID VARCHAR, ZPUSHNAME VARCHAR)",
    "CREATE TABLE ZWAMESSAGE (Z_PK INTEGER PRIMARY KEY, ZCHATSESSION INTEGER, ZGROUPMEMBER INTEGER,"
    " ZMEDIAITEM INTEGER, ZISFROMME INTEGER, ZMESSAGETYPE INTEGER, ZMESSAGEDATE TIMESTAMP, ZSTANZAID VARCHAR,"
    " ZTEXT VARCHAR)",
)
ROWS = (
    f"INSERT INTO ZWACHATSESSION VALUES (1, '{DESK}', 'Reception desk', 0), (2, '{GROUP}', 'Despatch', 1),"
    f" (3, '{OTHER}', '+91 98470 00011', 0)",
    f"INSERT INTO ZWAGROUPMEMBER VALUES (7, 2, '{OTHER}', NULL, 'Godown desk')",
    f"INSERT INTO ZWAPROFILEPUSHNAME VALUES (1, '{OTHER}', 'What it calls itself')",
    "INSERT INTO ZWAMEDIAITEM VALUES (1, 3, 'the invoice', 'image/jpeg', 'Media/a.jpg', 1234, 0, 0),"
    " (2, 5, NULL, NULL, NULL, NULL, 9.9312, 76.2673), (3, 6, 'list.pdf', 'application/pdf', 'Media/l.pdf', 9, 0, 0)",
    # 2026-01-05 08:00:00.5 UTC.
    "INSERT INTO ZWAMESSAGE VALUES (1, 1, NULL, NULL, 0, 0, 789292800.5, '3A01', 'hello'),"
    " (2, 1, NULL, NULL, 1, 0, 789292801, '3A02', 'our answer'), (3, 2, 7, 1, 0, 1, 789292802, '3A03', NULL),"
    " (4, 2, NULL, NULL, 1, 14, 789292803, '3A04', 'gone'), (5, 2, 7, 2, 0, 5, 789292804, '3A05', NULL),"
    " (6, 2, 7, 3, 0, 8, 789292805, '3A06', NULL), (7, 2, 7, NULL, 0, 77, 789292806, '3A07', 'of the future')",
)


def _write(folder: Path, *changes: str) -> Path:
    path = folder / "ChatStorage.sqlite"
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        for statement in (*SCHEMA, *ROWS, *changes):
            connection.execute(statement)
        connection.commit()
    return path


def _open(path: Path, **known: str) -> Any:
    return recognise(path).open(path, address_book=None, known_aliases=known)


def _messages(path: Path, **known: str) -> list[SourceMessage | SkippedRow]:
    with closing(_open(path, **known)) as opened:
        return list(opened.messages())


def test_messages_come_with_the_keys_and_kinds_of_a_backup_of_android(tmp_path: Path) -> None:
    rows = {row.key_id: row for row in _messages(_write(tmp_path)) if isinstance(row, SourceMessage)}
    first = rows["3A01"]
    assert (first.chat_jid, first.sender_jid, first.from_me, first.text) == (DESK, "", False, "hello")
    assert first.sent_at_ms == 1_767_600_000_500
    assert (rows["3A02"].from_me, rows["3A02"].kind) == (True, "text")
    picture = rows["3A03"]
    assert (picture.sender_jid, picture.kind, picture.raw_kind, picture.text) == (OTHER, "image", 1, "the invoice")
    assert picture.details == {"file_path": "Media/a.jpg", "mime_type": "image/jpeg", "bytes": 1234}
    assert (rows["3A04"].revoked, rows["3A04"].text, rows["3A04"].kind) == (True, "", "revoked")
    assert rows["3A05"].details == {"latitude": 9.9312, "longitude": 76.2673}
    assert (rows["3A06"].text, rows["3A06"].kind) == ("", "document")
    assert rows["3A06"].details is not None
    assert rows["3A06"].details["file_name"] == "list.pdf"
    assert (rows["3A07"].kind, rows["3A07"].text, rows["3A07"].details) == ("other", "of the future", {"ios_type": 77})


def test_chats_and_people_come_with_their_names(tmp_path: Path) -> None:
    with closing(_open(_write(tmp_path))) as opened:
        assert list(opened.chats()) == [
            SourceChat(jid=DESK, kind="direct"),
            SourceChat(jid=GROUP, kind="group", name="Despatch"),
            SourceChat(jid=OTHER, kind="direct"),
        ]
        contacts = list(opened.contacts())
    assert SourceContact(jid=DESK, name="Reception desk", name_source="address_book") in contacts
    assert SourceContact(jid=OTHER, name="Godown desk", name_source="address_book") in contacts
    assert SourceContact(jid=OTHER, name="What it calls itself", name_source="own_profile") in contacts
    assert SourceContact(jid=OTHER) in contacts


def test_rows_that_cannot_be_kept_say_why_and_hostile_values_become_nothing(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        "INSERT INTO ZWAMESSAGE VALUES (8, 99, NULL, NULL, 0, 0, 1, 'A', 'x'), (9, 1, NULL, NULL, 0, 0, 1, NULL, 'x'),"
        " (10, 1, NULL, NULL, 0, 0, 9e999, 'B', 'x'), (11, 1, NULL, NULL, 0, 0, 'soon', 'C', 'x'),"
        " (12, 1, 'y', 'z', 'w', 'v', 789292800, x'ff41', x'ff00')",
    )
    rows = _messages(path)
    assert sorted(row.reason for row in rows if isinstance(row, SkippedRow)) == [
        "no_chat",
        "no_key",
        "no_time",
        "no_time",
    ]
    assert sum(isinstance(row, SourceMessage) for row in rows) == 8


def test_columns_and_tables_that_a_version_lacks_are_read_as_absent(tmp_path: Path) -> None:
    path = _write(
        tmp_path, "DROP TABLE ZWAMEDIAITEM", "DROP TABLE ZWAPROFILEPUSHNAME", "DROP TABLE ZWAGROUPMEMBER",
        "ALTER TABLE ZWACHATSESSION DROP COLUMN ZPARTNERNAME", "ALTER TABLE ZWAMESSAGE DROP COLUMN ZTEXT",
    )  # fmt: skip
    assert len(_messages(path)) == 7


def test_lanes_and_skipping_part_the_messages_once(tmp_path: Path) -> None:
    with closing(_open(_write(tmp_path))) as opened:
        lanes = [list(opened.messages(lane=lane, lanes=2)) for lane in (0, 1)]
        assert sorted(len(lane) for lane in lanes) == [2, 5]
        assert list(opened.messages(lane=0, lanes=2, skip=3)) == lanes[0][3:]


def test_hidden_identities_that_are_known_are_replaced(tmp_path: Path) -> None:
    path = _write(tmp_path, "UPDATE ZWAGROUPMEMBER SET ZMEMBERJID = '7000@lid'")
    rows = _messages(path, **{"7000@lid": OTHER})
    assert OTHER in {row.sender_jid for row in rows if isinstance(row, SourceMessage)}


def test_an_address_book_of_android_is_refused_beside_it(tmp_path: Path) -> None:
    path = _write(tmp_path)
    with pytest.raises(BackupRefused, match="leave --address-book out"):
        recognise(path).open(path, address_book=path, known_aliases={})


@pytest.mark.real
async def test_a_store_of_ios_arrives_and_changes_nothing_of_what_came_from_android(vault: Any, tmp_path: Path) -> None:
    run = await vault.import_(_write(tmp_path), backup_key=None)
    assert (run.format, run.messages_new, run.chats_seen) == ("ios-chatstorage", 7, 3)
    more = "INSERT INTO ZWAMESSAGE VALUES (8, 1, NULL, NULL, 0, 0, 789292900, '3A08', 'later')"
    again = await vault.import_(_write(tmp_path, more), backup_key=None)
    assert (again.messages_new, again.messages_changed) == (1, 0)
