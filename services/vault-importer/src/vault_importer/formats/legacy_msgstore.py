"""Android's ``msgstore.db`` as it was until about 2022: one wide table ``messages``, everybody by their address."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from vault_importer.formats.address_book import (
    looked_up_in_address_book,
    named_in_address_book,
    rows_of_address_book,
    unread_in_address_book,
)
from vault_importer.formats.android_kinds import KINDS, REVOKED_KINDS
from vault_importer.formats.base import (
    Alias,
    Backup,
    LookedUp,
    MessageRows,
    Side,
    SideRow,
    SideRows,
    SkippedRow,
    SourceChat,
    SourceContact,
    SourceMessage,
    of_lane,
)
from vault_importer.formats.msgstore import ModernMsgstore
from vault_importer.formats.msgstore_chats import ChatTables
from vault_importer.formats.msgstore_messages import MessageTables
from vault_importer.formats.msgstore_tables import (
    LOCATION,
    MAX_KEY_CHARACTERS,
    Tables,
    milliseconds,
    place_of,
    row_number,
    unread_tables,
)
from vault_importer.formats.sqlite_source import SqliteSource, clean
from vault_importer.identity import canonical, kind_of_chat
from vault_importer.refusals import BackupRefused

__all__ = ["LegacyMsgstore"]

SYSTEM, SYSTEM_STATUS = 7, 6
STATUS = "status@broadcast"
#: Of ``edit_version``: taken back by who sent it, whatever else the row still says.
REVOKED_VERSION = 7
#: The row that every store begins with.
SENTINEL_ADDRESS = "-1"
READ_TABLES = ("chat_list", "jid", "messages")
#: Whatever stands there, also what is no text: no row may fall between two lanes.
ADDRESS = "hex(CAST(coalesce(key_remote_jid, '') AS BLOB))"
COLUMNS = ("_id", "key_remote_jid", "key_from_me", "key_id", "remote_resource", "status", "timestamp",
           "received_timestamp", "media_wa_type", "media_size", "data", "media_caption", "forwarded",
           "latitude", "longitude", "media_name", "media_url", "edit_version")  # fmt: skip


class LegacyMsgstore:
    name = "android-msgstore-legacy"

    def recognises(self, path: Path) -> bool:
        # For years both tables were there; the present one is asked for first, and counts once it holds anything.
        if ModernMsgstore().recognises(path):
            return False
        try:
            source = SqliteSource(path)
        except BackupRefused:
            return False
        try:
            return source.has("messages", "_id", "key_remote_jid", "key_from_me", "key_id")
        finally:
            source.close()

    def open(self, path: Path, *, address_book: Path | None, known_aliases: Mapping[str, str]) -> Backup:
        return _Legacy(SqliteSource(path), SqliteSource(address_book) if address_book else None, known_aliases)


class _Legacy:
    def __init__(self, store: SqliteSource, address_book: SqliteSource | None, known: Mapping[str, str]) -> None:
        self._store = store
        self._address_book = address_book
        self._known = known
        jids = store.select("SELECT _id, user, server FROM jid") if store.has("jid", "_id", "user", "server") else ()
        self._jids = {row: canonical(clean(user), clean(server), known) for row, user, server in jids}
        chats = store.select("SELECT _id, jid_row_id FROM chat") if store.has("chat", "_id", "jid_row_id") else ()
        rows = {row: self._jids[jid] for row, jid in chats if jid in self._jids}
        self._tables = Tables(store, self._jids, rows)

    def close(self) -> None:
        self._store.close()
        if self._address_book:
            self._address_book.close()

    def rows(self) -> Mapping[str, int]:
        counts = {table: self._store.count(table) for table in READ_TABLES if self._store.has(table)}
        return {**counts, "message": counts["messages"], **rows_of_address_book(self._address_book)}

    def aliases(self) -> Iterator[Alias]:
        return iter(())

    def _address(self, value: object) -> str:
        user, _, server = clean(value).strip().rpartition("@")
        return canonical(user, server, self._known) if user else ""

    # People and chats -----------------------------------------------------------------------------------------------

    def contacts(self) -> Iterator[SourceContact | SkippedRow]:
        named = [
            (table, column)
            for table, column in (
                ("messages", "key_remote_jid"),
                ("messages", "remote_resource"),
                ("messages_quotes", "remote_resource"),
                ("receipts", "remote_resource"),
                ("group_participants", "jid"),
                ("chat_list", "key_remote_jid"),
            )
            if self._store.has(table, column)
        ]
        union = " UNION ".join(f"SELECT {column} FROM {table}" for table, column in named)  # noqa: S608
        addresses = (self._address(value) for (value,) in self._store.select(union))
        for jid in chain(addresses, self._jids.values()):
            if kind_of_chat(jid) == "direct":
                yield SourceContact(jid=jid)
        yield from named_in_address_book(self._address_book, self._known)

    def chats(self) -> Iterator[SourceChat | SkippedRow]:
        if self._store.has("chat_list", "key_remote_jid"):
            subject = self._store.column("chat_list", "subject")
            for value, name in self._store.select(f"SELECT key_remote_jid, {subject} FROM chat_list"):  # noqa: S608
                jid = self._address(value)
                if jid:
                    yield SourceChat(jid=jid, kind=kind_of_chat(jid), name=clean(name).strip())
                else:
                    yield SkippedRow("chat_list", "no_jid")
        for (value,) in self._store.select("SELECT DISTINCT key_remote_jid FROM messages"):
            jid = self._address(value)
            if jid:
                yield SourceChat(jid=jid, kind=kind_of_chat(jid))

    # Messages -------------------------------------------------------------------------------------------------------

    def messages(self, *, lane: int = 0, lanes: int = 1, skip: int = 0) -> MessageRows:
        columns = ", ".join(self._store.column("messages", name, "m") for name in COLUMNS)
        ordered = (
            f"SELECT _id FROM messages WHERE {ADDRESS} IN (SELECT value FROM json_each(?))"  # noqa: S608
            f" ORDER BY {ADDRESS}, timestamp, _id LIMIT -1 OFFSET ?"
        )
        query = f"SELECT {columns} FROM ({ordered}) o CROSS JOIN messages m ON m._id = o._id"  # noqa: S608
        for row in self._store.select(query, json.dumps(self._lane(lane, lanes)), skip):
            yield self._message(row)

    def _lane(self, lane: int, lanes: int) -> list[str]:
        """The addresses of a lane: those of one chat stay together, the largest chats go first to the emptiest lane."""
        sizes: dict[str, int] = {}
        addresses: dict[str, list[str]] = {}
        for value, size in self._store.select(f"SELECT {ADDRESS} AS a, count(*) FROM messages GROUP BY a"):  # noqa: S608
            # An address that is none makes no chat, but has a lane.
            chat = self._address(bytes.fromhex(value)) or value
            sizes[chat] = sizes.get(chat, 0) + size
            addresses.setdefault(chat, []).append(value)
        largest_first = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
        return [each for chat in of_lane(largest_first, lane, lanes) for each in addresses[chat]]

    def _message(self, row: tuple[Any, ...]) -> SourceMessage | SkippedRow:
        (row_id, address, from_me, key_id, author, status, sent, received, code, size, text, caption, forwarded,
         latitude, longitude, place, url, version) = row  # fmt: skip
        chat = self._address(address)
        if not chat:
            return SkippedRow("messages", "sentinel" if clean(address) == SENTINEL_ADDRESS else "no_chat")
        sent_at = milliseconds(sent) or milliseconds(received)
        if not key_id or not sent_at:
            return SkippedRow("messages", "no_key" if not key_id else "no_time")
        raw_kind = SYSTEM if status == SYSTEM_STATUS else _code(code)
        details: dict[str, Any] = {}
        if raw_kind == SYSTEM:
            details["system_action"] = size if isinstance(size, int) else -1
        elif latitude or longitude:
            details = place_of(dict(zip(LOCATION, (latitude, longitude, place, None, url), strict=True)))
        return SourceMessage(
            chat,
            from_me == 1,
            clean(key_id),
            (),
            "" if kind_of_chat(chat) == "direct" else self._address(author),
            sent_at,
            KINDS.get(raw_kind, "other"),
            raw_kind,
            clean(text or caption),
            0,
            raw_kind in REVOKED_KINDS or version == REVOKED_VERSION,
            forwarded if isinstance(forwarded, int) and 0 < forwarded < 2**31 else 0,
            details or None,
            row_number(row_id),
        )

    # Beside the messages --------------------------------------------------------------------------------------------

    def sides(self) -> Sequence[Side]:
        store = self._store
        own = [
            Side(name="messages.media", into="media", rows=self._media),
            Side(name="messages.mentions", into="mention", rows=self._mentions),
        ]
        if store.has("messages_quotes", "_id", "key_id", "key_remote_jid") and store.has("messages", "quoted_row_id"):
            own.append(Side(name="messages_quotes", into="quote", rows=self._quotes))
        if store.has("receipts", "key_id", "key_remote_jid", "remote_resource"):
            own.append(Side(name="receipts", into="receipt", rows=self._receipts))
        if store.has("group_participants", "gjid", "jid"):
            own.append(Side(name="group_participants", into="member", rows=self._members))
        read = {side.name for side in own} | {"messages"}
        others = {side.name: side for tables in (MessageTables, ChatTables) for side in tables(self._tables).sides()}
        filled = [side for side in own if side.name not in store.tables or store.count(side.name)]
        return [*filled, *(side for name, side in others.items() if name not in read)]

    def lookups(self) -> Iterator[LookedUp]:
        for jid in self._jids.values():
            yield LookedUp("jid", jid)
        if self._store.has("chat_list", "key_remote_jid"):
            for (value,) in self._store.select("SELECT key_remote_jid FROM chat_list"):
                jid = self._address(value)
                yield LookedUp("chat_list", jid, reason="" if jid else "no_jid")
        yield from looked_up_in_address_book(self._address_book, self._known)

    def unread(self) -> Mapping[str, int]:
        own = unread_tables(self._store, {*READ_TABLES, *(side.name for side in self.sides())})
        return {**own, **unread_in_address_book(self._address_book, self._store.tables.keys())}

    def _media(self, skip: int) -> SideRows:
        names = ("_id", "media_mime_type", "media_size", "media_duration", "media_name",
                 "media_caption", "media_hash")  # fmt: skip
        columns = ", ".join(self._store.column("messages", name) for name in names)
        filled = " OR ".join(f"{self._store.column('messages', n)} <> ''" for n in ("media_mime_type", "media_hash"))
        query = f"SELECT {columns} FROM messages WHERE {filled} ORDER BY _id LIMIT -1 OFFSET ?"  # noqa: S608
        for row, mime, size, seconds, *texts in self._store.select(query, skip):
            name, caption, hash_ = (clean(each) for each in texts)
            values = {"mime_type": clean(mime), "bytes": size, "duration_seconds": seconds, "name": name,
                      "caption": caption, "file_hash": hash_, "original_file_hash": "", "file_path": ""}  # fmt: skip
            yield SideRow(values, message_row=row_number(row))

    def _mentions(self, skip: int) -> SideRows:
        column = self._store.column("messages", "mentioned_jids")
        seen = 0
        for row, mentioned in self._store.select(
            f"SELECT _id, {column} FROM messages WHERE {column} <> '' ORDER BY _id"  # noqa: S608
        ):
            for item, value in enumerate(clean(mentioned).split(",")):
                seen += 1
                if seen > skip:
                    jid = self._address(value)
                    values = {"item": str(item), "address": jid, "name": "", "raw_kind": None}
                    yield SideRow(values, message_row=row_number(row), person_jid=jid)

    def _quotes(self, skip: int) -> SideRows:
        names = ("key_remote_jid", "key_from_me", "key_id", "remote_resource", "timestamp", "media_wa_type", "data")
        columns = ", ".join(self._store.column("messages_quotes", name, "q") for name in names)
        quoting = "SELECT quoted_row_id, min(_id) AS _id FROM messages WHERE quoted_row_id > 0 GROUP BY quoted_row_id"
        for row, address, from_me, key_id, author, sent, code, text in self._store.select(
            f"SELECT m._id, {columns} FROM messages_quotes q LEFT JOIN ({quoting}) m ON m.quoted_row_id = q._id"  # noqa: S608
            " ORDER BY q._id LIMIT -1 OFFSET ?",
            skip,
        ):
            chat = self._address(address)
            values = {"quoted_key_id": clean(key_id)[:MAX_KEY_CHARACTERS], "quoted_at": sent,
                      "quoted_raw_kind": _code(code), "of_status": chat == STATUS, "text": clean(text)}  # fmt: skip
            yield SideRow(values, row_number(row), chat, from_me == 1, self._address(author))

    def _receipts(self, skip: int) -> SideRows:
        names = ("receipt_device_timestamp", "read_device_timestamp", "played_device_timestamp")
        columns = ", ".join(self._store.column("receipts", name, "r") for name in names)
        sent = "SELECT key_remote_jid, key_id, min(_id) AS _id FROM messages WHERE key_from_me = 1 GROUP BY 1, 2"
        for row, address, *times in self._store.select(
            f"SELECT m._id, r.remote_resource, {columns} FROM receipts r LEFT JOIN ({sent}) m"  # noqa: S608
            " ON m.key_remote_jid = r.key_remote_jid AND m.key_id = r.key_id ORDER BY r.rowid LIMIT -1 OFFSET ?",
            skip,
        ):
            jid = self._address(address)
            if not jid:
                yield SkippedRow("receipts", "no_jid")
                continue
            values = dict(zip(("delivered_at", "read_at", "played_at"), times, strict=True))
            yield SideRow(values, message_row=row_number(row), person_jid=jid)

    def _members(self, skip: int) -> SideRows:
        for group, user, rank, pending in self._tables.select(
            "group_participants", ("gjid", "jid", "admin", "pending"), skip
        ):
            chat, person = self._address(group), self._address(user)
            if not chat or not person:
                yield SkippedRow("group_participants", "no_jid")
                continue
            values = {"rank": rank, "pending": pending == 1, "added_at": 0, "label": ""}
            yield SideRow(values, chat_jid=chat, person_jid=person)


def _code(value: object) -> int:
    """The kind, which is text in this table."""
    text = clean(value).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else (-1 if text else 0)
