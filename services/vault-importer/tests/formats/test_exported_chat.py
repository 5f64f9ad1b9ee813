from __future__ import annotations

import zipfile
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_importer import load_backup, store
from vault_importer.archive import message_key
from vault_importer.formats import recognise
from vault_importer.formats.base import SkippedRow, SourceChat, SourceContact, SourceMessage
from vault_importer.formats.export_options import ExportOptions
from vault_importer.formats.exported_chat import ExportedChat, read_text
from vault_importer.refusals import BackupRefused

NARROW = "\u202f"
MARK = "\u200e"
TITLE = "WhatsApp Chat with Reception desk.txt"


def _write(folder: Path, text: str, name: str = TITLE) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def _read(path: Path, **options: Any) -> list[SourceMessage | SkippedRow]:
    chosen = recognise(path)
    assert isinstance(chosen, ExportedChat)
    opened = chosen.with_options(ExportOptions(**options)).open(path, address_book=None, known_aliases={})
    return list(opened.messages())


def _keys(rows: list[SourceMessage | SkippedRow]) -> list[tuple[str, ...]]:
    return [(*row.earlier_key_ids, row.key_id) for row in rows if isinstance(row, SourceMessage)]


def _times(folder: Path, text: str, **options: Any) -> list[str]:
    rows = _read(_write(folder, text), **options)
    return [
        datetime.fromtimestamp(row.sent_at_ms / 1000, UTC).isoformat() for row in rows if isinstance(row, SourceMessage)
    ]


@pytest.mark.parametrize(
    "line",
    [
        f"13/05/24, 9:05{NARROW}pm - Reception desk: hello",
        "13/05/2024, 9:05 pm - Reception desk: hello",
        "13/05/2024, 21:05 - Reception desk: hello",
        "5/13/24, 9:05 PM - Reception desk: hello",
        "13.05.24, 21:05 - Reception desk: hello",
        "2024-05-13, 21:05 - Reception desk: hello",
        "13-05-2024 21.05 - Reception desk: hello",
        "13/5/24 9:05 p. m. - Reception desk: hello",
        f"[13/05/24, 9:05:00{NARROW}PM] Reception desk: hello",
        f"{MARK}[13.05.24, 21:05:00] Reception desk: hello",
        "[2024/05/13, 21:05:00] Reception desk: hello",
        "\ufeff13/05/24, 9:05 pm - Reception desk: hello",
    ],
)
def test_lines_of_phones_and_locales_are_read(tmp_path: Path, line: str) -> None:
    [row] = _read(_write(tmp_path, line + "\n"))
    assert isinstance(row, SourceMessage)
    assert (row.text, row.kind, row.from_me) == ("hello", "text", False)
    # 21:05 in India.
    assert datetime.fromtimestamp(row.sent_at_ms / 1000, UTC) == datetime(2024, 5, 13, 15, 35, tzinfo=UTC)


def test_midnight_and_noon_of_twelve_hours_and_another_zone(tmp_path: Path) -> None:
    text = "13/05/24, 12:00 am - A: x\n13/05/24, 12:00 pm - A: y\n"
    assert _times(tmp_path, text, zone="UTC") == ["2024-05-13T00:00:00+00:00", "2024-05-13T12:00:00+00:00"]


@pytest.mark.parametrize(
    ("dates", "first"),
    [
        (["01/02/24", "13/02/24"], "2024-02-01"),
        (["01/02/24", "01/13/24"], "2024-01-02"),
        # Either could be, and one would go backwards.
        (["09/01/24", "10/01/24", "01/02/24"], "2024-01-09"),
        (["01/09/24", "01/10/24", "02/01/24"], "2024-01-09"),
        (["03/03/24"], "2024-03-03"),
    ],
)
def test_the_order_of_day_and_month_is_told_by_the_whole_file(tmp_path: Path, dates: list[str], first: str) -> None:
    text = "".join(f"{date}, 10:00 - A: x\n" for date in dates)
    assert _times(tmp_path, text, zone="UTC")[0].startswith(first)


def test_dates_that_do_not_tell_are_refused_until_their_order_is_given(tmp_path: Path) -> None:
    text = "01/02/24, 10:00 - A: x\n02/03/24, 10:00 - A: y\n"
    with pytest.raises(BackupRefused, match="--date-order") as caught:
        _read(_write(tmp_path, text))
    assert caught.value.code == "ambiguous_dates"
    assert _times(tmp_path, text, date_order="dmy", zone="UTC")[0].startswith("2024-02-01")
    assert _times(tmp_path, text, date_order="mdy", zone="UTC")[0].startswith("2024-01-02")
    with pytest.raises(BackupRefused, match="neither"):
        _read(_write(tmp_path, "13/13/24, 10:00 - A: x\n"))


ANDROID = f"""13/05/24, 9:05{NARROW}pm - Messages and calls are end-to-end encrypted.
13/05/24, 9:05{NARROW}pm - Reception desk: first
  second: with a colon

fourth
13/05/24, 9:06{NARROW}pm - Our own: <Media omitted>
13/05/24, 9:07{NARROW}pm - Our own: {MARK}IMG-20240513-WA0001.jpg (file attached)
the invoice
13/05/24, 9:08{NARROW}pm - Our own: This message was deleted
13/05/24, 9:09{NARROW}pm - Our own: better so <This message was edited>
13/05/24, 9:09{NARROW}pm - Our own: 12/05/24 is no line of its own
"""
IOS = f"""[13/05/24, 21:05:01] Reception desk: {MARK}Messages and calls are end-to-end encrypted.
[13/05/24, 21:05:02] Reception desk: first
second
{MARK}[13/05/24, 21:05:03] ~{NARROW}Our own: {MARK}image omitted
{MARK}[13/05/24, 21:05:04] Our own: {MARK}<attached: 00000004-AUDIO-2024-05-13.opus>
{MARK}[13/05/24, 21:05:05] Our own: {MARK}This message was deleted.
[13/05/24, 21:05:06] Our own: list.pdf {MARK}document omitted
"""


def test_android_lines_become_what_they_say(tmp_path: Path) -> None:
    rows = [row for row in _read(_write(tmp_path, ANDROID)) if isinstance(row, SourceMessage)]
    assert [row.kind for row in rows] == ["system", "text", "media", "image", "revoked", "text", "text"]
    assert [row.from_me for row in rows] == [False, False, True, True, True, True, True]
    assert rows[1].text == "first\n  second: with a colon\n\nfourth"
    assert (rows[3].text, rows[3].details) == ("the invoice", {"file_name": "IMG-20240513-WA0001.jpg"})
    assert (rows[4].text, rows[4].revoked) == ("", True)
    assert (rows[5].text, rows[5].details) == ("better so", {"edited": True})


@pytest.mark.parametrize(
    ("said", "kind", "details"),
    [
        ("<मीडिया के बिना>", "media", None),
        ("<മീഡിയ ഒഴിവാക്കി>", "media", None),
        ("< ஊடகங்கள் நீக்கப்பட்டது >", "media", None),
        ("<Medien ausgeschlossen>", "media", None),
        ("Diese Nachricht wurde gelöscht.", "revoked", None),
        ("besser so <Diese Nachricht wurde bearbeitet.>", "text", {"edited": True}),
        # A file by the name that the app gives it, or behind the app's invisible mark, in any language.
        ("IMG-20240513-WA0001.jpg (फ़ाइल)", "image", {"file_name": "IMG-20240513-WA0001.jpg"}),
        (f"{MARK}list.pdf (ഫയൽ)", "document", {"file_name": "list.pdf"}),
        (f"{MARK}<अटैच: 00000004-AUDIO-2024-05-13.opus>", "audio", {"file_name": "00000004-AUDIO-2024-05-13.opus"}),
        # What somebody wrote is what they wrote.
        ("see list.pdf (page 3)", "text", None),
        ("<3", "text", None),
        ("<b>bold</b>", "text", None),
        # What may be a mark of another language is kept, and told.
        ("<media na pinagsama>", "text", {"unknown_mark": True}),
    ],
)
def test_marks_of_other_languages_are_understood_or_counted(
    tmp_path: Path, said: str, kind: str, details: dict[str, Any] | None
) -> None:
    path = _write(tmp_path, f"13/05/24, 9:05 pm - Reception desk: {said}\n")
    opened = recognise(path).open(path, address_book=None, known_aliases={})
    [row] = opened.messages()
    assert isinstance(row, SourceMessage)
    assert (row.kind, row.details) == (kind, details)
    counted = {"unknown_mark": 1} if details == {"unknown_mark": True} else {}
    assert opened.rows() == {"message": 1, **counted}


@pytest.mark.parametrize(
    "line", ["१३/५/२४, ९:०५ PM - A: x", "১৩/৫/২৪, ৯:০৫ PM - A: x", "13-05-24 9:05 PM - A: x", "13/5/24، 9:05 PM - A: x"]
)
def test_dates_in_the_digits_of_other_scripts_are_dates(tmp_path: Path, line: str) -> None:
    assert _times(tmp_path, line + "\n", zone="UTC") == ["2024-05-13T21:05:00+00:00"]


def test_a_chat_of_two_is_known_by_a_file_name_in_any_language(tmp_path: Path) -> None:
    text = "13/05/24, 9:05 pm - Reception desk: x\n13/05/24, 9:06 pm - Our own: y\n"
    path = _write(tmp_path, text, "Reception desk के साथ WhatsApp चैट.txt")
    opened = recognise(path).open(path, address_book=None, known_aliases={})
    [chat] = opened.chats()
    assert isinstance(chat, SourceChat)
    assert (chat.kind, chat.name) == ("direct", "Reception desk")
    assert [row.from_me for row in opened.messages() if isinstance(row, SourceMessage)] == [False, True]


def test_a_message_of_blanks_alone_takes_no_longer_than_another(tmp_path: Path) -> None:
    # A search for what may stand behind any number of blanks takes their square: hours for these.
    [row] = _read(_write(tmp_path, "13/05/24, 9:05 pm - A: x" + " " * 3_000_000 + "y\n"))
    assert isinstance(row, SourceMessage)
    assert len(row.text) == 3_000_002


def test_ios_lines_become_what_they_say(tmp_path: Path) -> None:
    path = tmp_path / "WhatsApp Chat - Reception desk.zip"
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("_chat.txt", IOS)
        out.writestr("00000004-AUDIO-2024-05-13.opus", b"sound")
    rows = [row for row in _read(path) if isinstance(row, SourceMessage)]
    assert [row.kind for row in rows] == ["system", "text", "image", "audio", "revoked", "text"]
    assert rows[1].text == "first\nsecond"
    assert rows[3].details == {"file_name": "00000004-AUDIO-2024-05-13.opus"}
    assert [row.from_me for row in rows] == [False, False, True, True, True, True]


def test_a_number_is_who_it_is_in_a_backup_and_a_name_is_an_address_of_its_own(tmp_path: Path) -> None:
    number = "+91 98470 00010"
    path = _write(tmp_path, f"13/05/24, 9:05 pm - {number}: hello\n", f"WhatsApp Chat with {number}.txt")
    opened = recognise(path).open(path, address_book=None, known_aliases={})
    assert list(opened.chats()) == [SourceChat(jid="919847000010@s.whatsapp.net", kind="direct", name=number)]
    group = "".join(f"13/05/24, 9:0{n} pm - {name}: hello\n" for n, name in enumerate(("A desk", "B desk", number)))
    path = _write(tmp_path, group, "WhatsApp Chat with Despatch.txt")
    opened = recognise(path).open(path, address_book=None, known_aliases={})
    assert list(opened.chats()) == [SourceChat(jid="Despatch@export", kind="group", name="Despatch")]
    assert SourceContact(jid="A desk@export", name="A desk", name_source="address_book") in list(opened.contacts())
    assert [row.sender_jid for row in opened.messages() if isinstance(row, SourceMessage)] == [
        "A desk@export", "B desk@export", "919847000010@s.whatsapp.net"
    ]  # fmt: skip


def test_a_longer_export_holds_the_same_messages_under_the_same_keys(tmp_path: Path) -> None:
    twice = "13/05/24, 9:05 pm - A: ok\n13/05/24, 9:05 pm - A: ok\n"
    before = _keys(_read(_write(tmp_path, twice)))
    after = _keys(_read(_write(tmp_path, twice + "14/05/24, 9:05 pm - A: more\n")))
    # The first is the one that the vault makes the message's id of, as earlier releases did of that key alone.
    assert [keys[0] for keys in after[:2]] == [keys[0] for keys in before]
    assert len({key for keys in after for key in keys}) == sum(len(keys) for keys in after)


def test_other_texts_and_zips_are_no_exports(tmp_path: Path) -> None:
    path = _write(tmp_path, "Dear desk,\n13/05/24, 9:05 pm - A: x\n", "letter.txt")
    assert not ExportedChat().recognises(path)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as out:
        out.writestr("letter.txt", b"Dear desk")
    assert not ExportedChat().recognises(tmp_path / "other.zip")
    path = tmp_path / TITLE
    path.write_bytes(b"13/05/24, 9:05 pm - A: \xff\xfe\n")
    with pytest.raises(BackupRefused, match="UTF-8"):
        _read(path)


@given(st.text(alphabet=f"0123456789/:.,-[] apmAPM\n{MARK}{NARROW}<>", max_size=200))
def test_whatever_follows_a_first_line_is_read_or_refused(text: str) -> None:
    try:
        opened = read_text(f"13/05/24, 9:05 pm - A: x\n{text}", "A", ExportOptions())
    except BackupRefused:
        return
    assert sum(1 for _ in opened.messages()) >= 1


@pytest.mark.real
async def test_times_are_those_of_the_business_unless_a_zone_is_given(vault: Any, tmp_path: Path) -> None:
    async def sent(text: str, **options: Any) -> str:
        await vault.import_(_write(tmp_path, f"13/05/24, 9:05 pm - A: {text}\n"), backup_key=None, **options)
        [row] = await vault.rows("SELECT sent_at FROM message WHERE text = $1", text)
        return str(row["sent_at"])

    # Before the directory has told of it.
    assert await sent("first") == "2024-05-13 15:35:00+00:00"
    async with vault.database.transaction(vault.tenant) as tx:
        await store.put_tenant_profile(tx, version=1, name="Malabar", timezone="Asia/Dubai")
    assert await sent("second") == "2024-05-13 17:05:00+00:00"
    assert await sent("third", export=ExportOptions(zone="UTC")) == "2024-05-13 21:05:00+00:00"


@pytest.mark.real
async def test_marks_that_are_not_known_are_in_the_manifest(vault: Any, tmp_path: Path) -> None:
    text = "13/05/24, 9:05 pm - A: <media na pinagsama>\n13/05/24, 9:05 pm - A: <मीडिया के बिना>\n"
    run = await vault.import_(_write(tmp_path, text), backup_key=None)
    assert run.manifest["source_rows"] == {"message": 2, "unknown_mark": 1}


@pytest.mark.real
async def test_an_export_arrives_and_a_longer_one_adds_what_is_new(vault: Any, tmp_path: Path) -> None:
    run = await vault.import_(_write(tmp_path, ANDROID), backup_key=None)
    assert (run.format, run.messages_new) == ("exported-chat", 7)
    more = f"14/05/24, 9:05{NARROW}pm - Reception desk: more\n"
    again = await vault.import_(_write(tmp_path, ANDROID + more), backup_key=None)
    assert (again.messages_new, again.messages_changed) == (1, 0)
    [place] = await vault.rows("SELECT count(*) AS n FROM contact WHERE name = 'Reception desk'")
    assert place["n"] == 1


# Later exports of the same chat ---------------------------------------------------------------------------------


def _chat(*lines: str) -> str:
    return "".join(f"13/05/24, {line}\n" for line in lines)


async def _import(vault: Any, folder: Path, *lines: str) -> tuple[int, int]:
    """How many messages were new and how many changed."""
    run = await vault.import_(_write(folder, _chat(*lines)), backup_key=None)
    return run.messages_new, run.messages_changed


async def _kept(vault: Any) -> list[tuple[str, str, bool]]:
    rows = await vault.rows("SELECT kind, text, revoked FROM message ORDER BY sent_at, text, id")
    return [(row["kind"], row["text"], row["revoked"]) for row in rows]


OMITTED, FILE = "<Media omitted>", "IMG-20240513-WA0001.jpg (file attached)"
EDITED = "price 600 <This message was edited>"
WORDINGS = ["price 500", EDITED, "This message was deleted"]


@pytest.mark.real
@pytest.mark.parametrize(
    "around",
    [
        ([], []),
        (["9:01 pm - A: before"], ["9:09 pm - A: after"]),
        ([], ["9:09 pm - A: after"]),
        (["9:01 pm - A: before"], []),
        (["9:05 pm - A: ok", "9:05 pm - Messages are encrypted."], ["9:05 pm - A: ok", "9:05 pm - B: price 500"]),
    ],
    ids=["alone", "between", "first", "last", "within its minute"],
)
async def test_an_edit_and_a_deletion_change_the_message_that_is_there(
    vault: Any, tmp_path: Path, around: tuple[list[str], list[str]]
) -> None:
    before, after = around
    for n, text in enumerate(WORDINGS):
        found = await _import(vault, tmp_path, *before, f"9:05 pm - A: {text}", *after)
        assert found == ((1 + len(before) + len(after), 0) if n == 0 else (0, 1))
    [row] = await vault.rows("SELECT text, revoked, revision FROM message WHERE revoked")
    assert (row["text"], row["revision"]) == ("", 3)
    kept = await vault.rows(
        "SELECT r.text, r.edited_at, m.sent_at FROM message_revision r JOIN message m ON m.id = r.message_id"
        " ORDER BY r.revision"
    )
    assert [row["text"] for row in kept] == ["price 500", "price 600"]
    assert kept[0]["edited_at"] is None
    assert kept[1]["edited_at"] > kept[1]["sent_at"]
    # An older export that comes late brings no earlier wording back.
    for text in WORDINGS[:2]:
        again = await _import(vault, tmp_path, *before, f"9:05 pm - A: {text}", *after, "9:20 pm - A: x")
        assert again[1] == 0
    assert [each["text"] for each in await vault.rows("SELECT text FROM message WHERE revoked")] == [""]


@pytest.mark.real
async def test_a_chat_that_grew_since_its_only_message_was_edited_has_it_once(vault: Any, tmp_path: Path) -> None:
    assert await _import(vault, tmp_path, "9:05 pm - A: price 500") == (1, 0)
    assert await _import(vault, tmp_path, f"9:05 pm - A: {EDITED}", "9:06 pm - A: more") == (1, 1)


@pytest.mark.real
@pytest.mark.parametrize("omitted", [OMITTED, f"{MARK}image omitted", "<media na pinagsama>"])
async def test_a_file_is_added_to_what_was_exported_without_and_never_taken_away(
    vault: Any, tmp_path: Path, omitted: str
) -> None:
    def lines(text: str) -> list[str]:
        return [f"9:05 pm - A: {text}", "9:05 pm - A: the invoice", f"9:05 pm - A: {text}".replace("0001", "0002"),
                "9:07 pm - A: more"]  # fmt: skip

    assert await _import(vault, tmp_path, *lines(omitted)) == (4, 0)
    assert await _import(vault, tmp_path, *lines(FILE)) == (0, 2)
    assert await _import(vault, tmp_path, *lines(omitted), "9:08 pm - A: and more") == (1, 0)
    rows = await vault.rows("SELECT kind, raw_kind, details->>'file_name' AS name FROM message"
                            " WHERE details ? 'file_name' ORDER BY name")  # fmt: skip
    assert [(row["kind"], row["raw_kind"], row["name"]) for row in rows] == [
        ("image", 1, "IMG-20240513-WA0001.jpg"), ("image", 1, "IMG-20240513-WA0002.jpg")
    ]  # fmt: skip


@pytest.mark.real
async def test_the_second_of_two_deletions_in_a_minute_is_not_taken_for_the_first(vault: Any, tmp_path: Path) -> None:
    last = "9:06 pm - A: after"
    await _import(vault, tmp_path, "9:05 pm - A: one", "9:05 pm - A: This message was deleted", last)
    deleted = "9:05 pm - A: This message was deleted"
    assert await _import(vault, tmp_path, deleted, deleted, last) == (0, 1)
    assert [row[2] for row in await _kept(vault)] == [True, True, False]


CUT_IN_A_MINUTE = ["9:04 pm - A: zero", "9:05 pm - A: one", f"9:05 pm - A: {OMITTED}", "9:05 pm - B: ok",
                   "9:05 pm - A: two", "9:06 pm - A: three"]  # fmt: skip


@pytest.mark.real
@pytest.mark.parametrize("first", [1, 2, 3, 4])
async def test_an_export_that_begins_within_a_minute_doubles_nothing(vault: Any, tmp_path: Path, first: int) -> None:
    assert await _import(vault, tmp_path, *CUT_IN_A_MINUTE) == (6, 0)
    assert await _import(vault, tmp_path, *CUT_IN_A_MINUTE[first:], "9:07 pm - A: more") == (1, 0)


@pytest.mark.real
@pytest.mark.parametrize("first", [1, 2, 3, 4])
async def test_what_changed_where_an_export_begins_takes_no_other_place(vault: Any, tmp_path: Path, first: int) -> None:
    await _import(vault, tmp_path, *CUT_IN_A_MINUTE)
    before = await _kept(vault)
    cut = [
        each.replace("two", "2 <This message was edited>").replace(OMITTED, FILE) for each in CUT_IN_A_MINUTE[first:]
    ]
    # With all of the minute they are found; with a part of it they are kept beside what they were.
    found = {1: (1, 2), 2: (3, 0), 3: (2, 0), 4: (2, 0)}[first]
    assert await _import(vault, tmp_path, *cut, "9:07 pm - A: more") == found
    kept = await _kept(vault)
    assert ("text", "one", False) in kept
    assert first == 1 or set(before) <= set(kept)


@pytest.mark.real
@pytest.mark.parametrize("first", [1, 2, 3, 4])
async def test_what_an_export_was_cut_behind_is_added_by_a_longer_one(vault: Any, tmp_path: Path, first: int) -> None:
    await _import(vault, tmp_path, *CUT_IN_A_MINUTE[first:])
    longer = [each.replace("two", "2 <This message was edited>") for each in CUT_IN_A_MINUTE]
    # Of a minute that was there in part, the edited one is kept beside what it was.
    assert await _import(vault, tmp_path, *longer) == ((1, 1) if first == 1 else (first + 1, 0))
    assert {text for _, text, _ in await _kept(vault)} - {"two"} == {"zero", "one", "", "ok", "2", "three"}


@pytest.mark.real
async def test_a_message_that_arrives_late_is_not_taken_for_another_of_its_minute(vault: Any, tmp_path: Path) -> None:
    arrived = ["9:04 pm - B: x", "9:05 pm - A: one", "9:06 pm - B: y"]
    await _import(vault, tmp_path, *arrived)
    assert await _import(vault, tmp_path, *arrived, "9:05 pm - A: late", "9:07 pm - B: z") == (2, 0)


@pytest.mark.real
async def test_a_message_that_the_phone_lost_moves_no_other(vault: Any, tmp_path: Path) -> None:
    lines = [f"9:05 pm - A: {text}" for text in ("one", "two", "three")]
    await _import(vault, tmp_path, "9:04 pm - A: x", *lines, "9:06 pm - A: y")
    assert await _import(vault, tmp_path, "9:04 pm - A: x", lines[0], lines[2], "9:06 pm - A: y") == (0, 0)


def _minute(*texts: str) -> list[str]:
    return ["9:04 pm - B: x", *(f"9:05 pm - A: {text}" for text in texts), "9:06 pm - B: y"]


@pytest.mark.real
@pytest.mark.parametrize("chunk_rows", [5_000, 2], ids=["one chunk", "several chunks"])
@pytest.mark.parametrize("newest", [False, True], ids=["within", "newest minute"])
async def test_a_message_that_only_another_phone_has_is_added_to_its_minute(
    vault: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_rows: int, newest: bool
) -> None:
    monkeypatch.setattr(load_backup, "MESSAGES_PER_CHUNK", chunk_rows)
    first, second = _minute("a", "b", "c"), _minute("a", "d", "b", "c")
    if newest:
        first, second = first[:-1], second[:-1]
    assert await _import(vault, tmp_path, *first) == (len(first), 0)
    for found in ((1, 0), (0, 0)):
        assert await _import(vault, tmp_path, *second) == found
        assert [text for _, text, _ in await _kept(vault)][1:5] == ["a", "b", "c", "d"]


@pytest.mark.real
@pytest.mark.parametrize(
    ("changed", "kept"),
    [("a2 <This message was edited>", ("text", "a2", False)), ("This message was deleted", ("revoked", "", True))],
    ids=["edited", "deleted"],
)
async def test_what_changed_beside_a_lost_message_does_not_take_its_place(
    vault: Any, tmp_path: Path, changed: str, kept: tuple[str, str, bool]
) -> None:
    await _import(vault, tmp_path, *_minute("a", "b", "c"))
    before = await _kept(vault)
    assert await _import(vault, tmp_path, *_minute(changed, "c")) == (1, 0)
    assert sorted(await _kept(vault)) == sorted([*before, kept])


def _as_before(at: datetime, sender: str, text: str, nth: int = 1) -> str:
    """The one key that earlier releases gave a message."""
    parts = (str(int(at.timestamp() * 1000)), sender, text, str(nth))
    return f"TXT{sha256(chr(0).join(parts).encode()).hexdigest()[:32].upper()}"


@pytest.mark.real
async def test_an_archive_of_an_earlier_release_doubles_nothing(vault: Any, superuser: Any, tmp_path: Path) -> None:
    at = datetime(2024, 5, 13, 15, 35, tzinfo=UTC)
    deleted = "This message was deleted"
    lines = [*CUT_IN_A_MINUTE[1:], f"9:08 pm - B: {EDITED}", f"9:08 pm - B: {deleted}", f"9:08 pm - B: {FILE}"]
    assert await _import(vault, tmp_path, *lines) == (8, 0)
    rows = await vault.rows(
        "SELECT m.id, m.kind, m.chat_id, c.id AS sender, c.name FROM message m JOIN contact c ON c.id = m.sender_id"
    )
    # It has neither the other keys nor the ranks, and knows each message by its wording.
    await superuser(
        "DELETE FROM message_alias", "UPDATE message SET wording_rank = 0, edited_at = NULL WHERE NOT revoked",
        "UPDATE message SET raw_kind = -1 WHERE kind = 'media'", "UPDATE message SET key_id = ''",
    )  # fmt: skip
    for kind, text, when in (("media", OMITTED, at), ("revoked", deleted, at.replace(minute=38))):
        [row] = [row for row in rows if row["kind"] == kind]
        id_ = message_key(row["chat_id"].bytes, False, _as_before(when, row["name"], text), row["sender"].bytes)
        await superuser(f"UPDATE message SET id = '{id_}' WHERE id = '{row['id']}'")
    assert _as_before(at, "A", "one") in _keys(_read(_write(tmp_path, _chat(*lines))))[0]
    assert await _import(vault, tmp_path, *lines, "9:09 pm - A: more") == (1, 0)
    later = [each.replace("three", EDITED).replace(OMITTED, FILE) for each in lines]
    assert await _import(vault, tmp_path, *later, "9:09 pm - A: more") == (0, 2)
