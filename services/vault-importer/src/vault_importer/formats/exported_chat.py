"""An exported chat: ``WhatsApp Chat with X.txt``, or a ZIP of it and its media, as Android and iOS write them.

The text names people as the phone's address book does, or by number; it has no ids, no direction and local times
without a zone. So a message's keys are made of when it was sent, by whom and what it says, a person without a number is
an address ``name@export``, and day and month are told apart by the whole file, or by who gives the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from vault_importer.formats.android_kinds import KINDS, WAITING
from vault_importer.formats.base import Backup, SkippedRow, SourceChat, SourceContact, SourceMessage
from vault_importer.formats.export_keys import Line, key_ids
from vault_importer.formats.export_marks import DELETED, EDITED, OMITTED, attached_file, is_unknown_mark
from vault_importer.formats.export_options import DEFAULT_ZONE, DateOrder, ExportOptions
from vault_importer.formats.gathered import Gathered
from vault_importer.formats.sqlite_source import clean
from vault_importer.formats.zip_source import ZipSource, is_zip
from vault_importer.identity import NUMBERED
from vault_importer.refusals import BackupRefused

__all__ = ["SNIFFED_BYTES", "ExportedChat", "looks_exported", "read_text"]

MARKS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
#: ``12/05/24, 9:05 pm - `` and ``[12/05/24, 9:05:33 PM] ``, with the separators and spaces of any locale.
_LINE = re.compile(
    rf"[{MARKS}]*(?P<bracket>\[)?(?P<a>\d{{1,4}})[/.\-](?P<b>\d{{1,2}})[/.\-](?P<c>\d{{1,4}})[,\u060c]?[ \u00a0\u202f]+"
    r"(?P<hour>\d{1,2})[:.](?P<minute>\d{2})(?:[:.](?P<second>\d{2}))?"
    r"(?:[ \u00a0\u202f]*(?P<half>[ap])\.?[ \u00a0\u202f]?m\.?)?(?P<end>\][ ]?|[ \u00a0\u202f]+[-\u2013][ ])",
    re.IGNORECASE,
)
SNIFFED_BYTES = 4096
MAX_TEXT_BYTES = 128 * 1024 * 1024
MAX_NAME_CHARACTERS = 100
EXPORT = "export"
_FILE_NAME = re.compile(
    r"(?:WhatsApp Chat (?:with|-) |Chat de WhatsApp con |Discussion WhatsApp avec |WhatsApp Chat mit )(.+)"
)
_NUMBER = re.compile(r"\+[\d \u00a0\u202f()\-.]{7,25}")
_OMITTED = re.compile(r"(?:.*[\u200e ])?(image|video|audio|sticker|gif|document|contact card) omitted", re.IGNORECASE)
#: A text in angle brackets that may be a mark of another language.
UNKNOWN_MARK = "unknown_mark"
#: Else it is the kind's own name.
OMITTED_KINDS = {"contact card": "contact"}
FILE_CODES = {
    "jpg": 1, "jpeg": 1, "png": 1, "webp": 20, "mp4": 3, "mov": 3, "3gp": 3, "opus": 2, "ogg": 2, "m4a": 2, "mp3": 2,
    "aac": 2, "vcf": 4,
}  # fmt: skip
TEXT, DOCUMENT, REVOKED, SYSTEM = 0, 9, 15, 7
FIRST_YEAR, LAST_YEAR = 2009, 2100
#: So many times as many days backwards in one order as in the other tell which is right.
CLEARLY = 10


def looks_exported(start: bytes) -> bool:
    """Whether a file that begins so is an exported chat's text."""
    return _LINE.match(start[:SNIFFED_BYTES].decode("utf-8", "ignore")) is not None


class ExportedChat:
    name = "exported-chat"

    def __init__(self, options: ExportOptions | None = None) -> None:
        self._options = options or ExportOptions()

    def with_options(self, options: ExportOptions) -> ExportedChat:
        return ExportedChat(options)

    def recognises(self, path: Path) -> bool:
        if not is_zip(path):
            with path.open("rb") as stream:
                return looks_exported(stream.read(SNIFFED_BYTES))
        with suppress(BackupRefused), closing(ZipSource(path)) as source:
            name = _text_entry(source.names)
            if name is None:
                return False
            source.check([name])
            with source.open(name) as stream:
                return looks_exported(stream.read(SNIFFED_BYTES))
        return False

    def open(self, path: Path, *, address_book: Path | None, known_aliases: Mapping[str, str]) -> Backup:
        title, data = path.stem, b""
        if is_zip(path):
            with closing(ZipSource(path)) as source:
                entry = _text_entry(source.names) or ""
                source.check([entry])
                data = source.read(entry)
                title = Path(entry).stem if _FILE_NAME.fullmatch(Path(entry).stem) else title
        elif path.stat().st_size > MAX_TEXT_BYTES:
            raise BackupRefused("bomb", f"The text has more than {MAX_TEXT_BYTES} bytes, as no exported chat has.")
        else:
            data = path.read_bytes()
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise BackupRefused("not_a_backup", "The text is not UTF-8, as exported chats are.") from None
        named = _FILE_NAME.fullmatch(title)
        return read_text(text, named[1] if named else title, self._options)


def _text_entry(names: Sequence[str]) -> str | None:
    texts = [name for name in names if name.endswith(".txt") and "/" not in name]
    chosen = [name for name in texts if name == "_chat.txt" or _FILE_NAME.fullmatch(Path(name).stem)]
    return next(iter(chosen or (texts if len(texts) == 1 else [])), None)


# Lines ----------------------------------------------------------------------------------------------------------


class _Said(NamedTuple):
    numbers: tuple[int, int, int]
    year_first: bool
    clock: tuple[int, int, int]
    sender: str
    text: str


def _messages(text: str) -> Iterator[_Said]:
    """A message each, with the lines that go on below its first."""
    head: re.Match[str] | None = None
    lines: list[str] = []
    for line in text.split("\n"):
        match = _LINE.match(line)
        if match is not None and (match["bracket"] is None) == (not match["end"].startswith("]")):
            if head is not None:
                yield _said(head, lines)
            head, lines = match, [line[match.end() :]]
        else:
            lines.append(line)
    if head is not None:
        yield _said(head, lines)


def _said(head: re.Match[str], lines: Sequence[str]) -> _Said:
    body = "\n".join(lines).replace("\r", "").rstrip("\n")
    name, colon, text = body.partition(": ")
    if not colon:
        name, colon, text = body.partition(":\n")
    sender = name.strip(MARKS + " ~\u00a0\u202f")
    if not colon or not sender or len(sender) > MAX_NAME_CHARACTERS or "\n" in sender:
        sender, text = "", body
    hour = int(head["hour"])
    if head["half"]:
        hour = hour % 12 + (12 if head["half"].lower() == "p" else 0)
    numbers = (int(head["a"]), int(head["b"]), int(head["c"]))
    return _Said(numbers, len(head["a"]) == 4, (hour, int(head["minute"]), int(head["second"] or 0)), sender, text)


# Dates ----------------------------------------------------------------------------------------------------------


def _order(said: Sequence[_Said], given: DateOrder | None) -> DateOrder:
    """Which number is the day. Raises :class:`BackupRefused` where the file leaves it open."""
    if given is not None:
        return given
    if said[0].year_first:
        return "ymd"
    backwards = {order: _backwards(said, order) for order in ("dmy", "mdy")}
    possible: list[DateOrder] = [order for order in ("dmy", "mdy") if backwards[order] is not None]
    if not possible:
        raise BackupRefused("unknown_schema", "The dates of the exported chat fit neither day-month nor month-day.")
    if len(possible) == 1 or all(each.numbers[0] == each.numbers[1] for each in said):
        return possible[0]
    dmy, mdy = backwards["dmy"] or 0, backwards["mdy"] or 0
    if mdy > dmy * CLEARLY:
        return "dmy"
    if dmy > mdy * CLEARLY:
        return "mdy"
    raise BackupRefused(
        "ambiguous_dates",
        "Nothing in the exported chat tells whether its dates have the day or the month first: give --date-order dmy or"
        " mdy.",
    )


def _backwards(said: Sequence[_Said], order: DateOrder) -> int | None:
    """How often a day comes before the one above it; ``None`` where a date does not exist."""
    days = []
    for each in said:
        day = _day(each.numbers, order)
        if day is None:
            return None
        days.append(day)
    return sum(later < earlier for earlier, later in pairwise(days))


def _day(numbers: tuple[int, int, int], order: DateOrder) -> tuple[int, int, int] | None:
    a, b, c = numbers
    year, month, day = {"dmy": (c, b, a), "mdy": (c, a, b), "ymd": (a, b, c)}[order]
    year += 2000 if year < 100 else 0
    try:
        datetime(year, month, day)  # noqa: DTZ001 - only whether it exists
    except ValueError:
        return None
    return (year, month, day) if FIRST_YEAR <= year <= LAST_YEAR else None


# Messages -------------------------------------------------------------------------------------------------------


def read_text(text: str, title: str, options: ExportOptions) -> Backup:
    said = list(_messages(text))
    if not said:
        raise BackupRefused("unknown_schema", "The text has no line that begins as a message of an exported chat.")
    order = _order(said, options.date_order)
    zone = ZoneInfo(options.zone or DEFAULT_ZONE)
    people = {each.sender for each in said if each.sender}
    title = _named(title, people)
    chat = _chat(title, people)
    rows: list[SourceMessage | SkippedRow] = []
    timed: list[tuple[_Said, _Content, int]] = []
    for each in said:
        day = _day(each.numbers, order)
        clock = each.clock
        if day is None or clock[0] > 23 or clock[1] > 59 or clock[2] > 59:
            rows.append(SkippedRow("message", "no_time"))
            continue
        timed.append((each, _content(each), int(datetime(*day, *clock, tzinfo=zone).timestamp() * 1000)))
    keys = key_ids([_line(*each) for each in timed])
    rows += [_message(*each, of_it, chat, title) for each, of_it in zip(timed, keys, strict=True)]
    contacts = [_contact(name) for name in sorted({*people, title} if chat.kind == "direct" else people)]
    unknown = sum(isinstance(row, SourceMessage) and UNKNOWN_MARK in (row.details or ()) for row in rows)
    return Gathered(rows, chats=[chat], contacts=contacts, found={UNKNOWN_MARK: unknown} if unknown else {})


def _named(title: str, people: set[str]) -> str:
    """A file's name is put together in another way in each language; in a chat of two, one of them is in it."""
    within = [name for name in people if name in title]
    return within[0] if title not in people and "WhatsApp" in title and len(people) <= 2 and len(within) == 1 else title


def _chat(title: str, people: set[str]) -> SourceChat:
    """A chat that bears the name of one of at most two people is with that one."""
    direct = title in people and len(people) <= 2
    # By its number it is the chat that a backup has as well; a group's id stands nowhere.
    jid = _address(title) if direct else f"{_local(title)}@{EXPORT}"
    return SourceChat(jid=jid, kind="direct" if direct else "group", name=clean(title))


def _contact(name: str) -> SourceContact:
    jid = _address(name)
    named = not jid.endswith(f"@{NUMBERED}")
    return SourceContact(jid=jid, name=clean(name) if named else "", name_source="address_book" if named else "none")


def _address(name: str) -> str:
    digits = re.sub(r"\D", "", name)
    if _NUMBER.fullmatch(name) and digits.isascii():
        return f"{digits}@{NUMBERED}"
    return f"{_local(name)}@{EXPORT}"


def _local(name: str) -> str:
    return clean(name).replace("@", " ")


class _Content(NamedTuple):
    code: int
    """Of Android."""
    text: str
    details: Mapping[str, Any] | None = None
    kind: str = ""
    """Where the code does not say."""
    edited: bool = False


def _line(said: _Said, content: _Content, at: int) -> Line:
    return Line(at, said.sender, said.text, tells=content.code not in (WAITING, REVOKED), system=content.code == SYSTEM)


def _message(
    said: _Said, content: _Content, at: int, keys: tuple[str, ...], chat: SourceChat, title: str
) -> SourceMessage:
    from_me = chat.kind == "direct" and said.sender not in ("", title)
    sender = _address(said.sender) if said.sender and chat.kind != "direct" else ""
    code = content.code
    # Nothing tells when it was edited: after it was sent, by a quarter of an hour at most. The first moment is enough
    # to be a later wording than what was sent, and the same in every export.
    edited_at = at + 1 if content.edited else 0
    return SourceMessage(
        chat.jid, from_me, keys[-1], keys[:-1], sender, at, content.kind or KINDS[code], code, clean(content.text),
        edited_at, code == REVOKED, 0, content.details,
    )  # fmt: skip


def _content(said: _Said) -> _Content:
    marked = said.text.startswith("\u200e")
    text = said.text.strip(MARKS)
    mark = next((each for each in EDITED if text.endswith(each)), None)
    if mark is not None:
        text = text.removesuffix(mark).rstrip(MARKS + " ")
    first, _, caption = text.partition("\n")
    first = first.strip(MARKS + " ")
    if not said.sender:
        return _Content(SYSTEM, text)
    if text.lower().rstrip(".") in DELETED:
        return _Content(REVOKED, "")
    if first.startswith("<") and first.strip("<> ").lower() in OMITTED:
        return _left_out("media", caption)
    if marked and (omitted := _OMITTED.fullmatch(first)):
        kind = omitted[1].lower()
        return _left_out(OMITTED_KINDS.get(kind, kind), caption)
    if file := attached_file(first, marked=marked).strip(MARKS):
        code = FILE_CODES.get(file.rpartition(".")[2].lower(), DOCUMENT)
        return _Content(code, caption, {"file_name": clean(file)}, edited=mark is not None)
    if marked:
        # iOS writes what the app says under the chat's name.
        return _Content(SYSTEM, text)
    if is_unknown_mark(text):
        return _left_out("text", text)._replace(details={UNKNOWN_MARK: True})
    return _Content(TEXT, text, {"edited": True} if mark is not None else None, edited=mark is not None)


def _left_out(kind: str, text: str) -> _Content:
    """What another export has: with Android's code of what has not arrived yet it replaces nothing, and is replaced by
    whatever names the file. So it never counts as edited either."""
    return _Content(WAITING, text, kind=kind)
