"""Rows beside the messages with the vault's ids in the place of their source's references. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from vault_importer.archive import Chat, Person, message_key
from vault_importer.formats.base import SideRow
from vault_importer.sides_store import Target

__all__ = ["OURSELVES", "Names", "named_keys", "quoted_keys", "resolve"]

OURSELVES = UUID(int=0)
"""Stands where a person is expected and the account itself did it."""
OF_KEY, OF_SENDER = "of_key_id", "of_sender"
LATEST_MS = 253_402_214_400_000
_BIGGEST = 2**63
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MISSING = {"message_id": "no_message", "contact_id": "no_person", "chat_id": "no_chat"}


@dataclass(frozen=True, kw_only=True)
class Names:
    """What a source's references stand for."""

    account_id: UUID
    message: Callable[[int], UUID | None]
    people: Mapping[str, Person]
    chats: Mapping[str, Chat]

    def person(self, row: SideRow) -> UUID | None:
        if row.from_me:
            return OURSELVES
        if row.person_jid:
            found = self.people.get(row.person_jid)
            return found.id if found else None
        chat = self.chats.get(row.chat_jid)
        return chat.peer.id if chat and chat.peer else None


def resolve(row: SideRow, target: Target, names: Names, quoted: Mapping[UUID, UUID]) -> tuple[Any, ...] | str:
    """The values of a target's columns, or why there are none. ``quoted`` finds messages by their keys."""
    values = dict(row.values)
    for column, _ in target.columns:
        if (find := _FOUND.get(column)) is not None:
            values[column] = find(row, names)
    if OF_KEY in values:
        values["message_id"] = next((quoted[key] for key in named_keys(row, names) if key in quoted), None)
    if "quoted_key_id" in values:
        values.update(_quoted(row, names, quoted))
    if row.links:
        known = {name: str(id_) for name, each in row.links.items() if (id_ := names.message(each))}
        values["columns"] = {**values["columns"], **known}
    for column, _ in target.key:
        if values.get(column) is None:
            return _MISSING.get(column, f"no_{column}")
    plain = tuple(_plain(values.get(column), kind) for column, kind in target.columns)
    if None in plain[: len(target.key)]:
        return "no_time"
    return plain


def _call_id(row: SideRow, names: Names) -> UUID:
    """WhatsApp knows a call by four parts too; whom it was with stands by their id, which outlives a new number."""
    address = row.values["call_jid"]
    person = names.people.get(address)
    key = row.values["call_key"] if person else f"{row.values['call_key']}:{address}"
    return message_key(names.account_id.bytes, row.values["from_me"], key, person.id.bytes if person else b"")


def _person_named(row: SideRow, names: Names) -> UUID | None:
    person = names.people.get(row.person_jid)
    return person.id if person else None


def _chat_named(row: SideRow, names: Names) -> UUID | None:
    chat = names.chats.get(row.chat_jid)
    return chat.id if chat else None


_FOUND: Mapping[str, Callable[[SideRow, Names], UUID | None]] = {
    "message_id": lambda row, names: names.message(row.message_row),
    "contact_id": lambda row, names: names.person(row),
    "chat_id": _chat_named,
    "group_chat_id": _chat_named,
    "mentioned_contact_id": _person_named,
    "caller_or_called_id": _person_named,
    "account_id": lambda row, names: names.account_id,
    "call_id": _call_id,
}
"""The columns that stand for what a row refers to."""


def _quoted(row: SideRow, names: Names, quoted: Mapping[UUID, UUID]) -> dict[str, Any]:
    chat = names.chats.get(row.chat_jid)
    person = names.person(row)
    found = next((quoted[key] for key in quoted_keys(row, names) if key in quoted), None)
    return {
        "quoted_message_id": found,
        "quoted_chat_id": chat.id if chat else None,
        "quoted_contact_id": None if person == OURSELVES else person,
        "quoted_from_me": row.from_me,
    }


def quoted_keys(row: SideRow, names: Names) -> list[UUID]:
    """Under which keys the quoted message may be known: some versions name the sender of our own, and some do not."""
    chat = names.chats.get(row.chat_jid)
    if chat is None:
        return []
    person = names.people.get(row.person_jid) if chat.kind != "direct" else None
    senders = [*_ids_of(person), b""] if person else [b""]
    return [
        message_key(chat_id, row.from_me, row.values["quoted_key_id"], sender)
        for chat_id in _ids_of(chat)
        for sender in senders
    ]


def named_keys(row: SideRow, names: Names) -> list[UUID]:
    """Under which keys the message may be known that a row names by its key id. Whose it is, is told from the side of
    whoever did what the row says: any side is tried, since an id is of one message."""
    chat, key_id = names.chats.get(row.chat_jid), row.values.get(OF_KEY)
    if chat is None or not key_id:
        return []
    people = [names.people.get(jid) for jid in (row.values.get(OF_SENDER, ""), row.person_jid)]
    senders = [id_ for person in people if person for id_ in _ids_of(person)] if chat.kind != "direct" else []
    return [
        message_key(chat_id, own, key_id, sender)
        for chat_id in _ids_of(chat)
        for own in (False, True)
        for sender in (*senders, b"")
    ]


def _ids_of(known: Person | Chat) -> list[bytes]:
    return [known.id.bytes, *(twin.bytes for twin in known.twins)]


def _plain(value: Any, kind: str) -> Any:
    """A value as its column takes it: whatever a stranger's file has there, it must not end the import."""
    if kind == "bigint":
        return value if isinstance(value, int) and abs(value) < _BIGGEST else None
    if kind == "timestamptz":
        known = isinstance(value, int) and 0 < value < LATEST_MS
        return _EPOCH + timedelta(milliseconds=value) if known else None
    if kind == "jsonb":
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return value
