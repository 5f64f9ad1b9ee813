"""What an Android store says about its messages in other tables. Those whose meaning is known are read one by one;
every other table that names a message is read with whatever columns it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from vault_importer.formats.base import Side, SideRow, SideRows, SkippedRow
from vault_importer.formats.msgstore_tables import MAX_KEY_CHARACTERS, Tables, quoted_name, row_number
from vault_importer.formats.sqlite_source import SqliteSource, clean

__all__ = ["LEFT_OUT", "PERSON_COLUMNS", "MessageTables", "message_column"]

#: Where people are named who may never have written: table and column.
PERSON_COLUMNS = (
    ("receipt_user", "receipt_user_jid_row_id"),
    ("message_mentions", "jid_row_id"),
    ("message_quoted", "sender_jid_row_id"),
    ("message_add_on", "sender_jid_row_id"),
    ("group_participant_user", "user_jid_row_id"),
    ("group_past_participant_user", "user_jid_row_id"),
    ("call_log", "jid_row_id"),
    ("call_log_participant_v2", "jid_row_id"),
)
#: Pictures made from the media, what devices did to deliver, and keys: nothing that anybody said or did.
LEFT_OUT = frozenset(
    {"audio_data", "media_hash_thumbnail", "message_add_on_receipt_device", "message_ftsv2", "message_secret",
     "message_streaming_sidecar", "message_thumbnail", "message_thumbnails", "mms_thumbnail_metadata",
     "played_self_receipt", "receipt_coex", "receipt_device", "receipt_orphaned"}
)  # fmt: skip
STATUS = "status@broadcast"
MESSAGE = "message_row_id"
#: Tables that call the message which their rows are about otherwise: of an album's pictures, the picture.
CALLED_OTHERWISE = {"message_association": "child_message_row_id"}


class MessageTables:
    """The tables of one opened store that say something about a message."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._known: dict[str, tuple[str, Callable[[int], SideRows], tuple[str, ...]]] = {
            "message_media": ("media", self._media, ("message_row_id",)),
            "message_quoted": ("quote", self._quotes, ("message_row_id", "key_id")),
            "message_mentions": ("mention", self._mentions, ("message_row_id", "jid_row_id")),
            "message_add_on": ("add_on", self._add_ons, ("_id", "parent_message_row_id", "key_id")),
            "message_add_on_reaction": ("reaction", self._reactions, ("message_add_on_row_id", "reaction")),
            "message_poll_option": ("poll_option", self._poll_options, ("_id", "message_row_id", "option_name")),
            "message_add_on_poll_vote_selected_option": (
                "poll_vote", self._poll_votes, ("message_add_on_row_id", "message_poll_option_id")),
            "receipt_user": ("receipt", self._receipts, ("message_row_id", "receipt_user_jid_row_id")),
        }  # fmt: skip

    def sides(self) -> list[Side]:
        known = [
            Side(name=name, into=into, rows=rows)
            for name, (into, rows, columns) in self._known.items()
            if self._tables.store.has(name, *columns)
        ]
        read = {side.name for side in known}
        plain = []
        for table in sorted(self._tables.store.tables.keys() - read - LEFT_OUT):
            if column := message_column(self._tables.store, table):
                plain.append(Side(name=table, into="detail", rows=partial(self._details, table, column)))
            elif self._tables.store.has(table, "message_add_on_row_id") and self._tables.store.has(
                "message_add_on", "_id"
            ):
                plain.append(Side(name=table, into="detail", rows=partial(self._add_on_details, table)))
        return [side for side in (*known, *plain) if self._tables.store.count(side.name)]

    # Media, quotes, mentions, receipts ------------------------------------------------------------------------------

    def _media(self, skip: int) -> SideRows:
        columns = ("message_row_id", "mime_type", "file_size", "file_length", "media_duration", "width", "height",
                   "page_count", "media_name", "media_caption", "file_hash", "original_file_hash",
                   "file_path")  # fmt: skip
        for row, mime, size, length, seconds, width, height, pages, *texts in self._tables.select(
            "message_media", columns, skip
        ):
            name, caption, hash_, original, path = (clean(each) for each in texts)
            values = {
                "mime_type": clean(mime),
                "bytes": size or length,
                "duration_seconds": seconds,
                "width": width,
                "height": height,
                "pages": pages,
                "name": name,
                "caption": caption,
                "file_hash": hash_,
                "original_file_hash": original,
                "file_path": path,
            }
            yield SideRow(values, message_row=row_number(row))

    def _quotes(self, skip: int) -> SideRows:
        columns = ("message_row_id", "chat_row_id", "from_me", "sender_jid_row_id", "key_id", "timestamp",
                   "message_type", "text_data", "quoted_source")  # fmt: skip
        for row, chat_row, from_me, sender, key_id, sent, kind, text, source in self._tables.select(
            "message_quoted", columns, skip
        ):
            chat = self._tables.chat(chat_row)
            values = {
                "quoted_key_id": clean(key_id)[:MAX_KEY_CHARACTERS],
                "quoted_at": sent,
                "quoted_raw_kind": kind,
                "of_status": source == 1 or chat == STATUS,
                "text": clean(text),
            }
            yield SideRow(values, row_number(row), chat, from_me == 1, self._tables.jid(sender))

    def _mentions(self, skip: int) -> SideRows:
        table = "message_mentions"
        own = [
            "t.jid_row_id",
            *(self._tables.store.column(table, name, "t") for name in ("display_name", "mention_type")),
        ]
        rows = self._tables.several(table, "message_row_id", own)
        for row, item, (jid_row, name, kind) in islice(rows, skip, None):
            jid = self._tables.jid(jid_row)
            values = {"item": item, "address": jid, "name": clean(name), "raw_kind": kind}
            yield SideRow(values, message_row=row, person_jid=jid)

    def _receipts(self, skip: int) -> SideRows:
        columns = ("message_row_id", "receipt_user_jid_row_id", "receipt_timestamp", "read_timestamp",
                   "played_timestamp")  # fmt: skip
        for row, jid_row, delivered, read, played in self._tables.select("receipt_user", columns, skip):
            jid = self._tables.jid(jid_row)
            if not jid:
                yield SkippedRow("receipt_user", "no_jid")
                continue
            values = {"delivered_at": delivered, "read_at": read, "played_at": played}
            yield SideRow(values, message_row=row_number(row), person_jid=jid)

    # Add-ons --------------------------------------------------------------------------------------------------------

    def _add_ons(self, skip: int) -> SideRows:
        columns = ("parent_message_row_id", "chat_row_id", "from_me", "sender_jid_row_id", "key_id",
                   "message_add_on_type", "timestamp")  # fmt: skip
        for row, chat_row, from_me, sender, key_id, kind, at in self._tables.select("message_add_on", columns, skip):
            values = {"key_id": clean(key_id)[:MAX_KEY_CHARACTERS], "raw_kind": kind, "at": at}
            yield self._by_someone(row, chat_row, from_me, sender, values)

    def _by_someone(
        self, row: object, chat_row: object, from_me: object, sender: object, values: Mapping[str, Any]
    ) -> SideRow:
        chat = self._tables.chat(chat_row)
        return SideRow(values, row_number(row), chat, from_me == 1, self._tables.jid(sender))

    def _of_add_on(self, table: str, own: Sequence[str]) -> str:
        """A table of add-ons with the add-on that each row belongs to; ``own`` columns come last."""
        columns = ", ".join([*(self._tables.store.column("message_add_on", name, "a") for name in ADD_ON), *own])
        join = "LEFT JOIN message_add_on a ON a._id = t.message_add_on_row_id"
        return f"SELECT {columns} FROM {quoted_name(table)} t {join}"  # noqa: S608

    def _reactions(self, skip: int) -> SideRows:
        table = "message_add_on_reaction"
        query = self._of_add_on(table, ["t.reaction", self._tables.store.column(table, "sender_timestamp", "t")])
        for row, chat_row, from_me, sender, _, at, reaction, reacted in self._tables.store.select(
            f"{query} ORDER BY t.rowid LIMIT -1 OFFSET ?", skip
        ):
            # In a backup a reaction can outlive what it belongs to.
            if row is None:
                yield SkippedRow(table, "no_add_on")
                continue
            values = {"reaction": clean(reaction)[:MAX_KEY_CHARACTERS], "reacted_at": reacted or at}
            yield self._by_someone(row, chat_row, from_me, sender, values)

    def _poll_options(self, skip: int) -> SideRows:
        table = "message_poll_option"
        rows = self._tables.several(
            table, "message_row_id", ["t.option_name", self._tables.store.column(table, "vote_total", "t")]
        )
        for row, item, (name, votes) in islice(rows, skip, None):
            yield SideRow({"item": item, "name": clean(name), "votes": votes}, message_row=row)

    def _poll_votes(self, skip: int) -> SideRows:
        table = "message_add_on_poll_vote_selected_option"
        votes = "message_add_on_poll_vote"
        joined = self._tables.store.has(votes, "message_add_on_row_id", "sender_timestamp")
        join = f" LEFT JOIN {votes} v ON v.message_add_on_row_id = t.message_add_on_row_id" if joined else ""
        query = self._of_add_on(table, ["o.item", "v.sender_timestamp" if joined else "NULL"])
        options = (
            "SELECT _id, message_row_id, row_number() OVER (PARTITION BY message_row_id ORDER BY _id) - 1 AS item"
            " FROM message_poll_option"
        )
        for row, chat_row, from_me, sender, _, at, item, voted in self._tables.store.select(
            f"{query} LEFT JOIN ({options}) o ON o._id = t.message_poll_option_id{join}"
            " ORDER BY t.rowid LIMIT -1 OFFSET ?",
            skip,
        ):
            if row is None or item is None:
                yield SkippedRow(table, "no_add_on" if row is None else "no_option")
                continue
            yield self._by_someone(row, chat_row, from_me, sender, {"item": str(item), "voted_at": voted or at})

    # Tables that are read as they are -------------------------------------------------------------------------------

    def _details(self, table: str, key: str, skip: int) -> SideRows:
        names = self._tables.names(table, "_id", key)
        rows = self._tables.several(table, key, [f"t.{quoted_name(name)}" for name in names])
        for row, item, values in islice(rows, skip, None):
            yield self._detail(table, row, item, dict(zip(names, values, strict=True)))

    def _add_on_details(self, table: str, skip: int) -> SideRows:
        names = self._tables.names(table, "_id", "message_add_on_row_id")
        query = self._of_add_on(table, [f"t.{quoted_name(name)}" for name in names])
        order = (
            f"t.message_add_on_row_id, t.{self._tables.order(table)}"
            if self._tables.order(table) == "rowid"
            else "1, 2, 5"
        )
        for row, _, _, _, key_id, _, *values in self._tables.store.select(
            f"{query} ORDER BY {order} LIMIT -1 OFFSET ?", skip
        ):
            if row is None:
                yield SkippedRow(table, "no_add_on")
                continue
            item = clean(key_id)[:MAX_KEY_CHARACTERS]
            yield self._detail(table, row_number(row), item, dict(zip(names, values, strict=True)))

    def _detail(self, table: str, row: int, item: str, raw: Mapping[str, Any]) -> SideRow:
        columns, links = self._tables.plain(raw)
        return SideRow({"source": table, "item": item, "columns": columns}, message_row=row, links=links)


def message_column(store: SqliteSource, table: str) -> str:
    """The column of a table that says which message a row is about; empty where there is none."""
    return next((name for name in (MESSAGE, CALLED_OTHERWISE.get(table, "")) if name and store.has(table, name)), "")


ADD_ON = ("parent_message_row_id", "chat_row_id", "from_me", "sender_jid_row_id", "key_id", "timestamp")
