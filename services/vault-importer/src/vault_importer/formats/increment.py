"""``msgstore-increment-N.db``: what came after a whole backup. A ZIP of ``header.json``, ``messages.bin`` (one
length and one ``HistorySync`` after another) and changed rows of tables as JSON.

It is read as a whole: an increment holds a day or a week. Its times are seconds.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

from vault_importer import protobuf
from vault_importer.formats.base import (
    Alias,
    Backup,
    LookedUp,
    Side,
    SideRow,
    SideRows,
    SkippedRow,
    SourceChat,
    SourceContact,
    SourceMessage,
)
from vault_importer.formats.gathered import Gathered
from vault_importer.formats.sqlite_source import clean
from vault_importer.formats.sync_added import ADDED, REACTIONS, VOTES, rows_added
from vault_importer.formats.sync_beside import INTO
from vault_importer.formats.sync_content import text_of
from vault_importer.formats.sync_envelope import Author, Known, address, envelope_of
from vault_importer.formats.sync_message import message_of, reaction_of
from vault_importer.formats.zip_source import ZipSource, damaged, is_zip
from vault_importer.identity import LID, NUMBERED, kind_of_chat
from vault_importer.refusals import BackupRefused

__all__ = ["Increment"]

HEADER, MESSAGES = "header.json", "messages.bin"
#: Tables that say who is who.
LOOKUPS = ("jid", "jid_map", "chat", "lid_display_name")
CHANGED_ROWS = re.compile(rf"({'|'.join(LOOKUPS)})_modified_\d{{1,9}}\.json")
OTHER_ROWS = re.compile(r"([a-z0-9_]{1,64})_modified_\d{1,9}\.json")
MAX_SYNC_BYTES = 64 * 1024 * 1024
# HistorySync
CONVERSATION, PUSH_NAME, NUMBER_TO_LID = 2, 7, 15
#: Of a message, what comes with it and is not read: only counted.
NOT_READ = {
    40: "user_receipt", 50: "keep_in_chat", 54: "pin_in_chat", 61: "event_response", 68: "message_add_on",
}  # fmt: skip
# Conversation
CHAT, SYNC_MESSAGE, NAME, CHAT_NUMBER, CHAT_LID = 1, 2, 13, 39, 42
#: The tables of what stands beside messages, by what becomes of their rows.
BESIDE = {**INTO, REACTIONS: "reaction", VOTES: "poll_vote"}


class Increment:
    name = "android-increment"

    def recognises(self, path: Path) -> bool:
        if not is_zip(path):
            return False
        try:
            with closing(ZipSource(path)) as source:
                return {HEADER, MESSAGES} <= set(source.names)
        except BackupRefused:
            return False

    def open(self, path: Path, *, address_book: Path | None, known_aliases: Mapping[str, str]) -> Backup:
        with closing(ZipSource(path)) as source:
            tables = sorted(name for name in source.names if CHANGED_ROWS.fullmatch(name))
            others = sorted(name for name in source.names if OTHER_ROWS.fullmatch(name) and name not in tables)
            source.check([HEADER, MESSAGES, *tables, *others])
            gathering = _Gathering(known_aliases)
            gathering.tables(source, tables)
            gathering.leave(source, others)
            try:
                # People's identities can stand behind their messages, so those are looked for first.
                for sync in _all(source):
                    gathering.identities(sync)
                gathering.names()
                for wanted in (gathering.authors, gathering.conversations):
                    for sync in _all(source):
                        wanted(sync)
            except (protobuf.Malformed, zipfile.BadZipFile, zlib.error, EOFError):
                raise damaged() from None
            return gathering.backup()


class _Increment(Gathered):
    """With what came beside the messages: reactions also to those of an earlier backup."""

    def __init__(
        self,
        *rows: Any,
        beside: Mapping[str, Sequence[SideRow | SkippedRow]],
        lookups: Sequence[LookedUp],
        unread: Mapping[str, int],
        **given: Any,
    ) -> None:
        super().__init__(*rows, **given)
        self._beside = beside
        self._lookups = lookups
        self._unread = unread

    def sides(self) -> list[Side]:
        return [Side(name=name, into=BESIDE[name], rows=partial(self._rows, name)) for name in self._beside]

    def _rows(self, name: str, skip: int) -> SideRows:
        yield from self._beside[name][skip:]

    def lookups(self) -> Iterator[LookedUp]:
        return iter(self._lookups)

    def unread(self) -> Mapping[str, int]:
        return {table: count for table, count in sorted(self._unread.items()) if count}


class _Gathering:
    def __init__(self, known: Mapping[str, str]) -> None:
        self._aliases: dict[str, Alias] = {}
        self._known = dict(known)
        self._authors: dict[tuple[str, str], Author] = {}
        self._own: set[str] = set()
        self._rows: list[SourceMessage | SkippedRow] = []
        self._chats: dict[str, str] = {}
        self._people: dict[str, str] = {}
        self._beside: list[tuple[int, str, SideRow | SkippedRow]] = []
        self._tables: dict[str, list[Mapping[str, Any]]] = {}
        self._jids: dict[int, str] = {}
        self._lookups: list[LookedUp] = []
        self._unread: Counter[str] = Counter()

    def backup(self) -> Backup:
        beside = self._rows_beside()
        people = {row.sender_jid: "" for row in self._rows if isinstance(row, SourceMessage) and row.sender_jid}
        people |= {
            row.person_jid: ""
            for rows in beside.values()
            for row in rows
            if isinstance(row, SideRow) and kind_of_chat(row.person_jid) == "direct"
        }
        people |= {jid: "" for jid in self._chats if kind_of_chat(jid) == "direct"}
        contacts = [
            SourceContact(jid=jid, name=name, name_source="own_profile" if name else "none")
            for jid, name in {**people, **self._people}.items()
        ]
        chats = [SourceChat(jid=jid, kind=kind_of_chat(jid), name=name) for jid, name in self._chats.items()]
        return _Increment(
            self._rows,
            chats=chats,
            contacts=contacts,
            aliases=list(self._aliases.values()),
            found={table: len(rows) for table, rows in self._tables.items() if rows},
            beside=beside,
            lookups=self._lookups,
            unread=self._unread,
        )

    def _rows_beside(self) -> dict[str, list[SideRow | SkippedRow]]:
        """By table. Of several rows that say something of one message the last one counts: that of its last edit."""
        beside: dict[str, list[SideRow | SkippedRow]] = {name: [] for name in BESIDE}
        for _, name, row in sorted(self._beside, key=itemgetter(0)):
            beside[name].append(row)
        return {name: rows for name, rows in beside.items() if rows}

    def tables(self, source: ZipSource, names: list[str]) -> None:
        """The changed rows of tables that say who is who. Row numbers of people outside the increment mean nothing."""
        for name in names:
            table = name.partition("_modified_")[0]
            self._tables.setdefault(table, []).extend(_rows_of(source.read(name), table))
        self._jids = {_row(row, "_id"): _address_of(row) for row in self._tables.get("jid", [])}
        for row in self._tables.get("jid_map", []):
            self._same(*self._pair(row), "jid_map")

    def names(self) -> None:
        """What they call people and chats, once it is known who is who, and what became of each row."""
        for row in self._tables.get("jid", []):
            self._looked_up("jid", address(_address_of(row), self._known))
        for row in self._tables.get("jid_map", []):
            lid, jid = (address(each, {}) for each in self._pair(row))
            known = lid.endswith(f"@{LID}") and jid.endswith(f"@{NUMBERED}")
            self._lookups.append(LookedUp("jid_map", lid, jid) if known else LookedUp("jid_map", "", reason="no_pair"))
        for row in self._tables.get("chat", []):
            jid, name = address(self._jid(row, "jid_row_id"), self._known), clean(row.get("subject")).strip()
            if jid and name:
                self._chats.setdefault(jid, name)
            self._looked_up("chat", jid)
        for row in self._tables.get("lid_display_name", []):
            jid, name = address(self._jid(row, "lid_row_id"), self._known), clean(row.get("display_name")).strip()
            if jid and name:
                self._people[jid] = name
            self._looked_up("lid_display_name", jid, "" if name else "no_name")

    def _looked_up(self, table: str, jid: str, reason: str = "") -> None:
        self._lookups.append(LookedUp(table, jid, reason=reason if jid else "no_jid"))

    def _pair(self, row: Mapping[str, Any]) -> tuple[str, str]:
        return self._jid(row, "lid_row_id"), self._jid(row, "jid_row_id")

    def _jid(self, row: Mapping[str, Any], column: str) -> str:
        number = _row(row, column)
        return self._jids.get(number, "") if number > 0 else ""

    def leave(self, source: ZipSource, names: list[str]) -> None:
        """Changed rows of other tables: without the whole store nobody knows what their row numbers mean."""
        for name in names:
            table = name.partition("_modified_")[0]
            self._unread[table] += len(_rows_of(source.read(name), table))

    def identities(self, sync: bytes) -> None:
        for number, value in protobuf.fields(sync):
            if number == NUMBER_TO_LID and isinstance(value, bytes):
                self._same(text_of(value, 2), text_of(value, 1), "history_sync")
            elif number == CONVERSATION and isinstance(value, bytes):
                chat = text_of(value, CHAT)
                self._same(text_of(value, CHAT_LID) or chat, text_of(value, CHAT_NUMBER) or chat, "history_sync")

    def _same(self, lid: str, jid: str, source: str) -> None:
        lid, jid = address(lid, {}), address(jid, {})
        if lid.endswith(f"@{LID}") and jid.endswith(f"@{NUMBERED}") and lid not in self._aliases:
            self._aliases[lid] = Alias(lid=lid, jid=jid, source=source)
            # What another source has told before is trusted more than a conversation's own words.
            if source != "history_sync" or lid not in self._known:
                self._known[lid] = jid

    def authors(self, sync: bytes) -> None:
        """Whose each message is: another one can name it, a revocation for instance."""
        for number, value in protobuf.fields(sync):
            for info in _infos(value) if number == CONVERSATION and isinstance(value, bytes) else ():
                envelope = envelope_of(info, self._known)
                self._authors.setdefault((envelope.chat, envelope.key_id), envelope.author)
                self._own.update(envelope.own)

    def conversations(self, sync: bytes) -> None:
        for number, value in protobuf.fields(sync):
            if not isinstance(value, bytes):
                continue
            if number == PUSH_NAME:
                jid, name = address(text_of(value, 1), self._known), text_of(value, 2).strip()
                if jid and name:
                    self._people[jid] = name
            elif number == CONVERSATION:
                self._conversation(value)

    def _conversation(self, raw: bytes) -> None:
        jid = address(text_of(raw, CHAT), self._known)
        if jid and (jid not in self._chats or text_of(raw, NAME)):
            named = text_of(raw, NAME).strip() if kind_of_chat(jid) != "direct" else ""
            self._chats[jid] = named or self._chats.get(jid, "")
        for info in _infos(raw):
            self._message(info)

    def _message(self, info: bytes) -> None:
        known = Known(aliases=self._known, authors=self._authors, own=self._own)
        row, beside = message_of(info, known, len(self._rows) + 1)
        self._rows.append(row)
        numbers = Counter(number for number, _ in protobuf.fields(info))
        self._unread.update({name: numbers[number] for number, name in NOT_READ.items() if number in numbers})
        if isinstance(row, SourceMessage):
            self._chats.setdefault(row.chat_jid, "")
            added = rows_added(info, row, self._known) if numbers.keys() & ADDED else ()
            self._beside += [(row.sent_at_ms, table, each) for table, each in chain(beside, added)]
        elif (reaction := reaction_of(info, self._known)) is not None:
            self._beside.append((0, REACTIONS, reaction))


def _infos(conversation: bytes) -> Iterator[bytes]:
    """Its messages, an empty one for each that is none."""
    for number, value in protobuf.fields(conversation):
        if number == SYNC_MESSAGE and isinstance(value, bytes):
            info = protobuf.first(value, 1)
            yield info if isinstance(info, bytes) else b""


def _all(source: ZipSource) -> Iterator[bytes]:
    with source.open(MESSAGES) as stream:
        yield from _syncs(stream)


def _syncs(stream: IO[bytes]) -> Iterator[bytes]:
    """Each message of a length-delimited stream. Raises :class:`protobuf.Malformed` where it is cut off."""
    while length := _length(stream):
        if length > MAX_SYNC_BYTES:
            raise BackupRefused("bomb", f"A part of the increment has more than {MAX_SYNC_BYTES} bytes.")
        data = stream.read(length)
        if len(data) < length:
            raise protobuf.Malformed("the last message is cut off")
        yield data


def _length(stream: IO[bytes]) -> int:
    """0 at the end."""
    raw = b""
    while not raw or raw[-1] & 0x80:
        byte = stream.read(1)
        if not byte and not raw:
            return 0
        if not byte or len(raw) == protobuf.MAX_VARINT_BYTES:
            raise protobuf.Malformed("a length is cut off")
        raw += byte
    return protobuf.read_varint(raw, 0)[0]


def _rows_of(data: bytes, table: str) -> list[Mapping[str, Any]]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise damaged() from None
    rows = found.get(table) if isinstance(found, dict) else None
    # A row that is none is one of which nothing is known, so that it is counted.
    return [row if isinstance(row, dict) else {} for row in rows] if isinstance(rows, list) else []


def _row(row: Mapping[str, Any], name: str) -> int:
    number = row.get(name)
    return number if isinstance(number, int) else -1


def _address_of(row: Mapping[str, Any]) -> str:
    return f"{clean(row.get('user'))}@{clean(row.get('server'))}"
