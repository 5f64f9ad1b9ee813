from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from vault_importer import samples
from vault_importer.formats import recognise
from vault_importer.formats.base import SideRow, SkippedRow, SourceChat, SourceContact, SourceMessage
from vault_importer.protobuf import encode_field
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


INFO = "CREATE TABLE ZWAMESSAGEINFO (Z_PK INTEGER PRIMARY KEY, ZMESSAGE INTEGER, ZRECEIPTINFO BLOB)"
LINKS = (
    "CREATE TABLE ZWAMESSAGEDATAITEM (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, ZMESSAGE INTEGER, ZTITLE VARCHAR,"
    " ZMATCHEDTEXT VARCHAR)"
)
#: 2026-01-05 08:00:09 UTC.
REACTED = 1_767_600_009


def _adds_up(table: dict[str, Any]) -> bool:
    taken = table["new"] + table["changed"] + table["unchanged"]
    return bool(table["seen"] == taken + sum(table["skipped"].values()))


def _field(number: int, value: int | str | bytes) -> bytes:
    return encode_field(number, value.encode() if isinstance(value, str) else value)


def _theirs(by: str, reaction: str, at: int) -> bytes:
    return _field(1, _field(1, "RID") + _field(2, by) + _field(3, reaction) + _field(4, at))


def _ours(reaction: str, at: int) -> bytes:
    return _field(2, _field(1, "RID") + _field(2, reaction) + _field(3, at))


def _info(number: int, message: int, receipt: bytes) -> str:
    return f"INSERT INTO ZWAMESSAGEINFO VALUES ({number}, {message}, x'{receipt.hex()}')"


def _quoting(number: int, message: int, key_id: str, by: str) -> str:
    metadata = (_field(4, "whatever") + _field(5, key_id) + _field(6, by)).hex()
    return f"INSERT INTO ZWAMEDIAITEM (Z_PK, ZMESSAGE, ZMETADATA) VALUES ({number}, {message}, x'{metadata}')"


BESIDE = (
    "ALTER TABLE ZWAMEDIAITEM ADD COLUMN ZMETADATA BLOB",
    "ALTER TABLE ZWAMEDIAITEM ADD COLUMN ZMOVIEDURATION FLOAT",
    "ALTER TABLE ZWAGROUPMEMBER ADD COLUMN ZISADMIN INTEGER",
    "ALTER TABLE ZWAGROUPMEMBER ADD COLUMN ZISACTIVE INTEGER",
    "UPDATE ZWAGROUPMEMBER SET ZISADMIN = 1, ZISACTIVE = 1",
    f"INSERT INTO ZWAGROUPMEMBER VALUES (8, 2, '{DESK}', NULL, NULL, 0, 0)",
    "UPDATE ZWAMEDIAITEM SET ZLATITUDE = 1080, ZLONGITUDE = 1920, ZMOVIEDURATION = 12.6 WHERE Z_PK = 1",
    INFO,
    _info(
        1, 1, _field(4, 1) + _field(7, _theirs(DESK, "\N{THUMBS UP SIGN}", REACTED) + _ours("\u2764", REACTED * 1000))
    ),
    _info(2, 3, _field(2, b"\x08\x01")),
    _info(3, 4, b"\xff\xff"),
    _quoting(4, 2, "3A01", DESK),
    _quoting(5, 7, "3A03", OTHER),
    _quoting(6, 1, "GONE", "919847000012@s.whatsapp.net"),
    LINKS,
    "INSERT INTO ZWAMESSAGEDATAITEM VALUES (1, 9, 1, 'Price list', 'https://example.in/list')",
    "CREATE TABLE ZWANOBODYKNOWS (Z_PK INTEGER PRIMARY KEY, X TEXT)",
    "INSERT INTO ZWANOBODYKNOWS VALUES (1, 'a'), (2, 'b')",
)


def _side(opened: Any, into: str) -> list[SideRow | SkippedRow]:
    [side] = [side for side in opened.sides() if side.into == into]
    rows = list(side.rows(0))
    for skip in range(len(rows) + 1):
        assert list(side.rows(skip)) == rows[skip:]
    return rows


def test_reactions_are_read_out_of_receipts(tmp_path: Path) -> None:
    with closing(_open(_write(tmp_path, *BESIDE))) as opened:
        theirs, ours, *none = _side(opened, "reaction")
    assert (theirs.message_row, theirs.person_jid, theirs.from_me) == (1, DESK, False)
    assert theirs.values == {"reaction": "\N{THUMBS UP SIGN}", "reacted_at": REACTED * 1000}
    # Some versions tell seconds, others milliseconds.
    assert (ours.from_me, ours.values) == (True, {"reaction": "\u2764", "reacted_at": REACTED * 1000})
    assert none == [SkippedRow("ZWAMESSAGEINFO", "no_reaction"), SkippedRow("ZWAMESSAGEINFO", "unreadable")]


def test_quotes_name_the_message_and_its_direction(tmp_path: Path) -> None:
    with closing(_open(_write(tmp_path, *BESIDE))) as opened:
        rows = [row for row in _side(opened, "quote") if isinstance(row, SideRow)]
    of_desk, of_picture, gone = rows
    assert (of_desk.message_row, of_desk.values["quoted_key_id"], of_desk.from_me) == (2, "3A01", False)
    assert (of_desk.values["text"], of_desk.values["quoted_at"]) == ("hello", 1_767_600_000_500)
    assert (of_picture.values["quoted_raw_kind"], of_picture.person_jid, of_picture.chat_jid) == (1, OTHER, GROUP)
    # Not the other side's, in a chat of two: ours, though it is not in the store any more.
    assert (gone.from_me, gone.values["text"], gone.values["quoted_at"]) == (True, "", 0)


def test_files_members_and_other_tables_come_with_what_they_say(tmp_path: Path) -> None:
    with closing(_open(_write(tmp_path, *BESIDE))) as opened:
        media = {row.message_row: row.values for row in _side(opened, "media") if isinstance(row, SideRow)}
        members, details = _side(opened, "member"), _side(opened, "detail")
        unread, lookups = opened.unread(), list(opened.lookups())
    picture = media[3]
    assert (picture["width"], picture["height"], picture["duration_seconds"]) == (1080, 1920, 13)
    assert (picture["caption"], picture["name"], picture["mime_type"]) == ("the invoice", "a.jpg", "image/jpeg")
    assert (media[6]["name"], media[6]["caption"], media[6]["width"]) == ("list.pdf", "", None)
    assert set(media) == {3, 6}
    assert members == [
        SideRow({"rank": 1, "pending": False, "added_at": 0, "label": ""}, chat_jid=GROUP, person_jid=OTHER),
        SkippedRow("ZWAGROUPMEMBER", "not_active"),
    ]
    [link] = details
    assert link.values["columns"] == {"ZTITLE": "Price list", "ZMATCHEDTEXT": "https://example.in/list"}
    assert unread == {"ZWANOBODYKNOWS": 2}
    assert [each.table for each in lookups] == ["ZWACHATSESSION"] * 3 + ["ZWAPROFILEPUSHNAME"]


@pytest.mark.parametrize("bad", ["NULL", "5", "'text'", "x'ff'", "x'3aff'", "x'3a020a00'", "zeroblob(9000)"])
def test_hostile_blobs_are_counted_and_end_nothing(tmp_path: Path, bad: str) -> None:
    path = _write(
        tmp_path, *BESIDE, f"UPDATE ZWAMESSAGEINFO SET ZRECEIPTINFO = {bad}",
        f"UPDATE ZWAMEDIAITEM SET ZMETADATA = {bad}",
        "UPDATE ZWAMEDIAITEM SET ZFILESIZE = 9e999, ZMOVIEDURATION = 'long', ZLATITUDE = 'x', ZMESSAGE = 'y'",
    )  # fmt: skip
    with closing(_open(path)) as opened:
        assert all(isinstance(row, SkippedRow) or not row.values["reaction"] for row in _side(opened, "reaction"))
        assert all(isinstance(row, SkippedRow) for row in _side(opened, "quote"))
        assert len(_side(opened, "media")) == 6


@pytest.mark.real
async def test_what_stands_beside_messages_of_ios_arrives_and_adds_up(vault: Any, tmp_path: Path) -> None:
    run = await vault.import_(_write(tmp_path, *BESIDE), backup_key=None)
    tables = run.manifest["tables"]
    assert [name for name, table in tables.items() if not _adds_up(table)] == []
    reactions = await vault.rows(
        "SELECT m.key_id, r.reaction, c.number FROM message_reaction r JOIN message m ON m.id = r.message_id"
        " LEFT JOIN contact c ON c.id = r.contact_id ORDER BY c.number NULLS LAST"
    )
    assert [(row["key_id"], row["number"]) for row in reactions] == [("3A01", "+919847000010"), ("3A01", None)]
    quotes = await vault.rows(
        "SELECT m.key_id, o.key_id AS quoted, q.text FROM message_quote q JOIN message m ON m.id = q.message_id"
        " LEFT JOIN message o ON o.id = q.quoted_message_id ORDER BY m.key_id"
    )
    assert [(row["key_id"], row["quoted"]) for row in quotes] == [("3A01", None), ("3A02", "3A01"), ("3A07", "3A03")]
    assert len(await vault.rows("SELECT * FROM message_media")) == 2
    assert len(await vault.rows("SELECT * FROM chat_member")) == 1
    again = await vault.import_(_write(tmp_path, *BESIDE, "UPDATE ZWAMESSAGE SET ZTEXT = 'edited' WHERE Z_PK = 1"),
                                backup_key=None)  # fmt: skip
    beside = {name: table for name, table in again.manifest["tables"].items() if name != "message"}
    changed = {name for name, table in beside.items() if table["new"] or table["changed"]}
    # What is quoted says something else now.
    assert changed == {"ZWAMEDIAITEM.ZMETADATA"}
    # An edit leaves no mark in the store: it is told by the two backups.
    assert again.messages_changed == 1
    assert [row["text"] for row in await vault.rows("SELECT text FROM message_revision")] == ["hello"]


@pytest.mark.real
async def test_a_store_of_ios_arrives_and_a_longer_one_adds_what_is_new(vault: Any, tmp_path: Path) -> None:
    run = await vault.import_(_write(tmp_path), backup_key=None)
    assert (run.format, run.messages_new, run.chats_seen) == ("ios-chatstorage", 7, 3)
    more = "INSERT INTO ZWAMESSAGE VALUES (8, 1, NULL, NULL, 0, 0, 789292900, '3A08', 'later')"
    again = await vault.import_(_write(tmp_path, more), backup_key=None)
    assert (again.messages_new, again.messages_changed) == (1, 0)


#: What iOS does not say in the text: of a card, a poll and a kind that nobody has explained, and of an edit.
MORE_OF_IOS = (
    "ALTER TABLE ZWAMEDIAITEM ADD COLUMN ZVCARDNAME VARCHAR",
    "INSERT INTO ZWAMEDIAITEM (Z_PK, ZMESSAGE, ZVCARDSTRING, ZVCARDNAME)"
    " VALUES (4, 8, 'BEGIN:VCARD' || char(10) || 'FN:Godown desk', 'Godown desk')",
    "UPDATE ZWAMEDIAITEM SET ZTITLE = 'Godown' WHERE Z_PK = 2",
    "UPDATE ZWAGROUPMEMBER SET ZMEMBERJID = '7000@lid'",
    "INSERT INTO ZWAMESSAGE VALUES (8, 2, 7, 4, 0, 4, 789292807, '3A08', NULL),"
    " (9, 2, 7, NULL, 0, 46, 789292808, '3A09', 'Which day?'), (10, 2, 7, NULL, 0, 46, 789292809, '3A0A', NULL),"
    " (11, 1, NULL, NULL, 0, 0, 789292810, '3A0B', 'as edited')",
)
SAME_ON_ANDROID = (
    "INSERT INTO jid (_id, user, server) VALUES (1, '919847000010', 's.whatsapp.net'),"
    " (2, '919847000011', 's.whatsapp.net'), (3, '7000', 'lid'), (4, '120363000000000001', 'g.us')",
    "INSERT INTO jid_map (lid_row_id, jid_row_id) VALUES (3, 2)",
    "INSERT INTO chat (_id, jid_row_id, subject) VALUES (10, 1, NULL), (11, 4, 'Despatch'), (12, 2, NULL)",
    """INSERT INTO message (_id, chat_row_id, from_me, key_id, sender_jid_row_id, timestamp, message_type, text_data)
    VALUES (1, 10, 0, '3A01', 1, 1767600000000, 0, 'hello'), (2, 10, 1, '3A02', 0, 1767600001000, 0, 'our answer'),
    (3, 11, 0, '3A03', 3, 1767600002000, 1, NULL), (4, 11, 1, '3A04', 0, 1767600003000, 15, NULL),
    (5, 11, 0, '3A05', 3, 1767600004000, 5, NULL), (6, 11, 0, '3A06', 2, 1767600005000, 9, NULL),
    (7, 11, 0, '3A07', 3, 1767600006000, 92, 'Opening'), (8, 11, 0, '3A08', 3, 1767600007000, 4, 'Godown desk'),
    (9, 11, 0, '3A09', 3, 1767600008000, 66, 'Which day?'), (10, 11, 0, '3A0A', 3, 1767600009000, 66, 'And which?'),
    (11, 10, 0, '3A0B2', 1, 1767600010000, 0, 'as edited')""",
    "INSERT INTO message_media (message_row_id, file_path, mime_type, media_caption, media_name) VALUES"
    " (3, 'Media/WhatsApp Images/a.jpg', 'image/jpeg', 'the invoice', NULL),"
    " (6, 'Media/WhatsApp Documents/list.pdf', 'application/pdf', NULL, 'list.pdf')",
    "INSERT INTO message_location (message_row_id, latitude, longitude, place_name)"
    " VALUES (5, 9.9312, 76.2673, 'Godown')",
    "INSERT INTO message_edit_info VALUES (11, '3A0B', 1767600060000, 1767600060000)",
)


def _android(folder: Path) -> Path:
    path = folder / "msgstore.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((Path(samples.__file__).parent / "schema.sql").read_text(encoding="utf-8"))
        for statement in SAME_ON_ANDROID:
            connection.execute(statement)
        connection.commit()
    return path


async def _all_messages(vault: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = await vault.rows("SELECT * FROM message ORDER BY sent_at")
    return rows


@pytest.mark.real
async def test_a_store_of_ios_changes_nothing_of_what_came_from_android(vault: Any, tmp_path: Path) -> None:
    run = await vault.import_(_android(tmp_path), backup_key=None)
    assert (run.format, run.messages_new) == ("android-msgstore", 11)
    before = await _all_messages(vault)
    again = await vault.import_(_write(tmp_path, *MORE_OF_IOS), backup_key=None)
    assert (again.messages_seen, again.messages_new, again.messages_changed) == (11, 0, 0)
    assert await _all_messages(vault) == before
    assert len(await vault.rows("SELECT * FROM chat")) == 3


@pytest.mark.real
async def test_android_says_what_a_store_of_ios_could_not(vault: Any, tmp_path: Path) -> None:
    run = await vault.import_(_write(tmp_path, *MORE_OF_IOS), backup_key=None)
    assert (run.messages_new, run.messages_changed) == (11, 0)
    again = await vault.import_(_android(tmp_path), backup_key=None)
    assert (again.messages_new, again.messages_changed) == (0, 2)
    changed = await vault.rows("SELECT kind, text FROM message WHERE revision > 1 ORDER BY sent_at")
    assert [(row["kind"], row["text"]) for row in changed] == [("event", "Opening"), ("poll", "And which?")]
    more = "INSERT INTO ZWAMESSAGE VALUES (12, 1, NULL, NULL, 0, 0, 789292900, '3A0C', 'later')"
    last = await vault.import_(_write(tmp_path, *MORE_OF_IOS, more), backup_key=None)
    assert (last.messages_new, last.messages_changed) == (1, 0)
