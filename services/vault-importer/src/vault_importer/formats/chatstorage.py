"""iOS's ``ChatStorage.sqlite``, with whatever columns it has. Its times are seconds since 2001.

Kinds whose meaning is known are given in the codes of an Android store, so that an archive does not change when a
business moves from one phone to the other; of others the phone's own code is kept beside.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vault_importer.formats.android_kinds import KINDS
from vault_importer.formats.base import (
    Alias,
    Backup,
    LookedUp,
    MessageRows,
    NameSource,
    Side,
    SkippedRow,
    SourceChat,
    SourceContact,
    SourceMessage,
    of_lane,
)
from vault_importer.formats.chatstorage_tables import MEDIA, MEMBER, MESSAGE, IosTables, milliseconds
from vault_importer.formats.msgstore_tables import row_number, unread_tables
from vault_importer.formats.sqlite_source import SqliteSource, clean
from vault_importer.identity import canonical, kind_of_chat
from vault_importer.refusals import BackupRefused

__all__ = ["ChatStorage"]

CHAT, PUSH_NAME = "ZWACHATSESSION", "ZWAPROFILEPUSHNAME"
#: Core Data's own.
BOOKKEEPING = frozenset({"Z_METADATA", "Z_MODELCACHE", "Z_PRIMARYKEY"})
#: The phone's code: Android's.
CODES = {0: 0, 1: 1, 2: 3, 3: 2, 4: 4, 5: 5, 6: 7, 7: 0, 8: 9, 11: 13, 14: 15, 15: 20, 38: 42, 39: 43, 46: 66}
UNKNOWN, CONTACT, LOCATION, DOCUMENT, REVOKED, POLL = -1, 4, 5, 9, 15, 66
CHAT_ROW = "CAST(coalesce(ZCHATSESSION, -1) AS INTEGER)"


class ChatStorage:
    name = "ios-chatstorage"

    def recognises(self, path: Path) -> bool:
        try:
            source = SqliteSource(path)
        except BackupRefused:
            return False
        try:
            return source.has(MESSAGE, "Z_PK", "ZCHATSESSION", "ZSTANZAID", "ZMESSAGEDATE") and source.has(
                CHAT, "Z_PK", "ZCONTACTJID"
            )
        finally:
            source.close()

    def open(self, path: Path, *, address_book: Path | None, known_aliases: Mapping[str, str]) -> Backup:
        if address_book is not None:
            raise BackupRefused(
                "unknown_schema", "wa.db is Android's; an iOS store has its names itself: leave --address-book out."
            )
        return _ChatStorage(SqliteSource(path), known_aliases)


class _ChatStorage:
    def __init__(self, store: SqliteSource, known: Mapping[str, str]) -> None:
        self._store = store
        self._known = known
        self._chats = {row: jid for row, jid, _ in self._read_chats() if jid}
        self._members = {row: jid for row, jid, _ in self._read_members() if jid}
        self._beside = IosTables(store, chats=self._chats, members=self._members, address=self._address, codes=CODES)

    def close(self) -> None:
        self._store.close()

    def rows(self) -> Mapping[str, int]:
        counted = {each: self._store.count(each) for each in (CHAT, MEMBER, MEDIA, PUSH_NAME) if self._store.has(each)}
        return {"message": self._store.count(MESSAGE), **counted}

    def sides(self) -> list[Side]:
        return self._beside.sides()

    def lookups(self) -> Iterator[LookedUp]:
        for _, jid, _ in self._read_chats():
            yield LookedUp(CHAT, jid, reason="" if jid else "no_jid")
        if self._store.has(PUSH_NAME, "ZJID", "ZPUSHNAME"):
            for (jid,) in self._store.select(f"SELECT ZJID FROM {PUSH_NAME}"):  # noqa: S608
                address = self._address(jid)
                yield LookedUp(PUSH_NAME, address, reason="" if address else "no_jid")

    def unread(self) -> Mapping[str, int]:
        read = {MESSAGE, MEDIA, CHAT, PUSH_NAME, *(side.name for side in self.sides())}
        return unread_tables(self._store, read | BOOKKEEPING)

    def aliases(self) -> Iterator[Alias]:
        return iter(())

    def _address(self, jid: object) -> str:
        user, _, server = clean(jid).rpartition("@")
        return canonical(user, server, self._known) if user else ""

    def _read_chats(self) -> Iterator[tuple[Any, str, str]]:
        name = self._store.column(CHAT, "ZPARTNERNAME")
        for row, jid, title in self._store.select(f"SELECT Z_PK, ZCONTACTJID, {name} FROM {CHAT} ORDER BY Z_PK"):  # noqa: S608
            yield row, self._address(jid), clean(title).strip(" \u200e\u202a\u202c")

    def _read_members(self) -> Iterator[tuple[Any, str, str]]:
        if not self._store.has(MEMBER, "Z_PK", "ZMEMBERJID"):
            return
        names = ", ".join(self._store.column(MEMBER, each) for each in ("ZCONTACTNAME", "ZFIRSTNAME"))
        for row, jid, name, first in self._store.select(f"SELECT Z_PK, ZMEMBERJID, {names} FROM {MEMBER}"):  # noqa: S608
            yield row, self._address(jid), clean(name or first).strip()

    def contacts(self) -> Iterator[SourceContact | SkippedRow]:
        """Members and partners with the name of the phone's address book, and the names that people gave themselves.
        A person may come twice."""
        if self._store.has(PUSH_NAME, "ZJID", "ZPUSHNAME"):
            for jid, name in self._store.select(f"SELECT ZJID, ZPUSHNAME FROM {PUSH_NAME}"):  # noqa: S608
                if address := self._address(jid):
                    yield _contact(address, clean(name).strip(), "own_profile")
        for _, jid, name in self._read_members():
            if jid:
                yield _contact(jid, name, "address_book")
        for _, jid, name in self._read_chats():
            if kind_of_chat(jid) == "direct":
                # Without a name the phone shows the number there.
                yield _contact(jid, "" if name.startswith("+") else name, "address_book")

    def chats(self) -> Iterator[SourceChat | SkippedRow]:
        for _, jid, name in self._read_chats():
            if not jid:
                yield SkippedRow(CHAT, "no_jid")
                continue
            kind = kind_of_chat(jid)
            yield SourceChat(jid=jid, kind=kind, name="" if kind == "direct" else name)

    def messages(self, *, lane: int = 0, lanes: int = 1, skip: int = 0) -> MessageRows:
        for row in self._store.select(self._query(), json.dumps(self._lane(lane, lanes)), skip):
            yield self._message(row)

    def _lane(self, lane: int, lanes: int) -> list[int]:
        """The chats of a lane, the largest first."""
        sizes = self._store.select(f"SELECT {CHAT_ROW} AS c, count(*) FROM {MESSAGE} GROUP BY c ORDER BY 2 DESC, 1")  # noqa: S608
        return of_lane(((row[0], row[1]) for row in sizes), lane, lanes)

    def _query(self) -> str:
        own = ("ZISFROMME", "ZMESSAGETYPE", "ZTEXT", "ZGROUPMEMBER")
        with_media = self._store.has(MEDIA, "Z_PK") and self._store.has(MESSAGE, "ZMEDIAITEM")
        media = ("ZTITLE", "ZVCARDNAME", "ZVCARDSTRING", "ZMEDIALOCALPATH", "ZFILESIZE", "ZLATITUDE", "ZLONGITUDE")
        columns = ", ".join(
            [
                "m.Z_PK, m.ZCHATSESSION, m.ZSTANZAID, m.ZMESSAGEDATE",
                *(self._store.column(MESSAGE, each, "m") for each in own),
                *(self._store.column(MEDIA, each, "i") if with_media else "NULL" for each in media),
            ]
        )
        join = f"LEFT JOIN {MEDIA} i ON i.Z_PK = m.ZMEDIAITEM" if with_media else ""
        ordered = (
            f"SELECT Z_PK FROM {MESSAGE} WHERE {CHAT_ROW} IN (SELECT value FROM json_each(?))"  # noqa: S608
            " ORDER BY ZCHATSESSION, ZMESSAGEDATE, Z_PK LIMIT -1 OFFSET ?"
        )
        return f"SELECT {columns} FROM ({ordered}) o CROSS JOIN {MESSAGE} m ON m.Z_PK = o.Z_PK {join}"  # noqa: S608

    def _message(self, row: tuple[Any, ...]) -> SourceMessage | SkippedRow:
        number, chat_row, key_id, date, from_me, own_code, text, member, title, card, *media = row
        chat = self._chats.get(chat_row)
        if chat is None:
            return SkippedRow("message", "no_chat")
        sent_at = milliseconds(date)
        if not clean(key_id) or not sent_at:
            return SkippedRow("message", "no_time" if clean(key_id) else "no_key")
        code = CODES.get(own_code, UNKNOWN) if isinstance(own_code, int) else UNKNOWN
        said = clean(_said(code, text, title, card))
        sender = ""
        if from_me != 1 and kind_of_chat(chat) != "direct":
            sender = self._members.get(member, "") if isinstance(member, int) else ""
        revoked = code == REVOKED
        return SourceMessage(
            chat, from_me == 1, clean(key_id), (), sender, sent_at, KINDS.get(code, "other"),
            # What cannot be read here must not replace what another phone's store says.
            UNKNOWN if code in (CONTACT, POLL) and not said else code,
            "" if revoked else said, 0, revoked, 0, _details(code, own_code, title, media),
            row_number(number),
        )  # fmt: skip


def _contact(jid: str, name: str, source: NameSource) -> SourceContact:
    return SourceContact(jid=jid, name=name, name_source=source if name else "none")


def _said(code: int, text: object, title: object, card: object) -> object:
    """What stands in the text of an Android store."""
    if code == CONTACT:
        return text or card
    # The title of a picture is what was said beside it; of a document it is the file's name, of a place the place's.
    return text or (title if code not in (DOCUMENT, LOCATION) else None)


def _details(code: int, own_code: object, title: object, media: list[Any]) -> Mapping[str, Any] | None:
    mime, path, size, latitude, longitude = media
    details: dict[str, Any] = {}
    if code == UNKNOWN and isinstance(own_code, int) and abs(own_code) < 2**31:
        details["ios_type"] = own_code
    if code == LOCATION:
        for name, value in (("latitude", latitude), ("longitude", longitude)):
            if isinstance(value, (int, float)) and abs(value) <= 360:
                details[name] = value
        if clean(title):
            details["place_name"] = clean(title)
    if clean(path):
        details["file_path"] = clean(path)
    # The column was made for contact cards; of media it holds the type.
    if isinstance(mime, str) and "/" in mime[:100] and "\n" not in mime:
        details["mime_type"] = clean(mime)
    if isinstance(size, int) and 0 < size < 2**53:
        details["bytes"] = size
    if code == DOCUMENT and clean(title):
        details["file_name"] = clean(title)
    return details or None
