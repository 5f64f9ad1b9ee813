"""One message as WhatsApp sends it between its own devices (``WebMessageInfo``), in the words of an Android store.

The kinds are Android's codes, so that a message which came by an increment is not changed by the next whole backup.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from vault_importer import protobuf
from vault_importer.formats.android_kinds import KINDS, REVOKED_KINDS, WAITING
from vault_importer.formats.base import SideRow, SkippedRow, SourceMessage
from vault_importer.formats.msgstore_tables import MAX_KEY_CHARACTERS
from vault_importer.formats.sqlite_source import clean
from vault_importer.formats.sync_added import REACTIONS
from vault_importer.formats.sync_beside import Row, forward_score_of, revocation_beside, rows_beside
from vault_importer.formats.sync_content import Content, bytes_of, content_of, int_of, text_of, unwrapped
from vault_importer.formats.sync_envelope import (
    FROM_ME,
    ID,
    KEY,
    KEY_PARTICIPANT,
    MESSAGE,
    PARTICIPANT,
    REMOTE_JID,
    TIMESTAMP,
    Envelope,
    Known,
    address,
    author_of_revoked,
    envelope_of,
)
from vault_importer.identity import kind_of_chat

__all__ = ["TABLE", "Told", "message_of", "reaction_of"]

TABLE = "message"
# WebMessageInfo
STUB_TYPE = 24
PROTOCOL, REACTION = 12, 46
REACTION_KEY, REACTION_TEXT, REACTED_AT_MS = 1, 2, 4
PROTOCOL_KEY, PROTOCOL_TYPE, EDITED_MESSAGE, EDITED_AT_MS = 1, 2, 14, 15
REVOKE, EDIT = 0, 14
REVOKED, REVOKED_BY_ADMIN, SYSTEM = 15, 64, 7
#: What stands in the place of a message that was revoked, or that had not arrived yet; all others are notices.
STUBS = {1: REVOKED, 2: WAITING, 132: REVOKED_BY_ADMIN}
DEGREES = {1: "latitude", 2: "longitude"}
#: Where a place is, by the field of the message; one that moves has other figures where a fixed one has its name.
PLACES = {5: {**DEGREES, 3: "place_name", 4: "place_address", 5: "url"}, 18: DEGREES}
LATEST_SECONDS = 253_402_214_400


class Told(NamedTuple):
    """A message, and what it says besides its text, each with the name of its table."""

    message: SourceMessage | SkippedRow
    beside: Sequence[Row] = ()


def message_of(raw: bytes, known: Known, row: int) -> Told:
    """``row`` is the number by which the rows beside it name it. Raises :class:`protobuf.Malformed`."""
    envelope = envelope_of(raw, known.aliases)
    chat, key_id, _, sent, _ = envelope
    if not chat:
        return Told(SkippedRow(TABLE, "no_chat"))
    if not key_id or not 0 < sent < LATEST_SECONDS:
        return Told(SkippedRow(TABLE, "no_time" if key_id else "no_key"))
    message, once = unwrapped(bytes_of(raw, MESSAGE))
    protocol = bytes_of(message, PROTOCOL)
    if protocol:
        return _changed(protocol, envelope, known, row)
    content = content_of(message, once)
    stub = int_of(raw, STUB_TYPE)
    if stub and (content == "empty" or (isinstance(content, Content) and not content.field)):
        return Told(_stub(envelope, stub, row))
    if isinstance(content, str):
        return Told(SkippedRow(TABLE, content))
    return _told(_of(envelope, content, row), content, known)


def _of(envelope: Envelope, content: Content, row: int) -> SourceMessage:
    details = _place(content.raw, PLACES[content.field]) if content.field in PLACES else None
    return SourceMessage(
        envelope.chat, envelope.author.from_me, envelope.key_id, (), envelope.author.sender, envelope.sent_at * 1000,
        content.kind, content.code, content.text, 0, False, forward_score_of(content), details, row,
    )  # fmt: skip


def _told(message: SourceMessage, content: Content, known: Known) -> Told:
    return Told(message, list(rows_beside(content, message, known)))


def _stub(envelope: Envelope, stub: int, row: int) -> SourceMessage:
    """What stands in the place of a message."""
    code = STUBS.get(stub, SYSTEM)
    return SourceMessage(
        envelope.chat, envelope.author.from_me, envelope.key_id, (), envelope.author.sender, envelope.sent_at * 1000,
        KINDS[code], code, "", 0, code in REVOKED_KINDS, 0, {"stub_type": stub} if code == SYSTEM else None, row,
    )  # fmt: skip


def _changed(protocol: bytes, envelope: Envelope, known: Known, row: int) -> Told:
    """A revocation or an edit: it has an id of its own and names the message that it changes."""
    key = bytes_of(protocol, PROTOCOL_KEY)
    original, what = text_of(key, ID), int_of(protocol, PROTOCOL_TYPE)
    earlier = (original,) if original != envelope.key_id else ()
    if original and what == REVOKE:
        author = author_of_revoked(key, envelope.chat, envelope.author, known)
        # A message is known by whoever wrote it, not by whoever revoked it.
        code = REVOKED if author == envelope.author else REVOKED_BY_ADMIN
        message = SourceMessage(
            envelope.chat, author.from_me, envelope.key_id, earlier, author.sender, envelope.sent_at * 1000,
            KINDS[code], code, "", 0, True, 0, None, row,
        )  # fmt: skip
        return Told(message, [revocation_beside(message, original, envelope.author)])
    if not original or what != EDIT:
        return Told(SkippedRow(TABLE, "protocol"))
    content = content_of(*unwrapped(bytes_of(protocol, EDITED_MESSAGE)))
    if isinstance(content, str) or not content.field:
        # An edit that cannot be read must not empty what was said.
        return Told(SkippedRow(TABLE, "protocol"))
    at, sent_at_ms = int_of(protocol, EDITED_AT_MS), envelope.sent_at * 1000
    message = _of(envelope, content, row)._replace(
        earlier_key_ids=earlier, edited_at_ms=at if 0 < at < LATEST_SECONDS * 1000 else sent_at_ms
    )
    return _told(message, content, known)


def reaction_of(raw: bytes, aliases: Mapping[str, str]) -> SideRow | SkippedRow | None:
    """What a message that is a reaction says; nothing for any other. Raises :class:`protobuf.Malformed`."""
    message, _ = unwrapped(bytes_of(raw, MESSAGE))
    reaction = bytes_of(message, REACTION)
    if not reaction:
        return None
    key, target = bytes_of(raw, KEY), bytes_of(reaction, REACTION_KEY)
    chat, from_me = address(text_of(key, REMOTE_JID), aliases), int_of(key, FROM_ME) == 1
    if not chat or not text_of(target, ID):
        return SkippedRow(REACTIONS, "no_chat" if not chat else "no_key")
    by = text_of(key, KEY_PARTICIPANT) or text_of(raw, PARTICIPANT)
    at = int_of(reaction, REACTED_AT_MS)
    values = {
        "reaction": text_of(reaction, REACTION_TEXT)[:MAX_KEY_CHARACTERS],
        "reacted_at": at if 0 < at < LATEST_SECONDS * 1000 else int_of(raw, TIMESTAMP) * 1000,
        "of_key_id": text_of(target, ID)[:MAX_KEY_CHARACTERS],
        "of_sender": address(text_of(target, KEY_PARTICIPANT), aliases),
    }
    direct = kind_of_chat(chat) == "direct"
    return SideRow(values, chat_jid=chat, from_me=from_me, person_jid="" if from_me or direct else address(by, aliases))


def _place(content: bytes, names: Mapping[int, str]) -> Mapping[str, Any]:
    details: dict[str, Any] = {}
    for number, value in protobuf.fields(content):
        name = names.get(number)
        if name is None or not isinstance(value, bytes):
            continue
        if number <= 2 and len(value) == 8:
            [degrees] = struct.unpack("<d", value)
            if abs(degrees) <= 360:
                details[name] = degrees
        elif number > 2 and value:
            details[name] = clean(value)
    return details
