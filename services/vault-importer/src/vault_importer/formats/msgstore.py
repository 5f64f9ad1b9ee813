"""Android's ``msgstore.db`` in its present schema (``message``, ``chat``, ``jid``), with whatever columns it has."""

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
    LeftOut,
    LookedUp,
    MessageRows,
    Side,
    SkippedRow,
    SourceChat,
    SourceContact,
    SourceMessage,
    of_lane,
)
from vault_importer.formats.msgstore_aliases import read_aliases
from vault_importer.formats.msgstore_changes import Changes
from vault_importer.formats.msgstore_chats import ChatTables
from vault_importer.formats.msgstore_messages import PERSON_COLUMNS, MessageTables
from vault_importer.formats.msgstore_tables import LOCATION, Tables, milliseconds, place_of, unread_tables
from vault_importer.formats.sqlite_source import SqliteSource, clean
from vault_importer.identity import LID, NUMBERED, canonical, kind_of_chat
from vault_importer.refusals import BackupRefused

__all__ = ["ModernMsgstore"]

SENTINEL_ROW = 1
#: Columns have no types: whatever stands there is some number, and no row may fall between two lanes.
CHAT_ROW = "CAST(coalesce(chat_row_id, -1) AS INTEGER)"
READ_TABLES = ("jid", "jid_map", "lid_display_name", "chat", "message")


class ModernMsgstore:
    name = "android-msgstore"

    def recognises(self, path: Path) -> bool:
        try:
            source = SqliteSource(path)
        except BackupRefused:
            return False
        try:
            # The old `messages` table can still be there beside the present one, so the present one is asked for.
            present = source.has("message", "chat_row_id", "key_id") and source.has("chat") and source.has("jid")
            return present and (source.count("message") > 1 or source.count("messages") <= 1)
        finally:
            source.close()

    def open(self, path: Path, *, address_book: Path | None, known_aliases: Mapping[str, str]) -> Backup:
        return _Msgstore(SqliteSource(path), SqliteSource(address_book) if address_book else None, known_aliases)


class _Msgstore:
    def __init__(self, store: SqliteSource, address_book: SqliteSource | None, known: Mapping[str, str]) -> None:
        self._store = store
        self._address_book = address_book
        self._aliases = read_aliases(store, known)
        self._known = {**known, **{alias.lid: alias.jid for alias in self._aliases}}
        self._jids = {row: self._canonical(user, server) for row, user, server in self._read_jids()}
        self._chats: dict[int, str] = {}
        self._tables = tables = Tables(store, self._jids, self._chats)
        self._beside = (ChatTables(tables), MessageTables(tables))

    def close(self) -> None:
        self._store.close()
        if self._address_book:
            self._address_book.close()

    def rows(self) -> Mapping[str, int]:
        counts = {table: self._store.count(table) for table in READ_TABLES if self._store.has(table)}
        return {**counts, **rows_of_address_book(self._address_book)}

    def digests(self, salt: bytes, share: int = 0, shares: int = 1) -> Mapping[int, bytes]:
        self._know_chats()
        return Changes(self._tables).digests(salt, share, shares)

    def leave_out(self, parts: Sequence[int]) -> LeftOut:
        self._know_chats()
        return Changes(self._tables).leave_out(parts)

    def aliases(self) -> Iterator[Alias]:
        return iter(self._aliases)

    def sides(self) -> Sequence[Side]:
        sides = {side.name: side for tables in reversed(self._beside) for side in tables.sides()}
        return list(sides.values())

    def lookups(self) -> Iterator[LookedUp]:
        store = self._store
        for jid in self._jids.values():
            yield LookedUp("jid", jid)
        if store.has("jid_map", "lid_row_id", "jid_row_id"):
            for row in store.select(
                "SELECT l.user, l.server, p.user, p.server FROM jid_map m LEFT JOIN jid l ON l._id = m.lid_row_id"
                " LEFT JOIN jid p ON p._id = m.jid_row_id"
            ):
                users = {row[1]: clean(row[0]), row[3]: clean(row[2])}
                if users.keys() == {LID, NUMBERED}:
                    lid, jid = (canonical(users[server], server, {}) for server in (LID, NUMBERED))
                    yield LookedUp("jid_map", lid, jid, "" if self._known.get(lid) == jid else "contradicted")
                else:
                    yield LookedUp("jid_map", "", reason="no_pair")
        if store.has("lid_display_name", "lid_row_id", "display_name"):
            for row, name in store.select("SELECT lid_row_id, display_name FROM lid_display_name"):
                jid = self._jids.get(row, "")
                reason = "no_jid" if not jid else "" if clean(name).strip() else "no_name"
                yield LookedUp("lid_display_name", jid, reason=reason)
        yield from looked_up_in_address_book(self._address_book, self._known)

    def unread(self) -> Mapping[str, int]:
        own = unread_tables(self._store, {*READ_TABLES, *(side.name for side in self.sides())})
        return {**own, **unread_in_address_book(self._address_book, self._store.tables.keys())}

    def _canonical(self, user: object, server: object) -> str:
        return canonical(clean(user), clean(server), self._known)

    def _read_jids(self) -> Iterator[tuple[Any, ...]]:
        return self._store.select("SELECT _id, user, server FROM jid")

    def contacts(self) -> Iterator[SourceContact | SkippedRow]:
        """Everyone who wrote, reacted, received, called or belongs to a group, everyone with a chat of their own, and
        everyone with a name. A person may come twice, the better name last."""
        people = [
            # Everyone, whatever was left out.
            "SELECT sender_jid_row_id FROM main.message WHERE sender_jid_row_id > 0",
            "SELECT jid_row_id FROM chat",
            *(
                f"SELECT {column} FROM main.{table}"  # noqa: S608
                for table, column in PERSON_COLUMNS
                if self._store.has(table, column)
            ),
        ]
        rows = self._store.select(" UNION ".join(people))
        for (row,) in rows:
            jid = self._jids.get(row)
            if jid is not None and kind_of_chat(jid) == "direct":
                yield SourceContact(jid=jid)
        yield from chain(self._named_by_themselves(), named_in_address_book(self._address_book, self._known))

    def _named_by_themselves(self) -> Iterator[SourceContact]:
        if not self._store.has("lid_display_name", "lid_row_id", "display_name"):
            return
        for row, name in self._store.select("SELECT lid_row_id, display_name FROM lid_display_name"):
            if row in self._jids and clean(name).strip():
                yield SourceContact(jid=self._jids[row], name=clean(name).strip(), name_source="own_profile")

    def chats(self) -> Iterator[SourceChat | SkippedRow]:
        subject = self._store.column("chat", "subject")
        for row, jid_row, name in self._store.select(f"SELECT _id, jid_row_id, {subject} FROM chat"):  # noqa: S608
            jid = self._jids.get(jid_row)
            if jid is None:
                yield SkippedRow("chat", "no_jid")
                continue
            self._chats[row] = jid
            yield SourceChat(jid=jid, kind=kind_of_chat(jid), name=clean(name).strip())

    def messages(self, *, lane: int = 0, lanes: int = 1, skip: int = 0) -> MessageRows:
        self._know_chats()
        chats = json.dumps(self._lane(lane, lanes))
        for row in self._store.select(self._message_query(), chats, skip):
            yield self._message(row)

    def _know_chats(self) -> None:
        if not self._chats:
            for _ in self.chats():
                pass

    def _lane(self, lane: int, lanes: int) -> list[int]:
        """The chats of a lane, the largest first."""
        sizes = self._store.select(f"SELECT {CHAT_ROW} AS c, count(*) FROM message GROUP BY c ORDER BY 2 DESC, 1")  # noqa: S608
        return of_lane(((row[0], row[1]) for row in sizes), lane, lanes)

    def _message_query(self) -> str:
        side_tables = {
            "message_edit_info": "e",
            "message_revoked": "r",
            "message_forwarded": "f",
            "message_location": "l",
            "message_media": "mm",
            "message_system": "s",
        }
        joined = [t for t in side_tables if self._store.has(t, "message_row_id") and self._store.count(t)]
        joins = " ".join(
            f"LEFT JOIN {table} {alias} ON {alias}.message_row_id = m._id"
            for table, alias in side_tables.items()
            if table in joined
        )

        def column(table: str, name: str, alias: str) -> str:
            # A join costs the same for an empty table as for a full one.
            return self._store.column(table, name, alias) if table == "message" or table in joined else "NULL"

        columns = ", ".join(
            [
                "m._id, m.chat_row_id, m.from_me, m.key_id",
                column("message", "sender_jid_row_id", "m"),
                column("message", "timestamp", "m"),
                column("message", "received_timestamp", "m"),
                column("message", "message_type", "m"),
                column("message", "text_data", "m"),
                column("message_media", "media_caption", "mm"),
                column("message_edit_info", "original_key_id", "e"),
                column("message_edit_info", "edited_timestamp", "e"),
                column("message_revoked", "revoked_key_id", "r"),
                column("message_forwarded", "forward_score", "f"),
                column("message_system", "action_type", "s"),
                *(column("message_location", name, "l") for name in LOCATION),
            ]
        )
        # A backup has no index to go by; sorting the ids alone keeps the sort small and free of text.
        ordered = (
            f"SELECT _id FROM message WHERE {CHAT_ROW} IN (SELECT value FROM json_each(?))"  # noqa: S608
            " ORDER BY chat_row_id, timestamp, _id LIMIT -1 OFFSET ?"
        )
        return f"SELECT {columns} FROM ({ordered}) o CROSS JOIN message m ON m._id = o._id {joins}"  # noqa: S608

    def _message(self, row: tuple[Any, ...]) -> SourceMessage | SkippedRow:
        (row_id, chat_row, from_me, key_id, sender_row, sent, received, code, text, caption,
         original_key, edited, revoked_key, forwarded, action, *place) = row  # fmt: skip
        chat = self._chats.get(chat_row)
        if chat is None:
            reason = "sentinel" if row_id == SENTINEL_ROW and chat_row == -1 else "no_chat"
            return SkippedRow("message", reason)
        sent_at = milliseconds(sent) or milliseconds(received)
        if not key_id or not sent_at:
            return SkippedRow("message", "no_key" if not key_id else "no_time")
        raw_kind = code if isinstance(code, int) and abs(code) < 2**31 else -1
        earlier = () if original_key is None and revoked_key is None else _earlier(key_id, original_key, revoked_key)
        return SourceMessage(
            chat,
            from_me == 1,
            clean(key_id),
            earlier,
            self._sender(chat, sender_row),
            sent_at,
            KINDS.get(raw_kind, "other"),
            raw_kind,
            clean(text or caption),
            milliseconds(edited) if edited else 0,
            raw_kind in REVOKED_KINDS or revoked_key is not None,
            forwarded if isinstance(forwarded, int) and abs(forwarded) < 2**31 else 0,
            _details(action, place),
            row_id,
        )

    def _sender(self, chat: str, sender_row: object) -> str:
        # In a direct chat some versions name the other side and some nobody, for the same message.
        if not sender_row or kind_of_chat(chat) == "direct" or not isinstance(sender_row, int):
            return ""
        return self._jids.get(sender_row, "")


def _earlier(key_id: object, *others: object) -> tuple[str, ...]:
    current = clean(key_id)
    return tuple(dict.fromkeys(key for other in others if (key := clean(other)) and key != current))


def _details(action: object, place: list[Any]) -> Mapping[str, Any] | None:
    if action is None and not any(value is not None for value in place):
        return None
    details = place_of(dict(zip(LOCATION, place, strict=True)))
    if action is not None:
        details["system_action"] = action if isinstance(action, int) else -1
    return details
