"""What an Android store holds besides messages: calls, who belongs to which group, chats, an account's own lists."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from itertools import islice
from typing import Any

from vault_importer.formats.base import Side, SideRow, SideRows, SkippedRow
from vault_importer.formats.msgstore_tables import MAX_KEY_CHARACTERS, Tables, quoted_name, row_number
from vault_importer.formats.sqlite_source import clean

__all__ = ["ChatTables"]

#: Lists that belong to the account, whoever it talks to.
ACCOUNT_TABLES = frozenset(
    {"agent_devices", "away_messages", "call_link", "keywords", "labels", "quick_replies", "quick_reply_attachments",
     "quick_reply_keywords", "scheduled_calls"}
)  # fmt: skip
#: Tables that name a chat by its address.
CHAT_ADDRESSES = {"agent_chat_assignment": "jid_row_id", "parent_group_participants": "parent_group_jid_row_id"}
CALL_KEY = ("jid_row_id", "from_me", "call_id", "transaction_id")


class ChatTables:
    """The tables of one opened store that say something about a call, a group, a chat or the account."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._known: dict[str, tuple[str, Callable[[int], SideRows], tuple[str, ...]]] = {
            "chat": ("chat_detail", partial(self._chat_details, "chat", "_id"), ("jid_row_id",)),
            "call_log": ("call", self._calls, ("_id", *CALL_KEY)),
            "call_log_participant_v2": ("call_participant", self._participants, ("call_log_row_id", "jid_row_id")),
            "message_call_log": ("message_call", self._message_calls, ("message_row_id", "call_log_row_id")),
            "group_participant_user": ("member", self._members, ("group_jid_row_id", "user_jid_row_id")),
            "group_past_participant_user": ("past_member", self._past, ("group_jid_row_id", "user_jid_row_id")),
            "labeled_jid": ("chat_detail", self._labelled, ("label_id", "jid_row_id")),
        }

    def sides(self) -> list[Side]:
        store = self._tables.store
        found = [
            Side(name=name, into=into, rows=rows)
            for name, (into, rows, columns) in self._known.items()
            if store.has(name, *columns)
            and (not name.endswith(("call_log", "_v2")) or store.has("call_log", *CALL_KEY))
        ]
        for table in sorted(store.tables.keys() - self._known.keys()):
            rows: Callable[[int], SideRows]
            if store.has(table, "chat_row_id") and not store.tables[table] & ABOUT_MESSAGES:
                into, rows = "chat_detail", partial(self._chat_details, table, "chat_row_id")
            elif table in CHAT_ADDRESSES and store.has(table, CHAT_ADDRESSES[table]):
                into, rows = "chat_detail", partial(self._addressed, table, CHAT_ADDRESSES[table])
            elif table in ACCOUNT_TABLES:
                into, rows = "account_detail", partial(self._account_details, table)
            else:
                continue
            found.append(Side(name=table, into=into, rows=rows))
        return [side for side in found if store.count(side.name)]

    # Calls ----------------------------------------------------------------------------------------------------------

    def _call(self, jid_row: object, from_me: object, call_id: object, transaction: object) -> dict[str, Any]:
        key = f"{clean(call_id)[:MAX_KEY_CHARACTERS]}:{clean(transaction)[:MAX_KEY_CHARACTERS]}"
        return {"call_jid": self._tables.jid(jid_row), "call_key": key, "from_me": from_me == 1}

    def _calls(self, skip: int) -> SideRows:
        names = (*CALL_KEY, "group_jid_row_id", "timestamp", "duration", "video_call", "call_result", "call_type",
                 "bytes_transferred")  # fmt: skip
        for *key, group, at, seconds, video, result, kind, size in self._tables.select("call_log", names, skip):
            call = self._call(*key)
            if not call["call_jid"]:
                yield SkippedRow("call_log", "no_jid")
                continue
            values = {
                **call,
                "started_at": at,
                "duration_seconds": seconds,
                "video": video == 1,
                "raw_result": result,
                "raw_kind": kind,
                "bytes": size,
            }
            yield SideRow(values, chat_jid=self._tables.jid(group), person_jid=call["call_jid"])

    def _of_call(self, table: str, own: str, skip: int) -> Any:
        key = ", ".join(f"c.{name}" for name in CALL_KEY)
        order = "t.rowid" if self._tables.order(table) == "rowid" else own
        return self._tables.store.select(
            f"SELECT {own}, c._id, {key} FROM {quoted_name(table)} t"  # noqa: S608
            f" LEFT JOIN call_log c ON c._id = t.call_log_row_id ORDER BY {order} LIMIT -1 OFFSET ?",
            skip,
        )

    def _participants(self, skip: int) -> SideRows:
        table = "call_log_participant_v2"
        result = self._tables.store.column(table, "call_result", "t")
        for jid_row, result_code, call, *key in self._of_call(table, f"t.jid_row_id, {result}", skip):
            jid = self._tables.jid(jid_row)
            if call is None or not jid:
                yield SkippedRow(table, "no_jid" if call is not None else "no_call")
                continue
            yield SideRow({**self._call(*key), "raw_result": result_code}, person_jid=jid)

    def _message_calls(self, skip: int) -> SideRows:
        table = "message_call_log"
        for row, call, *key in self._of_call(table, "t.message_row_id", skip):
            if call is None:
                yield SkippedRow(table, "no_call")
                continue
            yield SideRow(self._call(*key), message_row=row_number(row))

    # Groups ---------------------------------------------------------------------------------------------------------

    def _members(self, skip: int) -> SideRows:
        table = "group_participant_user"
        names = ("group_jid_row_id", "user_jid_row_id", "rank", "pending", "add_timestamp", "label")
        for group, user, rank, pending, added, label in self._tables.select(table, names, skip):
            values = {"rank": rank, "pending": pending == 1, "added_at": added, "label": clean(label)}
            yield self._in_group(table, group, user, values)

    def _past(self, skip: int) -> SideRows:
        table = "group_past_participant_user"
        names = ("group_jid_row_id", "user_jid_row_id", "is_leave", "timestamp")
        for group, user, left, at in self._tables.select(table, names, skip):
            yield self._in_group(table, group, user, {"left_at": at, "by_choice": left == 1})

    def _in_group(self, table: str, group: object, user: object, values: Mapping[str, Any]) -> SideRow | SkippedRow:
        chat, person = self._tables.jid(group), self._tables.jid(user)
        if not chat or not person:
            return SkippedRow(table, "no_jid")
        return SideRow(values, chat_jid=chat, person_jid=person)

    # Chats and the account ------------------------------------------------------------------------------------------

    def _chat_details(self, table: str, key: str, skip: int) -> SideRows:
        names = self._tables.names(table, "_id", key)
        rows = self._tables.several(table, key, [f"t.{quoted_name(name)}" for name in names])
        for row, item, values in islice(rows, skip, None):
            yield self._chat_detail(table, self._tables.chat(row), item, dict(zip(names, values, strict=True)))

    def _addressed(self, table: str, key: str, skip: int) -> SideRows:
        names = self._tables.names(table, "_id", key)
        rows = self._tables.several(table, key, [f"t.{quoted_name(name)}" for name in names])
        for row, item, values in islice(rows, skip, None):
            yield self._chat_detail(table, self._tables.jid(row), item, dict(zip(names, values, strict=True)))

    def _labelled(self, skip: int) -> SideRows:
        named = self._tables.store.has("labels", "_id", "label_name")
        join = " LEFT JOIN labels l ON l._id = t.label_id" if named else ""
        for jid_row, label, name in self._tables.store.select(
            f"SELECT t.jid_row_id, t.label_id, {'l.label_name' if named else 'NULL'} FROM labeled_jid t{join}"  # noqa: S608
            f" ORDER BY t.{self._tables.order('labeled_jid')} LIMIT -1 OFFSET ?",
            skip,
        ):
            raw = {"label": name} if name is not None else {"label_id": label}
            yield self._chat_detail("labeled_jid", self._tables.jid(jid_row), _digest(raw), raw)

    def _chat_detail(self, table: str, chat: str, item: str, raw: Mapping[str, Any]) -> SideRow | SkippedRow:
        if not chat:
            return SkippedRow(table, "no_chat")
        columns, links = self._tables.plain(raw)
        return SideRow({"source": table, "item": item, "columns": columns}, chat_jid=chat, links=links)

    def _account_details(self, table: str, skip: int) -> SideRows:
        names = self._tables.names(table, "_id")
        for values in self._tables.select(table, [quoted_name(name) for name in names], skip):
            columns, links = self._tables.plain(dict(zip(names, values, strict=True)))
            # Row numbers differ from phone to phone: such a row is known by what it says.
            yield SideRow({"source": table, "item": _digest(columns), "columns": columns}, links=links)


ABOUT_MESSAGES = frozenset({"message_row_id", "message_add_on_row_id", "parent_message_row_id", "key_id"})


def _digest(raw: Mapping[str, Any]) -> str:
    return sha256(json.dumps(raw, sort_keys=True, default=clean).encode()).hexdigest()[:32]
