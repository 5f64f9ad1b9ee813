"""People, chats and messages as the vault keeps them, and the key that says which message is which. Pure.

WhatsApp's own key of a message has four parts: chat, direction, key id, sender. Row numbers are not stable from
phone to phone. An edit or a revocation gives a message another key id, so a message is known by every key id it
ever had; its identity in the vault is the hash of the first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from json.encoder import encode_basestring as quoted  # the quick one, where there is one
from typing import Any, NamedTuple
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as QuickUUID  # noqa: N811 - a class

from contracts.vault import MessageImportedV1
from vault_importer.formats.android_kinds import WAITING
from vault_importer.formats.base import ChatKind, SourceMessage

__all__ = ["Chat", "EventTexts", "Person", "Staged", "message_key", "settle", "settled_id", "stage", "to_event"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Wordings are ranked: a message that had not arrived yet or that its source cannot read, as written, edited (by
#: time), revoked. An older backup that is imported late must not bring an earlier wording back.
RANK_WAITING, RANK_WRITTEN, RANK_REVOKED = -1, 0, 2**62


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    id: UUID
    number: str | None
    name: str
    twins: tuple[UUID, ...] = ()
    """Under which they are in the vault as well, from before it was known that their identities are one person's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chat:
    id: UUID
    kind: ChatKind
    name: str
    peer: Person | None
    """The other side of a direct chat."""
    twins: tuple[UUID, ...] = ()
    """Under which it is in the vault as well, from before it was known that both are with one person."""
    id_text: str = field(init=False)
    id_bytes: bytes = field(init=False)

    def __post_init__(self) -> None:
        # A chat has many messages; these are made once.
        object.__setattr__(self, "id_text", str(self.id))
        object.__setattr__(self, "id_bytes", self.id.bytes)


class Staged(NamedTuple):
    """A message on its way into the vault, in the order of the staging table's columns."""

    n: int
    """Its place in the chunk."""
    id: UUID
    chat_id: UUID
    from_me: bool
    key_id: str
    sender_id: UUID | None
    sent_at: datetime
    kind: str
    raw_kind: int
    text: str
    revoked: bool
    edited_at: datetime | None
    wording_rank: int
    forward_score: int
    details: str | None
    chat: Chat
    sender: Person | None
    other_keys: tuple[UUID, ...]
    """Hashes of the key ids it had besides the one its ``id`` is made of."""
    row: int
    """The source's number of it."""
    twin_keys: tuple[UUID, ...] = ()
    """Under which it may be known from before two identities turned out to be one: any import finds them again, so
    they are looked for and not kept."""

    @property
    def every_key(self) -> tuple[UUID, ...]:
        return (self.id, *self.other_keys, *self.twin_keys)


def message_key(chat_id: bytes, from_me: bool, key_id: str, sender_jid_key: bytes) -> UUID:
    """The hash of the four parts: 16 bytes, so that one lean index finds every message ever seen."""
    digest = sha256(b"%b%c%b%b" % (chat_id, from_me, sender_jid_key.rjust(16, b"\0"), key_id.encode()))
    # Equal to the standard one in every way, and made and encoded several times as fast.
    quick: UUID = QuickUUID(digest.digest()[:16])
    return quick


def stage(n: int, message: SourceMessage, chat: Chat, sender: Person | None) -> Staged:
    """A source's message with the vault's ids."""
    sender_key = sender.id.bytes if sender else b""
    keys = [
        message_key(chat.id_bytes, message.from_me, key_id, sender_key)
        for key_id in (*message.earlier_key_ids, message.key_id)
    ]
    twins = _keys_of_twins(message, chat, sender) if chat.twins or (sender and sender.twins) else ()
    return Staged(
        n,
        keys[0],
        chat.id,
        message.from_me,
        message.key_id,
        _author_id(message, chat, sender),
        _EPOCH + timedelta(milliseconds=message.sent_at_ms),
        message.kind,
        message.raw_kind,
        message.text,
        message.revoked,
        _EPOCH + timedelta(milliseconds=message.edited_at_ms) if message.edited_at_ms else None,
        _rank(message),
        message.forward_score,
        json.dumps(message.details, ensure_ascii=False, sort_keys=True) if message.details else None,
        chat,
        sender,
        tuple(keys[1:]),
        message.row,
        twins,
    )


def _keys_of_twins(message: SourceMessage, chat: Chat, sender: Person | None) -> tuple[UUID, ...]:
    chats = [chat.id, *chat.twins]
    senders = [sender.id.bytes, *(twin.bytes for twin in sender.twins)] if sender else [b""]
    pairs = [(chat_id.bytes, sender_key) for chat_id in chats for sender_key in senders][1:]
    return tuple(
        message_key(chat_id, message.from_me, key_id, sender_key)
        for chat_id, sender_key in pairs
        for key_id in (*message.earlier_key_ids, message.key_id)
    )


def _author_id(message: SourceMessage, chat: Chat, sender: Person | None) -> UUID | None:
    if sender:
        return sender.id
    return chat.peer.id if chat.peer and not message.from_me else None


def _rank(message: SourceMessage) -> int:
    if message.revoked:
        return RANK_REVOKED
    if message.edited_at_ms:
        return message.edited_at_ms
    return RANK_WAITING if message.raw_kind == WAITING or message.raw_kind < 0 else RANK_WRITTEN


def settle(staged: Iterable[Staged], known: Mapping[UUID, UUID]) -> tuple[list[Staged], int]:
    """Give each message the id under which the vault already knows it by any of its keys, and drop what is in the
    chunk twice (a phone that restored itself can hold a message twice), keeping the better wording.

    ``known`` maps keys to ids. Returns the messages and how many were dropped.
    """
    chosen: dict[UUID, Staged] = {}
    dropped = 0
    for each in staged:
        row = each
        if known:
            id_ = settled_id(row, known)
            if id_ != row.id:
                kept = () if id_ in row.twin_keys and not row.other_keys else (row.id, *row.other_keys)
                row = row._replace(id=id_, other_keys=tuple(key for key in kept if key != id_))
        other = chosen.get(row.id)
        if other is not None:
            dropped += 1
            if other.wording_rank >= row.wording_rank:
                continue
        chosen[row.id] = row
    return list(chosen.values()), dropped


def settled_id(row: Staged, known: Mapping[UUID, UUID]) -> UUID:
    """The id of a message that the vault may know by another of its keys."""
    return next((known[key] for key in row.every_key if key in known), row.id)


def to_event(row: Staged, *, account_id: str, revision: int) -> MessageImportedV1:
    """What the other services learn."""
    chat = row.chat
    author = None if row.from_me else row.sender or chat.peer
    values: dict[str, Any] = {
        "message_id": str(row.id),
        "account_id": account_id,
        "chat_id": chat.id_text,
        "chat_kind": chat.kind,
        "chat_name": chat.name,
        "direction": "out" if row.from_me else "in",
        "sender_id": str(author.id) if author else None,
        "sender_number": author.number if author else None,
        "sender_name": author.name if author else "",
        "peer_number": chat.peer.number if chat.peer else None,
        "sent_at": row.sent_at,
        "kind": row.kind,
        "raw_kind": row.raw_kind,
        "text": row.text,
        "revision": revision,
        "revoked": row.revoked,
    }
    return MessageImportedV1.model_validate(values)


class EventTexts:
    """The JSON of ``to_event`` of one account's messages, several times as fast: what all messages of one chat and
    author have in common is made once."""

    def __init__(self, account_id: str) -> None:
        self._account_id = account_id
        self._common: dict[tuple[UUID, bool, UUID | None], str] = {}

    def of(self, row: Staged, revision: int) -> str:
        (_, id_, chat_id, from_me, _, sender_id, sent_at, kind, raw_kind, text, revoked, *_) = row
        common = self._common.get((chat_id, from_me, sender_id)) or self._make_common(row)
        return (
            f'{{"message_id":"{id_}",{common}"sent_at":"{sent_at.isoformat(timespec="microseconds")[:26]}Z",'
            f'"kind":{quoted(kind)},"raw_kind":{raw_kind},"text":{quoted(text)},"revision":{revision},'
            f'"revoked":{"true" if revoked else "false"}}}'
        )

    def _make_common(self, row: Staged) -> str:
        whole = to_event(row, account_id=self._account_id, revision=1).model_dump_json()
        begin, end = whole.index('"account_id":'), whole.rindex('"sent_at":"')
        return self._common.setdefault((row.chat_id, row.from_me, row.sender_id), whole[begin:end])
