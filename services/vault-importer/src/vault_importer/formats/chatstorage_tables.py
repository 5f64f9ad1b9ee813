"""What stands beside the messages of an iOS store: files, quotes, reactions, members of groups, and every other table
that names a message.

Reactions and quotes are in small protobufs, of which only the fields that several independent readers agree on are
read: ``ZRECEIPTINFO`` 7.1 (others: jid 2, emoji 3, time 4) and 7.2 (own: emoji 2, time 3), ``ZMETADATA`` 5 (the quoted
message's id) and 6 (who wrote it). Where an edit or a poll's votes would be is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from vault_importer import protobuf
from vault_importer.formats.base import Side, SideRow, SideRows, SkippedRow
from vault_importer.formats.msgstore_tables import MAX_KEY_CHARACTERS, Tables, quoted_name, row_number
from vault_importer.formats.sqlite_source import SqliteSource, clean
from vault_importer.identity import kind_of_chat

__all__ = ["INFO", "MEDIA", "MEMBER", "MESSAGE", "IosTables", "milliseconds"]

MESSAGE, MEMBER, MEDIA, INFO = "ZWAMESSAGE", "ZWAGROUPMEMBER", "ZWAMEDIAITEM", "ZWAMESSAGEINFO"
#: Read apart from the rows of files, so it is a table of its own to the manifest.
QUOTES = "ZWAMEDIAITEM.ZMETADATA"
#: 2001-01-01 of the epoch.
CORE_DATA_SECONDS = 978_307_200
LATEST_SECONDS = 253_402_214_400
#: The phone's codes of what has a width and a height, which stand where a place has its degrees.
WITH_SIZE = frozenset({1, 2, 11, 15, 38, 39})
DOCUMENT = 8
REACTIONS, THEIRS, OURS = 7, 1, 2
QUOTED_ID, QUOTED_BY = 5, 6
#: Times in protobufs are seconds in some versions and milliseconds in others.
SECONDS_BELOW = 100_000_000_000
OWN_COLUMNS = ("Z_PK", "Z_ENT", "Z_OPT", "ZMESSAGE")
MOST_QUOTES = 500_000


class _Quoted(NamedTuple):
    """A message that others quote, as the store has it."""

    from_me: bool
    member: Any
    sent_at_ms: int
    code: object
    text: str


class IosTables:
    """``chats`` and ``members`` say which addresses row numbers stand for, ``address`` makes one canonical."""

    def __init__(
        self,
        store: SqliteSource,
        *,
        chats: Mapping[Any, str],
        members: Mapping[Any, str],
        address: Callable[[object], str],
        codes: Mapping[int, int],
    ) -> None:
        self._store = store
        self._chats = chats
        self._members = members
        self._address = address
        self._codes = codes
        self._tables = Tables(store, {}, {})

    def sides(self) -> list[Side]:
        store = self._store
        known = [
            Side(name=name, into=into, rows=rows)
            for name, into, rows, table, columns in (
                (MEDIA, "media", self._media, MEDIA, ("ZMESSAGE",)),
                (QUOTES, "quote", self._quotes, MEDIA, ("ZMESSAGE", "ZMETADATA")),
                (INFO, "reaction", self._reactions, INFO, ("ZMESSAGE", "ZRECEIPTINFO")),
                (MEMBER, "member", self._group_members, MEMBER, ("ZCHATSESSION", "ZMEMBERJID")),
            )
            if store.has(table, *columns) and store.count(table)
        ]
        others = sorted(store.tables.keys() - {MESSAGE, MEDIA, INFO, MEMBER})
        plain = [
            Side(name=table, into="detail", rows=partial(self._details, table))
            for table in others
            if store.has(table, "Z_PK", "ZMESSAGE") and store.count(table)
        ]
        return [*known, *plain]

    def _media(self, skip: int) -> SideRows:
        columns = ("ZMESSAGE", "ZVCARDSTRING", "ZFILESIZE", "ZMOVIEDURATION", "ZLATITUDE", "ZLONGITUDE", "ZTITLE",
                   "ZMEDIALOCALPATH")  # fmt: skip
        for message, mime, size, seconds, wide, high, title, path, code in self._of_media(columns, skip):
            of_size = code in WITH_SIZE
            mime = clean(mime) if isinstance(mime, str) and "/" in mime[:100] and "\n" not in mime else ""
            if not (clean(path) or mime or _whole(size)):
                # Links and quotes have such a row too.
                yield SkippedRow(MEDIA, "no_file")
                continue
            values = {
                "mime_type": mime,
                "bytes": _whole(size),
                "duration_seconds": _whole(seconds),
                "width": _whole(wide) if of_size else None,
                "height": _whole(high) if of_size else None,
                "pages": None,
                "name": clean(title) if code == DOCUMENT else clean(path).rpartition("/")[2],
                "caption": "" if code == DOCUMENT else clean(title),
                # The store tells no hash that is known to be the file's.
                "file_hash": "",
                "original_file_hash": "",
                "file_path": clean(path),
            }
            yield SideRow(values, message_row=row_number(message))

    def _of_media(self, columns: tuple[str, ...], skip: int) -> Iterator[tuple[Any, ...]]:
        own = ", ".join(self._store.column(MEDIA, each, "i") for each in columns)
        code = self._store.column(MESSAGE, "ZMESSAGETYPE", "m")
        return self._store.select(
            f"SELECT {own}, {code} FROM {MEDIA} i LEFT JOIN {MESSAGE} m ON m.Z_PK = i.ZMESSAGE"  # noqa: S608
            " ORDER BY i.rowid LIMIT -1 OFFSET ?",
            skip,
        )

    # Quotes ---------------------------------------------------------------------------------------------------------

    def _quotes(self, skip: int) -> SideRows:
        quoted = self._quoted()
        chat = self._store.column(MESSAGE, "ZCHATSESSION", "m")
        rows = self._store.select(
            f"SELECT i.ZMESSAGE, i.ZMETADATA, {chat} FROM {MEDIA} i"  # noqa: S608
            f" LEFT JOIN {MESSAGE} m ON m.Z_PK = i.ZMESSAGE ORDER BY i.rowid LIMIT -1 OFFSET ?",
            skip,
        )
        for message, metadata, chat_row in rows:
            key_id, by = _quote(metadata)
            if not key_id:
                yield SkippedRow(QUOTES, "no_quote")
                continue
            chat_jid = self._chats.get(chat_row, "")
            found = quoted.get((chat_row, key_id))
            author = self._address(by) if by else ""
            direct = kind_of_chat(chat_jid) == "direct"
            # In a direct chat whoever is not the other side is the account.
            from_me = found.from_me if found else bool(direct and author and author != chat_jid)
            sender = self._members.get(found.member, "") if found and isinstance(found.member, int) else ""
            code = found.code if found else None
            values = {
                "quoted_key_id": key_id,
                "quoted_at": found.sent_at_ms if found else 0,
                "quoted_raw_kind": self._codes.get(code) if isinstance(code, int) else None,
                "of_status": False,
                "text": found.text if found else "",
            }
            yield SideRow(values, row_number(message), chat_jid, from_me, "" if from_me else sender or author)

    def _quoted(self) -> dict[tuple[Any, str], _Quoted]:
        """The messages that are quoted, by chat and id: their direction is a part of their key."""
        wanted: set[str] = set()
        for (metadata,) in self._store.select(f"SELECT ZMETADATA FROM {MEDIA} WHERE ZMETADATA IS NOT NULL"):  # noqa: S608
            key_id, _ = _quote(metadata)
            if key_id and len(wanted) < MOST_QUOTES:
                wanted.add(key_id)
        own = ("ZISFROMME", "ZGROUPMEMBER", "ZMESSAGEDATE", "ZMESSAGETYPE", "ZTEXT")
        columns = ", ".join(self._store.column(MESSAGE, each) for each in own)
        found = {}
        for chat, key_id, from_me, member, date, code, text in self._store.select(
            f"SELECT ZCHATSESSION, ZSTANZAID, {columns} FROM {MESSAGE}"  # noqa: S608
        ):
            if key_id in wanted:
                found[chat, clean(key_id)] = _Quoted(from_me == 1, member, milliseconds(date), code, clean(text))
        return found

    # Reactions ------------------------------------------------------------------------------------------------------

    def _reactions(self, skip: int) -> SideRows:
        return _behind(self._all_reactions(), skip)

    def _all_reactions(self) -> SideRows:
        """Several of one row, when several people reacted."""
        chat = self._store.column(MESSAGE, "ZCHATSESSION", "m")
        for message, info, chat_row in self._store.select(
            f"SELECT r.ZMESSAGE, r.ZRECEIPTINFO, {chat} FROM {INFO} r"  # noqa: S608
            f" LEFT JOIN {MESSAGE} m ON m.Z_PK = r.ZMESSAGE ORDER BY r.rowid"
        ):
            try:
                found = list(_reacted(info)) if isinstance(info, bytes) else []
            except protobuf.Malformed:
                yield SkippedRow(INFO, "unreadable")
                continue
            if not found:
                yield SkippedRow(INFO, "no_reaction")
            for by, reaction, at in found:
                person = self._address(by) if by is not None else ""
                if by is not None and not person:
                    yield SkippedRow(INFO, "no_jid")
                    continue
                values = {"reaction": reaction[:MAX_KEY_CHARACTERS], "reacted_at": at}
                yield SideRow(values, row_number(message), self._chats.get(chat_row, ""), by is None, person)

    # Others ---------------------------------------------------------------------------------------------------------

    def _group_members(self, skip: int) -> SideRows:
        own = ", ".join(self._store.column(MEMBER, each) for each in ("ZISADMIN", "ZISACTIVE"))
        for chat_row, jid, admin, active in self._store.select(
            f"SELECT ZCHATSESSION, ZMEMBERJID, {own} FROM {MEMBER} ORDER BY rowid LIMIT -1 OFFSET ?",  # noqa: S608
            skip,
        ):
            person = self._address(jid)
            if not person or active == 0:
                yield SkippedRow(MEMBER, "no_jid" if not person else "not_active")
                continue
            values = {"rank": int(admin == 1), "pending": False, "added_at": 0, "label": ""}
            yield SideRow(values, chat_jid=self._chats.get(chat_row, ""), person_jid=person)

    def _details(self, table: str, skip: int) -> SideRows:
        names = self._tables.names(table, *OWN_COLUMNS)
        rows = self._tables.several(table, "ZMESSAGE", [f"t.{quoted_name(name)}" for name in names])
        for message, item, values in islice(rows, skip, None):
            columns, _ = self._tables.plain(dict(zip(names, values, strict=True)))
            yield SideRow({"source": table, "item": item, "columns": columns}, message_row=message)


def _behind(rows: SideRows, skip: int) -> SideRows:
    """The same behind some, as a generator that can be closed."""
    yield from islice(rows, skip, None)


def milliseconds(value: object) -> int:
    """Of a time of the store; 0 for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or abs(value) > LATEST_SECONDS:
        return 0
    seconds = value + CORE_DATA_SECONDS
    return round(seconds * 1000) if 0 < seconds < LATEST_SECONDS else 0


def _whole(value: object) -> int | None:
    if isinstance(value, float) and value == value and abs(value) < 2**53:
        value = round(value)
    return value if isinstance(value, int) and 0 < value < 2**53 else None


def _quote(metadata: object) -> tuple[str, str]:
    """The id of what a message answers, and the address of who wrote that; empty where there is none."""
    if not isinstance(metadata, bytes):
        return "", ""
    try:
        found = {number: value for number, value in protobuf.fields(metadata) if number in (QUOTED_ID, QUOTED_BY)}
    except protobuf.Malformed:
        return "", ""
    return _text(found.get(QUOTED_ID))[:MAX_KEY_CHARACTERS], _text(found.get(QUOTED_BY))


def _reacted(info: bytes) -> Iterator[tuple[str | None, str, int]]:
    """Who (nothing for the account itself), how, and when in milliseconds. Raises :class:`protobuf.Malformed`."""
    for number, value in protobuf.fields(info):
        if number != REACTIONS or not isinstance(value, bytes):
            continue
        for whose, each in protobuf.fields(value):
            if whose not in (THEIRS, OURS) or not isinstance(each, bytes):
                continue
            fields = dict(protobuf.fields(each))
            by, reaction, at = (2, 3, 4) if whose == THEIRS else (0, 2, 3)
            yield _text(fields.get(by)) if by else None, _text(fields.get(reaction)), _unix(fields.get(at))


def _text(value: object) -> str:
    return clean(value) if isinstance(value, bytes) else ""


def _unix(value: object) -> int:
    """0 where there is no time."""
    if not isinstance(value, int) or value <= 0:
        return 0
    return value * 1000 if value < SECONDS_BELOW else value
