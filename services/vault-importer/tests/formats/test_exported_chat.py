from __future__ import annotations

import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_importer import store
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
    before = _read(_write(tmp_path, twice))
    after = _read(_write(tmp_path, twice + "14/05/24, 9:05 pm - A: more\n"))
    assert after[:2] == before
    assert len({row.key_id for row in after if isinstance(row, SourceMessage)}) == 3


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
